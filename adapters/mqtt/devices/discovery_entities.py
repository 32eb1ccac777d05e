"""Entities that several properties and actions of a device make together, as Home Assistant's components. Pure.

Source: www.home-assistant.io/integrations/{light,switch,cover,climate,lock,fan,siren}.mqtt; the short keys are of its
list of supported abbreviations. The words of the values are those of ``adapters.mqtt.devices.values``.

In templates ``value_json['x']``, never ``value_json.x``: a key such as ``update`` would be the method of that name. A
value that is ``null`` is Python's ``None`` there, which means "unknown", but for the positions of a cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.mqtt.devices.topics import HomeSpace
from gateway.api.model import ActionAffordance, DataSchema, DataType, DeviceView, PropertyAffordance

_MIREDS: Final = (153, 500)
"""Of a lamp that doesn't say what it can do."""
_MODES: Final = {"auto": "auto", "off": "off", "cool": "cool", "heat": "heat", "dry": "dry", "fan_only": "fan_only"}
_MORE_MODES: Final = {"emergency_heating": "heat", "precooling": "cool", "sleep": "off"}
"""Modes that a thermostat may be in and that Home Assistant has no word for."""
_ACTIONS: Final = {"idle": "idle", "heat": "heating", "cool": "cooling", "fan_only": "fan", "off": "off"}
_SPEEDS: Final[tuple[str, ...]] = ("low", "medium", "high")
_LEVELS: Final[tuple[str, ...]] = ("low", "medium", "high", "very_high")
_LOCKED: Final = {"locked": "LOCKED", "unlocked": "UNLOCKED", "not_fully_locked": "JAMMED"}
_COVER_CLASSES: Final = frozenset({
    "awning", "blind", "curtain", "damper", "door", "garage", "gate", "shade", "shutter", "window",
})  # fmt: skip
_SPELLED: Final = {"ac": "AC", "co": "CO", "co2": "CO2", "pi": "PI", "pm1": "PM1", "pm10": "PM10", "pm25": "PM2.5",
                   "sos": "SOS", "voc": "VOC"}  # fmt: skip
_MIN_STEP: Final = 0.1
_USUAL_STEP: Final = 0.5
"""Of a setpoint whose own steps are finer than anyone wants to click."""


@dataclass(frozen=True, slots=True)
class Component:
    """``form``: its platform, and behind a space the way of configuring it if the platform has several: an entity can't
    go from one to the other. ``config``: what only its platform has. ``of``: the property that makes it unavailable
    when it is stale; empty: none. ``label``: behind the device's name."""

    form: str
    config: dict[str, Any] = field(default_factory=dict)
    of: str = ""
    label: str = ""
    category: str = ""

    @property
    def platform(self) -> str:
        return self.form.split()[0]


def label(name: str) -> str:
    """A name as people read it."""
    words = name.split("_")
    first = _SPELLED.get(words[0], words[0].capitalize())
    return " ".join((first, *(_SPELLED.get(each, each) for each in words[1:])))


def value(name: str) -> str:
    """A property's value, as an expression of a template."""
    return f"value_json['{name}']"


def shown(expression: str) -> str:
    return f"{{{{ {expression} }}}}"


def words(table: Mapping[str, str], expression: str) -> str:
    """The word for another one; any that isn't in the table as it is."""
    return f"{table!r}.get({expression}, {expression})"


@dataclass(slots=True)
class Parts:
    """What there is of one entity. ``properties``: by role, which is the name without an endpoint's number."""

    topics: HomeSpace
    view: DeviceView
    name: str
    properties: dict[str, PropertyAffordance] = field(default_factory=dict)
    actions: dict[str, ActionAffordance] = field(default_factory=dict)

    def value(self, role: str) -> str:
        return value(self.properties[role].name)

    def settable(self, role: str) -> PropertyAffordance | None:
        found = self.properties.get(role)
        return found if found is not None and found.writable and "write" in self.view.may else None

    def command(self, role: str) -> str:
        """The topic that sets a property."""
        return self.topics.command(self.view.name, self.properties[role].name)

    def invocation(self, role: str) -> str:
        """The topic that invokes an action."""
        return f"{self.state_topic}/action/{self.actions[role].name}"

    @property
    def state_topic(self) -> str:
        return self.topics.state(self.view.name)

    @property
    def plain(self) -> bool:
        """Whether properties have the names of their roles, as those of the first endpoint have."""
        return all(role == each.name for role, each in self.properties.items())


