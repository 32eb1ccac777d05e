"""Home Assistant's device discovery: a device's properties as the components that its MQTT integration makes. Pure.

Source: www.home-assistant.io/integrations/mqtt, "Device discovery payload"; the short keys are of its list of
supported abbreviations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.discovery_components import LAST_SEEN, components, main_component
from adapters.mqtt.devices.discovery_entities import Component, shown, value
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.requests import MAX_JOIN
from adapters.mqtt.devices.topics import HomeSpace
from gateway.api.model import DeviceView, GatewayView

LET_GO: Final = b'{"migrate_discovery":true}'
"""Home Assistant lets go of a device's entities that came on this topic, and keeps what it knows of them."""
_FACTS: Final = {
    "manufacturer": "mf",
    "model": "mdl",
    "version": "sw",
    "sw_version": "sw",
    "hw_version": "hw",
}
_STATE: Final = "{{ value_json.state }}"
_AS_SWITCH: Final = "_as_switch"
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
        """The retained config of one device. ``gone``: the components that it had before, and their forms; Home
        Assistant keeps what is merely left out."""
        facts = {short: value for name, value in view.facts if (short := _FACTS.get(name)) and value}
        if serial := identity.eui64(view.address):
            facts["sn"] = serial
        found = self._components(view, who)
        main = main_component(found)
        config: dict[str, Any] = {key: {"p": each.split()[0]} for key, each in gone.items()}
        for key, each in found.items():
            config[key] = self._component(view, key, each, who, key == main)
        config.setdefault(LAST_SEEN, self._last_seen(view, who))
        return self._message(
            {
                "dev": {"ids": who.identifiers, "name": view.name, **facts, "via_device": self._own},
                "cmps": config,
                "stat_t": self._topics.state(view.name),
                "avty_mode": "all",
            }
        )

    def forms(self, view: DeviceView, who: Identity) -> dict[str, str]:
        """The components of a device, each with its platform and how it is configured."""
        return {key: each.form for key, each in self._components(view, who).items()} | {LAST_SEEN: "sensor"}

    def _components(self, view: DeviceView, who: Identity) -> dict[str, Component]:
        found = components(view, self._topics)
        if who.former:  # Version 0.1.0 announced a switch, which has a history, and automations that name it.
            for key, each in [(key, each) for key, each in found.items() if each.platform == "light"]:
                config = {"cmd_t": self._topics.command(view.name, each.of), "pl_on": "ON", "pl_off": "OFF"}
                config["val_tpl"] = shown(value(each.of))
                found[key + _AS_SWITCH] = replace(each, form="switch", config=config)
        return found

    def without(self, who: Identity, forms: Mapping[str, str]) -> bytes:
        """A config that takes these components (with their forms) of a device away and leaves the others."""
        return self._message(
            {"dev": {"ids": who.identifiers}, "cmps": {name: {"p": each.split()[0]} for name, each in forms.items()}}
        )

    def gateway(self, *, administers: bool) -> bytes:
        """The retained config of the gateway itself. ``administers``: its readers may open it for new devices."""
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

    def _component(self, view: DeviceView, key: str, each: Component, who: Identity, main: bool) -> dict[str, Any]:
        reached = [
            {"t": self._topics.bridge_state, "val_tpl": _STATE},
            {"t": self._topics.availability(view.name), "val_tpl": _STATE},
        ]
        if each.of:  # A value that is too old is not available, though its device may be.
            stale = f"{{{{ 'offline' if '{each.of}' in value_json.get('stale', []) else 'online' }}}}"
            reached.append({"t": self._topics.state(view.name), "val_tpl": stale})
        component: dict[str, Any] = {
            "p": each.platform, "uniq_id": who.unique_id(key.removesuffix(_AS_SWITCH)),
            "name": None if main else each.label, "avty": reached,
        }  # fmt: skip
        if each.category:
            component["ent_cat"] = each.category
        return component | each.config

    def _last_seen(self, view: DeviceView, who: Identity) -> dict[str, Any]:
        return {
            "p": "sensor", "uniq_id": who.unique_id(LAST_SEEN), "name": "Last seen", "dev_cla": "timestamp",
            "ent_cat": "diagnostic", "en": False, "val_tpl": "{{ value_json.last_seen | default(None) }}",
            "avty": [{"t": self._topics.bridge_state, "val_tpl": _STATE}],
        }  # fmt: skip
