"""The payloads of TransferData, by the first octet: a slice, a mailbox's request and answer, a loss.

All little-endian, after the flags octet::

    00 slice          unit number u16 | index u16 | count u16 | part             (``segmentation``)
    01 GET            unit number u16 | index u16
    02 GET-RESPONSE   unit number u16 | index u16 | count u16 | remaining u16 | part
    03 LOST           unit number u16 | reason u8

Unit numbers are ``n mod 65536``. Other flags are refused. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from carriage.zigbee.segmentation import Slice, decode_slice
from layer.errors import PeerError

GET: Final = 1
GET_RESPONSE: Final = 2
LOST: Final = 3
RESPONSE_HEADER_LENGTH: Final = 9
MAX_REMAINING: Final = 0xFFFF

_GET = Struct("<BHH")
_RESPONSE = Struct("<BHHHH")
_LOST = Struct("<BHB")


class LossReason(IntEnum):
    """Why a unit got no further than the gateway."""

    OTHER = 0
    EXPIRED = 1
    UNREACHABLE = 2
    TOO_LARGE = 3
    BUSY = 4
    DENIED = 5


@dataclass(frozen=True, slots=True)
class Get:
    """A device asks for unit ``number``: it has all before it, and of this one all slices below ``index``."""

    number: int
    index: int = 0

    def encode(self) -> bytes:
        return _GET.pack(GET, self.number, self.index)


@dataclass(frozen=True, slots=True)
class GetResponse:
    """One slice of the unit that was asked for, and how many units wait with it. ``part`` None: nothing waits."""

    number: int
    remaining: int = 0
    part: Slice | None = None

    def encode(self) -> bytes:
        part = self.part
        if part is None:
            return _RESPONSE.pack(GET_RESPONSE, self.number, 0, 0, 0)
        return _RESPONSE.pack(GET_RESPONSE, part.number, part.index, part.count, self.remaining) + part.data


@dataclass(frozen=True, slots=True)
class Lost:
    """A unit of the receiver's was lost behind the sender."""

    number: int
    reason: LossReason

    def encode(self) -> bytes:
        return _LOST.pack(LOST, self.number, self.reason)


Transfer = Slice | Get | GetResponse | Lost


def decode_transfer(data: bytes) -> Transfer:
    """The decoded data of one TransferData. PeerError if it is none of the above."""
    flags = data[0] if data else 0
    reader = _READERS.get(flags)
    return decode_slice(data) if reader is None else reader(data)


def _get(data: bytes) -> Get:
    if len(data) != _GET.size:
        raise PeerError("GET of a wrong length")
    _, number, index = _GET.unpack(data)
    return Get(number, index)


def _response(data: bytes) -> GetResponse:
    if len(data) < RESPONSE_HEADER_LENGTH:
        raise PeerError("GET-RESPONSE shorter than its header")
    _, number, index, count, remaining = _RESPONSE.unpack_from(data)
    part = data[RESPONSE_HEADER_LENGTH:]
    if not count and not index and not remaining and not part:
        return GetResponse(number)
    if index >= count or not part or not remaining:
        raise PeerError("GET-RESPONSE with half a slice")
    return GetResponse(number, remaining, Slice(number, index, count, bytes(part)))


def _lost(data: bytes) -> Lost:
    if len(data) != _LOST.size:
        raise PeerError("LOST of a wrong length")
    _, number, reason = _LOST.unpack(data)
    return Lost(number, LossReason(reason) if reason in _REASONS else LossReason.OTHER)


_REASONS: Final = frozenset(LossReason)
_READERS: Final[Mapping[int, Callable[[bytes], Transfer]]] = {GET: _get, GET_RESPONSE: _response, LOST: _lost}
