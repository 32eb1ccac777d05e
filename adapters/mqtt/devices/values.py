"""Values of properties as JSON in the words that users of zigbee2mqtt and Home Assistant expect. Pure.

A boolean that can be set is ``"ON"`` or ``"OFF"``, any other is ``true`` or ``false``; a number is a JSON number, a
text a string; a value that the device doesn't have now, or has never reported, is ``null``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carriage import strict_json
from carriage.mqtt.messages import MAX_BODY, read_object
from carriage.mqtt.topics import valid_name
from gateway.api.errors import PeerError
from gateway.api.model import PropertyAffordance, Value

MAX_AT_ONCE: Final = 16
"""Properties in one set or get."""
MAX_TRANSACTION: Final = 64


def fragment(name: str, value: Value | None, known: PropertyAffordance | None) -> bytes:
    """``"name":value`` as it stands in the JSON of a device's state."""
    return f'"{name}":{json_of(value, known is not None and known.writable)}'.encode()


def json_of(value: Value | None, writable: bool) -> str:
    """A value as JSON; ``writable``: whether its property can be set."""
    if value is True or value is False:
        yes, no = ('"ON"', '"OFF"') if writable else ("true", "false")
        return yes if value else no
    if isinstance(value, str | list | dict):
        if isinstance(value, dict) and "hue" in value and "saturation" in value:
            value = {**value, "h": value["hue"], "s": value["saturation"]}  # Home Assistant's words for a colour
        return json.dumps(value, separators=(",", ":"))
    if value is None or not math.isfinite(value):  # JSON has no word for these
        return "null"
    return repr(value)


@dataclass(frozen=True, slots=True)
class Asked:
    """The content of a set or get: property to value, as they came. ``transaction``: the sender's, as it came."""

    values: Mapping[str, Any]
    transaction: str | int | None = None


def read_set(payload: bytes, name: str) -> Asked:
    """``name``: the property of the topic, empty if it names none; then ``""`` is the name of a bare value.

    PeerError: nothing that could be a set.
    """
    text = _text(payload)
    if not name and text.startswith("{"):
        values = read_object(payload)
        transaction = _transaction(values)
        return Asked(_names(values), transaction)
    try:
        value = strict_json.read(payload)
    except PeerError:
        value = text  # a plain ON, as people type it
    if (not text or isinstance(value, dict | list)) and not name:
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


def read_input(payload: bytes) -> Asked:
    """The input of an action: ``{"input": ..., "transaction": ...}``, both optional; an empty body has neither.

    PeerError: nothing that could be that.
    """
    if not payload.strip():
        return Asked({})
    values = read_object(payload)
    transaction = _transaction(values)
    if values.keys() - {"input"}:
        raise PeerError("expected input and transaction at most")
    return Asked(values, transaction)


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
