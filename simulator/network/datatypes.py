"""The ZCL data types that the simulated clusters use (ZCL8, 2.6.2): their octets, and whether they are analog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from layer.errors import PeerError

Value = int | str


class _Shape(Enum):
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    TEXT = "text"
    BOOLEAN = "boolean"


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
        return 1 << (8 * self.size - (self.shape is _Shape.SIGNED)) if self.size else 0

    def encode(self, value: Value) -> bytes:
        """Raises PeerError when the value doesn't fit: values come from configuration and commands."""
        if isinstance(value, str):
            octets = value.encode()
            if self.shape is not _Shape.TEXT or len(octets) > 254:
                raise PeerError("the value doesn't fit its type")
            return bytes((len(octets),)) + octets
        if self.shape is _Shape.TEXT:
            raise PeerError("the value doesn't fit its type")
        if self.shape is _Shape.BOOLEAN and value not in (0, 1):
            raise PeerError("the value doesn't fit its type")
        try:
            return int(value).to_bytes(self.size, "little", signed=self.shape is _Shape.SIGNED)
        except OverflowError:
            raise PeerError("the value doesn't fit its type") from None

    def decode(self, octets: bytes, at: int) -> tuple[Value, int]:
        """A value and where it ends. Raises PeerError when the octets end early or aren't text."""
        if self.shape is _Shape.TEXT:
            if at >= len(octets):
                raise PeerError("a ZCL value ends early")
            end = at + 1 + octets[at]
            if octets[at] == 0xFF:  # the invalid string has no octets
                return "", at + 1
            if end > len(octets):
                raise PeerError("a ZCL value ends early")
            try:
                return octets[at + 1 : end].decode(), end
            except UnicodeDecodeError:
                raise PeerError("a ZCL string is not UTF-8") from None
        end = at + self.size
        if end > len(octets):
            raise PeerError("a ZCL value ends early")
        value = int.from_bytes(octets[at:end], "little", signed=self.shape is _Shape.SIGNED)
        if self.shape is _Shape.BOOLEAN and value > 1:
            raise PeerError("a ZCL boolean is neither true nor false")
        return value, end


BOOL: Final = ZclDataType(0x10, 1, False, _Shape.BOOLEAN)
BITMAP8: Final = ZclDataType(0x18, 1, False, _Shape.UNSIGNED)
BITMAP16: Final = ZclDataType(0x19, 2, False, _Shape.UNSIGNED)
UINT8: Final = ZclDataType(0x20, 1, True, _Shape.UNSIGNED)
UINT16: Final = ZclDataType(0x21, 2, True, _Shape.UNSIGNED)
INT16: Final = ZclDataType(0x29, 2, True, _Shape.SIGNED)
ENUM8: Final = ZclDataType(0x30, 1, False, _Shape.UNSIGNED)
STRING: Final = ZclDataType(0x42, 0, False, _Shape.TEXT)

BY_ID: Final[Mapping[int, ZclDataType]] = {
    kind.id: kind for kind in (BOOL, BITMAP8, BITMAP16, UINT8, UINT16, INT16, ENUM8, STRING)
}
