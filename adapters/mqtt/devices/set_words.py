"""What the keys and values of a ``set`` stand for: zigbee2mqtt's words as properties to be set and actions. Pure.

A key is a property, or an action with its input; a bare value stands for the one field that an input needs, and other
keys of the message that are fields of the input go along. A key of a further endpoint has its number behind it, as
``state_2`` or ``state_l2``. A number between two steps is rounded to the nearer one, since Home Assistant sends such;
what comes out ``fits`` its schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.mqtt.devices.color_words import read_color
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, PropertyAffordance, Value
from gateway.kit.values import expected, of_json

_SUFFIX: Final = re.compile(r"(.+)_l?([0-9]{1,3})")
_ENDPOINT: Final = re.compile(r"l?([1-9][0-9]{0,2})")
_STOP: Final = "stop"
_MOVE: Final = "_move"
_FULL: Final = 254
"""The greatest ZigBee level; other systems have 255."""
_PERCENT: Final = DataSchema(type=DataType.NUMBER, minimum=0, maximum=100)
_NUMBERS: Final = (DataType.NUMBER, DataType.INTEGER)
_EXACT: Final = 2**53
_TEMPERATURES: Final = {"warm": 454, "neutral": 370, "cool": 250}
"""Words for colour temperatures between the lamp's limits, in mired."""
_SCALED: Final = {"brightness_percent": "brightness", "color_temp_percent": "color_temp"}

_PLAIN: Final = {"ON": True, "OFF": False, "on": True, "off": False}

Properties = Mapping[str, PropertyAffordance]
Actions = Mapping[str, ActionAffordance]


@dataclass(slots=True)
class Understood:
    """``sets``: property to value; ``actions``: action to input. ``unfit``: what can't be, with what was expected, and
    ``unknown``: names that the device doesn't have."""

    sets: dict[str, Value] = field(default_factory=dict)
    actions: dict[str, Value | None] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def endpoint_of(level: str) -> str:
    """The number of the endpoint that a topic level names, ``2`` or ``l2``. PeerError: none."""
    found = _ENDPOINT.fullmatch(level)
    if found is None:
        raise PeerError("topic of no known form")
    return found[1]


def named(name: str, endpoint: str, known: Container[str]) -> str:
    """The name in ``known`` that a key stands for; the key itself if there is none. ``endpoint``: the topic's."""
    if endpoint:
        own = f"{name}_{endpoint}"
        return own if own in known or endpoint != "1" else name
    if name in known:
        return name
    found = _SUFFIX.fullmatch(name)
    if found is None:
        return name
    base, number = found[1], found[2]
    own = f"{base}_{number}"
    return base if number == "1" and own not in known and base in known else own if own in known else name


def understood(values: Mapping[str, Any], properties: Properties, actions: Actions, endpoint: str = "") -> Understood:
    """What a set asks of a device. The name ``""`` is that of a bare value. PeerError: one that stands for nothing."""
    found = Understood()
    asked: dict[str, Any] = {}
    for key, value in values.items():
        name = key or _bare(value, properties, actions, endpoint)
        known = properties.get(name)
        if known is not None and known.writable and known.readable and not endpoint:
            # What nearly all sets are, without a call.
            kind = known.type
            plain: Value | None = None
            if kind is DataType.BOOLEAN:
                plain = value if value is True or value is False else _PLAIN.get(value) if type(value) is str else None
            elif type(value) is int and kind in _NUMBERS and known.multiple_of is None:
                low, high = known.minimum, known.maximum
                plain = value if low is not None and high is not None and low <= value <= high else None
            if plain is not None:
                found.sets[name] = plain
                continue
        asked[name] = value
    if not asked:
        return found
    taken: set[str] = set()
    for key, value in asked.items():
        _take(key, value, asked, properties, actions, endpoint, found, taken)
    _spread(found, properties, taken)
    return found


