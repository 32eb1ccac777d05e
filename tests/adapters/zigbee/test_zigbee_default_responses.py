"""Default responses to what devices send unasked: who gets one, with which status, and who never does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import zigpy.types
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.zigbee.radio_port import SendOutcome
from carriage.zigbee import foundation, zcl
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Reading
from layer.errors import PeerError
from simulator.network.device_kinds import Identity, on_off, temperature
from simulator.network.foundation import make_cluster
from tests.adapters.zigbee.device_commands import ON, Orders
from tests.adapters.zigbee.quiet_network import House
from tests.adapters.zigbee.zigbee_world import came
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000061
FENCES = cycle(range(0xE0, 0xFF))
"""Sequence numbers: zigpy takes no frame twice within 10 s."""
IDENTITY = Identity("ACME", "Z1", mains=True)
CUT_SHORT = "02d0 48 02 000a"
"""A record of which the array ends early: from a device that repeats its report until somebody answers."""
SUCCESS, MALFORMED, UNSUPPORTED_CLUSTER = 0x00, 0x80, 0xC3


async def joined(world: Any, gateway: Any) -> ZclDevice:
    device = ZclDevice(DEVICE, on_off(IDENTITY), temperature(IDENTITY), make_cluster(0x0003, []))
    await device.attach(world.socket)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    device.asked.clear()
    return device


def radio_address(device: ZclDevice) -> Any:
    return zigpy.types.EUI64.convert(device.eui64)


def readings(gateway: Any) -> list[tuple[str, Any]]:
    return [value for reading in gateway.context.of(Reading) for value in reading.values]


async def answers(gateway: Any, device: ZclDevice, cluster: int, octets: str) -> list[tuple[int, ZclFrame]]:
    """Which frames a frame is answered with. Two others make sure that they were all: one that zigpy answers, and one
    that we answer as soon as no other answer is under way."""
    fence = next(FENCES)
    device.say(cluster, bytes.fromhex(octets))
    device.say(0x0402, bytes((0x09, fence, 0x7F)))
    await gateway.until(lambda: any(frame.payload == b"\x7f\x00" for _, frame in device.asked))
    while not any(frame.payload == b"\x0a\x00" and frame.sequence == fence for _, frame in device.asked):
        device.say(0x0402, bytes((0x08, fence, 0x0A)) + bytes.fromhex("0000 29 0080"))
        await asyncio.sleep(0.02)
    found = [(at, frame) for at, frame in device.asked if frame.sequence != fence]
    device.asked.clear()
    return found


def response(cluster: int, sequence: int, payload: str, **header: Any) -> list[tuple[int, ZclFrame]]:
    return [(cluster, ZclFrame(0x0B, bytes.fromhex(payload), sequence, cluster_specific=False, **header))]


async def test_a_report_that_can_not_be_read_is_answered_in_any_case(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        for cluster in (0x0006, 0xE000):  # one with a row, and one that neither a row nor the interview knows
            for control in ("08", "18"):  # asks for a default response, and does not
                found = await answers(gateway, device, cluster, f"{control} d4 0a {CUT_SHORT}")
                assert found == response(cluster, 0xD4, "0a 80")
        assert ("state", True) not in readings(gateway)
        # of a manufacturer: the answer has its code
        found = await answers(gateway, device, 0xFCC0, f"1c 5f11 d5 0a {CUT_SHORT}")
        assert found == response(0xFCC0, 0xD5, "0a 80", manufacturer=0x115F)
        assert gateway.adapter.status()["counters"]["reports_malformed"] == 5


async def test_the_records_before_the_one_that_can_not_be_read_count(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        found = await answers(gateway, device, 0x0006, f"18 d4 0a 0000 10 01 {CUT_SHORT}")
        assert found == response(0x0006, 0xD4, "0a 80")
        assert ("state", True) in readings(gateway)
        counters = gateway.adapter.status()["counters"]
        assert counters["reports_malformed"] == 1 and counters["reports_unknown"] == 0


async def test_a_report_that_can_be_read_is_answered_where_it_asks_for_it(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        for cluster, sequence in ((0x0402, 0x00), (0x0006, 0xFF), (0xE000, 0x01), (0x0003, 0x02)):
            found = await answers(gateway, device, cluster, f"08 {sequence:02x} 0a 0100 20 01")
            assert found == response(cluster, sequence, "0a 00")
            assert await answers(gateway, device, cluster, f"18 {sequence:02x} 0a 0100 20 01") == []
        found = await answers(gateway, device, 0x0006, "0c 5f11 07 0a 0000 10 01")
        assert found == response(0x0006, 7, "0a 00", manufacturer=0x115F)
        assert ("state", True) not in readings(gateway)  # not an attribute of the standard


async def test_zigpy_learns_from_the_reports_that_no_row_is_for(world: Any) -> None:
    """Some sleeping devices never answer what model they are, but report it when they join."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        basic = next(iter(gateway.radio._app.devices[radio_address(device)].endpoints[1].in_clusters.values()))
        assert basic.cluster_id == 0 and basic.get(0x0005) != "lumi.x"
        device.say(0x0000, bytes.fromhex("08 01 0a 0500 42 06") + b"lumi.x")
        await gateway.until(lambda: basic.get(0x0005) == "lumi.x")
        before = gateway.adapter.status()["counters"]["radio_received"]
        device.report(0x0402, "0000 29 0100")
        await gateway.until(lambda: readings(gateway)[-1] == ("temperature", 0.01))
        assert gateway.adapter.status()["counters"]["radio_received"] == before + 1


