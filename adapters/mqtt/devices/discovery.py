"""Home Assistant's device discovery: a device's properties as the components that its MQTT integration makes. Pure.

Source: www.home-assistant.io/integrations/mqtt, "Device discovery payload"; the short keys are of its list of
supported abbreviations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.requests import MAX_JOIN
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.devices.units import COUNTED, UNITS, known
from gateway.api.model import DataType, DeviceView, GatewayView, PropertyAffordance

LIGHTS: Final = frozenset({"urn:oma:lwm2m:ext:3311"})
"""Resource types (IPSO light control) whose switch is a light."""
LET_GO: Final = b'{"migrate_discovery":true}'
"""Home Assistant lets go of a device's entities that came on this topic, and keeps what it knows of them."""
_DIAGNOSTIC: Final = frozenset({"battery"})
_FACTS: Final = {
    "manufacturer": "mf",
    "model": "mdl",
    "version": "sw",
    "sw_version": "sw",
    "hw_version": "hw",
}
NUMBERS: Final = (DataType.NUMBER, DataType.INTEGER)
_STATE: Final = "{{ value_json.state }}"
LAST_SEEN: Final = "last_seen"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Discovery:
    """``gateway`` is the gateway itself: each device is reached by way of it."""

    def __init__(self, topics: HomeSpace, prefix: str, gateway: GatewayView) -> None:
        self._topics = topics
        self._prefix = prefix
        self._gateway = gateway
        self._own = identity.of_gateway(gateway.id)
        self._origin = {"name": "atls-gateway", "sw": gateway.version}

    def topic(self, object_id: str) -> str:
        return f"{self._prefix}/device/{object_id}/config"

    @property
    def own_topic(self) -> str:
        return self.topic(self._own)

    def device(self, view: DeviceView, who: Identity, gone: Mapping[str, str] = _NOTHING) -> bytes:
        """The retained config of one device. ``gone``: the components that it had before, and their platforms; Home
        Assistant keeps what is merely left out."""
        facts = {short: value for name, value in view.facts if (short := _FACTS.get(name)) and value}
        if serial := identity.eui64(view.address):
            facts["sn"] = serial
        main = _main(view)
        components: dict[str, Any] = {name: {"p": each} for name, each in gone.items()}
        for name, (kind, each) in _components(view, who).items():
            if each is None:
                components[name] = self._last_seen(view, who)
            else:
                components[name] = self._component(view, each, who, kind, each is main and name == each.name)
        return self._message(
            {
                "dev": {"ids": who.identifiers, "name": view.name, **facts, "via_device": self._own},
                "cmps": components,
                "stat_t": self._topics.state(view.name),
                "avty_mode": "all",
            }
        )

    def platforms(self, view: DeviceView, who: Identity) -> dict[str, str]:
        """The components of a device, each with its platform."""
        return {name: kind for name, (kind, _) in _components(view, who).items()}

    def without(self, who: Identity, platforms: Mapping[str, str]) -> bytes:
        """A config that takes these components (with their platforms) of a device away and leaves the others."""
        return self._message(
            {"dev": {"ids": who.identifiers}, "cmps": {name: {"p": each} for name, each in platforms.items()}}
        )

    def gateway(self, *, administers: bool) -> bytes:
        """The retained config of the gateway itself. ``administers``: who reads this may open it for new devices."""
        topics, own = self._topics, self._own
        online = [{"t": topics.bridge_state, "val_tpl": _STATE}]
        components: dict[str, Any] = {
            "connection": {
                "p": "binary_sensor", "uniq_id": f"{own}_connection", "name": "Connection", "dev_cla": "connectivity",
                "ent_cat": "diagnostic", "stat_t": topics.bridge_state, "val_tpl": _STATE, "pl_on": "online",
                "pl_off": "offline",
            },
            "version": {
                "p": "sensor", "uniq_id": f"{own}_version", "name": "Version", "ent_cat": "diagnostic",
                "stat_t": topics.bridge_info, "val_tpl": "{{ value_json.version }}",
            },
            "permit_join": {
                "p": "switch", "uniq_id": f"{own}_permit_join", "name": "Permit join",
                "ic": "mdi:human-greeting-proximity",
                "stat_t": topics.bridge_info, "val_tpl": "{{ value_json.permit_join }}", "stat_on": "True",
                "stat_off": "False", "cmd_t": topics.request("permit_join"), "pl_on": json.dumps({"time": MAX_JOIN}),
                "pl_off": json.dumps({"time": 0}), "avty": online,
            },
            "permit_join_end": {
                "p": "sensor", "uniq_id": f"{own}_permit_join_end", "name": "Permit join until",
                "dev_cla": "timestamp", "ent_cat": "diagnostic", "stat_t": topics.bridge_info, "avty": online,
                "val_tpl": "{{ value_json.permit_join_end and (value_json.permit_join_end / 1000) | as_datetime }}",
            },
            "restart": {
                "p": "button", "uniq_id": f"{own}_restart", "name": "Restart", "dev_cla": "restart",
                "ent_cat": "config", "cmd_t": topics.request("restart"), "pl_prs": "{}", "avty": online,
            },
        }  # fmt: skip
        if not administers:
            for name in ("permit_join", "permit_join_end", "restart"):
                components[name] = {"p": components[name]["p"]}
        return self._message(
            {
                "dev": {"ids": [own], "name": self._gateway.name, "mf": "atls-gateway", "mdl": "ATLS gateway",
                        "sw": self._gateway.version},
                "cmps": components,
            }
        )  # fmt: skip

    def _message(self, config: dict[str, Any]) -> bytes:
        return json.dumps({**config, "o": self._origin}, separators=(",", ":")).encode()

    def _component(
        self, view: DeviceView, each: PropertyAffordance, who: Identity, kind: str, main: bool
    ) -> dict[str, Any]:
        writable = _writable(view, each)
        component: dict[str, Any] = {
            "p": kind,
            "uniq_id": who.unique_id(each.name),
            "name": None if main else each.name.replace("_", " ").capitalize(),
            "avty": [
                *self._reached(view),
                # A value that is too old is not available, though its device may be.
                {
                    "t": self._topics.state(view.name),
                    "val_tpl": f"{{{{ 'offline' if '{each.name}' in value_json.get('stale', []) else 'online' }}}}",
                },
            ],
        }
        if each.type is DataType.BOOLEAN:
            on, off = ("ON", "OFF") if each.writable else ("True", "False")
            component |= {"pl_on": on, "pl_off": off}
        # with a dot, a key such as "update" would be the method of that name
        component["stat_val_tpl" if kind == "light" else "val_tpl"] = f"{{{{ value_json['{each.name}'] }}}}"
        if writable:
            component["cmd_t"] = self._topics.command(view.name, each.name)
        unit = UNITS.get(each.unit, each.unit) if each.type in NUMBERS else ""
        if known(kind, each.device_class, unit):
            component["dev_cla"] = each.device_class
        if each.device_class in _DIAGNOSTIC:
            component["ent_cat"] = "diagnostic"
        if each.type in NUMBERS:
            component |= _number(each, kind, unit)
        return component

    def _last_seen(self, view: DeviceView, who: Identity) -> dict[str, Any]:
        return {
            "p": "sensor", "uniq_id": who.unique_id(LAST_SEEN), "name": "Last seen", "dev_cla": "timestamp",
            "ent_cat": "diagnostic", "en": False, "val_tpl": "{{ value_json.last_seen | default(None) }}",
            "avty": [{"t": self._topics.bridge_state, "val_tpl": _STATE}],
        }  # fmt: skip

    def _reached(self, view: DeviceView) -> list[dict[str, str]]:
        return [
            {"t": self._topics.bridge_state, "val_tpl": _STATE},
            {"t": self._topics.availability(view.name), "val_tpl": _STATE},
        ]


