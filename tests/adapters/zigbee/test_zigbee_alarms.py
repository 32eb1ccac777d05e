"""Zones, keypads and sirens over the virtual dongle: enrolment in each order, what a zone tells, what a siren does."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.families import security
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.reports import reported
from carriage.zigbee.zcl import ZclFrame
from gateway.api.errors import PeerError
from gateway.api.model import Change, Event, InvokeAction, Outcome, ReadProperties, Update, Value
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import BITMAP16, ENUM8, ENUM16, EUI64, UINT8
from tests.harness.hosted_kinds import HostedKinds
from tests.harness.zcl_asked import joined

ZONE, ACE = 0x0500, 0x0501
KINDS = [
    # kind, its way to enrol, property, with the alarm, without
    ("contact-sensor", "asks to be enrolled", "contact", False, True),
    ("motion-sensor", "is enrolled unasked", "occupancy", True, False),
    ("water-sensor", "asks when it is tripped", "water_leak", True, False),
]


def test_each_kind_of_zone_has_the_property_of_its_alarm() -> None:
    for kind, name in {0x0028: "smoke", 0x002B: "carbon_monoxide", 0x002D: "vibration", 0x0107: "alarm"}.items():
        assert set(_zone(kind).slots) == {name, "tamper", "battery_low"}
    assert not _zone(None).slots, "until it is known what the zone is"
    assert "alarm" in _zone(...).slots, "of one that refuses to say what it is"


def _zone(kind: Any) -> Any:
    endpoint = Endpoint(number=1, profile=0x0104, device_id=0x0402, in_clusters=(0, ZONE), out_clusters=())
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="", model="", interviewed=True, sleepy=True, lqi=None,
        rssi=None, last_seen=None, endpoints=(endpoint,), tunnel_endpoints=(),
    )  # fmt: skip
    said = {} if kind is None else {place(1, ZONE): {} if kind is ... else {1: kind}}
    return model_of(device, TABLE, Notes(), said)


@pytest.mark.parametrize(
    ("status", "values"),
    [
        ("0000", {"contact": True, "tamper": False, "battery_low": False}),
        ("0100", {"contact": False, "tamper": False, "battery_low": False}),
        ("0c00", {"contact": True, "tamper": True, "battery_low": True}),
    ],
)
def test_a_status_is_several_properties(status: str, values: dict[str, bool]) -> None:
    found, fault = reported(_zone(0x0015), place(1, ZONE), bytes.fromhex("0200 19") + bytes.fromhex(status))
    assert (dict(found), fault) == (values, "")


@pytest.mark.parametrize(("kind", "way", "name", "alarmed", "calm"), KINDS, ids=[kind for kind, *_ in KINDS])
async def test_a_zone_is_enrolled_in_the_order_that_it_needs(
    world: Any, kind: str, way: str, name: str, alarmed: bool, calm: bool
) -> None:
    kinds = HostedKinds(world)
    async with world.gateway() as gateway:
        device, asked = await kinds.join(gateway, kind)
        if way == "asks when it is tripped":
            device.does("set", name="alarm", value=1)  # a test of the water on the table
        await gateway.until(lambda: device.has("enrolled") == 1)
        device.does("set", name="alarm", value=0)
        device.does("set", name="alarm", value=1)
        await gateway.until(lambda: asked.reported().get(name) is alarmed)
        device.does("set", name="alarm", value=0)
        await gateway.until(lambda: asked.reported().get(name) is calm)
        device.does("set", name="battery_low", value=1)
        await gateway.until(lambda: asked.reported().get("battery_low") is True)
        shown = gateway.semantics.shown(device.eui64)["reporting"]["1/0500"]
        assert shown.startswith("address SUCCESS, enrolment ") and "zone_state" in shown


async def test_a_zone_that_refuses_everything_is_in_the_network_all_the_same(world: Any) -> None:
    """It shows no state, takes no address, has no kind: it alarms, and no question is repeated at the next start."""
    zone = make_cluster(ZONE, [Attribute(0x0002, BITMAP16, 0)])
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, zone)
        entry = gateway.semantics.shown(device.eui64)["reporting"]["1/0500"]
        assert entry == ("address UNSUPPORTED_ATTRIBUTE, enrolment UNSUP_COMMAND, zone_state UNSUPPORTED_ATTRIBUTE")
        device.say(ZONE, ZclFrame(0x00, bytes.fromhex("0100 00 00 0000"), 9, to_client=True).encode())
        await gateway.until(lambda: asked.reported().get("alarm") is True)
        eui64 = device.eui64
    async with world.gateway() as gateway:
        await gateway.until(lambda: not gateway.semantics.shown(eui64)["setup_steps_left"])
        assert {frame.command for at, frame in device.asked if at == ZONE} == {0x00}, "its value is read"


async def test_the_kind_of_a_zone_is_asked_once(world: Any) -> None:
    attributes = [
        Attribute(0x0000, ENUM8, 1), Attribute(0x0001, ENUM16, 0x0015), Attribute(0x0002, BITMAP16, 1),
        Attribute(0x0010, EUI64, 0, writable=True), Attribute(0x0011, UINT8, 23),
    ]  # fmt: skip
    zone = make_cluster(ZONE, attributes, {0x00: lambda server, payload: None})
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, zone)
        assert (await asked.does(ReadProperties, names=("contact",))).result is False
        assert zone.attributes[0x0010].value == gateway.radio.eui64
    async with world.gateway() as gateway:
        await gateway.until(lambda: not gateway.semantics.shown(device.eui64)["setup_steps_left"])
        reads = [frame.payload.hex() for at, frame in device.asked if at == ZONE and not frame.cluster_specific]
        assert reads == ["0200", "0200"]


WARNINGS: list[tuple[dict[str, Value], str]] = [
    ({"mode": "stop"}, "00 0000 00 01"),
    ({"mode": "emergency"}, "37 0a00 32 01"),
    ({"mode": "fire", "level": "low", "strobe": False, "duration": 300}, "20 2c01 00 01"),
    ({"mode": "burglar", "strobe_duty_cycle": 10, "strobe_level": "very_high"}, "17 0a00 64 03"),
]


@pytest.mark.parametrize(("given", "payload"), WARNINGS)
def test_a_warning_is_a_frame(given: dict[str, Value], payload: str) -> None:
    assert security._warning(given) == bytes.fromhex(payload)


async def test_a_siren_warns_and_stops(world: Any) -> None:
    kinds = HostedKinds(world)
    async with world.gateway() as gateway:
        device, asked = await kinds.join(gateway, "siren")
        warning = {"mode": "fire", "duration": 200}
        assert (await asked.does(InvokeAction, name="warning", input=warning)).outcome is Outcome.DELIVERED
        assert (device.has("warning"), device.has("strobe")) == (2, 1)
        assert (await asked.does(InvokeAction, name="warning", input={"mode": "stop"})).outcome is Outcome.DELIVERED
        assert device.has("warning") == 0
        squawk = {"state": "system_is_armed"}
        assert (await asked.does(InvokeAction, name="squawk", input=squawk)).outcome is Outcome.DELIVERED
        assert device.has("squawks") == 1


PRESSES = [
    (0x00, "03 04 31323334 01", "arm_all_zones", {"code": "1234", "zone": 1}),
    (0x00, "00 00", "disarm", {}),
    (0x02, "", "emergency", None),
    (0x04, "", "panic", None),
]


async def test_a_keypad_is_answered_and_its_presses_are_events(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(ACE,))
        for sequence, (command, payload, *_) in enumerate(PRESSES):
            device.say(ACE, ZclFrame(command, bytes.fromhex(payload), sequence).encode())
        events = await gateway.until(lambda: found if len(found := gateway.context.of(Event)) == len(PRESSES) else None)
        assert [(each.name, each.data) for each in events] == [(name, data) for *_, name, data in PRESSES]
        updates = [Update(each.id, Change.EVENT, "keypad", (), 0.0, None, each.name, each.data) for each in events]
        assert updates[0].data == events[0].data
        assert "1234" not in repr((events, updates)), "the code is for those who observe the keypad"

        def answers() -> list[tuple[int, str]]:
            return [(f.sequence, f.payload.hex()) for _, f in device.asked if f.cluster_specific and f.to_client]

        await gateway.until(lambda: len(answers()) == 2)
        assert answers() == [(0, "03"), (1, "00")]


@pytest.mark.parametrize("payload", ["", "04 00", "00 05 31", "03"])
def test_what_is_no_arming_is_malformed(payload: str) -> None:
    with pytest.raises(PeerError):
        security._armed(bytes.fromhex(payload))
