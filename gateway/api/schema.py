"""The check of a value against a data schema (W3C WoT TD 1.1, section 5.3.2), and that every carriage can carry it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from gateway.api.things import DataSchema, DataType, Value

MAX_TEXT: Final = 256
"""Characters of a string."""
MAX_VALUE: Final = 4096
"""Octets of an object or array, as JSON."""
MAX_DEPTH: Final = 4

_HUGE: Final = 2**63
_TYPES: Final[Mapping[DataType, frozenset[type]]] = {
    DataType.BOOLEAN: frozenset({bool}),
    DataType.INTEGER: frozenset({int}),
    DataType.NUMBER: frozenset({int, float}),
    DataType.STRING: frozenset({str}),
    DataType.OBJECT: frozenset({dict}),
    DataType.ARRAY: frozenset({list}),
}
"""By identity: a bool is no number here, although Python takes it for one."""


def types_of(schema: DataSchema) -> frozenset[type]:
    """The Python types of the schema's values."""
    return _TYPES[schema.type]


def is_scalar(schema: DataSchema) -> bool:
    return schema.type not in (DataType.OBJECT, DataType.ARRAY)


def bounded(value: Value) -> bool:
    """Whether every carriage can carry a scalar: no NaN, no infinity, nothing of any size."""
    if isinstance(value, str):
        return len(value) <= MAX_TEXT
    return isinstance(value, (int, float)) and -_HUGE < value < _HUGE


def tellable(schema: DataSchema, value: Value) -> bool:
    """Whether a device may have reported this: its form is the schema's. Its range may be another one."""
    return _fits(schema, value, False, MAX_DEPTH) and _short(schema, value)


def fits(schema: DataSchema, value: Value) -> bool:
    """Whether a peer may ask for this: the form, the range and the step are the schema's."""
    if value is True or value is False:
        return schema.type is DataType.BOOLEAN and not schema.enum
    return _fits(schema, value, True, MAX_DEPTH) and _short(schema, value)


def _short(schema: DataSchema, value: Value) -> bool:
    return is_scalar(schema) or octets_of(value) <= MAX_VALUE


def octets_of(value: Value | None) -> int:
    """The length of a value as JSON. Values that JSON can't carry are infinitely long."""
    try:
        return len(json.dumps(value, separators=(",", ":"), allow_nan=False))
    except (ValueError, TypeError, RecursionError):
        return _HUGE


def _fits(schema: DataSchema, value: Value, ranged: bool, depth: int) -> bool:
    if type(value) not in _TYPES[schema.type] or depth == 0:
        return False
    if isinstance(value, dict):
        fields = dict(schema.fields)
        if not schema.required <= value.keys() <= fields.keys():
            return False
        return all(_fits(fields[name], each, ranged, depth - 1) for name, each in value.items())
    if isinstance(value, list):
        if len(value) > schema.max_items:
            return False
        return schema.items is not None and all(_fits(schema.items, each, ranged, depth - 1) for each in value)
    if not bounded(value) or (schema.enum and value not in schema.enum):
        return False
    return not ranged or isinstance(value, bool | str) or _in_range(schema, value)


def _in_range(schema: DataSchema, value: float) -> bool:
    low, high, step = schema.minimum, schema.maximum, schema.multiple_of
    if (low is not None and value < low) or (high is not None and value > high):
        return False
    # Decimal steps have no exact binary form: 21.3 is a multiple of 0.1 for everybody but a computer.
    return step is None or math.isclose(value / step, round(value / step), rel_tol=0.0, abs_tol=1e-6)
