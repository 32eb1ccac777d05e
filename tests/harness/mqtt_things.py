"""A lamp, a blind that is a thermostat too, and their actions, in the words of zigbee2mqtt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.api.model import (
    ActionAffordance,
    Address,
    DataSchema,
    DataType,
    DeviceView,
    EventAffordance,
    PropertyAffordance,
)

_PERCENT = DataSchema(type=DataType.NUMBER, minimum=0, maximum=100)
ONE = DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)
TRANSITION = PropertyAffordance(
    name="transition", type=DataType.NUMBER, writable=True, readable=False, minimum=0, maximum=6553, multiple_of=0.1
)


def property_of(name: str, kind: DataType, **more: Any) -> PropertyAffordance:
    return PropertyAffordance(name=name, type=kind, writable=more.pop("writable", True), **more)


LAMP = {
    each.name: each
    for each in (
        property_of("state", DataType.BOOLEAN),
        property_of("brightness", DataType.INTEGER, minimum=0, maximum=254),
        property_of(
            "color",
            DataType.OBJECT,
            fields=(
                ("x", ONE),
                ("y", ONE),
                ("hue", DataSchema(type=DataType.INTEGER, minimum=0, maximum=360)),
                ("saturation", _PERCENT),
            ),
        ),
        property_of("color_temp", DataType.INTEGER, minimum=153, maximum=500),
        property_of("color_mode", DataType.STRING, writable=False, enum=("xy", "hs", "color_temp")),
        TRANSITION,
        property_of("state_2", DataType.BOOLEAN),
        PropertyAffordance(name="transition_2", type=DataType.NUMBER, writable=True, readable=False, minimum=0),
    )
}
THINGS = {
    each.name: each
    for each in (
        property_of("state", DataType.STRING, enum=("OPEN", "CLOSE")),
        property_of("position", DataType.INTEGER, minimum=0, maximum=100),
        property_of("occupied_heating_setpoint", DataType.NUMBER, minimum=5, maximum=30, multiple_of=0.5),
        property_of("system_mode", DataType.STRING, enum=("off", "heat", "auto")),
    )
}
_SIGNED = DataSchema(type=DataType.INTEGER, minimum=-254, maximum=254)
_SECONDS = DataSchema(type=DataType.NUMBER, minimum=0, maximum=6553, multiple_of=0.1)


def _action(name: str, main: DataSchema | None = None, *fields: tuple[str, DataSchema], to: str = "") -> Any:
    if main is None:
        return name, ActionAffordance(name=name)
    schema = DataSchema(type=DataType.OBJECT, fields=((to, main), *fields), required=frozenset({to}))
    return name, ActionAffordance(name=name, input=schema)


MODE = DataSchema(type=DataType.STRING, enum=("stop", "burglar", "fire"))
ACTIONS = dict(
    (
        _action("toggle"),
        _action("toggle_2"),
        _action("stop"),
        _action("brightness_step", _SIGNED, ("transition", _SECONDS), to="step"),
        _action("brightness_move", _SIGNED, to="rate"),
        _action("warning", MODE, ("duration", DataSchema(type=DataType.INTEGER, minimum=0)), to="mode"),
        ("effect", ActionAffordance(name="effect", input=DataSchema(type=DataType.STRING, enum=("blink", "okay")))),
        (
            "identify",
            ActionAffordance(
                name="identify",
                input=DataSchema(
                    type=DataType.OBJECT, fields=(("duration", DataSchema(type=DataType.INTEGER, minimum=0)),)
                ),
            ),
        ),
    )
)

_STATE = property_of("state", DataType.BOOLEAN)
_TEMPERATURE = PropertyAffordance(name="temperature", type=DataType.NUMBER, unit="Cel")
COLOR = PropertyAffordance(
    name="color",
    type=DataType.OBJECT,
    writable=True,
    entity="light",
    fields=(
        ("x", DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)),
        ("y", DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)),
    ),
)
LISTED = DeviceView(
    name="lamp",
    address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"),
    may=frozenset({"read", "observe", "write", "invoke"}),
    online=True,
    sleepy=False,
    facts=(("manufacturer", "Acme"), ("model", "L1"), ("version", "1.2")),
    properties=(
        replace(_STATE, entity="light"),
        PropertyAffordance(
            name="brightness", type=DataType.INTEGER, writable=True, minimum=0, maximum=254, entity="light"
        ),
        COLOR,
        replace(_STATE, name="state_2", entity="light_2"),
        replace(_TEMPERATURE, category="diagnostic", entity="light"),
        PropertyAffordance(name="mode", type=DataType.STRING, writable=True, enum=("a", "b")),
        PropertyAffordance(name="transition", type=DataType.NUMBER, unit="s", writable=True, readable=False, minimum=0),
    ),
    samples={},
    actions=(
        ActionAffordance(name="toggle", entity="light"),
        ActionAffordance(name="identify"),
        ActionAffordance(name="effect", input=DataSchema(type=DataType.STRING, enum=("blink",)), entity="light"),
        ActionAffordance(name="brightness_step", input=DataSchema(type=DataType.INTEGER), entity="light"),
    ),
    events=(EventAffordance(name="on"), EventAffordance(name="brightness_step_up")),
)