def on_off(parts: Parts) -> dict[str, Any] | None:
    """The keys of what is switched by its property ``state``. None: there is none, or it can't be."""
    state = parts.settable("state")
    if state is None or state.type is not DataType.BOOLEAN:
        return None
    return {"pl_on": "ON", "pl_off": "OFF", "cmd_t": parts.command("state")}


def switch(parts: Parts) -> Component | None:
    config = on_off(parts)
    if config is None:
        return None
    state = parts.properties["state"]
    config["val_tpl"] = shown(value(state.name))
    if state.device_class in ("outlet", "switch"):
        config["dev_cla"] = state.device_class
    return Component("switch", config, state.name, label(state.name), state.category)


def light(parts: Parts) -> Component | None:
    config = on_off(parts)
    if config is None:
        return None
    state = parts.properties["state"]
    modes = _color_modes(parts)
    bright = parts.settable("brightness")
    if not modes and bright is None:
        form = "light"
        config["stat_val_tpl"] = shown(value(state.name))
    elif parts.plain:
        form = "light json"
        config = _json_light(parts, modes)
    else:  # the JSON of its state has other keys
        form = "light"
        config |= {"stat_val_tpl": shown(value(state.name)), **_topics_of_light(parts, modes)}
    return Component(form, config, state.name, label(state.name), state.category)


def _color_modes(parts: Parts) -> list[str]:
    found = []
    color = parts.settable("color")
    if color is not None:
        fields = dict(color.fields)
        found += [mode for mode, one in (("xy", "x"), ("hs", "hue")) if one in fields]
        mode = parts.properties.get("color_mode")
        if mode is not None and mode.enum and len(found) > 1:
            found = [each for each in found if each in mode.enum] or found
    if parts.settable("color_temp") is not None:
        found.append("color_temp")
    return found


def _json_light(parts: Parts, modes: list[str]) -> dict[str, Any]:
    """The schema ``json``: it reads ``state``, ``brightness``, ``color``, ``color_temp`` and ``color_mode`` of the
    state, and sets several of them, with a transition, by one message."""
    bright = parts.settable("brightness")
    config: dict[str, Any] = {
        "schema": "json",
        "cmd_t": f"{parts.state_topic}/set",
        "sup_clrm": modes or ["brightness"],
        "brightness": bright is not None,
        "flsh": False,
        "trns": parts.settable("transition") is not None,
    }
    if bright is not None:
        config["bri_scl"] = _scale(bright)
    if "color_temp" in modes:
        config["min_mirs"], config["max_mirs"] = _mireds(parts)
    if effects := _effects(parts):
        config |= {"effect": True, "fx_list": effects}
    return config


def _topics_of_light(parts: Parts, modes: list[str]) -> dict[str, Any]:
    """A topic for each property; no transition."""
    state, found = parts.state_topic, dict[str, Any]()
    if bright := parts.settable("brightness"):
        found |= {
            "bri_stat_t": state, "bri_cmd_t": parts.command("brightness"), "bri_scl": _scale(bright),
            "bri_val_tpl": shown(parts.value("brightness")),
        }  # fmt: skip
    if "color_temp" in modes:
        least, greatest = _mireds(parts)
        found |= {
            "clr_temp_stat_t": state, "clr_temp_cmd_t": parts.command("color_temp"),
            "clr_temp_val_tpl": shown(parts.value("color_temp")), "min_mirs": least, "max_mirs": greatest,
        }  # fmt: skip
    for mode, keys, fields in (("xy", "xy", ("x", "y")), ("hs", "hs", ("hue", "saturation"))):
        if mode in modes:
            color = parts.value("color")
            pair = " ~ ',' ~ ".join(f"{color}['{each}']" for each in fields)
            one, other = ("x", "y") if mode == "xy" else ("hue", "sat")
            found |= {
                f"{keys}_stat_t": state, f"{keys}_cmd_t": parts.command("color"),
                f"{keys}_val_tpl": f"{{% if {color} %}}{shown(pair)}{{% endif %}}",
                f"{keys}_cmd_tpl": shown(f"{{'{fields[0]}': {one}, '{fields[1]}': {other}}} | to_json"),
            }  # fmt: skip
    return found


