"""Layouts of EZSP parameters: a line of text per frame, compiled to a reader and a writer.

A layout is ``name:kind`` items with spaces between them. All numbers are little-endian (UG100, 2.1). Kinds:

``u8 u16 u32 i8 bool``  numbers; ``bool`` is an octet, anything but nought reads as true
``eui64``               8 octets, least significant first: an int (see ``simulator.air``)
``key``                 16 octets
``data8``, ``data32``   octets behind a u8 or u32 length
``list16``              u16 values behind a u8 count
``u16[n]``, ``u8[n]``   n values (the first, of more), where n is a number or the name of an earlier item; ``u8[n]``
                        reads as octets
``Name``                a structure given by ``structures``; its items read as ``item_field``

A value is a flat dict from name to int, bool, bytes or tuple of int. Runs of fixed items are packed in one go.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from layer.errors import PeerError, UsageError

Values = dict[str, Any]

_SCALARS = {"u8": "B", "u16": "H", "u32": "I", "i8": "b", "bool": "?", "eui64": "Q", "key": "16s"}


class _Fixed:
    """A run of items of fixed size."""

    __slots__ = ("_names", "_struct", "_values")

    def __init__(self, items: list[tuple[str, str]]) -> None:
        self._names = tuple(name for name, _ in items)
        self._struct = struct.Struct("<" + "".join(code for _, code in items))
        self._values = itemgetter(*self._names)

    def read(self, data: bytes, at: int, values: Values) -> int:
        values.update(zip(self._names, self._struct.unpack_from(data, at), strict=True))
        return at + self._struct.size

    def write(self, values: Mapping[str, Any]) -> bytes:
        found = self._values(values)
        return self._struct.pack(*found) if len(self._names) > 1 else self._struct.pack(found)


class _Counted:
    """Octets or u16 values behind their own count (``prefix`` is its struct code)."""

    __slots__ = ("_name", "_prefix", "_size")

    def __init__(self, name: str, prefix: str, size: int) -> None:
        self._name = name
        self._prefix = struct.Struct("<" + prefix)
        self._size = size

    def read(self, data: bytes, at: int, values: Values) -> int:
        (count,) = self._prefix.unpack_from(data, at)
        at += self._prefix.size
        end: int = at + count * self._size
        values[self._name] = _items(data, at, end, self._size)
        return end

    def write(self, values: Mapping[str, Any]) -> bytes:
        value = values[self._name]
        return self._prefix.pack(len(value)) + _octets(value, self._size)


class _Array:
    """As many values as a number or an earlier item says."""

    __slots__ = ("_count", "_name", "_size")

    def __init__(self, name: str, count: str, size: int) -> None:
        self._name = name
        self._count = int(count) if count.isdigit() else count
        self._size = size

    def read(self, data: bytes, at: int, values: Values) -> int:
        count: int = values[self._count] if isinstance(self._count, str) else self._count
        end = at + count * self._size
        values[self._name] = _items(data, at, end, self._size)
        return end

    def write(self, values: Mapping[str, Any]) -> bytes:
        value = values[self._name]
        if isinstance(self._count, int):
            value = value[: self._count]
        return _octets(value, self._size)


def _items(data: bytes, at: int, end: int, size: int) -> bytes | tuple[int, ...]:
    if end > len(data):
        raise PeerError("EZSP parameters cut short")
    return data[at:end] if size == 1 else struct.unpack_from(f"<{(end - at) // size}H", data, at)


def _octets(value: Any, size: int) -> bytes:
    return bytes(value) if size == 1 else struct.pack(f"<{len(value)}H", *value)


_Part = _Fixed | _Counted | _Array

_COUNTED = {"data8": ("B", 1), "data32": ("I", 1), "list16": ("B", 2)}


class Layout:
    """The parameters of one frame, in one direction."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str, structures: Mapping[str, str] | None = None) -> None:
        self.text = text
        self._parts: list[_Part] = []
        run: list[tuple[str, str]] = []
        for name, kind in _expand(text, structures or {}, ""):
            if kind in _SCALARS:
                run.append((name, _SCALARS[kind]))
                continue
            if run:
                self._parts.append(_Fixed(run))
                run = []
            self._parts.append(_variable(name, kind))
        if run:
            self._parts.append(_Fixed(run))

    def read(self, data: bytes) -> Values:
        """The values in ``data``; octets behind the last item are ignored, as the NCP does. Raises PeerError."""
        values: Values = {}
        at = 0
        try:
            for part in self._parts:
                at = part.read(data, at, values)
        except struct.error as error:
            raise PeerError("EZSP parameters cut short") from error
        return values

    def write(self, values: Mapping[str, Any]) -> bytes:
        """The octets of ``values``. Raises UsageError when one is missing or does not fit."""
        try:
            found = b""
            for part in self._parts:
                found += part.write(values)
            return found
        except (KeyError, struct.error, TypeError, ValueError) as error:
            raise UsageError(f"values do not fit the layout {self.text!r}: {type(error).__name__}") from error


def _expand(text: str, structures: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for item in text.split():
        name, _, kind = item.partition(":")
        if kind in structures:
            items += _expand(structures[kind], structures, f"{prefix}{name}_")
        else:
            items.append((prefix + name, kind))
    return items


def _variable(name: str, kind: str) -> _Part:
    if kind in _COUNTED:
        prefix, size = _COUNTED[kind]
        return _Counted(name, prefix, size)
    base, bracket, count = kind.partition("[")
    if bracket and count.endswith("]") and base in ("u8", "u16"):
        return _Array(name, count[:-1], 1 if base == "u8" else 2)
    raise UsageError(f"unknown kind {kind!r} in an EZSP layout")
