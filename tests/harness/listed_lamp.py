"""A dimmed coloured lamp with a second relay and a sensor, as a peer sees it that may do everything."""

from __future__ import annotations

from dataclasses import replace

from gateway.api.model import (
    ActionAffordance,
    Address,
    DataSchema,
    DataType,
    DeviceView,
    EventAffordance,
    PropertyAffordance,
)

STATE = PropertyAffordance(
    name="state", type=DataType.BOOLEAN, writable=True, resource_type="urn:oma:lwm2m:ext:3311", lifetime=60.0
)
TEMPERATURE = PropertyAffordance(
    name="temperature", type=DataType.NUMBER, unit="Cel", device_class="temperature", lifetime=1.0
)
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
LAMP = DeviceView(
    name="lamp",
    address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"),
    may=frozenset({"read", "observe", "write", "invoke"}),
    online=True,
    sleepy=False,
    facts=(("manufacturer", "Acme"), ("model", "L1"), ("version", "1.2")),
    properties=(
        replace(STATE, entity="light"),
        PropertyAffordance(
            name="brightness", type=DataType.INTEGER, writable=True, minimum=0, maximum=254, entity="light"
        ),
        COLOR,
        replace(STATE, name="state_2", entity="light_2"),
        replace(TEMPERATURE, category="diagnostic", entity="light"),
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
