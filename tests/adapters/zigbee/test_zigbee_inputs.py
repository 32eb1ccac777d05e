"""Analog and multistate inputs over the virtual dongle."""

from __future__ import annotations

from typing import Any

from gateway.api.model import Join, Reading, ReadProperties
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import ENUM16, SINGLE, STRING, UINT16
from tests.harness.zcl_asked import joined

ANALOG, MULTISTATE = 0x000C, 0x0012

REPORTS: list[tuple[int, str, dict[str, Any]]] = [
    (ANALOG, "5500 39 0000ac41", {"analog_input": 21.5}),
    (ANALOG, "5500 39 cdcccc3d", {"analog_input": 0.1}),
    (ANALOG, "5500 39 0000c07f", {"analog_input": None}),  # NaN
    (ANALOG, "5500 39 f9021550", {"analog_input": None}),  # more than anything has
    (ANALOG, "5500 20 05", {}),  # a whole number can't be taken for a float
    (MULTISTATE, "5500 21 0300", {"multistate_input": 3}),
    (MULTISTATE, "5500 21 ffff", {"multistate_input": None}),
    (MULTISTATE, "5500 20 02", {"multistate_input": 2}),  # another width
    (MULTISTATE, "5500 42 0161", {}),
]


async def test_inputs(world: Any) -> None:
    analog = make_cluster(
        ANALOG,
        [
            Attribute(0x001C, STRING, "Flow of the garden"),
            Attribute(0x0055, SINGLE, 1.5, reportable=True),
            Attribute(0x0075, ENUM16, 87),
        ],
    )
    multistate = make_cluster(MULTISTATE, [Attribute(0x0055, UINT16, 1, reportable=True)])
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, analog, multistate)
        units = {each.name: each.unit for each in gateway.context.of(Join)[-1].properties}
        assert units == {"analog_input": "l/s", "analog_input_description": "", "multistate_input": ""}
        read = await asked.does(ReadProperties, names=tuple(units))
        assert [each.value for each in read.properties] == [1.5, "Flow of the garden", 1]
        for cluster, payload, values in REPORTS:
            asked.heard = len(gateway.context.of(Reading))
            device.report(cluster, payload)
            device.report(MULTISTATE, "5500 21 6300")
            await gateway.until(lambda: asked.reported().get("multistate_input") == 99)
            found = [dict(each.values) for each in gateway.context.of(Reading)[asked.heard :]]
            assert found == [*([values] if values else []), {"multistate_input": 99}], payload


async def test_an_analog_input_without_a_unit_that_senml_has_is_a_bare_number(world: Any) -> None:
    fahrenheit = Attribute(0x0075, ENUM16, 64)
    async with world.gateway() as gateway:
        await joined(
            world, gateway, make_cluster(ANALOG, [Attribute(0x0055, SINGLE, 1.5, reportable=True), fahrenheit])
        )
        assert [(one.name, one.unit) for one in gateway.context.of(Join)[-1].properties] == [("analog_input", "/")]
