"""A device's values as SenML records (RFC 8428), and the value that a pack sets a property to.

A scalar is one record. A field of an object is a record too, called ``color/x``: the slash, which no name of a property
has, is what LwM2M's SenML and the gateway's own paths separate levels by. Numbers are in primary units; a pack that
sets something may have the property's own unit as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from carriage import senml, strict_json
from carriage.senml_units import SECONDARY, primary, secondary
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, DeviceView, PropertyAffordance, Sample, Value
from gateway.api.schema import MAX_DEPTH

_EUI64: Final = "eui64:"
_PLAIN: Final = DataSchema(type=DataType.STRING)


def base_name(view: DeviceView) -> str:
    """``urn:dev:mac:`` (RFC 9039, sections 4.1 and 3.2.2) if the device has an EUI64, else its name here."""
    claim = view.address.claim
    if claim.startswith(_EUI64):
        return f"urn:dev:mac:{claim.removeprefix(_EUI64).replace(':', '').lower()}_"
    return f"{view.name}/" if senml.is_name(view.name) else "device/"


def records(affordance: PropertyAffordance, sample: Sample | None, now: float) -> Sequence[senml.Record]:
    """None if there is no value: SenML has no record without (RFC 8428, section 4.2)."""
    if sample is None or sample.value is None:
        return ()
    value, age, lifetime = sample.value, min(0.0, round(sample.at - now, 1)), affordance.lifetime
    if isinstance(value, dict | list):
        leaves = _leaves(affordance.name, affordance, value)
        return [_record(name, schema.unit, leaf, age, lifetime) for name, schema, leaf in leaves]
    return (_record(affordance.name, affordance.unit, value, age, lifetime),)


def _record(name: str, unit: str, value: bool | float | str, age: float, lifetime: float) -> senml.Record:
    if unit in SECONDARY and isinstance(value, int | float):
        value, unit = primary(value, unit)
    return senml.Record(name=name, value=value, unit=unit, time=age, update_time=lifetime)


def _leaves(name: str, schema: DataSchema, value: Value) -> Iterator[tuple[str, DataSchema, bool | int | float | str]]:
    """The parts of a value that are one record each. What has no parts, or parts that can't have a name, is JSON."""
    if isinstance(value, dict) and value and all(_is_level(each) for each in value):
        fields = dict(schema.fields)
        for field, part in value.items():
            yield from _leaves(f"{name}/{field}", fields.get(field, _PLAIN), part)
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _leaves(f"{name}/{index}", schema.items or _PLAIN, part)
    elif isinstance(value, list | dict):
        yield name, _PLAIN, json.dumps(value, separators=(",", ":"))
    else:
        yield name, schema, value


def _is_level(text: str) -> bool:
    """Whether a name can be one level of a record's name."""
    return "/" not in text and senml.is_name(f"x{text}") and text != ""


# What is set


def value_of(view: DeviceView, wanted: PropertyAffordance, pack: tuple[senml.Record, ...]) -> Any:
    """What the records of a pack say for a property, as JSON would; whether it fits is not judged. PeerError: they say
    nothing, or too much."""
    base = base_name(view)
    found: dict[tuple[str, ...], Any] = {}
    for record in pack:
        path = _path(record.name.removeprefix(base), wanted.name)
        if path is None or path in found:
            raise PeerError("expected this resource's own name, or none, and each once")
        found[path] = _leaf(record, _schema_at(wanted, path))
    if not found:
        raise PeerError("expected a record")
    return _assembled(wanted, found, ())


def _path(name: str, wanted: str) -> tuple[str, ...] | None:
    """The levels below the property; None: the name is another's."""
    if name in ("", wanted):
        return ()
    if not name.startswith(f"{wanted}/"):
        return None
    levels = tuple(name[len(wanted) + 1 :].split("/"))
    return levels if len(levels) < MAX_DEPTH and all(levels) else None


def _schema_at(schema: DataSchema, path: tuple[str, ...]) -> DataSchema:
    for level in path:
        found = dict(schema.fields).get(level) if schema.type is DataType.OBJECT else schema.items
        if found is None:
            raise PeerError(f"{level[:32]}: expected a field of this property")
        schema = found
    return schema


_FIELDS: Final = {
    DataType.BOOLEAN: ((bool,), "vb"),
    DataType.INTEGER: ((int, float), "v"),
    DataType.NUMBER: ((int, float), "v"),
    DataType.STRING: ((str,), "vs"),
    DataType.OBJECT: ((str,), "a record for each field"),
    DataType.ARRAY: ((str,), "a record for each item"),
}


def _leaf(record: senml.Record, schema: DataSchema) -> Any:
    if record.time or record.update_time is not None or record.sum is not None:
        raise PeerError("expected a value alone, for now")
    types, field = _FIELDS[schema.type]
    value = record.value
    if type(value) not in types or isinstance(value, bytes | None):
        raise PeerError(f"expected {field}")
    if schema.type in (DataType.OBJECT, DataType.ARRAY):
        if record.unit:
            raise PeerError("expected no unit")
        return strict_json.read(str(value).encode())
    unit = primary(0, schema.unit)[1]
    if record.unit == schema.unit or (not record.unit and unit == schema.unit):
        return value
    if record.unit != unit or not isinstance(value, int | float):
        raise PeerError(f"expected the unit {unit}" if unit else "expected no unit")
    try:
        return secondary(value, schema.unit)
    except OverflowError:
        raise PeerError("expected a smaller number") from None


def _assembled(schema: DataSchema, found: dict[tuple[str, ...], Any], at: tuple[str, ...]) -> Any:
    """The value at ``at``, of the leaves at and below it."""
    if at in found:
        if len(found) > 1:
            raise PeerError("expected a value, or its parts")
        return found[at]
    parts = dict.fromkeys(path[len(at)] for path in found)
    below = {
        part: _assembled(
            _schema_at(schema, (part,)),
            {path: leaf for path, leaf in found.items() if path[len(at)] == part},
            (*at, part),
        )
        for part in parts
    }
    if schema.type is DataType.OBJECT:
        return below
    if below.keys() != {str(index) for index in range(len(below))}:
        raise PeerError("expected items from 0 without a gap")
    return [below[str(index)] for index in range(len(below))]
