"""Values that peers send, read by a data schema: the same forms, bounds and messages whatever carriage they come by.

What a carriage wraps them in (SenML, a JSON object of several) belongs to its adapter. What comes out ``fits`` its
schema, so the engine refuses none of it; everything else is a ``PeerError`` whose text says what was expected.
"""

from __future__ import annotations

import re
from math import isclose
from typing import Any, Final

from gateway.api.errors import PeerError
from gateway.api.schema import MAX_TEXT, fits
from gateway.api.things import DataSchema, DataType, Value

_WORDS: Final = {"true": True, "on": True, "false": False, "off": False}
_DIGITS: Final = {"1": "true", "0": "false"}
_HUGE: Final = 2**63
_EXACT: Final = 2**53
"""Every whole number below it is exactly one float."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MAX_DECIMAL: Final = 40
"""Characters of a number in text."""


def of_json(value: Any, schema: DataSchema) -> Value:
    """A JSON value. A boolean may also be one of the words true, on, false and off, in any case."""
    kind = schema.type
    if kind is DataType.BOOLEAN:
        found = _WORDS.get(value.lower()) if isinstance(value, str) else value
        if isinstance(found, bool):
            return found
    elif kind is DataType.NUMBER or kind is DataType.INTEGER:
        number = value
        if kind is DataType.INTEGER and isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
            number = int(value)
        # Compared, not converted: a whole number may be beyond what a float holds.
        if type(number) is int or (type(number) is float and kind is DataType.NUMBER):
            low, high, step = schema.minimum, schema.maximum, schema.multiple_of
            if (
                (-_HUGE if low is None else low) <= number <= (_HUGE if high is None else high)
                and -_HUGE < number < _HUGE
                and (step is None or isclose(number / step, round(number / step), rel_tol=0.0, abs_tol=1e-6))
            ):
                return number
    elif kind is DataType.STRING:
        if isinstance(value, str) and (value in schema.enum if schema.enum else _is_text(value)):
            return value
    elif isinstance(value, dict | list) and fits(schema, value):
        return value
    raise PeerError(f"expected {expected(schema)}")


def of_text(text: str, schema: DataSchema) -> Value:
    """A value as people write it: also 1 and 0 for a boolean, and a number in decimal digits. No object or array."""
    if schema.type is DataType.STRING:
        return of_json(text, schema)
    text = text.strip()
    if schema.type is DataType.BOOLEAN:
        return of_json(_DIGITS.get(text, text), schema)
    if schema.type in (DataType.NUMBER, DataType.INTEGER):
        if _INTEGER.fullmatch(text):
            return of_json(int(text), schema)
        if len(text) <= _MAX_DECIMAL and _DECIMAL.fullmatch(text):
            return of_json(float(text), schema)
    raise PeerError(f"expected {expected(schema)}")


def of_input(value: Any, schema: DataSchema | None) -> Value | None:
    """The input of an action, as JSON; None: there is none."""
    if schema is not None:
        return of_json(value, schema)
    if value is not None:
        raise PeerError("it takes no input")
    return None


def expected(schema: DataSchema) -> str:
    """A description of the schema's values, for a message."""
    match schema.type:
        case DataType.BOOLEAN:
            return "true or false, or ON or OFF"
        case DataType.STRING:
            return (
                f"one of {', '.join(schema.enum)}"
                if schema.enum
                else f"printable text of at most {MAX_TEXT} characters"
            )
        case DataType.OBJECT:
            return f"an object of {', '.join(name for name, _ in schema.fields)}, each within its bounds"
        case DataType.ARRAY:
            return f"an array of at most {schema.max_items} items, each within its bounds"
    low, high = schema.minimum, schema.maximum
    least = "" if low is None else f" from {low:g}"
    most = "" if high is None else f" up to {high:g}" if low is None else f" to {high:g}"
    step = "" if schema.multiple_of is None else f" in steps of {schema.multiple_of:g}"
    return f"{'a whole number' if schema.type is DataType.INTEGER else 'a number'}{least}{most}{step}"


def _is_text(text: str) -> bool:
    return len(text) <= MAX_TEXT and text.isprintable()
