"""Home Assistant's device discovery: a device's properties as the components that its MQTT integration makes. Pure.

Source: www.home-assistant.io/integrations/mqtt, "Device discovery payload"; the short keys are of its list of
supported abbreviations.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.devices.units import COUNTED, UNITS, known
from gateway.api.model import DeviceView, Property, ValueKind

ORIGIN: Final = {"name": "atls-gateway"}
LIGHTS: Final = frozenset({"urn:oma:lwm2m:ext:3311"})
"""Resource types (IPSO light control) whose switch is a light."""
_DIAGNOSTIC: Final = frozenset({"battery"})
_FACTS: Final = {"manufacturer": "mf", "model": "mdl", "version": "sw", "sw_version": "sw"}
_STATE: Final = "{{ value_json.state }}"


def identifier(base: str, device: str) -> str:
    """The object id: what ``[a-zA-Z0-9_-]`` can't hold is replaced, and a digest keeps two such names apart."""
    plain = f"{base}_{device}"
    clean = re.sub(r"[^a-zA-Z0-9_-]", "_", plain)
    return clean if clean == plain else f"{clean}_{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def topic(prefix: str, base: str, device: str) -> str:
    return f"{prefix}/device/{identifier(base, device)}/config"


def payload(topics: HomeSpace, view: DeviceView, gone: Iterable[Property] = ()) -> bytes:
    """The retained config of one device. ``gone``: what it had before; Home Assistant keeps what is merely left out."""
    own = identifier(topics.base, view.name)
    facts = {short: value for name, value in view.facts if (short := _FACTS.get(name)) and value}
    config = {
        "dev": {"ids": [own], "name": view.name, **facts},
        "o": ORIGIN,
        "cmps": {
            **{each.name: {"p": _platform(each, _writable(view, each))} for each in gone},
            **{each.name: _component(topics, view, each, own) for each in view.properties},
        },
        "stat_t": topics.state(view.name),
        "avty_mode": "all",
    }
    return json.dumps(config, separators=(",", ":")).encode()


def _component(topics: HomeSpace, view: DeviceView, each: Property, own: str) -> dict[str, Any]:
    writable = _writable(view, each)
    platform = _platform(each, writable)
    component: dict[str, Any] = {
        "p": platform,
        "uniq_id": f"{own}_{each.name}",
        "name": each.name.replace("_", " ").capitalize(),
        "avty": [
            {"t": topics.bridge_state, "val_tpl": _STATE},
            {"t": topics.availability(view.name), "val_tpl": _STATE},
            # A value that is too old is not available, though its device may be.
            {
                "t": topics.state(view.name),
                "val_tpl": f"{{{{ 'offline' if '{each.name}' in value_json.get('stale', []) else 'online' }}}}",
            },
        ],
    }
    value = f"{{{{ value_json.{each.name} }}}}"
    if each.kind is ValueKind.BOOLEAN:
        on, off = ("ON", "OFF") if each.writable else ("True", "False")
        component |= {"pl_on": on, "pl_off": off}
    component["stat_val_tpl" if platform == "light" else "val_tpl"] = value
    if writable:
        component["cmd_t"] = topics.command(view.name, each.name)
    unit = UNITS.get(each.unit, each.unit) if each.kind is ValueKind.NUMBER else ""
    if known(platform, each.device_class, unit):
        component["dev_cla"] = each.device_class
    if each.device_class in _DIAGNOSTIC:
        component["ent_cat"] = "diagnostic"
    if each.kind is ValueKind.NUMBER:
        component |= _number(each, platform, unit)
    return component


def _writable(view: DeviceView, each: Property) -> bool:
    return each.writable and "write" in view.may


def _platform(each: Property, writable: bool) -> str:
    if each.kind is ValueKind.BOOLEAN:
        if not writable:
            return "binary_sensor"
        return "light" if each.resource_type in LIGHTS else "switch"
    if not writable:
        return "sensor"
    return "number" if each.kind is ValueKind.NUMBER else "text"


def _number(each: Property, platform: str, unit: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if unit:
        found["unit_of_meas"] = unit
    if platform == "sensor":
        found["stat_cla"] = "total_increasing" if each.device_class in COUNTED else "measurement"
    else:
        for key, bound in (("min", each.minimum), ("max", each.maximum)):
            if bound is not None:
                found[key] = bound
    return found
