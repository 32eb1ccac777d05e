"""Properties and actions of a lamp, a cover and a thermostat, whose sets are written in zigbee2mqtt's words."""

from __future__ import annotations

from typing import Any

from gateway.api.model import ActionAffordance, DataSchema, DataType, PropertyAffordance

_PERCENT = DataSchema(type=DataType.NUMBER, minimum=0, maximum=100)
FRACTION = DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)
TRANSITION = PropertyAffordance(
    name="transition", type=DataType.NUMBER, writable=True, readable=False, minimum=0, maximum=6553, multiple_of=0.1
)


def settable(name: str, kind: DataType, **more: Any) -> PropertyAffordance:
    return PropertyAffordance(name=name, type=kind, writable=more.pop("writable", True), **more)


LAMP = {
    each.name: each
    for each in (
        settable("state", DataType.BOOLEAN),
        settable("brightness", DataType.INTEGER, minimum=0, maximum=254),
        settable(
            "color",
            DataType.OBJECT,
            fields=(
                ("x", FRACTION),
                ("y", FRACTION),
                ("hue", DataSchema(type=DataType.INTEGER, minimum=0, maximum=360)),
                ("saturation", _PERCENT),
            ),
        ),
        settable("color_temp", DataType.INTEGER, minimum=153, maximum=500),
        settable("color_mode", DataType.STRING, writable=False, enum=("xy", "hs", "color_temp")),
        TRANSITION,
        settable("state_2", DataType.BOOLEAN),
        PropertyAffordance(name="transition_2", type=DataType.NUMBER, writable=True, readable=False, minimum=0),
    )
}
THINGS = {
    each.name: each
    for each in (
        settable("state", DataType.STRING, enum=("OPEN", "CLOSE")),
        settable("position", DataType.INTEGER, minimum=0, maximum=100),
        settable("occupied_heating_setpoint", DataType.NUMBER, minimum=5, maximum=30, multiple_of=0.5),
        settable("system_mode", DataType.STRING, enum=("off", "heat", "auto")),
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
        _action("brightness_move_onoff", _SIGNED, to="rate"),
        _action("identify", DataSchema(type=DataType.INTEGER, minimum=0), to="duration"),
        (
            "flash",
            ActionAffordance(
                name="flash",
                input=DataSchema(type=DataType.OBJECT, fields=(("times", DataSchema(type=DataType.INTEGER)),)),
            ),
        ),
    )
)
