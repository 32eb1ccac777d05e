"""What devices offer as JSON, and the values that a client's JSON sets. No state, no decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from gateway.api.errors import PeerError
from gateway.api.model import (
    DataSchema,
    DataType,
    DeviceView,
    Outcome,
    PropertyAffordance,
    PropertyResult,
    Receipt,
    Value,
)
from gateway.kit.thing_description import data_schema
from gateway.kit.values import of_json, of_text

MAX_AT_ONCE: Final = 16
"""Properties that one PUT sets."""


def described(view: DeviceView) -> dict[str, Any]:
    """A device and what it offers, as far as this client may use it."""
    found: dict[str, Any] = {"name": view.name, "href": f"/d/{quote(view.name, safe='')}", "may": sorted(view.may)}
    if view.online is not None:
        found["online"] = view.online
    found |= {"sleepy": view.sleepy, "facts": dict(view.facts)}
    found["properties"] = {each.name: _property(each) for each in view.properties}
    found["actions"] = {
        each.name: {"idempotent": each.idempotent} | _schemas(input=each.input, output=each.output)
        for each in view.actions
    }
    found["events"] = {each.name: _schemas(data=each.data) for each in view.events}
    return found


def _property(each: PropertyAffordance) -> dict[str, Any]:
    return data_schema(each) | {"readable": each.readable, "writable": each.writable, "lifetime": each.lifetime}


def _schemas(**of: DataSchema | None) -> dict[str, Any]:
    return {name: data_schema(each) for name, each in of.items() if each is not None}


def set_value(value: Any, wanted: PropertyAffordance) -> Value:
    """What a JSON value, or an object with it as ``value``, sets a property to. PeerError: it doesn't fit."""
    if isinstance(value, dict) and value.keys() == {"value"}:
        value = value["value"]
    if isinstance(value, str) or (wanted.type is DataType.BOOLEAN and type(value) is int):
        return of_text(str(value), wanted)  # "21.5" and 1 are as good as 21.5 and true
    return of_json(value, wanted)


def set_values(given: Any, view: DeviceView) -> dict[str, Value]:
    """Those of several properties, all of them or none. PeerError: one doesn't fit, in words that name it."""
    if not isinstance(given, Mapping) or not 0 < len(given) <= MAX_AT_ONCE:
        raise PeerError(f"expected an object of one to {MAX_AT_ONCE} properties")
    known = {each.name: each for each in view.properties}
    found: dict[str, Value] = {}
    for name, value in given.items():
        wanted = known.get(name)
        if wanted is None or not wanted.writable:
            raise PeerError(f"{str(name)[:32]}: expected a property that can be set")
        try:
            found[name] = set_value(value, wanted)
        except PeerError as mistake:
            raise PeerError(f"{name}: {mistake}") from None
    return found


def outcome(each: Receipt | PropertyResult) -> dict[str, Any]:
    """The outcome of a command, or of one property of it."""
    if each.outcome in (Outcome.DELIVERED, Outcome.SENT, Outcome.SUPERSEDED):
        return {"status": each.outcome.value}
    found = {"status": "failed", "reason": each.reason.value if each.reason else each.outcome.value}
    return found | ({"detail": each.detail} if each.detail else {})
