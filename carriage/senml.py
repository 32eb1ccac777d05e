"""Sensor Measurement Lists (RFC 8428) in JSON and CBOR: packs of records written, read and resolved. Nothing of a
device or a protocol is known here. What secondary units are: ``senml_units``.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import cbor2

from carriage import strict_cbor, strict_json
from layer.errors import PeerError, UsageError

Value = bool | int | float | str | bytes

MAX_OCTETS: Final = 65_536
MAX_RECORDS: Final = 1024
VERSION: Final = 10
"""The newest version that is understood (RFC 8428, section 4.4)."""

# RFC 8428, section 6: the labels of CBOR. In JSON the names themselves.
_LABELS: Final[dict[str, int]] = {
    "bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6,
    "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8,
}  # fmt: skip
_NAMES: Final = {label: name for name, label in _LABELS.items()}
_NUMBERS: Final = frozenset({"bver", "bt", "bv", "bs", "v", "s", "t", "ut"})
_TEXTS: Final = frozenset({"bn", "bu", "n", "u", "vs"})
_VALUES: Final = ("v", "vs", "vb", "vd")
_NAME_SIGNS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-:./_"
_FIRST_SIGNS: Final = frozenset(_NAME_SIGNS[:62])


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A resolved record. ``time``: seconds; below 2**28 relative to now. ``update_time``: seconds until the next one,
    at most. ``value`` None: it has none, or a sum only."""

    name: str = ""
    value: Value | None = None
    unit: str = ""
    time: float = 0.0
    update_time: float | None = None
    sum: float | None = None


def is_name(text: str) -> bool:
    """Section 4.5.1: ``A-Z a-z 0-9 - : . / _``, a letter or a digit first."""
    return bool(text) and text[0] in _FIRST_SIGNS and not text.strip(_NAME_SIGNS)


# Written