def _take(
    key: str,
    value: Any,
    asked: Mapping[str, Any],
    properties: Properties,
    actions: Actions,
    endpoint: str,
    found: Understood,
    taken: set[str],
) -> None:
    """Enter one key of a set in ``found``. ``taken``: keys that went along with an action."""
    name = named(key, endpoint, properties)
    known = properties.get(name)
    try:
        if known is None:
            name = named(key, endpoint, actions)
            action = actions.get(name)
            if action is not None:
                found.actions[name] = _input(name, value, action.input, asked, properties, endpoint, taken)
                return
            name = _whole_of(key, endpoint, properties)
            known = properties.get(name)
            if known is None:
                found.unknown.append(key)
                return
            value = _of_percent(value, known)
        elif isinstance(value, str) and name.startswith("state"):
            deed = _deed(name, value, known, actions)
            if deed:
                found.actions[deed] = None
                return
        if not known.writable:
            raise PeerError("can't be set")
        _set(name, value, known, asked, properties, endpoint, found)
    except PeerError as mistake:
        found.unfit[name] = str(mistake)


def _set(
    name: str,
    value: Any,
    known: PropertyAffordance,
    asked: Mapping[str, Any],
    properties: Properties,
    endpoint: str,
    found: Understood,
) -> None:
    base = _base(name)
    if base == "color" and known.type is DataType.OBJECT:
        color, level = read_color(value, dict(known.fields))
        found.sets[name] = fit(color, known)
        dimmed = name.replace("color", "brightness", 1)
        light = properties.get(dimmed)
        if (
            level is not None
            and light is not None
            and dimmed not in found.sets
            and not any(named(each, endpoint, properties) == dimmed for each in (*asked, *map(_unscaled, asked)))
        ):
            found.sets[dimmed] = fit(_of_percent(level, light), light)
        return
    special = _SPECIAL.get(base)
    found.sets[name] = fit(value if special is None else special(value, known), known)


def fit(value: Any, schema: DataSchema) -> Value:
    """A value in one of the forms that are usual over MQTT. PeerError, in words for the sender: it doesn't fit."""
    kind = schema.type
    if isinstance(value, str):
        if schema.enum and value not in schema.enum:
            same = [word for word in schema.enum if word.casefold() == value.strip().casefold()]
            if len(same) == 1:
                return same[0]
    elif kind in _NUMBERS and type(value) in (int, float):
        value = _stepped(value, schema)
    elif kind is DataType.OBJECT and isinstance(value, dict):
        value = _fields(value, schema)
    return of_json(value, schema)


def _fields(given: Mapping[str, Any], schema: DataSchema) -> dict[str, Value]:
    known = dict(schema.fields)
    found: dict[str, Value] = {}
    for name, value in given.items():
        if name not in known:
            raise PeerError(f"expected {expected(schema)}")
        try:
            found[name] = fit(value, known[name])
        except PeerError as mistake:
            raise PeerError(f"{name}: {mistake}") from None
    return found


def _stepped(value: float, schema: DataSchema) -> float:
    """A number as the nearest one that has the schema's step."""
    if not -_EXACT < value < _EXACT:  # also no number, or infinite
        return value
    step = schema.multiple_of
    if step is None:
        return round(value) if schema.type is DataType.INTEGER else value
    near = round(round(value / step) * step, 9)
    return int(near) if schema.type is DataType.INTEGER else near


def _bare(value: Any, properties: Properties, actions: Actions, endpoint: str) -> str:
    """The key that a bare value stands for."""
    if endpoint:
        return "state"
    state = properties.get("state")
    if state is not None and state.writable and state.readable:
        return "state"
    if isinstance(value, str) and value.lower() in actions:
        return value.lower()
    writable = [name for name, each in properties.items() if each.writable and each.readable]
    if len(writable) == 1:
        return writable[0]
    raise PeerError("a bare value for a device with several properties")


def _deed(name: str, word: str, known: PropertyAffordance, actions: Actions) -> str:
    """The action that a word in the place of a state stands for, such as TOGGLE or STOP; empty: none."""
    try:
        fit(word, known)
    except PeerError:
        action = f"{word.strip().lower()}{name.removeprefix(_base(name))}"
        found = actions.get(action)
        return action if found is not None and not (found.input and found.input.required) else ""
    return ""


