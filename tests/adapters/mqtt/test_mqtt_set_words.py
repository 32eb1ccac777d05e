"""The words of a set: zigbee2mqtt's keys and values as properties and actions."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.devices.color_words import read_color
from adapters.mqtt.devices.set_words import understood
from gateway.api.errors import PeerError
from gateway.api.model import DataType, PropertyAffordance
from gateway.api.schema import fits
from tests.harness.words_things import ACTIONS, FRACTION, LAMP, THINGS, settable


@pytest.mark.parametrize(
    ("given", "sets"),
    [
        ({"state": "on"}, {"state": True}),
        ({"state": "OFF", "brightness": 255, "transition": 2}, {"state": False, "brightness": 254, "transition": 2}),
        ({"brightness_percent": 50}, {"brightness": 127}),
        ({"brightness": 99.7, "transition": 0.25}, {"brightness": 100, "transition": 0.2}),
        ({"color": {"x": 0.3, "y": 0.4}}, {"color": {"x": 0.3, "y": 0.4}}),
        ({"color": {"r": 255, "g": 0, "b": 0}}, {"color": {"x": 0.6401, "y": 0.33}}),
        ({"color": {"rgb": "255, 0,0"}}, {"color": {"x": 0.6401, "y": 0.33}}),
        ({"color": "255,0,0"}, {"color": {"x": 0.6401, "y": 0.33}}),
        ({"color": {"hex": "#FF0000"}}, {"color": {"x": 0.6401, "y": 0.33}}),
        ({"color": "#ff0000"}, {"color": {"x": 0.6401, "y": 0.33}}),
        ({"color": "#000000"}, {"color": {"x": 0.3127, "y": 0.329}}),
        ({"color": {"h": 120, "s": 80.4}}, {"color": {"hue": 120, "saturation": 80.4}}),
        ({"color": {"hue": 120, "saturation": 80}}, {"color": {"hue": 120, "saturation": 80}}),
        ({"color": {"hue": 359.6}}, {"color": {"hue": 360}}),
        ({"color": {"s": 10}}, {"color": {"saturation": 10}}),
        ({"color": {"h": 120, "s": 80, "v": 50}}, {"color": {"hue": 120, "saturation": 80}, "brightness": 127}),
        ({"color": {"hsv": "120,80,100"}}, {"color": {"hue": 120, "saturation": 80}, "brightness": 254}),
        ({"color": {"hsb": "120,80,100"}, "brightness": 7}, {"color": {"hue": 120, "saturation": 80}, "brightness": 7}),
        ({"color": {"hsl": "120,100,50"}}, {"color": {"hue": 120, "saturation": 100}, "brightness": 254}),
        ({"color_temp": "warmest"}, {"color_temp": 500}),
        ({"color_temp": "Warm"}, {"color_temp": 454}),
        ({"color_temp": "neutral"}, {"color_temp": 370}),
        ({"color_temp": "cool"}, {"color_temp": 250}),
        ({"color_temp": "coolest"}, {"color_temp": 153}),
        ({"color_temp": 111}, {"color_temp": 153}),
        ({"color_temp": 1000}, {"color_temp": 500}),
        ({"color_temp_percent": 100}, {"color_temp": 500}),
        ({"state_l2": "ON"}, {"state_2": True}),
        ({"state_l1": "ON"}, {"state": True}),
        ({"state_2": True, "transition": 3}, {"state_2": True, "transition_2": 3}),
        ({"state": True, "state_2": True, "transition": 3}, {"state": True, "transition": 3, "state_2": True,
                                                             "transition_2": 3}),
        ({"": "OFF"}, {"state": False}),
    ],
)  # fmt: skip
def test_a_lamp_s_words(given: dict[str, Any], sets: dict[str, Any]) -> None:
    found = understood(given, LAMP, ACTIONS)
    assert (found.sets, found.actions, found.unfit, found.unknown) == (sets, {}, {}, [])


@pytest.mark.parametrize(
    ("given", "sets"),
    [
        ({"state": "open"}, {"state": "OPEN"}),
        ({"": "Close"}, {"state": "CLOSE"}),
        ({"occupied_heating_setpoint": 22.3}, {"occupied_heating_setpoint": 22.5}),
        ({"system_mode": "HEAT"}, {"system_mode": "heat"}),
    ],
)
def test_words_of_covers_and_thermostats(given: dict[str, Any], sets: dict[str, Any]) -> None:
    assert understood(given, THINGS, ACTIONS).sets == sets


@pytest.mark.parametrize(
    ("given", "sets", "actions"),
    [
        ({"state": "TOGGLE"}, {}, {"toggle": None}),
        ({"": "toggle"}, {}, {"toggle": None}),
        ({"state_2": "toggle"}, {}, {"toggle_2": None}),
        ({"toggle": ""}, {}, {"toggle": None}),
        ({"toggle_l2": None}, {}, {"toggle_2": None}),
        ({"brightness_step": -40}, {}, {"brightness_step": {"step": -40}}),
        ({"brightness_step": 40, "transition": 2}, {}, {"brightness_step": {"step": 40, "transition": 2}}),
        ({"brightness_step": {"step": 40, "transition": 1}}, {}, {"brightness_step": {"step": 40, "transition": 1}}),
        ({"brightness_step": 40, "transition": 2, "state": "ON"}, {"state": True, "transition": 2},
         {"brightness_step": {"step": 40, "transition": 2}}),
        ({"brightness_move": "stop"}, {}, {"brightness_move": {"rate": 0}}),
        ({"brightness_move_onoff": "stop"}, {}, {"brightness_move_onoff": {"rate": 0}}),
        ({"effect": "Blink"}, {}, {"effect": "blink"}),
        ({"flash": ""}, {}, {"flash": {}}),
        ({"identify": ""}, {}, {"identify": {"duration": 3}}),
        ({"identify": "identify"}, {}, {"identify": {"duration": 3}}),
        ({"identify": 5}, {}, {"identify": {"duration": 5}}),
        ({"warning": {"mode": "fire", "duration": 10}}, {}, {"warning": {"mode": "fire", "duration": 10}}),
        ({"warning": "fire", "duration": 10}, {}, {"warning": {"mode": "fire", "duration": 10}}),
    ],
)  # fmt: skip
def test_keys_that_are_actions(given: dict[str, Any], sets: dict[str, Any], actions: dict[str, Any]) -> None:
    found = understood(given, LAMP, ACTIONS)
    assert (found.sets, found.actions, found.unfit, found.unknown) == (sets, actions, {}, [])


def test_stop_of_a_cover_is_an_action_unless_its_state_has_the_word() -> None:
    assert understood({"state": "STOP"}, THINGS, ACTIONS).actions == {"stop": None}
    assert understood({"": "STOP"}, THINGS, ACTIONS).actions == {"stop": None}
    stops = THINGS | {"state": settable("state", DataType.STRING, enum=("OPEN", "CLOSE", "STOP"))}
    assert understood({"state": "stop"}, stops, ACTIONS).sets == {"state": "STOP"}


@pytest.mark.parametrize(
    ("given", "name", "mistake"),
    [
        ({"brightness": 256}, "brightness", "expected a whole number from 0 to 254"),
        ({"brightness_percent": 101}, "brightness", "expected a number from 0 to 100"),
        ({"color": "red"}, "color", "expected a colour as"),
        ({"color": {"x": 2, "y": 0}}, "color", "expected a colour as"),
        ({"color_temp": "hot"}, "color_temp", "or one of warmest, warm, neutral, cool, coolest"),
        ({"color_temp": 0}, "color_temp", "from 153 to 500"),
        ({"color_mode": "xy"}, "color_mode", "can't be set"),
        ({"state": "dance"}, "state", "ON or OFF"),
        ({"toggle": 7}, "toggle", "it takes no input"),
        ({"brightness_step": "far"}, "brightness_step", "step: expected a whole number"),
        ({"brightness_step": ""}, "brightness_step", "step: expected"),
        ({"warning": {"mode": "fire", "colour": 3}}, "warning", "expected an object of mode, duration"),
        ({"warning": {"duration": 3}}, "warning", "expected mode"),
    ],
)
def test_what_was_expected(given: dict[str, Any], name: str, mistake: str) -> None:
    found = understood(given, LAMP, ACTIONS)
    assert not found.sets and not found.actions
    assert list(found.unfit) == [name] and mistake in found.unfit[name]


def test_a_topic_of_an_endpoint() -> None:
    found = understood({"state": "ON", "transition": 1, "toggle": ""}, LAMP, ACTIONS, "2")
    assert found.sets == {"state_2": True, "transition_2": 1} and found.actions == {"toggle_2": None}
    assert understood({"": "OFF"}, LAMP, ACTIONS, "2").sets == {"state_2": False}
    assert understood({"state": "OFF"}, LAMP, ACTIONS, "1").sets == {"state": False}
    assert understood({"brightness": 3}, LAMP, ACTIONS, "2").unknown == ["brightness"]


@pytest.mark.parametrize(
    ("value", "color"),
    [
        ({"x": 0.6401, "y": 0.33}, {"hue": 0, "saturation": 100}),
        ({"r": 0, "g": 0, "b": 255}, {"hue": 240, "saturation": 100}),
        ({"x": 0.3127, "y": 0.329}, {"saturation": 0}),
    ],
)
def test_a_lamp_without_x_and_y_gets_hue_and_saturation(value: Any, color: dict[str, float]) -> None:
    found, _ = read_color(value, ("hue", "saturation"))
    assert {name: found[name] for name in color} == pytest.approx(color, abs=0.6)


def test_a_lamp_without_hue_gets_x_and_y() -> None:
    assert read_color({"hue": 0, "saturation": 100}, ("x", "y"))[0] == {"x": 0.6401, "y": 0.33}
    assert read_color({"hue": 0}, ("x", "y"))[0] == {"x": 0.6401, "y": 0.33}
    for value, fields in (({"saturation": 10}, ("x", "y")), ({"x": 0.3, "y": 0.0}, ("hue", "saturation"))):
        with pytest.raises(PeerError):
            read_color(value, fields)


ONLY_XY = settable("color", DataType.OBJECT, fields=(("x", FRACTION), ("y", FRACTION)))
MOST = {"x": 1, "y": 1, "hue": 360, "saturation": 100}
KEYS = sorted({*LAMP, *THINGS, *ACTIONS, "state_l2", "toggle_l1", "brightness_percent", "color_temp_percent", "x", ""})
WORDS = ["ON", "toggle", "stop", "warmest", "#12345g", "#0aF3b9", "1,2,3", "300,2,3", "blink", ""]
NAMES = [
    "x",
    "y",
    "h",
    "s",
    "v",
    "l",
    "r",
    "g",
    "b",
    "rgb",
    "hex",
    "hue",
    "saturation",
    "hsl",
    "step",
    "mode",
    "duration",
]
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 100, 254, 255, 360, 0.3])
plain = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.sampled_from(WORDS)
anything = plain | st.recursive(
    plain,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(NAMES), each, max_size=4),
    max_leaves=6,
)


@given(
    values=st.dictionaries(st.sampled_from(KEYS), anything, max_size=6),
    properties=st.sampled_from([LAMP, THINGS, LAMP | {"color": ONLY_XY}]),
    endpoint=st.sampled_from(["", "", "1", "2", "9"]),
)
def test_whatever_a_set_says_comes_out_fit_or_is_refused(
    values: dict[str, Any], properties: dict[str, PropertyAffordance], endpoint: str
) -> None:
    with contextlib.suppress(PeerError):
        found = understood(values, properties, ACTIONS, endpoint)
        for name, value in found.sets.items():
            assert properties[name].writable and fits(properties[name], value), (name, value)
        for name, given_ in found.actions.items():
            schema = ACTIONS[name].input
            assert given_ is None if schema is None else given_ is not None and fits(schema, given_), (name, given_)
        assert not (values and not (found.sets or found.actions or found.unfit or found.unknown))


@given(value=anything, fields=st.sampled_from([("x", "y"), ("hue", "saturation"), ("x", "y", "hue", "saturation")]))
def test_a_colour_is_within_its_bounds_or_refused(value: Any, fields: tuple[str, ...]) -> None:
    with contextlib.suppress(PeerError):
        color, level = read_color(value, fields)
        assert color and set(color) <= set(fields)
        for name, each in color.items():
            assert isinstance(each, int | float) and math.isfinite(each) and 0 <= each <= MOST[name]
        assert level is None or 0 <= level <= 100.001
