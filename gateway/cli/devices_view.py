"""The daemon's answer ``devices`` as lines for people: the list, one device, and the policy lines that name one.

A device is a mapping that control and its adapter fill; a missing key is just not shown.
"""

from __future__ import annotations

import json
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
_OPTIONS = {"name": "OPTION", "value": "VALUE", "expects": "EXPECTS", "about": "WHAT IT IS"}
_LANES = ("standard", "quirk")
_SHOWN_APART = frozenset(
    {"name", "address", "adapter", "properties", "endpoints", "facts", "online", "identity", "interviewing"}
)


def device_table(devices: Sequence[Mapping[str, Any]], to: Screen) -> Iterator[str]:
    """One line a device."""
    if not devices:
        yield "no devices; let some join: atls-gateway permit-join --seconds 120"
        return
    rows = [
        {**device, "reach": _reach(device), "last_seen": _seen(device), "model": _model(device)} for device in devices
    ]
    yield from table(rows, _LIST, to)
    unnamed = sum(1 for device in devices if not device.get("name"))
    if unnamed:
        yield ""
        yield (
            f"{unnamed} without a NAME, so invisible to all. To give one: atls-gateway devices name ADDRESS NAME;"
            " more on one: atls-gateway devices show ADDRESS"
        )


def matching(devices: Sequence[Mapping[str, Any]], asked: str) -> list[Mapping[str, Any]]:
    """The devices of this name, or of this address in any usual spelling; several if two adapters know it."""
    wanted = _plain(asked)
    return [device for device in devices if asked == device.get("name") or wanted == _plain(device.get("address"))]


def _plain(address: object) -> str:
    return re.sub("[:-]", "", str(address).strip().lower().removeprefix("0x"))


def device_lines(
    device: Mapping[str, Any], to: Screen, assignable: Sequence[str] = (), users: Mapping[str, str] | None = None
) -> Iterator[str]:
    """All that is known of one device. ``assignable``, ``users``: as in the daemon's answer."""
    name = device.get("name")
    yield f"{to.title(shown(name or device.get('address')))}: {_reach_words(device, to)}"
    yield from values({"address": f"{device.get('address')} ({device.get('adapter')})"}, 2, to)
    more = {key: value for key, value in device.items() if key not in _SHOWN_APART and not _nothing(value)}
    if "lane" in more:
        more["lane"] = lane_words(device)
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
        yield from _naming_lines(device, assignable, users or {})


def lane_words(device: Mapping[str, Any]) -> str:
    """By what its frames are read: the standard's rows, those of its maker, or a quirk."""
    lane = shown(device.get("lane"))
    return lane if lane in _LANES else f"rows of {lane}"


def _naming_lines(device: Mapping[str, Any], assignable: Sequence[str], users: Mapping[str, str]) -> Iterator[str]:
    address = device.get("address")
    if str(device["identity"]).startswith("eui64:") and assignable:
        yield "It has no name, so no client can see or reach it. Name it, then look what it may do:"
        yield ""
        for group in assignable:
            more = f" --group {group}" if len(assignable) > 1 else ""
            yield f"  atls-gateway devices name {address} NAME{more}"
        yield "  atls-gateway devices show NAME"
        return
    yield "No subject of the policy has this address, so no client can see or reach it. To name it, add to the policy"
    yield "file and run atls-gateway reload (with the name that you choose):"
    yield ""
    yield from policy_lines(device, users)
    yield ""
    yield "A group with `assignable: true` lets you name the next one by atls-gateway devices name."


def policy_lines(device: Mapping[str, Any], users: Mapping[str, str]) -> Iterator[str]:
    """The lines to add to a policy, so that the broker's side and a phone may use this device.

    ``users``: names of subjects and how each is proven. The device's name, and the ids of the rules by it, are those of
    no other device. One with a tunnel is opened sessions to; any other is read, observed and set.
    """
    key, _, value = str(device.get("identity", "")).partition(":")
    name = f"device-{_plain(value)[-8:]}"
    yield "subjects:"
    yield f'  {name}: {{link: {device.get("adapter")}, {key}: "{value}"}}'
    yield "rules:"
    tunnel = bool(device.get("tunnel_endpoints"))
    for user in _users(users, ("psk", "spki", "san"), "PHONE") + (
        [] if tunnel else _users(users, ("broker",), "BROKER")
    ):
        yield f"  - id: {user.lower()}-{name}"
        yield "    effect: permit"
        yield f"    subject: {user}"
        yield f"    resource: {name}"
        if not tunnel:
            yield "    action: [read, observe, write]"


