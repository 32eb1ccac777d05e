"""Sonoff's buttons and sensors: frames by values as recorded in public, or documented types."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.model import Event
from tests.harness.cluster_models import model_with
from tests.harness.maker_frames import heard
from tests.harness.zcl_asked import joined

BASIC, ON_OFF, OCCUPANCY, ZONE, OWN = 0x0000, 0x0006, 0x0406, 0x0500, 0xFC11


@pytest.mark.parametrize("model", ["WB01", "SNZB-01P", "CK-TLSR8656-SS5-01(7000)"])
def test_a_buttons_commands_are_presses(model: str) -> None:
    button = model_with(BASIC, clients=(ON_OFF,), manufacturer="eWeLink", model=model)
    for command, name in ((0x02, "single"), (0x01, "double"), (0x00, "long")):
        assert heard(button, ON_OFF, f"01 2e {command:02x}") == [(name, None)]
    assert {each.name for each in button.offered_events} == {"single", "double", "long"}


@pytest.mark.parametrize(
    ("record", "name", "value"),
    [
        ("0400 29 6c07", "comfort_temperature_min", 19.0),
        ("0300 29 28f6", "comfort_temperature_max", None),
        ("0500 21 a00f", "comfort_humidity_min", 40.0),
        ("0700 21 0100", "temperature_units", "fahrenheit"),
        ("0320 29 ceff", "temperature_calibration", -0.5),
        ("0420 29 0cfe", "humidity_calibration", -5.0),
    ],
)
def test_a_thermometer_with_a_display(record: str, name: str, value: Any) -> None:
    display = model_with(BASIC, OWN, manufacturer="SONOFF", model="SNZB-02D")
    assert heard(display, OWN, "08 11 0a " + record) == [(name, value)]
    plain = model_with(BASIC, OWN, manufacturer="SONOFF", model="SNZB-02WD")
    assert ("comfort" in name) is (name not in plain.slots)


def test_a_presence_sensor() -> None:
    sensor = model_with(BASIC, OCCUPANCY, ZONE, OWN, manufacturer="SONOFF", model="SNZB-06P")
    for header in ("08 11 0a ", "0c 8612 11 0a "):
        for kind in ("20", "30"):  # the sources differ in its type
            assert heard(sensor, OWN, header + f"0120 {kind} 01") == [("illumination", "bright")]
    assert heard(sensor, OCCUPANCY, "08 11 0a 0000 18 01 2000 21 3c00") == [
        ("occupancy", True),
        ("occupancy_timeout", 60),
    ]
    assert heard(sensor, OCCUPANCY, "08 11 0a 2200 20 03") == [("occupancy_sensitivity", "high")]
    assert not [slot for slot in sensor.slots.values() if slot.row.cluster == ZONE]


async def test_a_button_over_the_dongle(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(ON_OFF,), manufacturer="eWeLink", model="WB01")
        for number, (command, name) in enumerate(((0x02, "single"), (0x00, "long"), (0x01, "double")), 1):
            device.say(ON_OFF, bytes((0x01, number, command)))
            await gateway.until(lambda n=number: len(gateway.context.of(Event)) == n)
            assert gateway.context.of(Event)[-1].name == name
