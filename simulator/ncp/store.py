"""What the NCP keeps over a restart: its tokens, in a JSON file that only its owner may read.

The file holds keys: it is written whole to a neighbour with mode 0600, synced, and renamed into place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.replacing import replace
from layer.errors import PeerError
from simulator.ezsp.codes import MfgTokenId

_FORMAT = 1
#: tokens of eight octets that are the host's
APPLICATION_TOKENS = 8
#: octets of the manufacturing tokens
MANUFACTURING_SIZES: dict[int, int] = {
    MfgTokenId.CUSTOM_VERSION: 2,
    MfgTokenId.STRING: 16,
    MfgTokenId.BOARD_NAME: 16,
    MfgTokenId.MANUF_ID: 2,
    MfgTokenId.PHY_CONFIG: 2,
    MfgTokenId.BOOTLOAD_AES_KEY: 16,
    MfgTokenId.ASH_CONFIG: 40,
    MfgTokenId.EZSP_STORAGE: 8,
    MfgTokenId.CBKE_DATA: 92,
    MfgTokenId.INSTALLATION_CODE: 20,
    MfgTokenId.CUSTOM_EUI_64: 8,
    MfgTokenId.CTUNE: 2,
}
MAX_STATE_FILE = 1 << 20


@dataclass(slots=True)
class StoredNetwork:
    """The node data token: the network this NCP is the coordinator of."""

    pan_id: int
    extended_pan_id: int
    channel: int
    tx_power: int
    update_id: int
    manager: int
    channels: int


@dataclass(slots=True)
class StoredSecurity:
    """The key tokens. ``bitmask`` is that of the initial security state."""

    bitmask: int
    network_key: bytes = field(repr=False)
    network_key_sequence: int
    link_key: bytes = field(repr=False)
    trust_center: int


@dataclass(slots=True)
class LinkKey:
    """An entry of the key table."""

    eui64: int
    key: bytes = field(repr=False)
    outgoing_frame_counter: int = 0
    incoming_frame_counter: int = 0


@dataclass(slots=True)
class Store:
    """Everything that survives. Frame counters are ceilings: the live counter stays below them.

    ``ezsp`` is the firmware's protocol version; the rest outlives a change of firmware.
    """

    eui64: int
    ezsp: int = 13
    restored_eui64: int | None = None
    boot_counter: int = 0
    nwk_frame_counter: int = 0
    aps_frame_counter: int = 0
    network: StoredNetwork | None = None
    security: StoredSecurity | None = None
    key_table: dict[int, LinkKey] = field(default_factory=dict)
    tokens: dict[int, bytes] = field(default_factory=dict)
    manufacturing: dict[int, bytes] = field(default_factory=dict)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def dump(store: Store) -> str:
    """The store as JSON text."""
    return json.dumps({"format": _FORMAT, **_plain(store)}, indent=1)


def _number(source: dict[str, Any], name: str, bits: int, least: int = 0) -> int:
    value = source[name]
    if type(value) is not int or not least <= value < 1 << bits:
        raise ValueError(name)
    return value


def _indexed(source: dict[str, Any], count: int) -> list[tuple[int, Any]]:
    """The entries of a table whose keys are indices below ``count``."""
    entries = [(int(index), entry) for index, entry in source.items()]
    if any(not 0 <= index < count for index, _ in entries):
        raise ValueError("index")
    return entries


def _octets(text: str, length: int) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != length:
        raise ValueError("length")
    return value


def _network(source: dict[str, Any] | None) -> StoredNetwork | None:
    if source is None:
        return None
    bits = {
        "pan_id": 16,
        "extended_pan_id": 64,
        "channel": 8,
        "update_id": 8,
        "manager": 16,
        "channels": 32,
    }
    numbers = {name: _number(source, name, size) for name, size in bits.items()}
    return StoredNetwork(tx_power=_number(source, "tx_power", 7, least=-128), **numbers)


def _security(source: dict[str, Any] | None) -> StoredSecurity | None:
    if source is None:
        return None
    return StoredSecurity(
        _number(source, "bitmask", 16),
        _octets(source["network_key"], 16),
        _number(source, "network_key_sequence", 8),
        _octets(source["link_key"], 16),
        _number(source, "trust_center", 64),
    )


def _link_key(source: dict[str, Any]) -> LinkKey:
    return LinkKey(
        _number(source, "eui64", 64),
        _octets(source["key"], 16),
        _number(source, "outgoing_frame_counter", 32),
        _number(source, "incoming_frame_counter", 32),
    )


def load(text: str) -> Store:
    """Read what ``dump`` wrote. Raises PeerError on anything else; its text never holds a value."""
    try:
        source = json.loads(text)
        if source["format"] != _FORMAT:
            raise ValueError("format")
        restored = source["restored_eui64"]
        return Store(
            eui64=_number(source, "eui64", 64),
            ezsp=_number({"ezsp": 13, **source}, "ezsp", 8),
            restored_eui64=None if restored is None else _number(source, "restored_eui64", 64),
            boot_counter=_number(source, "boot_counter", 32),
            nwk_frame_counter=_number(source, "nwk_frame_counter", 32),
            aps_frame_counter=_number(source, "aps_frame_counter", 32),
            network=_network(source["network"]),
            security=_security(source["security"]),
            key_table={index: _link_key(entry) for index, entry in _indexed(source["key_table"], 256)},
            tokens={key: _octets(value, 8) for key, value in _indexed(source["tokens"], APPLICATION_TOKENS)},
            manufacturing={
                key: _octets(value, MANUFACTURING_SIZES[key]) for key, value in _indexed(source["manufacturing"], 256)
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PeerError(f"not a dongle's state ({type(error).__name__})") from None


def read_file(path: Path) -> Store | None:
    """The store at ``path``; None when there is no file. Raises PeerError on a file that we did not write."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_STATE_FILE + 1)
    except FileNotFoundError:
        return None
    if len(text) > MAX_STATE_FILE:
        raise PeerError(f"{path}: too long for a dongle's state")
    try:
        return load(text)
    except PeerError as error:
        raise PeerError(f"{path}: {error}") from None


def write_file(path: Path, store: Store) -> None:
    """Put the store at ``path``, whole or not at all. Raises OSError."""
    replace(path, dump(store))