def _scale(bright: PropertyAffordance) -> int:
    """The brightest level."""
    return max(int(bright.maximum or 254), 1)


def _mireds(parts: Parts) -> tuple[int, int]:
    temp = parts.properties["color_temp"]
    least, greatest = int(temp.minimum or 0), int(temp.maximum or 0)
    return (least, greatest) if 0 < least < greatest else _MIREDS


def _effects(parts: Parts) -> list[str]:
    action = parts.actions.get("effect")
    if action is None or action.input is None or "invoke" not in parts.view.may:
        return []
    found = action.input
    if found.type is DataType.OBJECT:
        found = next((each for name, each in found.fields if name in found.required), found)
    return list(found.enum)


def cover(parts: Parts) -> Component | None:
    moves, position = parts.settable("state"), parts.settable("position")
    if moves is None and position is None:
        return None
    tilt = parts.settable("tilt")
    main = parts.properties.get("position") or parts.properties["state"]
    config: dict[str, Any] = {}
    if moves is not None:
        can = moves.enum or ("OPEN", "CLOSE", "STOP")
        config["cmd_t"] = parts.command("state")
        for key, word in (("pl_open", "OPEN"), ("pl_cls", "CLOSE"), ("pl_stop", "STOP")):
            config[key] = word if word in can else None
    said = words({"OPEN": "open", "CLOSE": "closed", "STOP": "None"}, parts.value("state")) if moves else "none"
    if "position" in parts.properties:
        where = parts.value("position")
        said = f"({said}) if {where} is none else ('closed' if {where} == 0 else 'open')"
        config |= {"pos_t": parts.state_topic, "pos_tpl": _unless_none(where)}
    if position is not None:
        config["set_pos_t"] = parts.command("position")
    config["val_tpl"] = shown(said)
    if tilt is not None:
        config |= {
            "tilt_status_t": parts.state_topic, "tilt_status_tpl": _unless_none(parts.value("tilt")),
            "tilt_cmd_t": parts.command("tilt"),
        }  # fmt: skip
    if main.device_class in _COVER_CLASSES:
        config["dev_cla"] = main.device_class
    return Component("cover", config, main.name, label(parts.name))


def _unless_none(expression: str) -> str:
    """Nothing at all for ``null``: Home Assistant takes no notice of an empty text, and warns of ``None``."""
    return shown(f"'' if {expression} is none else {expression}")


_SETPOINTS: Final = ("occupied_heating_setpoint", "occupied_cooling_setpoint")


def climate(parts: Parts) -> Component | None:
    points = [each for each in _SETPOINTS if parts.settable(each) is not None]
    if not points:
        return None
    state = parts.state_topic
    config: dict[str, Any] = {"temp_unit": "C", "precision": 0.1}
    both = len(points) > 1
    for role, kind in zip(points, ("temp_lo", "temp_hi") if both else ("temp",), strict=True):
        config |= {
            f"{kind}_cmd_t": parts.command(role), f"{kind}_stat_t": state,
            f"{kind}_stat_tpl": shown(parts.value(role)),
        }  # fmt: skip
    limits = [parts.properties[role] for role in points]
    least = [each.minimum for each in limits if each.minimum is not None]
    greatest = [each.maximum for each in limits if each.maximum is not None]
    if len(least) == len(greatest) == len(limits) and min(least) < max(greatest):
        config |= {"min_temp": min(least), "max_temp": max(greatest)}
    step = limits[0].multiple_of or 0.0
    config["temp_step"] = step if step >= _MIN_STEP else _USUAL_STEP
    if "local_temperature" in parts.properties:
        config |= {"curr_temp_t": state, "curr_temp_tpl": shown(parts.value("local_temperature"))}
    config |= _mode(parts, "heat" if points[0] == _SETPOINTS[0] else "cool")
    config |= _running(parts)
    main = parts.properties.get("local_temperature") or limits[0]
    return Component("climate", config, main.name, label(parts.name))