def _users(users: Mapping[str, str], kinds: tuple[str, ...], otherwise: str) -> list[str]:
    """The first subject of the policy that is proven so; a word to be replaced if there is none."""
    return [next((name for name, kind in users.items() if kind in kinds), otherwise)]


def named_lines(answer: Mapping[str, Any], to: Screen, *, runs: bool) -> Iterator[str]:
    """The rights of a device that got its name, and the subjects that may use it."""
    groups = answer.get("groups") or []
    within = f" in the group{'s' if len(groups) > 1 else ''} {', '.join(map(shown, groups))}" if groups else ""
    yield f"{answer.get('address')} is {to.title(shown(answer.get('name')))}{within}"
    rules = answer.get("rules") or []
    for rule in rules:
        yield f"  {_rule_in_words(rule)}"
    if not any(rule.get("effect") == "permit" for rule in rules):
        yield "  no rule permits anything with it: no client can see or reach it"
    if answer.get("present") is False:
        yield "No device of this address is there yet, or it is still asked what it is: it goes by this name then."
    if not runs:
        yield "The gateway isn't running: it's in force when it starts."


def _rule_in_words(rule: Mapping[str, Any]) -> str:
    may = "may" if rule.get("effect") == "permit" else "may not"
    who, whom = (", ".join(map(shown, rule.get(side) or [])) for side in ("from", "to"))
    return f"{who} {may} {', '.join(map(shown, rule.get('actions') or []))}: {whom} (rule {shown(rule.get('id'))})"


def removed_lines(answer: Mapping[str, Any], asked: str) -> Iterator[str]:
    """The outcome of a removal of a device."""
    who = shown(answer.get("name") or asked)
    if answer.get("left"):
        yield f"{who} left the network and is forgotten"
    elif answer.get("known"):
        yield f"{who} is forgotten. It did not say that it leaves: if it is still alive it comes back when it is heard"
    elif answer.get("known") is None:
        yield f"{who} has no name any longer, but was not asked to leave: the gateway isn't running"
        yield f"When it runs: atls-gateway devices remove {answer.get('address')}"
    else:
        yield f"{who} is not in the network; its name is forgotten"
    if answer.get("policy"):
        yield f"The policy file still names it: {answer['policy']}"


def option_lines(answer: Mapping[str, Any], asked: str, to: Screen, *, changed: bool) -> Iterator[str]:
    """The options of a device: those that were changed, else all that there are."""
    before, now = answer.get("from", {}), answer.get("to", {})
    if changed:
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                yield f"{shown(asked)}: {name} is {_option(now.get(name))}, and was {_option(before.get(name))}"
        if before == now:
            yield f"{shown(asked)}: the options are as they were"
        return
    rows = [
        {"name": name, "value": _option(now[name]) if name in now else None, **about}
        for name, about in answer.get("possible", {}).items()
    ]
    yield from table(rows, _OPTIONS, to)


def _option(value: object) -> str:
    """As it is set, or as it is if it isn't."""
    return "as usual" if value is None else json.dumps(value)


def _model(device: Mapping[str, Any]) -> str | None:
    """Its model, or that it has not said what it is."""
    if device.get("interviewing"):
        return "interviewing"
    return "not reported yet" if device.get("interviewed") is False else device.get("model") or None


def _nothing(value: object) -> bool:
    return value is None or (value in ("", [], 0) and not isinstance(value, bool))


def _reach(device: Mapping[str, Any]) -> str | None:
    online = device.get("online")
    return None if online is None else "online" if online else "offline"


def _reach_words(device: Mapping[str, Any], to: Screen) -> str:
    if device.get("interviewing"):
        return to.word("interviewing")
    return to.word(_reach(device) or "not known whether it can be reached")


def _seen(device: Mapping[str, Any]) -> str | None:
    """The time since it was heard; an adapter gives the time in ISO 8601."""
    try:
        return ago(time.time() - datetime.fromisoformat(str(device.get("last_seen"))).timestamp())
    except ValueError:
        return None


def _endpoint(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    lists = {key: " ".join(map(shown, endpoint[key])) for key in ("in", "out") if isinstance(endpoint.get(key), list)}
    return {**endpoint, **lists}


def _property(one: Mapping[str, Any]) -> dict[str, Any]:
    reported = "age" in one
    state = "stale" if one.get("stale") else "fresh" if reported else "not reported yet"
    value = one.get("value")
    number = re.sub(r"(\.\d*?)0+$", r"\1", f"{value:.4f}").rstrip(".") if isinstance(value, float) else value
    if isinstance(value, bool) and one.get("writable"):
        number = "on" if value else "off"  # as it is set, over CoAP and MQTT
    return {**one, "value": number, "age": ago(one.get("age")), "state": state, "unit": one.get("unit") or None}
