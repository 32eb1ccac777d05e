"""Commands of the ZigBee Tunneling cluster 0x0704, one dataclass each, with one table of codes and layouts.

Source: ZigBee Smart Energy standard, annex D.6 (also ZCL rev. 8, section 10.6). Fields are little-endian.
The ZCL header is ``zcl``'s, the meaning of the commands is ``tunnel``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from struct import Struct, error
from typing import Any, Final

from layer.errors import PeerError, UsageError

CLUSTER_ID: Final = 0x0704
ANY_MANUFACTURER: Final = 0xFFFF
"""Manufacturer code of a protocol that belongs to no manufacturer."""
NO_TUNNEL: Final = 0xFFFF
"""Tunnel id in the answer to a refused request."""
DEFAULT_MAX_INCOMING: Final = 1500
"""Default of MaximumIncomingTransferSize: octets of data in one TransferData."""
DEFAULT_CLOSE_TIMEOUT: Final = 0xFFFF
"""Default of the attribute CloseTunnelTimeout, seconds."""


class TunnelStatus(IntEnum):
    """Status of RequestTunnelResponse (D.6.2.5.1.3)."""

    SUCCESS = 0
    BUSY = 1
    NO_MORE_IDS = 2
    PROTOCOL_NOT_SUPPORTED = 3
    FLOW_CONTROL_NOT_SUPPORTED = 4


class TransferError(IntEnum):
    """Status of TransferDataError (D.6.2.4.4.3)."""

    NO_SUCH_TUNNEL = 0
    WRONG_DEVICE = 1
    DATA_OVERFLOW = 2


@dataclass(frozen=True, slots=True)
class RequestTunnel:
    """Client asks for a tunnel. ``max_incoming``: octets of data that the client takes in one TransferData."""

    protocol: int
    manufacturer: int = ANY_MANUFACTURER
    flow_control: bool = False
    max_incoming: int = DEFAULT_MAX_INCOMING


@dataclass(frozen=True, slots=True)
class RequestTunnelResponse:
    """Server's answer. ``max_incoming``: octets of data that the server takes in one TransferData."""

    tunnel: int
    status: TunnelStatus
    max_incoming: int = DEFAULT_MAX_INCOMING


@dataclass(frozen=True, slots=True)
class CloseTunnel:
    """Client ends the tunnel."""

    tunnel: int


@dataclass(init=False, slots=True, unsafe_hash=True)
class TransferData:
    """Data in either direction."""

    tunnel: Final[int]
    data: Final[bytes]

    def __init__(self, tunnel: int, data: bytes) -> None:
        self.tunnel = tunnel
        self.data = data

    def __repr__(self) -> str:
        return f"TransferData(tunnel={self.tunnel}, {len(self.data)} octets)"


@dataclass(frozen=True, slots=True)
class TransferDataError:
    """A TransferData that could not be taken."""

    tunnel: int
    status: TransferError


@dataclass(frozen=True, slots=True)
class AckTransferData:
    """Flow control: octets that can still be taken; 0 stops the sender."""

    tunnel: int
    bytes_left: int


@dataclass(frozen=True, slots=True)
class ReadyData:
    """Flow control: data can be taken again."""

    tunnel: int
    octets_left: int


@dataclass(frozen=True, slots=True)
class GetSupportedTunnelProtocols:
    """Client asks for the protocols from ``offset`` on."""

    offset: int


@dataclass(frozen=True, slots=True)
class SupportedTunnelProtocols:
    """Server's list of (manufacturer, protocol). ``complete``: nothing follows the last one."""

    complete: bool
    protocols: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TunnelClosureNotification:
    """Server ended the tunnel."""

    tunnel: int


TunnelCommand = (
    RequestTunnel
    | RequestTunnelResponse
    | CloseTunnel
    | TransferData
    | TransferDataError
    | AckTransferData
    | ReadyData
    | GetSupportedTunnelProtocols
    | SupportedTunnelProtocols
    | TunnelClosureNotification
)


def _boolean(value: int) -> bool:
    if value > 1:
        raise ValueError("neither false nor true")
    return value == 1


def _octets(tail: bytes) -> bytes:
    return bytes(tail)


_PROTOCOL = Struct("<HB")


def _protocols(tail: bytes) -> tuple[tuple[int, int], ...]:
    if not tail or len(tail) != 1 + tail[0] * _PROTOCOL.size:
        raise ValueError("list length is wrong")
    return tuple(_PROTOCOL.iter_unpack(tail[1:]))


