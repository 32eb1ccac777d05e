"""Units in slices: how a unit longer than one frame travels in TransferData, and how it is put together again.

Data of one TransferData, little-endian::

    flags u8 (reserved, 0) | unit number u16 | index u16 | count u16 | 1 or more octets of the unit

The unit number is ``n mod 65536``; the receiver finds ``n`` as the number nearest to the one it expects next.
Units are sent one after another, so at most one is being put together. Pure: time enters as ``now``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from struct import Struct
from typing import Final

from carriage.zigbee.zcl import HEADER_LENGTH
from layer.errors import PeerError

DTLS_UNIT_LIMIT: Final = 1152
TLS_UNIT_LIMIT: Final = 4096
MAX_SLICE: Final = 64
TUNNEL_ID_LENGTH: Final = 2
SLICE_HEADER_LENGTH: Final = 7
FURTHEST_AHEAD: Final = 0x7FFF
"""The distance by which ``n`` may run ahead of the last one before 16 bits are ambiguous."""

_HEADER = Struct("<BHHH")
_EXPANSION = 0x10000


class OversizeError(PeerError):
    """A unit beyond the receiver's limit."""


@dataclass(init=False, slots=True, unsafe_hash=True)
class Slice:
    """One slice: ``number`` is the unit's number mod 65536, ``0 <= index < count``, ``data`` has 1 or more octets."""

    number: Final[int]
    index: Final[int]
    count: Final[int]
    data: Final[bytes]

    def __init__(self, number: int, index: int, count: int, data: bytes) -> None:
        self.number = number
        self.index = index
        self.count = count
        self.data = data

    def __repr__(self) -> str:
        return f"Slice(number={self.number}, {self.index + 1} of {self.count}, {len(self.data)} octets)"

    def encode(self) -> bytes:
        return _HEADER.pack(0, self.number, self.index, self.count) + self.data


def decode_slice(data: bytes) -> Slice:
    """The slice in the data of one TransferData. PeerError if it is no slice."""
    if len(data) <= SLICE_HEADER_LENGTH:
        raise PeerError("slice without data")
    flags, number, index, count = _HEADER.unpack_from(data)
    if flags:
        raise PeerError("slice with reserved flags")
    if index >= count:
        raise PeerError("slice index beyond its count")
    return Slice(number, index, count, bytes(data[SLICE_HEADER_LENGTH:]))


def slice_size(maximum_payload_length: int, max_incoming: int, header: int = SLICE_HEADER_LENGTH) -> int:
    """Octets of a unit in one slice with a header of so many octets, at least one.

    ``maximum_payload_length``: what one APS frame to this device holds, ZCL header included; if it holds no slice at
    all the frames can't be sent and their unit fails. ``max_incoming``: what the receiver takes in one TransferData.
    """
    overhead = HEADER_LENGTH + TUNNEL_ID_LENGTH + header
    return max(1, min(MAX_SLICE, maximum_payload_length - overhead, max_incoming - header))


