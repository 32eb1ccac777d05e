"""IKEA's devices: commands as recorded in public, other frames by recorded values or documented types."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.device_model import Model, place
from adapters.zigbee.makers import ikea
from adapters.zigbee.reports import happened
from gateway.api.errors import PeerError
from gateway.api.model import Event, Outcome, WriteProperties
from simulator.network.cluster_server import make_cluster
from simulator.network.datatypes import BOOL, UINT8, UINT16, UINT32
from tests.harness.cluster_models import model_with
from tests.harness.maker_frames import heard, own_cluster
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import shown

BASIC, POWER, SCENES, ON_OFF, LEVEL = 0x0000, 0x0001, 0x0005, 0x0006, 0x0008
PURIFIER, VOC, OLD_DOTS, DOTS, PLUG = 0xFC7D, 0xFC7E, 0xFC7F, 0xFC80, 0xFC85
MAKER = "IKEA of Sweden"


def of(model: str, *clusters: int, clients: tuple[int, ...] = (), firmware: str | None = None) -> Model:
    constants = {BASIC: {0x4000: firmware}}
    return model_with(*clusters, clients=clients, constants=constants, manufacturer=MAKER, model=model)


@pytest.mark.parametrize("model", ["TRADFRI remote control", "Remote Control N2"])
@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("05 7c11 64 07 0101 0d00", [("arrow_left_click", None)]),
        ("05 7c11 65 07 0001 0d00", [("arrow_right_click", None)]),
        ("05 7c11 66 08 010d 00", [("arrow_left_hold", None)]),
        ("05 7c11 67 08 000d 00", [("arrow_right_hold", None)]),
        ("05 7c11 68 09 7b03", [("arrow_release", {"duration": 0.891})]),
        ("05 7c11 03 07 0200 0000", []),  # the middle button is held: Level Control says so
        ("05 7c11 04 09 0000", []),
        ("01 64 07 0101 0d00", []),  # not IKEA's
    ],
)
def test_the_arrows_of_a_remote_are_events(model: str, frame: str, told: Any) -> None:
    assert heard(of(model, BASIC, POWER, clients=(SCENES, ON_OFF, LEVEL)), SCENES, frame) == told


def test_dots_are_events_by_their_button_in_both_firmwares() -> None:
    sound = of("SYMFONISK sound remote gen2", BASIC, clients=(ON_OFF, LEVEL, OLD_DOTS))
    for frame, name in (
        ("05 7c11 10 01 01 01", "dots_1_initial_press"),
        ("05 7c11 11 01 02 02", "dots_2_double_press"),
        ("05 7c11 12 01 02 03", "dots_2_long_press"),
    ):
        assert heard(sound, OLD_DOTS, frame) == [(name, None)]
    assert heard(sound, OLD_DOTS, "05 7c11 13 01 03 01") == heard(sound, OLD_DOTS, "05 7c11 14 01 01 09") == []
    shortcut = of("SOMRIG shortcut button", BASIC, clients=(DOTS,))
    for command, name in ((1, "initial_press"), (2, "long_press"), (3, "short_release"), (4, "long_release")):
        assert heard(shortcut, DOTS, f"05 7c11 15 {command:02x} 01") == [(f"1_{name}", None)]
    assert heard(shortcut, DOTS, "05 7c11 16 06 00 02") == [("1_double_press", None)]


@pytest.mark.parametrize("frame", ["05 7c11 64 07 0101 0d", "05 7c11 66 08 01", "05 7c11 68 09 7b"])
def test_an_arrow_that_ends_early_is_malformed(frame: str) -> None:
    with pytest.raises(PeerError):
        heard(of("Remote Control N2", BASIC, clients=(SCENES,)), SCENES, frame)


@pytest.mark.parametrize(
    ("firmware", "percent"),
    [
        ("1.2.214", 87), ("2.2.010", 87), ("2.3.087", 87), ("2.4.5", 43.5), ("24.4.5", 43.5), ("3.0.1", 43.5),
        ("nightly", 43.5), ("", 43.5), (None, 43.5),
    ],
)  # fmt: skip
def test_a_battery_is_in_whole_percents_before_firmware_2_4(firmware: str | None, percent: float) -> None:
    for model in ("TRADFRI remote control", "TRADFRI motion sensor", "FYRTUR block-out roller blind"):
        assert heard(of(model, BASIC, POWER, firmware=firmware), POWER, "08 2c 0a 2100 20 57") == [("battery", percent)]
    newer = of("RODRET Dimmer", BASIC, POWER, firmware=firmware)
    assert heard(newer, POWER, "08 2c 0a 2100 20 57") == [("battery", 43.5)]


def test_a_full_battery_of_old_firmware_is_no_more_than_full() -> None:
    old = of("TRADFRI on/off switch", BASIC, POWER, firmware="2.3.014")
    assert heard(old, POWER, "08 2c 0a 2100 20 64") == [("battery", 100)]
    assert heard(old, POWER, "08 2c 0a 2100 20 c8") == [("battery", None)]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("0400 21 0700", [("pm25", 7)]),
        ("0400 21 ffff", [("pm25", None)]),
        ("0600 20 01", [("fan_state", True), ("fan_mode", "auto")]),
        ("0600 20 32", [("fan_state", True), ("fan_mode", "9")]),
        ("0600 20 00", [("fan_state", False), ("fan_mode", "off")]),
        ("0700 20 0a", [("fan_speed", 1)]),
        ("0700 20 00", [("fan_speed", 0)]),
        ("0300 10 00", [("led_enable", True)]),
        ("0500 10 01", [("child_lock", True)]),
        ("0000 23 88130000", [("filter_age", 5000)]),
        ("0800 23 ffffffff", [("device_age", None)]),
    ],
)
def test_an_air_purifier(record: str, told: Any) -> None:
    purifier = of("STARKVIND Air purifier", BASIC, 0x0202, PURIFIER)
    assert heard(purifier, PURIFIER, "0c 7c11 2a 0a " + record) == told
    assert heard(purifier, PURIFIER, "08 2a 0a " + record) == []
    assert "fan_mode_2" not in purifier.slots


def test_the_sensors_of_an_air_monitor_and_a_plug() -> None:
    assert heard(of("VINDSTYRKA", BASIC, VOC), VOC, "0c 7c11 01 0a 0000 39 0000c842") == [("voc_index", 100)]
    plug = of("INSPELNING Smart plug", BASIC, PLUG)
    assert heard(plug, PLUG, "0c 7c11 01 0a 0000 10 01 0100 10 00") == [("child_lock", True), ("led_enable", False)]


@given(st.integers(0, 9), st.binary(max_size=8))
def test_any_payload_is_an_event_that_is_offered_or_malformed(command: int, payload: bytes) -> None:
    for model, cluster in (
        (of("TRADFRI remote control", BASIC, clients=(SCENES,)), SCENES),
        (of("SYMFONISK sound remote gen2", BASIC, clients=(OLD_DOTS,)), OLD_DOTS),
    ):
        offered = {each.name for each in model.offered_events}
        with contextlib.suppress(PeerError):
            found = happened(model, place(1, cluster, ikea.CODE), command, True, payload)
            assert found is None or found[0] is None or found[0].name in offered


@given(st.text(max_size=40) | st.integers() | st.none() | st.binary(max_size=8))
def test_any_firmware_has_a_battery(firmware: Any) -> None:
    model = of("TRADFRI remote control", BASIC, POWER, firmware=firmware)
    assert heard(model, POWER, "08 2c 0a 2100 20 57")[0][1] in (87, 43.5)


async def test_a_remote_over_the_dongle_is_bound_asked_for_its_firmware_and_heard(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await joined(
            world,
            gateway,
            make_cluster(BASIC, []),  # in its place the simulator's own, of firmware 1.0
            server(POWER, {0x0021: (UINT8, 87)}),
            clients=(SCENES, ON_OFF, LEVEL),
            manufacturer=MAKER,
            model="TRADFRI remote control",
        )
        assert (await shown(gateway, device))["lane"] == "IKEA"
        device.report(POWER, "2100 20 50")
        await gateway.until(lambda: asked.reported().get("battery") == 80)
        device.say(SCENES, bytes.fromhex("05 7c11 64 07 0101 0d00"))
        await gateway.until(lambda: gateway.context.of(Event))
        assert [(each.name, each.data) for each in gateway.context.of(Event)] == [("arrow_left_click", None)]


async def test_a_purifier_over_the_dongle_is_set_under_its_makers_code(world: Any) -> None:
    attributes = {
        0x0000: (UINT32, 60), 0x0003: (BOOL, 1), 0x0004: (UINT16, 3), 0x0005: (BOOL, 0), 0x0006: (UINT8, 0),
        0x0007: (UINT8, 0), 0x0008: (UINT32, 90),
    }  # fmt: skip
    purifier = own_cluster(PURIFIER, ikea.CODE, attributes)
    own = purifier.makers[ikea.CODE].attributes
    async with world.gateway() as gateway:
        _, asked = await joined(
            world, gateway, make_cluster(BASIC, []), purifier, manufacturer=MAKER, model="STARKVIND Air purifier"
        )
        receipt = await asked.does(WriteProperties, values={"fan_mode": "3", "led_enable": True})
        assert receipt.outcome is Outcome.DELIVERED
        assert (own[0x0006].value, own[0x0003].value) == (20, 0)
        receipt = await asked.does(WriteProperties, values={"fan_state": True})
        assert own[0x0006].value == 1
