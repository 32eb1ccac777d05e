"""The components that Home Assistant makes of a device: of its entities, and of each property by itself. Pure.

Source: www.home-assistant.io/integrations/{sensor,binary_sensor,number,select,text,event,update,button}.mqtt.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from adapters.mqtt.devices.discovery_entities import KINDS, SHARED, Component, Parts, label, shown, value
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.devices.units import ANGLES, COUNTED, UNITS, known
from gateway.api.model import ActionAffordance, DataType, DeviceView, PropertyAffordance

LAST_SEEN: Final = "last_seen"
LIGHTS: Final = frozenset({"urn:oma:lwm2m:ext:3311"})
"""Resource types (IPSO light control) whose switch is a light, if nothing says of which entity it is."""
ACTION: Final = "action"
"""The component of a device's events."""
NUMBERS: Final = (DataType.NUMBER, DataType.INTEGER)
_NUMBERED: Final = re.compile(r"(.+?)(?:_\d+)?")
_DIAGNOSTIC: Final = frozenset({"battery"})
"""Classes of what tells about the device only."""
_OPEN_IS_ON: Final = frozenset({"door", "garage_door", "opening", "window"})
_WIDEST: Final = 1_000_000
"""A bound of a number that has none: Home Assistant takes 1 and 100 else."""
_LEAST_STEP: Final = 0.001
_USUAL_STEP: Final = 0.1
_BUTTONS: Final = re.compile(
    r"(on|off|toggle|open|close|stop|recall|store|single|double|triple|quadruple|many|hold|release|press|"
    r"(brightness|color|hue|saturation|move|arrow|dial|rotate|button)_\w+)(_\w+)?"
)
"""Events of remotes, by zigbee2mqtt's words."""
_SHOWN: Final = frozenset({"zone_status"})
"""Events whose content is in properties."""
_BLINK: Final = 5
"""Seconds."""
_UPDATE: Final = ("installed_version", "latest_version")
_UPDATE_MORE: Final = ("title", "release_summary", "release_url", "in_progress", "update_percentage")


def components(view: DeviceView, topics: HomeSpace) -> dict[str, Component]:
    """The components of a device by the keys that they have in its discovery, without those that every device has.

    An entity that 0.4.0 had already, a switch or light, has the name of its property ``state`` as key; others have
    their own name.
    """
    parts = _entities(view, topics)
    found: dict[str, Component] = {}
    taken: set[str] = set()
    for one in parts.values():
        kind = _role(one.name)
        component = KINDS[kind].make(one)
        if component is not None:
            found[component.of if kind in ("switch", "light") else one.name] = component
            taken.update(each.name for role, each in one.properties.items() if role not in SHARED)
            taken.add(one.name)
    for each in view.properties:
        if each.readable and each.name not in taken and (component := _alone(view, topics, each)) is not None:
            found.setdefault(each.name, component)
    if "invoke" in view.may:
        for action in view.actions:
            if action.entity not in taken and (component := _button(view, topics, action)) is not None:
                found.setdefault(action.name, component)
    events = [each.name for each in view.events if each.name not in _SHOWN]
    if events:
        found.setdefault(ACTION, _events(events, topics.event(view.name, "+")))
    return found


def main_component(found: dict[str, Component]) -> str | None:
    """The key of that which has the device's name: the only one that does something, or else the only one that tells
    yes or no."""
    for wanted in (
        [key for key, each in found.items() if each.platform in KINDS and not each.category],
        [
            key
            for key, each in found.items()
            if each.form == "binary_sensor" and not each.category and each.config.get("dev_cla") not in _DIAGNOSTIC
        ],
    ):
        if wanted:
            return wanted[0] if len(wanted) == 1 else None
    return None


def _role(name: str) -> str:
    """A name without the number of its endpoint."""
    found = _NUMBERED.fullmatch(name)
    return found[1] if found else name


def _entities(view: DeviceView, topics: HomeSpace) -> dict[str, Parts]:
    """The entities of a device, with the properties and actions that they take up."""
    parts: dict[str, Parts] = {}
    offered: tuple[PropertyAffordance | ActionAffordance, ...] = (*view.properties, *view.actions)
    for each in offered:
        kind = KINDS.get(_role(each.entity))
        if kind is None:
            continue
        one = parts.setdefault(each.entity, Parts(topics, view, each.entity))
        if isinstance(each, ActionAffordance):
            one.actions.setdefault(_role(each.name), each)
        else:
            role = each.name if each.name in kind.roles else _role(each.name)
            if role in kind.roles:
                one.properties.setdefault(role, each)
    return parts


def _alone(view: DeviceView, topics: HomeSpace, each: PropertyAffordance) -> Component | None:
    """The component that a property is by itself. None: Home Assistant has none for it."""
    if each.type is DataType.OBJECT:
        return _update(each) if _role(each.name) == "update" else None
    if each.type is DataType.ARRAY:
        return None
    writable = each.writable and "write" in view.may
    platform = _platform(each, writable)
    config: dict[str, Any] = {"stat_val_tpl" if platform == "light" else "val_tpl": shown(value(each.name))}
    if writable:
        config["cmd_t"] = topics.command(view.name, each.name)
    unit = UNITS.get(each.unit, each.unit) if each.type in NUMBERS else ""
    if known(platform, each.device_class, unit):
        config["dev_cla"] = each.device_class
    if each.type is DataType.BOOLEAN:
        config |= _boolean(each)
    elif each.type in NUMBERS:
        config |= _number(each, platform, unit)
    elif platform == "select":
        config["ops"] = [*each.enum]
    elif each.enum and platform == "sensor":
        config |= {"dev_cla": "enum", "ops": [*each.enum]}
    category = each.category or ("diagnostic" if each.device_class in _DIAGNOSTIC else "")
    if category and platform in ("sensor", "binary_sensor"):
        category = "diagnostic"  # they can't be config
    return Component(platform, config, each.name, label(each.name), category)


