"""What Home Assistant would say of a discovery message, and what it would read from a state. Nothing else.

Its keys, units and classes are those of ``tests/data/home-assistant-mqtt.json``, which names version and source; the
rules behind them are those that its own validators and a running one showed (2026.11.0). What a wrong structure costs:
the whole device, if it is in the root, ``device`` or ``origin``, or if a component has no platform or unique id; else
the component.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

KNOWN: Final[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data/home-assistant-mqtt.json").read_text())
_LONG: Final = KNOWN["abbreviations"]
_INHERITED: Final = frozenset({"state_topic", "command_topic", "encoding", "qos"})
_LEAST_STEP: Final = 0.001

_ENVIRONMENT: Final = ImmutableSandboxedEnvironment()
_ENVIRONMENT.filters |= {"to_json": json.dumps, "from_json": json.loads, "as_datetime": str}
_ENVIRONMENT.globals["now"] = lambda: datetime(2026, 11, 30, tzinfo=UTC)


def spelled_out(message: bytes) -> dict[str, Any]:
    """A discovery message with the long keys."""
    found = json.loads(message)
    config = _spelled(found)
    config["device"] = _spelled(found["dev"], KNOWN["device_abbreviations"])
    config["origin"] = _spelled(found["o"], KNOWN["origin_abbreviations"])
    config["components"] = {key: _spelled(each) for key, each in found["cmps"].items()}
    return config


def _spelled(found: Any, words: Mapping[str, str] = _LONG) -> Any:
    if isinstance(found, dict):
        return {words.get(key, _LONG.get(key, key)): _spelled(value) for key, value in found.items()}
    return [_spelled(each) for each in found] if isinstance(found, list) else found


def render(template: str, **given: Any) -> str:
    """As Home Assistant renders it: ``value_json`` for a state, ``value`` for a command."""
    return _ENVIRONMENT.from_string(template).render(**given).strip()


def mistakes(message: bytes) -> list[str]:
    """One line each, none for a message that it takes as it is meant."""
    config = spelled_out(message)
    return [*_of_the_root(config), *(
        f"{key}: {each}" for key, component in config["components"].items() for each in _of_one(component, config)
    )]  # fmt: skip


def whole(message: bytes) -> dict[str, Any]:
    """The components that a message makes, without those that it takes away."""
    return {key: each for key, each in spelled_out(message)["components"].items() if len(each) > 1}


def _of_the_root(config: dict[str, Any]) -> Iterator[str]:
    for part, permitted in (("root", config), ("device", config["device"]), ("origin", config["origin"])):
        for key, value in permitted.items():
            if key not in KNOWN[part] or value is None or value == "":
                yield f"{part}: {key} costs the whole device"
    if not config["device"].get("identifiers"):
        yield "device: no identifiers"
    if "name" not in config["origin"]:
        yield "origin: no name"
    ids = [each["unique_id"] for each in config["components"].values() if "unique_id" in each]
    if len(ids) != len(set(ids)):
        yield "components: a unique id twice"


def _of_one(component: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    platform = component.get("platform")
    if platform not in KNOWN["platforms"]:
        yield "no known platform"
        return
    if len(component) == 1:
        return
    if not component.get("unique_id"):
        yield "no unique id"
    form = f"{platform} {component['schema']}" if "schema" in component else platform
    rules = KNOWN["platforms"][form]
    for key in component.keys() - {*rules["permitted"], *KNOWN["every"]}:
        yield f"{key} is no key of {form}"
    for key in {*rules["required"]} - component.keys() - (config.keys() & _INHERITED):
        yield f"{key} is missing"
    if component.get("entity_category", "config") not in ("config", "diagnostic"):
        yield "no known category"
    if component.get("entity_category") == "config" and platform in ("sensor", "binary_sensor"):
        yield "what only tells can't be config"
    for key, value in component.items():
        yield from _of_a_value(key, value)
    yield from _RULES.get(form, _any)(component)


def _of_a_value(key: str, value: Any) -> Iterator[str]:
    if value is None and key not in ("name", "payload_stop", "payload_open", "payload_close"):
        yield f"{key} is null"
    if key.endswith("_template"):
        try:
            _ENVIRONMENT.from_string(value)
        except TemplateSyntaxError as error:
            yield f"{key}: {error}"
    if key.endswith("command_topic") and ("+" in value or "#" in value):
        yield f"{key}: a pattern"
    if key.endswith("_topic") and not value:
        yield f"{key} is empty"


def _any(component: dict[str, Any]) -> Iterator[str]:
    found = component.get("device_class")
    classes = KNOWN["classes"].get(component["platform"])
    if found is not None and (classes is None or found not in classes):
        yield f"no class {found}"


def _unit(component: dict[str, Any]) -> Iterator[str]:
    found, unit = component.get("device_class"), component.get("unit_of_measurement", "")
    if found is not None and KNOWN["same_units"].get(unit, unit) not in KNOWN["units"][found]:
        yield f"{found} in {unit}"


def _sensor(component: dict[str, Any]) -> Iterator[str]:
    found, of_numbers = component.get("device_class"), component.keys() & {"unit_of_measurement", "state_class"}
    if found == "enum":
        options = component.get("options", [])
        if not options or len(options) != len(set(options)) or of_numbers:
            yield "an enumeration with no options, with one twice, or with a unit"
    elif "options" in component:
        yield "options without the class enum"
    elif found != "timestamp":
        yield from _unit(component)
        state_class = component.get("state_class")
        if found is not None and state_class is not None and state_class not in KNOWN["state_classes"][found]:
            yield f"{found} as {state_class}: no statistics"


def _number(component: dict[str, Any]) -> Iterator[str]:
    if component.get("min", 1) > component.get("max", 100):
        yield "min above max"
    if component.get("step", 1) < _LEAST_STEP:
        yield "a step below 0.001"
    yield from _unit(component)


def _select(component: dict[str, Any]) -> Iterator[str]:
    if not component["options"] or len(component["options"]) != len(set(component["options"])):
        yield "no options, or one twice"


def _event(component: dict[str, Any]) -> Iterator[str]:
    if not component["event_types"] or len(component["event_types"]) != len(set(component["event_types"])):
        yield "no types of events, or one twice"
    yield from _any(component)


def _json_light(component: dict[str, Any]) -> Iterator[str]:
    modes = component.get("supported_color_modes", [])
    if not modes or len(modes) != len(set(modes)) or not {*modes} <= {*KNOWN["color_modes"]}:
        yield "no colour modes, one twice, or one that is none"
    if len(modes) > 1 and {"onoff", "brightness"} & {*modes}:
        yield "a mode without colour beside another"
    yield from _light(component)


def _light(component: dict[str, Any]) -> Iterator[str]:
    if component.get("brightness_scale", 255) < 1:
        yield "a brightness scale below 1"
    if not 0 < component.get("min_mireds", 1) < component.get("max_mireds", 1000):
        yield "colour temperatures that are none, or the wrong way round"


def _cover(component: dict[str, Any]) -> Iterator[str]:
    if "set_position_topic" in component and "position_topic" not in component:
        yield "a position that is set and never shown"
    yield from _any(component)


def _climate(component: dict[str, Any]) -> Iterator[str]:
    if not component.get("modes") or not {*component["modes"]} <= {*KNOWN["hvac_modes"]}:
        yield "no modes, or one that is none"
    if component.get("precision", 0.1) not in (0.1, 0.5, 1.0) or component.get("temperature_unit", "C") not in "CF":
        yield "a precision or unit that is none"
    if component.get("min_temp", 7) >= component.get("max_temp", 35):
        yield "limits the wrong way round"


def _fan(component: dict[str, Any]) -> Iterator[str]:
    if component.get("speed_range_min", 1) < 1 or component.get("speed_range_max", 100) < 1:
        yield "speeds that are none"
    if ("preset_modes" in component) != ("preset_mode_command_topic" in component):
        yield "presets without a topic, or the reverse"


_RULES: Final = {
    "sensor": _sensor, "number": _number, "select": _select, "event": _event, "light json": _json_light,
    "light": _light, "cover": _cover, "climate": _climate, "fan": _fan,
    "binary_sensor": _any, "switch": _any, "button": _any, "update": _any,
}  # fmt: skip