def _mode(parts: Parts, only: str) -> dict[str, Any]:
    """``only``: the mode of one that has no choice."""
    mode = parts.properties.get("system_mode")
    if mode is None:
        return {"modes": [only], "mode_stat_t": parts.state_topic, "mode_stat_tpl": only}
    modes = [_MODES[each] for each in mode.enum if each in _MODES] or [only]
    tpl = shown(words({**_MORE_MODES}, parts.value("system_mode")))
    found = {"modes": modes, "mode_stat_t": parts.state_topic, "mode_stat_tpl": tpl}
    if parts.settable("system_mode") is not None:
        found["mode_cmd_t"] = parts.command("system_mode")
    return found


def _running(parts: Parts) -> dict[str, Any]:
    if "running_state" in parts.properties:
        tpl = shown(words(_ACTIONS, parts.value("running_state")))
    elif "pi_heating_demand" in parts.properties:
        demand = parts.value("pi_heating_demand")
        tpl = shown(f"none if {demand} is none else 'heating' if {demand} > 0 else 'idle'")
    else:
        return {}
    return {"act_t": parts.state_topic, "act_tpl": tpl}


def lock(parts: Parts) -> Component | None:
    if parts.settable("state") is None:
        return None
    config: dict[str, Any] = {"cmd_t": parts.command("state"), "pl_lock": "LOCK", "pl_unlk": "UNLOCK"}
    code = parts.settable("code")
    if code is not None:  # the lock asks for one; a set of both
        both = f"{{'{parts.properties['state'].name}': value, '{code.name}': code}}"
        config |= {
            "cmd_t": f"{parts.state_topic}/set",
            "cod_form": "^\\d{1,32}$",
            "cmd_tpl": shown(f"{both} | to_json"),
        }
    said = words({"LOCK": "LOCKED", "UNLOCK": "UNLOCKED"}, parts.value("state"))
    if "lock_state" in parts.properties:
        exact = parts.value("lock_state")
        said = f"({said}) if {exact} is none else {words(_LOCKED, exact)}"
    config["val_tpl"] = shown(said)
    return Component("lock", config, parts.properties["state"].name, label(parts.name))


def fan(parts: Parts) -> Component | None:
    mode, state = parts.settable("fan_mode"), parts.settable("state") or parts.settable("fan_state")
    if mode is None and state is None:
        return None
    config: dict[str, Any]
    if state is not None:
        config = {"cmd_t": parts.topics.command(parts.view.name, state.name), "pl_on": "ON", "pl_off": "OFF"}
        config["stat_val_tpl"] = shown(value(state.name))
    else:
        assert mode is not None
        usual = next((each for each in ("on", "auto", "high") if each in mode.enum), "on")
        said = parts.value("fan_mode")
        config = {"cmd_t": parts.command("fan_mode"), "pl_on": usual, "pl_off": "off"}
        config["stat_val_tpl"] = shown(f"none if {said} is none else 'off' if {said} == 'off' else {usual!r}")
    if mode is not None:
        config |= _fan_modes(parts, mode)
    main = state or mode
    assert main is not None
    return Component("fan", config, main.name, label(parts.name))