def _platform(each: PropertyAffordance, writable: bool) -> str:
    if each.type is DataType.BOOLEAN:
        lamp = not each.entity and each.resource_type in LIGHTS
        return "binary_sensor" if not writable else "light" if lamp else "switch"
    if not writable:
        return "sensor"
    if each.type in NUMBERS:
        return "number"
    return "select" if each.enum else "text"


def _boolean(each: PropertyAffordance) -> dict[str, str]:
    on, off = ("ON", "OFF") if each.writable else ("True", "False")
    if _role(each.name) == "contact" and each.device_class in _OPEN_IS_ON:
        on, off = off, on  # a contact that is closed is a door that is not open
    return {"pl_on": on, "pl_off": off}


def _number(each: PropertyAffordance, platform: str, unit: str) -> dict[str, Any]:
    found: dict[str, Any] = {"unit_of_meas": unit} if unit else {}
    if platform == "sensor":
        angle = each.device_class in ANGLES
        found["stat_cla"] = (
            "measurement_angle" if angle else "total_increasing" if each.device_class in COUNTED else "measurement"
        )
        return found
    least = -_WIDEST if each.minimum is None else each.minimum
    greatest = _WIDEST if each.maximum is None else each.maximum
    found |= {"min": least, "max": max(least, greatest)}
    step = each.multiple_of or (1 if each.type is DataType.INTEGER else _USUAL_STEP)
    if step != 1:
        found["step"] = max(step, _LEAST_STEP)
    if each.minimum is None or each.maximum is None:
        found["mode"] = "box"
    return found


def _update(each: PropertyAffordance) -> Component | None:
    """A device that says which firmware it has, and which there is. Home Assistant drops the message with any other
    key, and with a version that is null."""
    fields = dict(each.fields)
    if not all(name in fields for name in _UPDATE):
        return None
    said = value(each.name)
    more = [name for name in _UPDATE_MORE if name in fields]
    text = ", ".join(f"'{name}': {said}['{name}'] | string" for name in _UPDATE)
    rest = "".join(f", '{name}': {said}.get('{name}')" for name in more)
    ready = " and ".join(f"{said}.get('{name}') is not none" for name in _UPDATE)
    config = {
        "val_tpl": f"{{% if {said} and {ready} %}}{shown(f'{{{text}{rest}}} | to_json')}{{% endif %}}",
        "dev_cla": "firmware",
    }
    return Component("update", config, each.name, label(each.name), each.category or "config")


def _button(view: DeviceView, topics: HomeSpace, action: ActionAffordance) -> Component | None:
    """An action that needs no input, or a blink by which a device shows which one it is."""
    given = action.input
    identify = _role(action.name) == "identify"
    body = "{}"
    if given is not None and (given.type is not DataType.OBJECT or given.required):
        if not identify:
            return None
        seconds: Any = dict.fromkeys(given.required, _BLINK) if given.type is DataType.OBJECT else _BLINK
        body = json.dumps({"input": seconds}, separators=(",", ":"))
    config: dict[str, Any] = {"cmd_t": f"{topics.state(view.name)}/action/{action.name}", "pl_prs": body}
    if not action.idempotent:  # the same press must not be taken for another one
        config["cmd_tpl"] = shown("dict(value | from_json, transaction=now().timestamp() | string) | to_json")
    if identify:
        config["dev_cla"] = "identify"
    return Component("button", config, "", label(action.name), "config" if identify else "")


def _events(names: list[str], topic: str) -> Component:
    """All events as one entity, which says the latest one; its data are attributes."""
    data = "value_json.get('data')"
    config: dict[str, Any] = {
        "stat_t": topic,
        "evt_typ": names,
        "val_tpl": shown(f"dict({data} if {data} is mapping else {{}}, event_type={value('event')}) | to_json"),
    }
    if all(map(_BUTTONS.fullmatch, names)):
        config["dev_cla"] = "button"
    return Component("event", config, "", label(ACTION))


_OF_VERSION_0_4: Final = frozenset({"state", "brightness", "temperature", "humidity", "battery", "alarm"})


def of_version_0_4(view: DeviceView) -> dict[str, str]:
    """The components that version 0.4.0 announced of a device, with their forms: each property was one by itself."""
    found = {"alarm": "binary_sensor"}  # other properties are in its place now
    for each in view.properties:
        if each.readable and _role(each.name) in _OF_VERSION_0_4:
            lamp = each.type is DataType.BOOLEAN and each.writable and each.resource_type in LIGHTS
            found[each.name] = "light" if lamp else _platform(each, each.writable and "write" in view.may)
    return found