def write_json(records: Iterable[Record], base: str = "") -> bytes:
    """``application/senml+json``. ``base`` goes before each name. No record at all is an empty array.

    UsageError: what can't be written, such as a record with neither value nor sum (section 4.2).
    """
    return json.dumps(_pack(records, base), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def write_cbor(records: Iterable[Record], base: str = "") -> bytes:
    """``application/senml+cbor``."""
    pack = [{_LABELS[name]: value for name, value in record.items()} for record in _pack(records, base)]
    octets: bytes = cbor2.dumps(pack)
    return octets


def _pack(records: Iterable[Record], base: str) -> list[dict[str, Any]]:
    pack = list(map(_fields, records))
    if len(pack) == 1:
        pack[0] = {"n": base + pack[0].pop("n", ""), **pack[0]}
    elif pack and base:
        pack[0] = {"bn": base, **pack[0]}
    for fields, whole in zip(pack, (base + fields.get("n", "") for fields in pack), strict=True):
        if not is_name(fields["n"] if len(pack) == 1 else whole):
            raise UsageError("a record's name is none of SenML's")
    return pack


def _fields(record: Record) -> dict[str, Any]:
    fields: dict[str, Any] = {"n": record.name} if record.name else {}
    if record.unit:
        fields["u"] = record.unit
    value = record.value
    if isinstance(value, bool):
        fields["vb"] = value
    elif isinstance(value, int | float):
        fields["v"] = _written(value)
    elif isinstance(value, str):
        fields["vs"] = value
    elif value is not None or record.sum is None:
        raise UsageError("a value of another kind, or none and no sum")
    if record.sum is not None:
        fields["s"] = _written(record.sum)
    if record.time:
        fields["t"] = _written(record.time)
    if record.update_time is not None:
        fields["ut"] = _written(record.update_time)
    return fields


def _written(number: float) -> int | float:
    """The shortest form: both encodings are shorter for a whole number."""
    if not isfinite(number):
        raise UsageError("SenML has no number that is not finite")
    return int(number) if number == int(number) and abs(number) < 2**53 else number


# Read


def read_json(octets: bytes) -> tuple[Record, ...]:
    """The resolved records of a pack. PeerError for what RFC 8428 doesn't allow, or too much of it.

    A name may be missing: who sets one property of one resource needs none.
    """
    _bounded(octets)
    return _resolved(strict_json.read(octets, "SenML JSON"), lambda name: name if isinstance(name, str) else None)


def read_cbor(octets: bytes) -> tuple[Record, ...]:
    """The same in CBOR."""
    _bounded(octets)
    pack = strict_cbor.read(octets, "SenML CBOR")
    return _resolved(pack, lambda label: _NAMES.get(label) if type(label) is int else _own_label(label))


def _bounded(octets: bytes) -> None:
    if len(octets) > MAX_OCTETS:
        raise PeerError("a SenML pack that is too long")


def _own_label(label: object) -> str | None:
    """In CBOR only what has no number has a name."""
    return label if isinstance(label, str) and label not in _LABELS else None


def _resolved(pack: object, name_of: Callable[[object], str | None]) -> tuple[Record, ...]:
    if not isinstance(pack, list) or len(pack) > MAX_RECORDS:
        raise PeerError("a SenML pack is a list of at most 1024 records")
    base: dict[str, Any] = {}
    found = []
    for record in pack:
        if not isinstance(record, dict):
            raise PeerError("a SenML record is a map")
        fields = dict(_checked(name_of(label), value) for label, value in record.items())
        for name in [name for name in fields if name in _BASES]:
            base[name] = fields.pop(name)
        fields.pop("", None)
        if fields:
            found.append(_record(fields, base))
    if base.get("bver", VERSION) > VERSION:
        raise PeerError("a later version of SenML")
    return tuple(found)


_BASES: Final = frozenset({"bver", "bn", "bt", "bu", "bv", "bs"})


def _checked(name: str | None, value: Any) -> tuple[str, Any]:
    """A field as it counts; the name is empty for one that may be ignored."""
    if name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise PeerError(f"SenML's {name} is a number")
        try:
            number = float(value)
        except (OverflowError, ValueError):
            number = float("inf")
        if not isfinite(number):
            raise PeerError(f"SenML's {name} is a number that can be had")
        return name, value if isinstance(value, int) else number
    if name in _TEXTS:
        if not isinstance(value, str):
            raise PeerError(f"SenML's {name} is text")
        return name, value
    if name == "vb":
        if not isinstance(value, bool):
            raise PeerError("SenML's vb is true or false")
        return name, value
    if name == "vd":
        return name, _data(value)
    if name is not None and name.endswith("_"):
        raise PeerError("a SenML field that must be understood")  # section 4.4
    return "", None


def _data(value: Any) -> bytes:
    """JSON has no octets, so there they are base64url without padding."""
    try:
        return value if isinstance(value, bytes) else b64decode(value + "=" * (-len(value) % 4), b"-_", True)
    except (TypeError, ValueError):
        raise PeerError("SenML's vd is data") from None


def _record(fields: dict[str, Any], base: dict[str, Any]) -> Record:
    """One record with its base values (section 4.6)."""
    name = base.get("bn", "") + fields.get("n", "")
    if name and not is_name(name):
        raise PeerError("a SenML name with characters of none")
    values = [key for key in _VALUES if key in fields]
    if len(values) > 1:
        raise PeerError("a SenML record with more than one value")
    value = fields[values[0]] if values else None
    if "bv" in base and (not values or values == ["v"]):
        value = _sum(base["bv"], value or 0)
    total = fields.get("s")
    if "bs" in base:
        total = _sum(base["bs"], total or 0)
    return Record(
        name=name,
        value=value,
        unit=fields.get("u", base.get("bu", "")),
        time=float(_sum(base.get("bt", 0), fields.get("t", 0))),
        update_time=fields.get("ut"),
        sum=total,
    )


def _sum(one: float, other: float) -> float:
    try:
        found = one + other
        if isfinite(found):
            return found
    except OverflowError:
        pass
    raise PeerError("a SenML number that can't be had")
