"""Philips Hue's devices: presses as recorded in public, other frames by recorded values or documented types."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.cluster_mappings import SettingMapping
from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Model, place
from adapters.zigbee.makers import hue
from adapters.zigbee.reports import happened
from gateway.api.errors import PeerError
from gateway.api.model import Event, Outcome, WriteProperties
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import BITMAP8, BITMAP16, UINT8
from tests.harness.cluster_models import model_with
from tests.harness.maker_frames import heard
from tests.harness.zcl_asked import joined
from tests.harness.zcl_device import shown

BASIC, POWER, ON_OFF, LEVEL, OCCUPANCY, BUTTONS, CONTACT = 0x0000, 0x0001, 0x0006, 0x0008, 0x0406, 0xFC00, 0xFC06
PHILIPS, SIGNIFY = "Philips", "Signify Netherlands B.V."


def of(model: str, *clusters: int, manufacturer: str = SIGNIFY, clients: tuple[int, ...] = ()) -> Model:
    return model_with(*clusters, clients=clients, manufacturer=manufacturer, model=model)


def notification(button: int, press: int) -> str:
    """As recorded: from the server, without default response; the button, the press as enum8, a time as uint16."""
    return f"1d 0b10 8f 00 {button:02x} 000030 {press:02x} 21 0100"


PRESSES = [
    ("RWL021", 1, 0, "on_press"),
    ("RWL021", 1, 2, "on_press_release"),
    ("RWL022", 2, 1, "up_hold"),
    ("RWL020", 4, 3, "off_hold_release"),
    ("RDM002", 3, 0, "button_3_press"),
    ("ROM001", 1, 0, "press"),
    ("RDM003", 1, 2, "release"),
    ("RDM003", 1, 3, "release"),
    ("RDM001", 2, 1, "right_hold"),
]


@pytest.mark.parametrize("manufacturer", [PHILIPS, SIGNIFY])
@pytest.mark.parametrize(("model", "button", "press", "name"), PRESSES)
def test_a_press_is_an_event(manufacturer: str, model: str, button: int, press: int, name: str) -> None:
    device = of(model, BASIC, POWER, BUTTONS, manufacturer=manufacturer)
    assert heard(device, BUTTONS, notification(button, press)) == [(name, None)]
    assert heard(device, BUTTONS, notification(button, 4)) == []  # no press that is known
    assert heard(device, BUTTONS, notification(9, press)) == []
    with pytest.raises(PeerError):
        heard(device, BUTTONS, "1d 0b10 8f 00 01 000030")


def test_a_dimmer_switch_tells_a_press_once() -> None:
    device = of("RWL022", BASIC, BUTTONS, clients=(ON_OFF, LEVEL))
    assert not {"on", "off", "brightness_step_up"} & {each.name for each in device.offered_events}
    dial = of("RDM002", BASIC, BUTTONS, clients=(ON_OFF, LEVEL))
    assert "brightness_step_up" in {each.name for each in dial.offered_events}  # what its dial sends


def test_only_the_endpoint_with_the_buttons_is_set_to_report_presses() -> None:
    (setting,) = hue.DEVICES[0].settings
    assert isinstance(setting, SettingMapping)
    assert of("RWL021", BASIC, BUTTONS).settings == {place(1, BASIC, hue.CODE): bytes.fromhex("3100 19 0b00")}
    assert of("RWL021", BASIC).settings == {}


def test_the_settings_of_a_motion_sensor_need_the_code() -> None:
    for model, record, told in (
        ("SML001", "3000 20 02", ("motion_sensitivity", "high")),
        ("SML002", "3000 20 03", ("motion_sensitivity", None)),
        ("SML003", "3000 20 03", ("motion_sensitivity", 3)),
        ("SML004", "3000 20 05", ("motion_sensitivity", None)),
    ):
        sensor = of(model, BASIC, OCCUPANCY)
        assert heard(sensor, OCCUPANCY, "0c 0b10 07 0a " + record) == [told]
        assert heard(sensor, OCCUPANCY, "08 07 0a " + record) == []
        assert heard(sensor, OCCUPANCY, "08 07 0a 0000 18 01") == [("occupancy", True)]
        assert heard(sensor, BASIC, "0c 0b10 07 0a 3300 10 01") == [("led_indication", True)]


def test_a_contact_is_closed_at_0() -> None:
    sensor = of("SOC001", BASIC, POWER, CONTACT)
    assert heard(sensor, CONTACT, "0c 0b10 07 0a 0001 30 00 0201 30 01") == [("contact", True), ("tamper", True)]
    assert heard(sensor, CONTACT, "0c 0b10 07 0a 0001 30 01") == [("contact", False)]


@given(st.binary(max_size=12))
def test_any_payload_is_an_event_that_is_offered_or_malformed(payload: bytes) -> None:
    for devices in hue.DEVICES:
        for mapping in devices.events:
            assert mapping.manufacturer == hue.CODE
            with contextlib.suppress(PeerError):
                found = mapping.read(payload)
                assert found is None or found[0] in {each.name for each in mapping.events}
    model = of("RWL021", BASIC, BUTTONS)
    with contextlib.suppress(PeerError):
        assert happened(model, place(1, BUTTONS, hue.CODE), 0x00, False, payload) is not None


async def test_a_dimmer_switch_over_the_dongle(world: Any) -> None:
    """Its own cluster is bound, and a press is one event."""
    basic = make_cluster(BASIC, [], makers={hue.CODE: [Attribute(0x0031, BITMAP16, 0, writable=True)]})
    async with world.gateway() as gateway:
        device, _ = await joined(
            world,
            gateway,
            basic,
            make_cluster(BUTTONS, []),
            clients=(ON_OFF, LEVEL),
            manufacturer=SIGNIFY,
            model="RWL022",
        )
        assert (await shown(gateway, device))["lane"] == "Hue"
        station = world.network.station(device.address)
        assert BUTTONS in {row.cluster for row in station.device.bindings}
        device.say(BUTTONS, bytes.fromhex(notification(1, 0)))
        await gateway.until(lambda: gateway.context.of(Event))
        device.say(BUTTONS, bytes.fromhex("1d 0b10 90 00 01 000030 02 21 0300"))
        await gateway.until(lambda: len(gateway.context.of(Event)) == 2)
        assert [each.name for each in gateway.context.of(Event)] == ["on_press", "on_press_release"]


async def test_a_motion_sensor_over_the_dongle_is_set_under_its_makers_code(world: Any) -> None:
    occupancy = make_cluster(
        OCCUPANCY,
        [Attribute(0x0000, BITMAP8, 0, reportable=True)],
        makers={hue.CODE: [Attribute(0x0030, UINT8, 1, writable=True)]},
    )
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, occupancy, manufacturer=SIGNIFY, model="SML001")
        receipt = await asked.does(WriteProperties, values={"motion_sensitivity": "high"})
        assert receipt.outcome is Outcome.DELIVERED
        assert occupancy.makers[hue.CODE].attributes[0x0030].value == 2


def test_the_table_finds_them_by_both_names() -> None:
    assert TABLE.for_device(PHILIPS, "RWL021") is TABLE.for_device(SIGNIFY, "RWL021")
    assert TABLE.for_device("Other", "RWL021").maker == ""