def _components(view: DeviceView, who: Identity) -> dict[str, tuple[str, PropertyAffordance | None]]:
    """The components of a device: their platforms, and the properties behind them."""
    found: dict[str, tuple[str, PropertyAffordance | None]] = {}
    for each in view.properties:
        if not each.readable or each.type in (DataType.OBJECT, DataType.ARRAY):
            continue  # Home Assistant has no entity for it
        kind = _platform(view, each)
        found[each.name] = kind, each
        if who.former and kind == "light":
            # Version 0.1.0 announced a switch, which has a history, and automations that name it.
            found[f"{each.name}_as_switch"] = "switch", each
    found.setdefault(LAST_SEEN, ("sensor", None))
    return found


def _platform(view: DeviceView, each: PropertyAffordance) -> str:
    """The platform of Home Assistant's that a property of a device is."""
    writable = _writable(view, each)
    if each.type is DataType.BOOLEAN:
        if not writable:
            return "binary_sensor"
        return "light" if each.resource_type in LIGHTS else "switch"
    if not writable:
        return "sensor"
    return "number" if each.type in NUMBERS else "text"


def _writable(view: DeviceView, each: PropertyAffordance) -> bool:
    return each.writable and "write" in view.may


def _main(view: DeviceView) -> PropertyAffordance | None:
    """The device's main property: the only one that it switches, or else the only boolean that it reports."""
    switched = [each for each in view.properties if _platform(view, each) in ("light", "switch")]
    booleans = [
        each for each in view.properties if each.type is DataType.BOOLEAN and each.device_class not in _DIAGNOSTIC
    ]
    found = switched or booleans
    return found[0] if len(found) == 1 else None


def _number(each: PropertyAffordance, kind: str, unit: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if unit:
        found["unit_of_meas"] = unit
    if kind == "sensor":
        found["stat_cla"] = "total_increasing" if each.device_class in COUNTED else "measurement"
    else:
        for key, bound in (("min", each.minimum), ("max", each.maximum)):
            if bound is not None:
                found[key] = bound
    return found