def _fan_modes(parts: Parts, mode: PropertyAffordance) -> dict[str, Any]:
    said, found = parts.value("fan_mode"), dict[str, Any]()
    speeds = [each for each in _SPEEDS if each in mode.enum]
    presets = [each for each in mode.enum if each not in ("off", *speeds)]
    if speeds:
        numbers: dict[str, int] = {word: at for at, word in enumerate(("off", *speeds))}
        found |= {
            "pct_stat_t": parts.state_topic, "pct_val_tpl": shown(f"{numbers!r}.get({said})"),
            "pct_cmd_t": parts.command("fan_mode"), "pct_cmd_tpl": shown(f"{[*numbers]!r}[value | int]"),
            "spd_rng_min": 1, "spd_rng_max": len(speeds),
        }  # fmt: skip
    if presets:
        found |= {
            "pr_modes": presets, "pr_mode_stat_t": parts.state_topic, "pr_mode_cmd_t": parts.command("fan_mode"),
            "pr_mode_val_tpl": shown(f"{said} if {said} in {presets!r} else none"),
        }  # fmt: skip
    return found


def siren(parts: Parts) -> Component | None:
    warning = parts.actions.get("warning")
    if warning is None or warning.input is None or "invoke" not in parts.view.may:
        return None
    fields = dict(warning.input.fields)
    tones = [each for each in fields.get("mode", _TEXT).enum if each != "stop"]
    usual = "emergency" if "emergency" in tones else (tones or ["burglar"])[0]
    given = [f"'mode': tone | default({usual!r})"]
    loudness = fields.get("level", _TEXT).enum
    if loudness:
        levels = [each for each in _LEVELS if each in loudness] or [*loudness]
        at = f"[(volume_level | float * {len(levels)}) | int, {len(levels) - 1}] | min"
        given.append(f"'level': {levels!r}[{at}] if volume_level is defined else {levels[-1]!r}")
    wanted = "given"
    if "duration" in fields:  # one that isn't asked for is the device's own
        wanted = "dict(given, duration=duration) if duration is defined else given"
    config: dict[str, Any] = {
        "cmd_t": parts.invocation("warning"),
        "cmd_tpl": f"{{% set given = {{{', '.join(given)}}} %}}{shown(f'dict(input={wanted}) | to_json')}",
        "cmd_off_tpl": '{"input":{"mode":"stop"}}',
        "sup_dur": "duration" in fields,
        "sup_vol": bool(loudness),
    }
    if tones:
        config["av_tones"] = tones
    state = parts.properties.get("alarm") or parts.properties.get("state")
    if state is None:  # it never says whether it sounds
        return Component("siren", config | {"opt": True, "stat_val_tpl": ""}, "", label(parts.name))
    said = value(state.name)
    config["stat_val_tpl"] = shown(f"dict(state='ON' if {said} in (true, 'ON') else 'OFF') | to_json")
    return Component("siren", config, state.name, label(parts.name))


_TEXT: Final = DataSchema(type=DataType.STRING)
_LIGHT: Final = frozenset({"state", "brightness", "color", "color_temp", "color_mode", "transition"})
_CLIMATE: Final = frozenset({*_SETPOINTS, "local_temperature", "system_mode", "running_state", "pi_heating_demand"})
SHARED: Final = frozenset({"local_temperature", "pi_heating_demand"})
"""Roles that an entity only shows: they are components by themselves too, with their history."""


@dataclass(frozen=True, slots=True)
class EntityKind:
    """A kind of entities. ``roles``: of the properties that it takes up; the others are components by themselves, as
    all are if ``make`` makes none of what the reader may use."""

    roles: frozenset[str]
    make: Callable[[Parts], Component | None]


KINDS: Final = {
    "light": EntityKind(_LIGHT, light),
    "switch": EntityKind(frozenset({"state"}), switch),
    "cover": EntityKind(frozenset({"state", "position", "tilt"}), cover),
    "climate": EntityKind(_CLIMATE, climate),
    "lock": EntityKind(frozenset({"state", "lock_state", "code"}), lock),
    "fan": EntityKind(frozenset({"state", "fan_state", "fan_mode"}), fan),
    "siren": EntityKind(frozenset({"alarm", "state"}), siren),
}
