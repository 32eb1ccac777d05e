"""Devices of several makers by the quirks of zha-quirks itself, over bellows and the virtual dongle, both ways.

What is sent is what such devices were recorded to send; addresses are made up.
"""

from __future__ import annotations

from typing import Any

import pytest

from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Join, Outcome, ReadProperties, WriteProperties
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import ENUM8, INT16, UINT8
from tests.harness.zcl_asked import Asked, joined, server
from tests.harness.zcl_device import ZclDevice, shown

# What importing a thousand files of others warns of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")

BASIC, BATTERY, TIME, TUYA, ALERTS = 0x0000, 0x0001, 0x000A, 0xEF00, 0x0B02
BY_QUIRK = {"00:0d:6f:00:00:00:00:22": {"quirk": True}}
SET_DATA, GET_DATA, TIME_REQUEST = 0x00, 0x01, 0x24


async def by_quirk(world: Any, gateway: Any, *clusters: Any, **options: Any) -> tuple[ZclDevice, Asked]:
    """A device that joined and goes by its quirk."""
    device, asked = await joined(world, gateway, *clusters, **options)
    await gateway.until(lambda: gateway.record(device.eui64).quirk, 60)
    await gateway.until(lambda: not gateway.semantics.shown(device.eui64)["setup_steps_left"], 30)
    assert (await shown(gateway, device))["lane"] == "quirk"
    return device, asked


def tuya(device: ZclDevice, command: int, payload: str, number: int) -> None:
    frame = ZclFrame(command, bytes.fromhex(payload), number, to_client=True, disable_default_response=True)
    device.say(TUYA, frame.encode())


def sent(device: ZclDevice, cluster: int, command: int) -> list[bytes]:
    return [
        frame.payload
        for at, frame in device.asked
        if at == cluster and frame.command == command and frame.cluster_specific
    ]


async def test_a_tuya_switch_of_datapoints_is_a_switch(world):
    async with world.gateway() as gateway:
        device, asked = await by_quirk(
            world,
            gateway,
            *(server(each, {}) for each in (0x0004, 0x0005, TIME, TUYA)),
            clients=(0x0019,),
            manufacturer="_TZE200_7tdtqgwv",
            model="TS0601",
            device_id=0x0051,
        )
        assert {each.name for each in gateway.context.of(Join)[-1].properties} >= {"state"}
        tuya(device, GET_DATA, "00 11 01 01 0001 01", 1)  # datapoint 1, a boolean: true
        await gateway.until(lambda: asked.reported().get("state") is True)
        device.asked.clear()
        receipt = await asked.does(WriteProperties, values={"state": False})
        assert receipt.outcome is Outcome.DELIVERED
        (payload,) = await gateway.until(lambda: sent(device, TUYA, SET_DATA))
        assert payload[2:] == bytes.fromhex("01 01 0001 00")
        tuya(device, TIME_REQUEST, "0008", 2)
        (payload,) = await gateway.until(lambda: sent(device, TUYA, TIME_REQUEST))
        assert len(payload) == 10  # the sequence, UTC and local time


async def test_a_tuya_sensor_by_a_quirk_of_the_second_kind(world):
    """Rows of its maker read it, so only the config gives it to its quirk."""
    async with world.gateway(devices=BY_QUIRK) as gateway:
        device, asked = await by_quirk(
            world,
            gateway,
            *(server(each, {}) for each in (0x0004, 0x0005, TUYA)),
            clients=(0x000A, 0x0019),
            manufacturer="_TZE200_a8sdabtg",
            model="TS0601",
            device_id=0x0051,
            sleepy=True,
        )
        tuya(device, GET_DATA, "00 12 01 02 0004 000000d7  02 02 0004 0000002d  04 02 0004 00000064", 1)
        await gateway.until(lambda: "battery" in asked.reported())
        found = asked.reported()
        assert (found["temperature"], found["humidity"], found["battery"]) == (21.5, 45, 100)


async def test_a_leak_sensor_of_another_maker_by_a_quirk_of_the_first_kind(world):
    """It tells leaks by alerts of an appliance; its quirk makes a zone of them. Rows read its temperature, so only the
    config gives it to its quirk."""
    async with world.gateway(devices=BY_QUIRK) as gateway:
        device, asked = await by_quirk(
            world,
            gateway,
            server(BATTERY, {0x0020: (UINT8, 30), 0x0021: (UINT8, 180)}),
            server(0x0003, {}),
            server(0x0020, {}),
            server(0x0402, {0x0000: (INT16, 2150)}),
            server(ALERTS, {}),
            server(0xFC02, {}),
            clients=(0x0003, 0x0019),
            manufacturer="WAXMAN",
            model="leakSMART Water Sensor V2",
            device_id=0x0302,
            sleepy=True,
        )
        frame = ZclFrame(0x01, bytes.fromhex("01 001000"), 9, manufacturer=0x113B, to_client=True)
        device.say(ALERTS, frame.encode())
        await gateway.until(lambda: asked.reported().get("water_leak") is True)
        receipt = await asked.does(ReadProperties, names=("temperature",))
        assert (receipt.outcome, receipt.result) == (Outcome.DELIVERED, 21.5)


async def test_a_valve_of_a_third_maker_is_set_as_its_quirk_does(world):
    """Its modes are the maker's attribute, under the maker's code."""
    code = 0x1209
    thermostat = make_cluster(
        0x0201,
        [
            Attribute(0x0000, INT16, 2000, reportable=True),
            Attribute(0x0012, INT16, 2100, reportable=True, writable=True),
            Attribute(0x001B, ENUM8, 2),
            Attribute(0x001C, ENUM8, 4, writable=True),
        ],
        makers={code: [Attribute(0x4007, ENUM8, 1, reportable=True, writable=True)]},
    )
    async with world.gateway(devices=BY_QUIRK) as gateway:
        device, asked = await by_quirk(
            world,
            gateway,
            server(BATTERY, {0x0021: (UINT8, 180)}),
            thermostat,
            server(0x0204, {0x0000: (ENUM8, 0), 0x0001: (ENUM8, 0)}),
            manufacturer="BOSCH",
            model="RBSH-TRV0-ZB-EU",
            code=code,
            device_id=0x0301,
        )
        device.asked.clear()
        receipt = await asked.does(WriteProperties, values={"system_mode": "off"})
        assert receipt.outcome is Outcome.DELIVERED
        assert thermostat.makers[code].attributes[0x4007].value == 5  # pause