def _input(
    name: str,
    value: Any,
    schema: DataSchema | None,
    asked: Mapping[str, Any],
    properties: Properties,
    endpoint: str,
    taken: set[str],
) -> Value | None:
    """The input of an action, of the value of its key and of other keys of the message."""
    nothing = value is None or value is True or value == ""
    if schema is None:
        if not nothing and value != {} and not (isinstance(value, str) and value.lower() == _base(name)):
            raise PeerError("it takes no input")
        return None
    if schema.type is not DataType.OBJECT:
        return fit(value, schema)
    known = dict(schema.fields)
    if isinstance(value, dict):
        given = dict(value)
    else:
        (main,) = tuple(schema.required)[:1] or ("",)
        if not main and not nothing:
            main = next(iter(known), "")
            if not main:
                raise PeerError("it takes no input")
        if value == _STOP and _base(name).endswith(_MOVE) and known[main].type in _NUMBERS:
            value = 0
        given = {main: value} if main else {}
    for key, other in asked.items():
        what = properties.get(named(key, endpoint, properties))
        if key in known and key not in given and (what is None or not what.readable):
            given[key] = other
            taken.add(key)
    missing = schema.required - given.keys()
    if missing:
        raise PeerError(f"expected {', '.join(sorted(missing))}")
    return of_json(_fields(given, schema), schema)


def _spread(found: Understood, properties: Properties, taken: set[str]) -> None:
    """Have what says how properties are set (a transition) say it of each endpoint that is set, and of no other."""
    found.unknown = [each for each in found.unknown if each not in taken]
    modifiers = [name for name in found.sets if not properties[name].readable]
    if not modifiers:
        return
    ends = {_end(name, properties) for name in found.sets if properties[name].readable}
    for name in modifiers:
        base, own = _base(name), _end(name, properties)
        if name == base:
            for each in ends - {""}:
                other = f"{base}_{each}"
                if other in properties:
                    found.sets.setdefault(other, found.sets[name])
        if own not in ends and (ends or base in taken):
            del found.sets[name]


def _end(name: str, properties: Properties) -> str:
    """The number behind a property's name, if it is one of a further endpoint."""
    found = _SUFFIX.fullmatch(name)
    return found[2] if found is not None and found[1] in properties else ""


def _base(name: str) -> str:
    found = _SUFFIX.fullmatch(name)
    return name if found is None else found[1]


def _unscaled(key: str) -> str:
    base = _base(key)
    return key.replace(base, _SCALED[base], 1) if base in _SCALED else key


def _whole_of(key: str, endpoint: str, properties: Properties) -> str:
    """The property of which a key gives the percentage."""
    return named(_unscaled(key), endpoint, properties) if _base(key) in _SCALED else ""


def _of_percent(value: Any, known: PropertyAffordance) -> float:
    percent = of_json(value, _PERCENT)
    assert isinstance(percent, int | float)
    low, high = known.minimum or 0, known.maximum
    if high is None:
        raise PeerError("can't be set in percent")
    return round(low + percent * (high - low) / 100)


def _brightness(value: Any, known: PropertyAffordance) -> Any:
    return _FULL if value == _FULL + 1 and known.maximum == _FULL else value


def _color_temp(value: Any, known: PropertyAffordance) -> Any:
    """Words, and what is beyond the lamp's limits as these: Home Assistant sends such."""
    low, high = known.minimum, known.maximum
    if isinstance(value, str):
        word = value.strip().lower()
        ends = {"coolest": low, "warmest": high}
        number = ends.get(word, _TEMPERATURES.get(word))
        if number is None:
            raise PeerError(f"{expected(known)}, or one of warmest, warm, neutral, cool, coolest")
        value = number
    if type(value) not in (int, float) or not value > 0:
        return value
    return min(max(value, value if low is None else low), value if high is None else high)


_SPECIAL: Final[Mapping[str, Callable[[Any, PropertyAffordance], Any]]] = {
    "brightness": _brightness,
    "color_temp": _color_temp,
}
