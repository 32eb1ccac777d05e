"""The daemon's answer ``devices`` as lines for people: the list, one device, and the policy lines that name one.

A device is a mapping that control and its adapter fill; a missing key is just not shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.cli.screen import Screen, ago, shown, table, values

_LIST = {
    "name": "NAME",
    "address": "ADDRESS",
    "adapter": "LINK",
    "model": "MODEL",
    "reach": "REACHED",
    "sleepy": "SLEEPY",
    "lqi": "LQI",
    "last_seen": "LAST SEEN",
}
_PROPERTIES = {
    "name": "PROPERTY",
    "value": "VALUE",
    "unit": "UNIT",
    "age": "AGE",
    "state": "STATE",
    "writable": "WRITABLE",
}
_ENDPOINTS = {"id": "ENDPOINT", "profile": "PROFILE", "device": "DEVICE", "in": "IN", "out": "OUT"}
_SHOWN_APART = frozenset({"name", "address", "adapter", "properties", "endpoints", "facts", "online", "identity"})


def device_table(devices: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    """One line a device."""
    if not devices:
        yield "no devices; let some join: atls-gateway permit-join --seconds 120"
        return
    rows = [{**device, "reach": _reach(device), "last_seen": _seen(device)} for device in devices]
    yield from table(rows, _LIST, to)
    unnamed = sum(1 for device in devices if not device.get("name"))
    if unnamed:
        yield ""
        yield (
            f"{unnamed} without a NAME: no subject of the policy, so invisible to all. The lines to add:"
            " atls-gateway devices show ADDRESS"
        )


def matching(devices: Sequence[Mapping[str, Any]], asked: str) -> list[Mapping[str, Any]]:
    """The devices of this name or address; several where two adapters know the same one."""
    wanted = asked.lower()
    return [device for device in devices if asked == device.get("name") or wanted == str(device.get("address")).lower()]


def device_lines(device: Mapping[str, Any], to: Screen) -> Iterator[str]:
    """All that is known of one device."""
    name = device.get("name")
    yield f"{to.title(shown(name or device.get('address')))}: {_reach_words(device, to)}"
    yield from values({"address": f"{device.get('address')} ({device.get('adapter')})"}, 2, to)
    more = {key: value for key, value in device.items() if key not in _SHOWN_APART and not _nothing(value)}
    if "last_seen" in more:
        more["last_seen"] = _seen(device)
    facts = {key: value for key, value in (device.get("facts") or {}).items() if key not in more}
    yield from values({**more, **facts}, 2, to)
    if device.get("endpoints"):
        yield ""
        yield from table([_endpoint(one) for one in device["endpoints"]], _ENDPOINTS, to)
    if device.get("properties"):
        yield ""
        yield from table([_property(one) for one in device["properties"]], _PROPERTIES, to)
    if not name and device.get("identity"):
        yield ""
        yield "No subject of the policy has this address, so nobody can see or reach it. To name it, add to the policy"
        yield "file and run atls-gateway reload (put your names for DEVICE and PHONE):"
        yield ""
        yield from policy_lines(device)


def policy_lines(device: Mapping[str, Any], name: str = "DEVICE", user: str = "PHONE") -> Iterator[str]:
    """What to add to a policy, so that ``user`` may use this device as ``name``.

    One with a tunnel is opened sessions to; any other is read, observed and set.
    """
    key, _, value = str(device.get("identity", "")).partition(":")
    yield "subjects:"
    yield f'  {name}: {{link: {device.get("adapter")}, {key}: "{value}"}}'
    yield "rules:"
    yield f"  - id: {user}-{name}".lower()
    yield "    effect: permit"
    yield f"    subject: {user}"
    yield f"    resource: {name}"
    if not device.get("tunnel_endpoints"):
        yield "    action: [read, observe, write]"


def _nothing(value: object) -> bool:
    return value is None or (value in ("", [], 0) and not isinstance(value, bool))


def _reach(device: Mapping[str, Any]) -> str | None:
    online = device.get("online")
    return None if online is None else "online" if online else "offline"


def _reach_words(device: Mapping[str, Any], to: Screen) -> str:
    return to.word(_reach(device) or "not known whether it can be reached")


def _seen(device: Mapping[str, Any]) -> str | None:
    """How long ago it was heard; an adapter tells the time in ISO 8601."""
    try:
        return ago(time.time() - datetime.fromisoformat(str(device.get("last_seen"))).timestamp())
    except ValueError:
        return None


def _endpoint(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    lists = {key: " ".join(map(shown, endpoint[key])) for key in ("in", "out") if isinstance(endpoint.get(key), list)}
    return {**endpoint, **lists}


def _property(one: Mapping[str, Any]) -> dict[str, Any]:
    told = "age" in one
    state = "stale" if one.get("stale") else "fresh" if told else "not told yet"
    value = one.get("value")
    number = re.sub(r"(\.\d*?)0+$", r"\1", f"{value:.4f}").rstrip(".") if isinstance(value, float) else value
    return {**one, "value": number, "age": ago(one.get("age")), "state": state, "unit": one.get("unit") or None}
