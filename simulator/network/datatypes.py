"""The ZCL data types that the simulated clusters use (ZCL8, 2.6.2): their octets, and whether they are analog."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from layer.errors import PeerError

Value = int | float | str | bytes


class _Shape(Enum):
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOATING = "floating"
    TEXT = "text"
    OCTETS = "octets"
    BOOLEAN = "boolean"


#: strings, whose length octet comes first
_STRINGS: Final = (_Shape.TEXT, _Shape.OCTETS)
_FLOATS: Final = {4: struct.Struct("<f"), 8: struct.Struct("<d")}
_MISFIT: Final = "the value doesn't fit its type"


@dataclass(frozen=True, slots=True)
class ZclDataType:
    """One data type. ``size`` is in octets (0: a string with a length octet); analog types have a reportable change."""

    id: int
    size: int
    analog: bool
    shape: _Shape

    @property
    def values(self) -> int:
        """How many values from 0 upwards it has; of a string, none."""
        if self.shape is _Shape.BOOLEAN:
            return 2
        if self.shape is _Shape.FLOATING:
            return 1 << 20  # a single has all whole numbers up to here, and more
        return 1 << (8 * self.size - (self.shape is _Shape.SIGNED)) if self.size else 0

    @property
    def floating(self) -> bool:
        return self.shape is _Shape.FLOATING

    def encode(self, value: Value) -> bytes:
        """Raises PeerError when the value doesn't fit: values come from configuration and commands."""
        if self.shape in _STRINGS:
            if isinstance(value, int | float) or isinstance(value, bytes) is (self.shape is _Shape.TEXT):
                raise PeerError(_MISFIT)
            octets = value.encode() if isinstance(value, str) else value
            if len(octets) > 254:
                raise PeerError(_MISFIT)
            return bytes((len(octets),)) + octets
        if isinstance(value, str | bytes) or (self.shape is _Shape.BOOLEAN and value not in (0, 1)):
            raise PeerError(_MISFIT)
        try:
            if self.shape is _Shape.FLOATING:
                return _FLOATS[self.size].pack(value)
            if value != int(value):
                raise PeerError(_MISFIT)
            return int(value).to_bytes(self.size, "little", signed=self.shape is _Shape.SIGNED)
        except (OverflowError, ValueError):
            raise PeerError(_MISFIT) from None

    def decode(self, octets: bytes, at: int) -> tuple[Value, int]:
        """A value and its end. Raises PeerError when the octets end early or aren't text."""
        if self.shape in _STRINGS:
            return self._decode_string(octets, at)
        end = at + self.size
        if end > len(octets):
            raise PeerError("a ZCL value ends early")
        if self.shape is _Shape.FLOATING:
            found: float = _FLOATS[self.size].unpack_from(octets, at)[0]
            return found, end
        value = int.from_bytes(octets[at:end], "little", signed=self.shape is _Shape.SIGNED)
        if self.shape is _Shape.BOOLEAN and value > 1:
            raise PeerError("a ZCL boolean is neither true nor false")
        return value, end

    def _decode_string(self, octets: bytes, at: int) -> tuple[Value, int]:
        if at >= len(octets):
            raise PeerError("a ZCL value ends early")
        text = self.shape is _Shape.TEXT
        if octets[at] == 0xFF:  # the invalid string has no octets
            return "" if text else b"", at + 1
        end = at + 1 + octets[at]
        if end > len(octets):
            raise PeerError("a ZCL value ends early")
        found = octets[at + 1 : end]
        try:
            return found.decode() if text else found, end
        except UnicodeDecodeError:
            raise PeerError("a ZCL string is not UTF-8") from None


def _discrete(number: int, size: int) -> ZclDataType:
    return ZclDataType(number, size, False, _Shape.UNSIGNED)


def _unsigned(size: int) -> ZclDataType:
    return ZclDataType(0x1F + size, size, True, _Shape.UNSIGNED)


def _signed(size: int) -> ZclDataType:
    return ZclDataType(0x27 + size, size, True, _Shape.SIGNED)


BOOL: Final = ZclDataType(0x10, 1, False, _Shape.BOOLEAN)
BITMAP8: Final = _discrete(0x18, 1)
BITMAP16: Final = _discrete(0x19, 2)
BITMAP32: Final = _discrete(0x1B, 4)
UINT8: Final = _unsigned(1)
UINT16: Final = _unsigned(2)
UINT24: Final = _unsigned(3)
UINT32: Final = _unsigned(4)
UINT48: Final = _unsigned(6)
UINT64: Final = _unsigned(8)
INT8: Final = _signed(1)
INT16: Final = _signed(2)
INT24: Final = _signed(3)
INT32: Final = _signed(4)
ENUM8: Final = _discrete(0x30, 1)
ENUM16: Final = _discrete(0x31, 2)
SINGLE: Final = ZclDataType(0x39, 4, True, _Shape.FLOATING)
DOUBLE: Final = ZclDataType(0x3A, 8, True, _Shape.FLOATING)
OCTETS: Final = ZclDataType(0x41, 0, False, _Shape.OCTETS)
STRING: Final = ZclDataType(0x42, 0, False, _Shape.TEXT)
EUI64: Final = _discrete(0xF0, 8)

BY_ID: Final[Mapping[int, ZclDataType]] = {
    kind.id: kind
    for kind in (
        *(BOOL, BITMAP8, BITMAP16, BITMAP32, UINT8, UINT16, UINT24, UINT32, UINT48, UINT64),
        *(INT8, INT16, INT24, INT32, ENUM8, ENUM16, SINGLE, DOUBLE, OCTETS, STRING, EUI64),
    )
}
