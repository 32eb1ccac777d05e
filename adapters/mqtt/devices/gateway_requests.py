"""What ``bridge/request/{command}`` does, one function for each command, in the words of zigbee2mqtt.

Each takes the values of the request, the adapter's context and who asks; it returns the ``data`` of the answer, or
raises PeerError with the ``error``. ``UNSUPPORTED`` are commands of zigbee2mqtt's that are not done here, with what to
do instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from adapters.mqtt.devices.group_requests import REQUESTS
from adapters.mqtt.devices.network_maps import MAPS
from adapters.mqtt.devices.values import json_of
from gateway.api.errors import PeerError
from gateway.api.model import DeviceView, Peer, Value
from gateway.api.ports import AdapterContext

MAX_JOIN: Final = 254
DEFAULT_JOIN: Final = 60
"""Seconds, if a ``permit_join`` says only ``true``."""

Handler = Callable[[dict[str, Any], AdapterContext, Peer], Awaitable[Mapping[str, Any]]]


async def _permit_join(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    if not values:
        status = await context.administer(source, "status", {})
        return {"time": math.ceil(status["joining"])}
    seconds, device = values.pop("time", None), values.pop("device", None)
    if seconds is None and isinstance(values.get("value"), bool):  # how zigbee2mqtt 1 asks
        seconds = DEFAULT_JOIN if values.pop("value") else 0
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MAX_JOIN or values:
        raise PeerError(f"expected time, a whole number of seconds from 0 to {MAX_JOIN}, and device at most")
    if device is None:
        await context.administer(source, "permit-join", {"seconds": seconds})
        return {"time": seconds}
    if not isinstance(device, str):
        raise PeerError("device: expected a name or an address, or coordinator")
    await context.administer(source, "permit-join", {"seconds": seconds, "device": device})
    return {"time": seconds, "device": device}


async def _health_check(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return {"healthy": context.gateway().healthy}  # what is wrong is for administrators


async def _status(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return await context.administer(source, "status", {})


async def _sessions(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return await context.administer(source, "sessions", {})


async def _restart(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    await context.administer(source, "restart", {})
    return {}


async def _rename(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """``from`` may be the address of a device without a name, which then gets one, as in zigbee2mqtt."""
    values.pop("homeassistant_rename", None)  # its ids don't depend on names
    if values.get("last") is True and "from" not in values:
        raise PeerError("last: not supported; say from (a name or an address)")
    if not isinstance(values.get("from"), str) or not isinstance(values.get("to"), str):
        raise PeerError("expected from (a name or an address) and to (a name)")
    answer = await context.administer(source, "rename-device", values)
    return {"from": values["from"], "to": answer["name"], "groups": answer["groups"]}


async def _remove(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    asked, force = values.pop("id", None), values.pop("force", False)
    for word in ("block", "keep_config", "clear_cache"):
        if values.get(word) is False:  # what zigbee2mqtt's page sends along
            del values[word]
    if not isinstance(asked, str) or not isinstance(force, bool) or values:
        raise PeerError("expected id (a name or an address), and force: true or false")
    answer = await context.administer(source, "remove-device", {"device": asked, "force": force})
    return {"id": asked, "force": force, "left": bool(answer.get("left"))}


async def _options(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    asked, options = values.pop("id", None), values.pop("options", None)
    if not isinstance(asked, str) or not isinstance(options, dict) or values:
        raise PeerError("expected id (a name or an address) and options (an object)")
    answer = await context.administer(source, "device-options", {"device": asked, "options": options})
    return {"id": asked, **answer, "restart_required": False}


async def _configure(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    asked = values.pop("id", None)
    if not isinstance(asked, str) or values:
        raise PeerError("expected id (a name or an address)")
    return {"id": asked, **await context.administer(source, "configure-device", {"device": asked})}


_REPORTING: Final = {
    "minimum_report_interval": "minimum",
    "maximum_report_interval": "maximum",
    "reportable_change": "change",
}


async def _configure_reporting(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    arguments = _place(values)
    for word, own in _REPORTING.items():
        if word in values:
            arguments[own] = values[word]
    data = dict(values)
    await context.administer(source, "configure-reporting", arguments)
    return data


async def _read_reporting(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    arguments = _place(values)
    configs = values.get("configs")
    if isinstance(configs, list) and configs and isinstance(configs[0], dict):  # as zigbee2mqtt asks
        arguments["attributes"] = [each.get("attribute") for each in configs if isinstance(each, dict)]
    elif "attribute" in arguments:
        arguments["attributes"] = [arguments.pop("attribute")]
    answer = await context.administer(source, "read-reporting", arguments)
    return dict(values) | {
        "configs": [
            {"attribute": each["attribute"]} | {word: each[own] for word, own in _REPORTING.items() if own in each}
            for each in answer["configs"]
        ]
    }


def _place(values: Mapping[str, Any]) -> dict[str, Any]:
    """The device, endpoint, cluster and attribute that a request names."""
    if not isinstance(values.get("id"), str) or not values.keys() & {"cluster", "attribute"}:
        raise PeerError("expected id (a name or an address), cluster and attribute (or a property as the attribute)")
    words = ("endpoint", "cluster", "attribute")
    return {"device": values["id"]} | {name: values[name] for name in words if name in values}


async def _networkmap(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    kind, routes = values.pop("type", "raw"), values.pop("routes", False)
    if kind not in MAPS or not isinstance(routes, bool) or values:
        raise PeerError(f"expected type, one of {', '.join(MAPS)}")
    found = await context.administer(source, "network-map", {})
    return {"type": kind, "routes": False, "value": MAPS[kind](found)}


async def _devices(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """The devices that the policy lets the broker use; an administrator gets all, with the radio's facts of each."""
    seen = {view.name: _device(view) for view in context.devices(source)}
    if context.may_administer(source):
        try:
            answer = await context.administer(source, "devices", {})
        except PeerError:  # over its rate, say: then as anybody else
            return {"devices": list(seen.values())}
        for found in answer["devices"]:
            listed = _listed(found)
            seen[listed["friendly_name"]] = seen.get(found.get("name") or "", {}) | listed
    return {"devices": list(seen.values())}