def _pack_protocols(protocols: tuple[tuple[int, int], ...]) -> bytes:
    return bytes((len(protocols),)) + b"".join(_PROTOCOL.pack(*each) for each in protocols)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of one command: codes per direction (None: not in it), fixed fields, and an optional tail field."""

    type: type[Any]
    to_server: int | None
    to_client: int | None
    fixed: Struct
    convert: tuple[Callable[[int], Any], ...]
    read_tail: Callable[[bytes], Any] | None = None
    write_tail: Callable[[Any], bytes] | None = None


_ID = Struct("<H")
_ID_ONE = Struct("<HB")
_ID_TWO = Struct("<HH")

_LAYOUTS: tuple[_Layout, ...] = (
    _Layout(RequestTunnel, 0x00, None, Struct("<BHBH"), (int, int, _boolean, int)),
    _Layout(RequestTunnelResponse, None, 0x00, Struct("<HBH"), (int, TunnelStatus, int)),
    _Layout(CloseTunnel, 0x01, None, _ID, (int,)),
    _Layout(TransferData, 0x02, 0x01, _ID, (int,), _octets, _octets),
    _Layout(TransferDataError, 0x03, 0x02, _ID_ONE, (int, TransferError)),
    _Layout(AckTransferData, 0x04, 0x03, _ID_TWO, (int, int)),
    _Layout(ReadyData, 0x05, 0x04, _ID_TWO, (int, int)),
    _Layout(GetSupportedTunnelProtocols, 0x06, None, Struct("<B"), (int,)),
    _Layout(SupportedTunnelProtocols, None, 0x05, Struct("<B"), (_boolean,), _protocols, _pack_protocols),
    _Layout(TunnelClosureNotification, None, 0x06, _ID, (int,)),
)

_BY_TYPE = {layout.type: layout for layout in _LAYOUTS}
_BY_CODE = (
    {layout.to_server: layout for layout in _LAYOUTS if layout.to_server is not None},
    {layout.to_client: layout for layout in _LAYOUTS if layout.to_client is not None},
)
_VALUES = {layout.type: attrgetter("__class__", *(field.name for field in fields(layout.type))) for layout in _LAYOUTS}


def code(command: type[TunnelCommand], *, to_client: bool) -> int:
    """The command's code in one direction. UsageError if it doesn't go that way."""
    layout = _BY_TYPE[command]
    value = layout.to_client if to_client else layout.to_server
    if value is None:
        raise UsageError(f"{command.__name__} doesn't go {'to the client' if to_client else 'to the server'}")
    return value


def encode(command: TunnelCommand, *, to_client: bool) -> tuple[int, bytes]:
    """Code and payload of ``command`` in one direction. UsageError if a field is out of its range."""
    layout = _BY_TYPE[type(command)]
    values = _VALUES[type(command)](command)[1:]
    try:
        if layout.write_tail is None:
            payload = layout.fixed.pack(*values)
        else:
            payload = layout.fixed.pack(*values[:-1]) + layout.write_tail(values[-1])
    except (error, ValueError) as failure:
        raise UsageError(f"{type(command).__name__}: a field is out of its range") from failure
    return code(type(command), to_client=to_client), payload


def decode(command: int, payload: bytes, *, to_client: bool) -> TunnelCommand:
    """The command in a ZCL payload. PeerError: unknown code, wrong length or undefined value."""
    layout = _BY_CODE[to_client].get(command)
    if layout is None:
        raise PeerError(f"Tunneling: no command 0x{command:02x} in this direction")
    size = layout.fixed.size
    if len(payload) < size or (layout.read_tail is None and len(payload) > size):
        raise PeerError(f"{layout.type.__name__}: wrong length")
    if layout.type is TransferData:  # nearly all that comes
        return TransferData(_ID.unpack_from(payload)[0], bytes(payload[size:]))
    try:
        values = [convert(raw) for convert, raw in zip(layout.convert, layout.fixed.unpack_from(payload), strict=True)]
        if layout.read_tail is not None:
            values.append(layout.read_tail(payload[size:]))
    except ValueError as failure:
        raise PeerError(f"{layout.type.__name__}: a value that the standard doesn't have") from failure
    message: TunnelCommand = layout.type(*values)
    return message
