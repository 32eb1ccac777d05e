"""Values of properties as JSON in the words that users of zigbee2mqtt and Home Assistant expect. Pure.

A boolean that can be set is ``"ON"`` or ``"OFF"``, any other is ``true`` or ``false``; a number is a JSON number, a
text a string; a value that the device has none of now, or has never told, is ``null``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carriage.mqtt.messages import MAX_BODY, read_object
from carriage.mqtt.topics import valid_name
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, PropertyAffordance, Value
from gateway.api.schema import fits

MAX_AT_ONCE: Final = 16
"""Properties in one set or get."""
MAX_TRANSACTION: Final = 64
_HUGE: Final = sys.float_info.max
_WORDS: Final = {"on": True, "true": True, "off": False, "false": False}


def fragment(name: str, value: Value | None, known: PropertyAffordance | None) -> bytes:
    """``"name":value`` as it stands in the JSON of a device's state."""
    return f'"{name}":{json_of(value, known is not None and known.writable)}'.encode()


def json_of(value: Value | None, writable: bool) -> str:
    """A value as JSON; ``writable``: whether its property can be set."""
    if value is True or value is False:
        yes, no = ('"ON"', '"OFF"') if writable else ("true", "false")
        return yes if value else no
    if isinstance(value, str | list | dict):
        return json.dumps(value, separators=(",", ":"))
    if value is None or not math.isfinite(value):  # JSON has no word for these
        return "null"
    return repr(value)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a set or get holds: property to value as it came. ``transaction``: the sender's word for it, as it came."""

    values: Mapping[str, Any]
    transaction: str | int | None = None


def read_set(payload: bytes, name: str) -> Asked:
    """``name``: the property of the topic, empty where it names none; then ``""`` is the name of a bare value.

    PeerError: nothing that could be a set.
    """
    text = _text(payload)
    if not name and text.startswith("{"):
        values = read_object(payload)
        transaction = _transaction(values)
        return Asked(_names(values), transaction)
    try:
        value = json.loads(text)
    except ValueError:
        value = text  # a plain ON, as people type it
    except RecursionError:
        raise PeerError("a set of too many brackets") from None
    if not text or (isinstance(value, dict | list) and not name):
        raise PeerError("a set of no single value")
    return Asked({name: value})


def read_get(payload: bytes, name: str) -> Asked:
    """The values are of no meaning (empty strings by custom). An empty body asks for all: there is no name then.

    PeerError: nothing that could be a get.
    """
    if name:
        return Asked({name: None})
    if not payload.strip():
        return Asked({})
    values = read_object(payload)
    transaction = _transaction(values)
    return Asked(dict.fromkeys(_names(values)), transaction)


def read_value(value: Any, known: PropertyAffordance) -> Value:
    """What of a set goes to the device. PeerError, in words for whoever sent it: it can't be that."""
    if not known.writable:
        raise PeerError("can't be set")
    return fitting(value, known)


def read_input(payload: bytes) -> Asked:
    """What an action is given: ``{"input": ..., "transaction": ...}``, both optional; an empty body has neither.

    PeerError: nothing that could be that.
    """
    if not payload.strip():
        return Asked({})
    values = read_object(payload)
    transaction = _transaction(values)
    if values.keys() - {"input"}:
        raise PeerError("expected input and transaction at most")
    return Asked(values, transaction)


def fitting(value: Any, schema: DataSchema) -> Value:
    """A JSON value as one of ``schema``. PeerError says what was expected."""
    if schema.type is DataType.BOOLEAN:
        found = _WORDS.get(value.lower()) if isinstance(value, str) else value
        if isinstance(found, bool):
            return found
        raise PeerError("expected ON or OFF")
    if schema.type in (DataType.NUMBER, DataType.INTEGER):
        if schema.type is DataType.INTEGER and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        # a whole number may be beyond what a float holds: that can be compared, not converted
        low = -_HUGE if schema.minimum is None else schema.minimum
        high = _HUGE if schema.maximum is None else schema.maximum
        kinds = int if schema.type is DataType.INTEGER else int | float
        if isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise PeerError(f"expected {_range(schema)}")
    if schema.type is DataType.STRING:
        if schema.enum:
            if value in schema.enum and isinstance(value, str):
                return value
            raise PeerError(f"expected one of {', '.join(schema.enum)}")
        if isinstance(value, str) and value.isprintable():
            return value
        raise PeerError("expected a printable text")
    if isinstance(value, dict | list) and fits(schema, value):
        return value
    names = ", ".join(name for name, _ in schema.fields)
    raise PeerError(f"expected an object of {names}" if schema.fields else f"expected an {schema.type.value}")


def _range(known: DataSchema) -> str:
    low, high = known.minimum, known.maximum
    what = "a whole number" if known.type is DataType.INTEGER else "a number"
    if low is None and high is None:
        return what
    least = "" if low is None else f" from {low:g}"
    most = "" if high is None else f" up to {high:g}" if low is None else f" to {high:g}"
    return f"{what}{least}{most}"


def bare_property(properties: Mapping[str, PropertyAffordance]) -> str:
    """Which property a bare value sets: the only one that can be, or ``state``. PeerError: neither."""
    writable = [name for name, each in properties.items() if each.writable and each.readable]
    if len(writable) == 1:
        return writable[0]
    if "state" in writable:
        return "state"
    raise PeerError("a bare value for a device with several properties")


def _text(payload: bytes) -> str:
    if len(payload) > MAX_BODY:
        raise PeerError("message body too long")
    try:
        return payload.decode().strip()
    except UnicodeDecodeError:
        raise PeerError("message body is no text") from None


def _transaction(values: dict[str, Any]) -> str | int | None:
    """Take the transaction out of a body. PeerError: one that is none."""
    found = values.pop("transaction", None)
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**53):
        return found
    if isinstance(found, str) and len(found) <= MAX_TRANSACTION and found.isprintable():
        return found
    raise PeerError("a transaction that is no short string and no number")


read_transaction = _transaction


def _names(values: dict[str, Any]) -> dict[str, Any]:
    if not 0 < len(values) <= MAX_AT_ONCE or not all(map(valid_name, values)):
        raise PeerError("expected names of one to 16 properties")
    return values