def _device(view: DeviceView) -> dict[str, Any]:
    return {
        "friendly_name": view.name,
        "online": view.online,
        "sleepy": view.sleepy,
        "may": sorted(view.may),
        "facts": dict(view.facts),
        "properties": {
            each.name: {"type": each.type.value, "unit": each.unit, "writable": each.writable}
            for each in view.properties
        },
        "actions": [each.name for each in view.actions],
        "events": [each.name for each in view.events],
        "state": {
            each.name: _word(sample.value, each.writable)
            for each in view.properties
            if (sample := view.samples.get(each.name)) is not None
        },
    }


def _listed(found: Mapping[str, Any]) -> dict[str, Any]:
    """A device as the administrator's list has it, in the words of zigbee2mqtt."""
    eui64 = str(found.get("identity", "")).startswith("eui64:")
    address = "0x" + str(found.get("address")).replace(":", "") if eui64 else found.get("address")
    return {
        "friendly_name": found.get("name") or address,
        "ieee_address": address,
        "named": bool(found.get("name")),
        "model_id": found.get("model") or None,
        "manufacturer": found.get("manufacturer") or None,
        "interviewing": bool(found.get("interviewing")),
        "interview_completed": found.get("interviewed", True) and not found.get("interviewing"),
        "linkquality": found.get("lqi"),
        "last_seen": found.get("last_seen"),
        "state": {
            each["name"]: _word(each["value"], bool(each.get("writable")))
            for each in found.get("properties", ())
            if "value" in each
        },
    }


def _word(value: Value | None, writable: bool) -> Any:
    """A value as the device's state topic has it."""
    return json.loads(json_of(value, writable))


COMMANDS: Final[Mapping[str, Handler]] = {
    "permit_join": _permit_join,
    "devices": _devices,
    "device/rename": _rename,
    "device/remove": _remove,
    "device/options": _options,
    "device/configure": _configure,
    "device/reporting/configure": _configure_reporting,
    "device/configure_reporting": _configure_reporting,
    "device/reporting/read": _read_reporting,
    "networkmap": _networkmap,
    "status": _status,
    "sessions": _sessions,
    "health_check": _health_check,
    "restart": _restart,
    **REQUESTS,
}
BARE: Final[Mapping[str, str]] = {
    "permit_join": "time",
    "group/add": "friendly_name",
    "networkmap": "type",
    "install_code/add": "value",
}
"""Commands whose request may be a bare value, and what that is then; of those of a device or group it is ``id``."""

_NO_UPDATES: Final = "not supported: the gateway brings no firmware to devices; use the maker's own hub for that"
_BY_FILE: Final = "not supported: settings are in the gateway's config file, and in force after atls-gateway restart"
_TOUCHLINK: Final = "not supported: reset the device by hand (its manual says how) and let it join with permit_join"
UNSUPPORTED: Final[Mapping[str, str]] = {
    "device/ota_update/check": _NO_UPDATES,
    "device/ota_update/check/downgrade": _NO_UPDATES,
    "device/ota_update/update": _NO_UPDATES,
    "device/ota_update/update/downgrade": _NO_UPDATES,
    "device/ota_update/schedule": _NO_UPDATES,
    "device/ota_update/unschedule": _NO_UPDATES,
    "device/interview": "not supported: an interview that failed goes on by itself when the device is heard; to have a"
    " device interviewed from the start, device/remove it and let it join again",
    "device/generate_external_definition": "not supported: what the gateway reads of a device is in docs/devices.md",
    "device/identify": 'not supported here: publish {"identify": 5} to the set topic of the device',
    "identify": 'not supported here: publish {"identify": 5} to the set topic of the device',
    "action": "not supported here: the actions of a device are keys of its set topic",
    "options": _BY_FILE,
    "group/options": _BY_FILE,
    "backup": "not supported: a backup has the network's keys, which are for no broker; run atls-gateway backup",
    "coordinator_check": "not supported: this kind of dongle keeps no list of routers to compare with; availability"
    " says which devices can't be reached",
    "install_code/add": "not supported: let the device join with permit_join; one that joins by its install code only"
    " can't be used",
    "touchlink/scan": _TOUCHLINK,
    "touchlink/identify": _TOUCHLINK,
    "touchlink/factory_reset": _TOUCHLINK,
    "extension/save": _BY_FILE,
    "extension/remove": _BY_FILE,
    "converter/save": _BY_FILE,
    "converter/remove": _BY_FILE,
}
