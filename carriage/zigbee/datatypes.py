"""The data types of ZCL and the octets of their values (ZigBee Cluster Library rev. 8, section 2.6.2, table 2-11)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError, UsageError

Value = int | float | str | bytes | None
"""A decoded value. None: the type has no value, says that it is none, or is a collection (whose elements are not
requested).

Booleans, bitmaps and enumerations are numbers; a number that stands for "no value" (0xFF ...) is not turned into None,
for that is the cluster's to say.
"""

MAX_DEPTH: Final = 4
"""Collections within collections; deeper ones are refused."""


@dataclass(frozen=True, slots=True)
class ZclType:
    """One data type. ``analog``: it has a reportable change (ZCL8, 2.5.7.1.7). ``size`` in octets, 0: it varies."""

    id: int
    name: str
    size: int
    analog: bool


def _row(number: int, name: str, size: int, *, analog: bool = False) -> ZclType:
    return ZclType(number, name, size, analog)


_WIDTHS: Final = range(1, 9)
TYPES: Final[Mapping[int, ZclType]] = {
    kind.id: kind
    for kind in (
        _row(0x00, "nodata", 0),
        *(_row(0x07 + width, f"data{8 * width}", width) for width in _WIDTHS),
        _row(0x10, "bool", 1),
        *(_row(0x17 + width, f"map{8 * width}", width) for width in _WIDTHS),
        *(_row(0x1F + width, f"uint{8 * width}", width, analog=True) for width in _WIDTHS),
        *(_row(0x27 + width, f"int{8 * width}", width, analog=True) for width in _WIDTHS),
        _row(0x30, "enum8", 1),
        _row(0x31, "enum16", 2),
        _row(0x38, "semi", 2, analog=True),
        _row(0x39, "single", 4, analog=True),
        _row(0x3A, "double", 8, analog=True),
        _row(0x41, "octstr", 0),
        _row(0x42, "string", 0),
        _row(0x43, "octstr16", 0),
        _row(0x44, "string16", 0),
        _row(0x48, "array", 0),
        _row(0x4C, "struct", 0),
        _row(0x50, "set", 0),
        _row(0x51, "bag", 0),
        _row(0xE0, "ToD", 4, analog=True),
        _row(0xE1, "date", 4, analog=True),
        _row(0xE2, "UTC", 4, analog=True),
        _row(0xE8, "clusterId", 2),
        _row(0xE9, "attribId", 2),
        _row(0xEA, "bacOID", 4),
        _row(0xF0, "EUI64", 8),
        _row(0xF1, "key128", 16),
        _row(0xFF, "unknown", 0),
    )
}
BOOL: Final = TYPES[0x10]
MAP8: Final = TYPES[0x18]
UINT8: Final = TYPES[0x20]
MAP16: Final = TYPES[0x19]
MAP32: Final = TYPES[0x1B]
UINT16: Final = TYPES[0x21]
UINT24: Final = TYPES[0x22]
UINT32: Final = TYPES[0x23]
UINT48: Final = TYPES[0x25]
INT8: Final = TYPES[0x28]
INT16: Final = TYPES[0x29]
INT24: Final = TYPES[0x2A]
INT32: Final = TYPES[0x2B]
ENUM8: Final = TYPES[0x30]
SINGLE: Final = TYPES[0x39]
OCTSTR: Final = TYPES[0x41]
STRING: Final = TYPES[0x42]
STRUCT: Final = TYPES[0x4C]

SIGNED: Final = frozenset(range(0x28, 0x30))
"""The integers that have a sign."""
INTEGERS: Final = frozenset((*range(0x18, 0x30), 0x30, 0x31))
"""Types that carry a whole number: bitmaps, unsigned and signed integers, enumerations. (Booleans do not.)"""
FLOATS: Final[Mapping[int, str]] = {0x38: "<e", 0x39: "<f", 0x3A: "<d"}
"""Numbers with a fraction, and their layout."""
TEXTS: Final = frozenset((0x42, 0x44))
STRINGS: Final = frozenset((0x41, 0x42))
"""Of octets and of characters, with a length of one octet."""
_LENGTHS: Final[Mapping[int, int]] = {0x41: 1, 0x42: 1, 0x43: 2, 0x44: 2}
"""Strings, and the octets of the length in front of them."""
_FORMATS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _struct_of(kind: ZclType) -> struct.Struct | None:
    if kind.id in FLOATS:
        return struct.Struct(FLOATS[kind.id])
    letter = _FORMATS.get(kind.size)
    if letter is None:
        return None
    return struct.Struct("<" + (letter.lower() if kind.id in SIGNED else letter))


STRUCTS: Final[Mapping[int, struct.Struct]] = {
    number: found for number, kind in TYPES.items() if (found := _struct_of(kind)) is not None
}
"""The types whose values are one number of a fixed width, and their layout."""
ODD_WIDTHS: Final[Mapping[int, int]] = {
    number: kind.size for number, kind in TYPES.items() if number in INTEGERS and kind.size and number not in STRUCTS
}
"""The whole numbers of other widths: 3, 5, 6 and 7 octets."""


def decode(type_id: int, octets: bytes, at: int, depth: int = 0) -> tuple[Value, int]:
    """The value at ``at`` and where it ends. PeerError: an unknown type, or octets that end early."""
    layout = STRUCTS.get(type_id)
    if layout is not None:
        end = at + layout.size
        if end > len(octets):
            raise PeerError("a ZCL value ends early")
        return layout.unpack_from(octets, at)[0], end
    kind = TYPES.get(type_id)
    if kind is None:
        raise PeerError("a ZCL value of an unknown type")
    reader = _READERS.get(type_id)
    if reader is not None:
        return reader(octets, at, depth)
    end = at + kind.size
    if end > len(octets):
        raise PeerError("a ZCL value ends early")
    if type_id == 0xF1:  # an opaque block, not a number
        return octets[at:end], end
    if not kind.size:
        return None, at
    return int.from_bytes(octets[at:end], "little", signed=type_id in SIGNED), end


def octets_of(type_id: int, encoded: bytes) -> bytes:
    """The octets of an encoded value; of a string without its length."""
    return encoded[_LENGTHS.get(type_id, 0) :]


def _length(octets: bytes, at: int, width: int) -> tuple[int | None, int]:
    """A length or count, None for "invalid" (all ones), and where it ends."""
    end = at + width
    if end > len(octets):
        raise PeerError("a ZCL value ends early")
    length = int.from_bytes(octets[at:end], "little")
    return (None if length == (1 << 8 * width) - 1 else length), end


def _octets(octets: bytes, at: int, width: int) -> tuple[bytes | None, int]:
    length, at = _length(octets, at, width)
    if length is None:
        return None, at
    if at + length > len(octets):
        raise PeerError("a ZCL value ends early")
    return octets[at : at + length], at + length


def _text(octets: bytes, at: int, width: int) -> tuple[str | None, int]:
    found, end = _octets(octets, at, width)
    return (None if found is None else found.decode(errors="replace")), end


def _collection(octets: bytes, at: int, depth: int) -> tuple[None, int]:
    """Array, set, bag (ZCL8, 2.6.2.23): the type of all elements, how many, the elements."""
    if depth >= MAX_DEPTH:
        raise PeerError("ZCL collections too deep in one another")
    if at >= len(octets):
        raise PeerError("a ZCL value ends early")
    element = octets[at]
    count, at = _length(octets, at + 1, 2)
    for _ in range(count or 0):
        before = at
        _, at = decode(element, octets, at, depth + 1)
        if at == before:  # elements without octets: a count of 65534 costs the sender nothing
            break
    return None, at


def _structure(octets: bytes, at: int, depth: int) -> tuple[None, int]:
    """Structure (ZCL8, 2.6.2.24): how many elements, each with its own type."""
    if depth >= MAX_DEPTH:
        raise PeerError("ZCL collections too deep in one another")
    count, at = _length(octets, at, 2)
    for _ in range(count or 0):
        if at >= len(octets):
            raise PeerError("a ZCL value ends early")
        _, at = decode(octets[at], octets, at + 1, depth + 1)
    return None, at


_READERS: Final[Mapping[int, Callable[[bytes, int, int], tuple[Value, int]]]] = {
    0x41: lambda octets, at, depth: _octets(octets, at, 1),
    0x42: lambda octets, at, depth: _text(octets, at, 1),
    0x43: lambda octets, at, depth: _octets(octets, at, 2),
    0x44: lambda octets, at, depth: _text(octets, at, 2),
    0x48: _collection,
    0x4C: _structure,
    0x50: _collection,
    0x51: _collection,
}


def encode(kind: ZclType, value: int | float | str | bytes) -> bytes:
    """The octets of a value. UsageError: it doesn't fit the type, or the type is a collection."""
    layout = STRUCTS.get(kind.id)
    try:
        if layout is not None:
            return layout.pack(value)
        if kind.id in (0x41, 0x42) and isinstance(value, (str, bytes)):
            octets = value.encode() if isinstance(value, str) else value
            if len(octets) < 0xFF:
                return bytes((len(octets),)) + octets
        elif kind.size and isinstance(value, int):
            return value.to_bytes(kind.size, "little", signed=kind.id in SIGNED)
    except (struct.error, OverflowError):
        pass
    raise UsageError(f"the value does not fit the ZCL type {kind.name}")