async def test_a_command_to_a_cluster_that_nobody_knows_is_in_error(world: Any) -> None:
    """zigpy drops it without a word, and answers those of clusters that it knows: none is answered twice."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        for control in ("01", "11", "10"):  # of the cluster with and without the bit, and a general one
            found = await answers(gateway, device, 0xE000, f"{control} 21 00 0000")
            assert found == response(0xE000, 0x21, "00 c3", to_client=True)
        found = await answers(gateway, device, 0xE000, "1d 5f11 21 00 0000")
        assert found == response(0xE000, 0x21, "00 c3", manufacturer=0x115F)
        assert [frame.payload for _, frame in await answers(gateway, device, 0x0006, "09 22 40 0000")] == [b"\x40\x00"]
        assert await answers(gateway, device, 0x0006, "19 23 41 0000") == []


async def test_an_answer_that_asks_for_one_gets_one(world: Any) -> None:
    """The standard has answers without the bit that asks for none in error, and has them answered all the same."""

    def asking(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        return None if own is None else replace(own, disable_default_response=False)

    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        device.answer = asking
        semantics = gateway.semantics
        for _ in range(2):
            semantics._setup.read(semantics._records.of(device.eui64))
            await settled(gateway, device)
            reads = [frame.sequence for _, frame in device.asked if frame.command == 0x00]
            await gateway.until(lambda: [frame for _, frame in device.asked if frame.command == 0x0B])
            answered = [(frame.sequence, frame.payload) for _, frame in device.asked if frame.command == 0x0B]
            assert set(answered) <= {(sequence, b"\x01\x00") for sequence in reads}
            assert len(set(answered)) == len(answered)
            device.asked.clear()
        # a default response to a command is none of these, whatever its bits say
        Orders(gateway, device).send(True)
        await gateway.until(lambda: ("state", True) in readings(gateway))
        found = await answers(gateway, device, 0x0402, "18 01 0a 0100 20 01")
        assert [frame.command for _, frame in found] == [ON]


@pytest.mark.parametrize("cluster", [0x0006, 0xE000])
async def test_answers_to_nothing_are_not_answered(world: Any, cluster: int) -> None:
    """Two that answer each other's default responses would never end."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        for octets in ("08 31 0b 0a00", "08 32 0b 0a80", "0c 5f11 33 0b 0a00", "18 34 0b", "18 35 01 0000 00 10 01"):
            assert await answers(gateway, device, cluster, octets) == []