def slice_count(length: int, size: int) -> int:
    """Slices of a unit with ``length`` octets."""
    return -(-length // size)


def cut(n: int, data: bytes, index: int, size: int) -> Slice:
    """Slice ``index`` of unit ``n``."""
    return Slice(n % _EXPANSION, index, slice_count(len(data), size), data[index * size : (index + 1) * size])


def nearest(number: int, expected: int) -> int:
    """The ``n`` nearest to ``expected`` that is ``number`` modulo 65536; below zero if there was none."""
    ahead = (number - expected) % _EXPANSION
    return expected + (ahead if ahead <= FURTHEST_AHEAD else ahead - _EXPANSION)


@dataclass(init=False, slots=True, unsafe_hash=True)
class SegmentedUnit:
    """A whole unit. ``gap``: at least one before it never came."""

    n: Final[int]
    data: Final[bytes]
    gap: Final[bool]

    def __init__(self, n: int, data: bytes, gap: bool) -> None:
        self.n = n
        self.data = data
        self.gap = gap

    def __repr__(self) -> str:
        return f"SegmentedUnit(n={self.n}, {len(self.data)} octets, gap={self.gap})"


class Reassembler:
    """Puts the units of one direction of one tunnel together.

    Repeated and reordered slices are fine. A slice of a later unit gives up the unfinished one (its sender has, as it
    sends units one after another); a slice of an earlier unit is dropped.
    """

    __slots__ = ("_abandoned", "_changed", "_count", "_expected", "_n", "_parts", "_size", "_timeout", "_unit_limit")

    def __init__(self, unit_limit: int, timeout: float) -> None:
        self._unit_limit = unit_limit
        self._timeout = timeout
        self._expected = 0
        self._abandoned = -1
        self._n = -1
        self._count = 0
        self._size = 0
        self._changed = 0.0
        self._parts: dict[int, bytes] = {}

    @property
    def unfinished(self) -> int | None:
        """The unit that is being put together."""
        return self._n if self._n >= 0 else None

    @property
    def expected(self) -> int:
        """The unit that comes next."""
        return self._expected

    @property
    def first_missing(self) -> int:
        """The lowest slice of the expected unit that has not come."""
        if self._n != self._expected:
            return 0
        return next(index for index in range(self._count) if index not in self._parts)

    def begin_at(self, n: int) -> None:
        """The unit that comes next is number ``n``: the tunnel goes on after a restart."""
        self._expected = n

    def forgive(self) -> None:
        """A unit that was given up may come again."""
        self._abandoned = -1

    @property
    def deadline(self) -> float | None:
        return self._changed + self._timeout if self._n >= 0 and self._timeout < inf else None

    def receive(self, part: Slice, now: float) -> SegmentedUnit | None:
        """Take one slice; returns the unit if this one completed it.

        PeerError: the slice contradicts an earlier one; OversizeError: the unit goes beyond the limit. Either way the
        unit is given up, and the rest of it is dropped in silence.
        """
        n = nearest(part.number, self._expected)
        if n < self._expected or n < self._n or n == self._abandoned:
            return None
        if n != self._n:
            if self._n >= 0:
                self._clear()  # gives up an unfinished one
            if part.count == 1 and len(part.data) <= self._unit_limit:
                unit = SegmentedUnit(n, part.data, n > self._expected)
                self._expected, self._changed = n + 1, now
                return unit
            self._n, self._count = n, part.count
        try:
            added = self._add(part)
        except PeerError:
            self.abandon()
            raise
        if added:
            self._changed = now
        return self._finish() if len(self._parts) == self._count else None

    def abandon(self) -> int | None:
        """Give up the unfinished unit, if there is one; its number."""
        n = self.unfinished
        if n is not None:
            self._abandoned = n
            self._clear()
        return n

    def expire(self, now: float) -> int | None:
        """Give up the unfinished unit if no slice has come for the time-out; its number."""
        deadline = self.deadline
        return self.abandon() if deadline is not None and now >= deadline else None

    def touch(self, now: float) -> None:
        """Start the time-out again: the sender was held back by us."""
        self._changed = now

    def _add(self, part: Slice) -> bool:
        if part.count != self._count:
            raise PeerError("slice count changed within a unit")
        if part.count > self._unit_limit:  # every slice holds at least one octet
            raise OversizeError("unit beyond the limit")
        known = self._parts.get(part.index)
        if known is not None:
            if known != part.data:
                raise PeerError("slice repeated with other octets")
            return False
        self._size += len(part.data)
        if self._size > self._unit_limit:
            raise OversizeError("unit beyond the limit")
        self._parts[part.index] = part.data
        return True

    def _finish(self) -> SegmentedUnit:
        unit = SegmentedUnit(self._n, b"".join(self._parts[i] for i in range(self._count)), self._n > self._expected)
        self._expected = self._n + 1
        self._clear()
        return unit

    def _clear(self) -> None:
        self._n = -1
        self._count = 0
        self._size = 0
        self._parts = {}
