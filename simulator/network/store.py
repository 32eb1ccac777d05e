"""The state of virtual devices that outlives a restart: a JSON file, replaced whole, that only its owner may read.

Kept per device: address and membership, bindings, frame counter (ahead, see ``COUNTER_BLOCK``), the changeable
attributes and reporting tables of hosted endpoints. The network key is not in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.replacing import replace
from layer.errors import PeerError
from simulator.network.device import MAX_BINDINGS

MAX_FILE: Final = 4 << 20

U8 = Annotated[int, Field(ge=0, le=0xFF)]
U16 = Annotated[int, Field(ge=0, le=0xFFFF)]
U32 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, Field(ge=0, le=0xFFFF_FFFF_FFFF_FFFF)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class KeptBinding(_Strict):
    source_endpoint: U8
    cluster: U16
    destination_eui64: U64
    destination_endpoint: U8
    group: U16 = 0


class KeptReporting(_Strict):
    attribute: U16
    minimum: U16
    maximum: U16
    change: Annotated[float, Field(ge=0, le=0xFFFF_FFFF)]


class KeptCluster(_Strict):
    endpoint: U8
    cluster: U16
    values: dict[str, int | float | str]
    memory: dict[str, str] = {}
    reporting: list[KeptReporting]


class KeptDevice(_Strict):
    eui64: U64
    kind: str
    membership: Literal["blank", "joined", "left"]
    nwk: U16 | None
    network: Annotated[str, Field(max_length=16)]
    parent: U16
    sleepy: bool
    poll_interval: Annotated[float, Field(ge=0, le=86_400)]
    frame_counter: U32
    bindings: Annotated[list[KeptBinding], Field(max_length=MAX_BINDINGS)]
    clusters: list[KeptCluster]


class Kept(_Strict):
    format: Literal[1] = 1
    devices: list[KeptDevice] = []


def load(text: str) -> Kept:
    """Raises PeerError on anything that :func:`save` did not write."""
    try:
        kept = Kept.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PeerError(f"{where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise PeerError("not JSON") from None
    addresses = [device.eui64 for device in kept.devices]
    networks = [device.nwk for device in kept.devices if device.nwk is not None]
    if len(set(addresses)) != len(addresses) or len(set(networks)) != len(networks):
        raise PeerError("two devices with one address")
    if any((device.nwk is None) == (device.membership == "joined") for device in kept.devices):
        raise PeerError("a member without a network address, or the reverse")
    return kept


def read(path: Path) -> Kept:
    """What is kept at ``path``; empty when there's no file. Raises PeerError that names the file."""
    try:
        with path.open(encoding="utf-8") as source:
            text = source.read(MAX_FILE + 1)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise PeerError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PeerError(f"{path}: not UTF-8") from None
    if len(text) > MAX_FILE:
        raise PeerError(f"{path}: too long for the devices' state")
    try:
        return load(text)
    except PeerError as error:
        raise PeerError(f"{path}: not the devices' state ({error}); move it away to start again") from None


def save(path: Path, kept: Kept) -> None:
    """Replace the file, whole or not at all. Raises OSError."""
    replace(path, kept.model_dump_json(indent=1))