async def test_groupcasts_and_broadcasts_are_read_and_never_answered(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        app = gateway.radio._app
        await app._multicast.subscribe(0x0007)
        station = world.network.station(DEVICE)
        counters = gateway.adapter.status()["counters"]
        for number, group in ((1, 0), (2, 7)):
            for cluster, octets in (
                (0x0006, f"08 {number}0 0a {CUT_SHORT}"),
                (0xE000, f"08 {number}1 0a {CUT_SHORT}"),
                (0x0006, f"09 {number}2 40 0000"),  # zigpy would answer it
                (0xE000, f"01 {number}3 00"),
                (0x0402, f"08 {number}4 0a 0000 29 0{number}00"),
            ):
                station.send_to_all(
                    profile=0x0104, cluster=cluster, endpoint=1, payload=bytes.fromhex(octets), group=group
                )
            await gateway.until(lambda n=number: readings(gateway)[-1] == ("temperature", n / 100))
        assert await answers(gateway, device, 0x0006, "18 55 0a 0000 10 01") == []
        after = gateway.adapter.status()["counters"]
        assert after["reports_malformed"] - counters["reports_malformed"] == 4
        assert after["radio_not_unicast"] - counters["radio_not_unicast"] == 6  # what has no row is for zigpy, else


async def test_a_device_that_is_interviewed_is_answered(world: Any) -> None:
    """Its clusters are not known yet, so nothing but its reports is answered."""
    async with world.gateway() as gateway:
        device = await joined(world, gateway)
        gateway.record(device.eui64).model = None
        assert await answers(gateway, device, 0x0006, f"18 d4 0a {CUT_SHORT}") == response(0x0006, 0xD4, "0a 80")
        assert await answers(gateway, device, 0xE000, "01 d4 00") == []


# Any frame ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    yield House(tmp_path_factory.mktemp("house"))


CLUSTERS = st.sampled_from([0x0000, 0x0001, 0x0006, 0x0019, 0x0402, 0x0405, 0xE000])
REPORT = bytes.fromhex("0000 29 6608  2100 20 64") + bytes.fromhex(CUT_SHORT)
FRAMES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda control, sequence, command, payload: bytes((control, sequence, command)) + payload,
        st.integers(0, 255),
        st.integers(0, 255),
        st.sampled_from([0x00, 0x01, 0x0A, 0x0B, 0x0D, 0x40]),
        st.one_of(st.binary(max_size=20), st.integers(0, len(REPORT)).map(lambda end: REPORT[:end])),
    ),
    st.builds(
        lambda sequence, end: bytes((0x0C, 0x5F, 0x11, sequence, 0x0A)) + REPORT[:end],
        st.integers(0, 255),
        st.integers(0, len(REPORT)),
    ),
)


@given(cluster=CLUSTERS, octets=FRAMES, unicast=st.booleans())
@example(cluster=0x0006, octets=bytes.fromhex("08d40a02d04802000a"), unicast=True)
@example(cluster=0xE000, octets=bytes.fromhex("0b"), unicast=True)
def test_any_frame_is_answered_once_at_most_and_by_the_rules(
    house: House, cluster: int, octets: bytes, unicast: bool
) -> None:
    sent = house.responses(cluster, octets, unicast=unicast)
    assert len(sent) <= 1
    try:
        came = zcl.decode(octets)
    except PeerError:
        assert not sent
        return
    general = not came.cluster_specific
    if not unicast or (general and came.command in foundation.RESPONSES):
        assert not sent
        return
    wanted: int | None
    if general and came.command == 0x0A:
        _, fault = foundation.reported(came.payload)
        wanted = MALFORMED if fault else None if came.disable_default_response else SUCCESS
    else:
        wanted = UNSUPPORTED_CLUSTER if cluster == 0xE000 else None  # the others are zigpy's
    assert len(sent) == (wanted is not None)
    for frame in sent:
        answer = zcl.decode(frame.payload)
        assert (frame.endpoint, frame.cluster, frame.link_key) == (1, cluster, False)
        assert (answer.command, answer.cluster_specific, answer.disable_default_response) == (0x0B, False, True)
        assert (answer.sequence, answer.manufacturer) == (came.sequence, came.manufacturer)
        assert answer.to_client is not came.to_client
        assert foundation.default_responded(answer.payload) == (came.command, wanted)


def test_one_at_a_time_for_each_device(tmp_path: Path) -> None:
    house = House(tmp_path)
    for number in range(5):
        house.takes(came(1, 0x0006, number, bytes((0x08, number, 0x0A, 0))))
    house.semantics.turn(house.time)
    assert [frame.payload[1] for frame in house.air.frames] == [0]
    assert (house.counters["default_responses"], house.counters["default_responses_left_out"]) == (1, 4)
    house.air.frames.pop().done(SendOutcome.FAILED)
    assert len(house.responses(0x0006, b"\x08\x09\x0a\x00")) == 1


def test_a_copy_is_not_answered_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    octets = bytes.fromhex("08d40a02d04802000a")
    assert len(house.responses(0x0006, octets)) == 1
    house.time -= 10.0
    assert house.responses(0x0006, octets) == []
    assert len(house.responses(0x0006, octets)) == 1  # long after: the counters may have gone round
