"""Tuya's devices that speak the standard's clusters."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.device_model import place
from adapters.zigbee.reports import happened, reported
from gateway.api.errors import PeerError
from gateway.api.model import Event, Outcome, WriteProperties
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import BOOL, ENUM8
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import joined, server

BASIC, POWER, ON_OFF, TEMPERATURE, HUMIDITY, METERING, ELECTRICAL = 0x0000, 1, 6, 0x0402, 0x0405, 0x0702, 0x0B04
PRESS = 0xFD


@pytest.mark.parametrize(("octets", "name"), [("00", "single"), ("01", "double"), ("02", "hold"), ("0001", "single")])
def test_a_button_is_pressed(octets: str, name: str) -> None:
    model = model_with(BASIC, POWER, ON_OFF, clients=(ON_OFF,), manufacturer="_TZ3000_tk3s5tyg", model="TS0041")
    found = happened(model, place(1, ON_OFF), PRESS, True, bytes.fromhex(octets))
    assert found is not None
    assert found[0] is not None
    assert found[0].name == name


def test_a_press_that_is_none() -> None:
    model = model_with(BASIC, ON_OFF, clients=(ON_OFF,), model="TS0041")
    found = happened(model, place(1, ON_OFF), PRESS, True, b"\x07")
    assert found is not None
    assert found[0] is None
    with pytest.raises(PeerError):
        happened(model, place(1, ON_OFF), PRESS, True, b"")


def test_a_button_is_not_asked_to_report_its_battery() -> None:
    """Those who had it report lost presses, and its battery."""
    model = model_with(BASIC, POWER, clients=(ON_OFF,), model="TS0042")
    assert model.slots["battery"].row.reporting is None
    assert model_with(BASIC, POWER, model="TS0201").slots["battery"].row.reporting is not None


async def test_four_buttons_are_had_to_tell_presses(world: Any) -> None:
    async with world.gateway() as gateway:
        mode = make_cluster(ON_OFF, [Attribute(0x8004, ENUM8, 0, writable=True)])
        options = {"manufacturer": "_TZ3000_xabckq1v", "model": "TS004F"}
        device, _ = await joined(world, gateway, server(BASIC, {}), mode, clients=(ON_OFF,), **options)
        assert mode.attributes[0x8004].value == 1
        device.say(ON_OFF, bytes((0x01, 0x31, PRESS, 0x01)))
        await gateway.until(lambda: [each.name for each in gateway.context.of(Event)] == ["double"])


@pytest.mark.parametrize(("manufacturer", "percent"), [("_TZ3000_ywagc4rj", 45.5), ("_TZ3000_fllyghyj", 4.55)])
def test_humidity_in_tenths(manufacturer: str, percent: float) -> None:
    model = model_with(BASIC, TEMPERATURE, HUMIDITY, manufacturer=manufacturer, model="TS0201")
    assert dict(reported(model, place(1, HUMIDITY), bytes.fromhex("0000 21 c701"))[0]) == {
        "humidity": pytest.approx(percent)
    }


SAYS = {METERING: {0x0300: 0, 0x0301: 1, 0x0302: 1000}, ELECTRICAL: {0x0602: 1, 0x0603: 100}}


@pytest.mark.parametrize(
    ("manufacturer", "constants", "energy", "current"),
    [
        ("_TZ3000_cphmq0q7", {}, 12.34, 0.25),  # it says nothing of its scales
        ("_TZ3000_cphmq0q7", SAYS, 12.34, 0.25),  # or what isn't so
        ("_TZ3210_iooniers", SAYS, 1.234, 2.5),
    ],
)
def test_the_scales_of_a_plug(manufacturer: str, constants: Any, energy: float, current: float) -> None:
    model = model_with(
        BASIC, ON_OFF, METERING, ELECTRICAL, constants=constants, manufacturer=manufacturer, model="TS011F"
    )
    values = dict(reported(model, place(1, METERING), bytes.fromhex("0000 25 d20400000000"))[0])
    values |= dict(reported(model, place(1, ELECTRICAL), bytes.fromhex("0805 21 fa00"))[0])
    assert values == {"energy": pytest.approx(energy), "current": pytest.approx(current)}


async def test_the_settings_of_a_plug(world: Any) -> None:
    async with world.gateway() as gateway:
        switch = server(ON_OFF, {0x0000: (BOOL, 0), 0x8000: (BOOL, 0), 0x8001: (ENUM8, 1), 0x8002: (ENUM8, 2)})
        options = {"manufacturer": "_TZ3000_cphmq0q7", "model": "TS011F"}
        _, asked = await joined(world, gateway, server(BASIC, {0x0007: (ENUM8, 1)}), switch, **options)
        asked.heard = 0
        assert asked.reported() == {
            "state": False, "child_lock": False, "indicator_mode": "off/on", "power_on_behavior": "previous",
        }  # fmt: skip
        receipt = await asked.does(WriteProperties, values={"power_on_behavior": "on", "child_lock": True})
        assert receipt.outcome is Outcome.DELIVERED
        assert (switch.attributes[0x8002].value, switch.attributes[0x8000].value) == (1, 1)
