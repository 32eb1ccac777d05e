"""Reports of devices as readings, over the virtual dongle: values, invalid values, copies, nonsense, and a flood."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.zigbee.coordinator import Coordinator
from adapters.zigbee.zcl_devices import INBOX
from gateway.api.model import Join, LinkSecurity, Reading
from simulator.network.device_kinds import Identity, humidity, on_off, power, temperature
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP, came
from tests.harness.zcl_device import ZclDevice, settled

SENSOR, LAMP = 0x000D6F0000000021, 0x000D6F0000000022
IDENTITY = Identity("ACME", "Z1", mains=True)


async def sensor(world: Any, **options: Any) -> ZclDevice:
    device = ZclDevice(SENSOR, *(make(IDENTITY) for make in (temperature, humidity, power)))
    await device.attach(world.socket, **options)
    world.devices.append(device)
    return device


async def lamp(world: Any) -> ZclDevice:
    """Two endpoints with a switch each."""
    for endpoint in (1, 2):
        device = ZclDevice(LAMP, on_off(IDENTITY), endpoint=endpoint)
        await device.attach(world.socket)
        world.devices.append(device)
    return device


def values(gateway: Any) -> list[tuple[tuple[str, Any], ...]]:
    return [reading.values for reading in gateway.context.of(Reading)]


async def test_a_join_tells_the_properties(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await sensor(world)
        join = await gateway.join(device)
        assert [each.name for each in join.properties] == ["temperature", "humidity", "battery"]
        await settled(gateway, device)  # and what it turned out to have
        assert [each.name for each in gateway.context.of(Join)[-1].properties][3:] == ["voltage"]
        assert not join.sleepy
        assert dict(join.facts) == {"manufacturer": "ACME", "model": "Z1", "power": "always on"}
        join = await gateway.join(await lamp(world))
        assert [(each.name, each.writable) for each in join.properties] == [("state", True), ("state_2", True)]
        known = {join.source.claims: join.properties for join in gateway.context.of(Join)}
    # the devices that are there already, after a start
    async with world.gateway() as gateway:
        await gateway.until(lambda: len(gateway.context.of(Join)) == 2)
        assert {join.source.claims: join.properties for join in gateway.context.of(Join)} == known


@BOTH_EZSP
async def test_reports_become_readings(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await sensor(world)
        await gateway.join(device)
        await settled(gateway, device)
        before = len(values(gateway))
        zigpys = gateway.adapter.status()["counters"]["radio_received"]
        for cluster, payload in (
            (0x0402, "0000 29 6608"),
            (0x0402, "0000 29 0080"),  # no value
            (0x0402, "0300 21 0100  0000 29 0cfe"),  # an attribute without a row comes along
            (0x0405, "0000 21 0b16"),
            (0x0405, "0000 21 ffff"),
            (0x0001, "2000 20 1e  2100 20 c7"),
            (0x0001, "2100 20 ff"),
        ):
            device.report(cluster, payload)
        expected: list[tuple[tuple[str, float | None], ...]] = [
            (("temperature", 21.5),),
            (("temperature", None),),
            (("temperature", -5.0),),
            (("humidity", 56.43),),
            (("humidity", None),),
            (("voltage", 3000), ("battery", 99.5)),
            (("battery", None),),
        ]
        await gateway.until(lambda: len(values(gateway)) - before >= len(expected))
        assert values(gateway)[before:] == expected
        reading = gateway.context.of(Reading)[-1]
        assert reading.source.claims == (f"eui64:{device.eui64}",)
        assert reading.source.link == LinkSecurity(protocol="zigbee-network-key")
        assert gateway.adapter.status()["counters"]["radio_received"] == zigpys + len(expected)
        listed = (await gateway.adapter.command("devices", {}))["devices"][0]
        assert (listed["lqi"], listed["rssi"]) == (200, -60) and listed["last_seen"]


async def test_both_endpoints_of_a_lamp(world: Any) -> None:
    async with world.gateway() as gateway:
        second = await lamp(world)
        await gateway.join(second)
        await settled(gateway, second)
        first = world.devices[0]
        before = len(values(gateway))
        first.report(0x0006, "0000 10 01")
        await gateway.until(lambda: len(values(gateway)) == before + 1)
        second.report(0x0006, "0000 10 00")
        await gateway.until(lambda: len(values(gateway)) == before + 2)
        second.report(0x0006, "0000 10 ff")
        await gateway.until(lambda: len(values(gateway)) == before + 3)
        assert values(gateway)[before:] == [(("state", True),), (("state_2", False),), (("state_2", None),)]


async def test_a_malformed_report_is_counted_and_makes_no_reading(world: Any) -> None:
    """Nothing of it is a reading; each is counted, and the next good report is taken."""
    async with world.gateway() as gateway:
        device = await sensor(world)
        await gateway.join(device)
        await settled(gateway, device)
        before = len(values(gateway))
        counters = gateway.adapter.status()["counters"]
        for payload in ("0000", "0000 29 66", "0000 99 0011", "0000 48 20 ffff"):
            device.report(0x0402, payload)
        for payload in ("", "0500 29 6608", "0000 38 6608"):  # nothing; another attribute; a type that can't carry it
            device.report(0x0402, payload)
        device.report(0x0402, "0000 29 6608", manufacturer=0x1234)
        device.say(0x0402, b"\x18")
        device.report(0x0006, "0000 10 01")  # a cluster that its interview didn't tell of
        device.report(0x0402, "0000 29 6708")
        await gateway.until(lambda: len(values(gateway)) > before)
        assert values(gateway)[before:] == [(("temperature", 21.51),)]
        after = gateway.adapter.status()["counters"]
        assert after["reports_malformed"] - counters["reports_malformed"] == 3
        assert after["reports_unknown"] - counters["reports_unknown"] == 6
        assert after["values_of_a_wrong_type"] - counters["values_of_a_wrong_type"] == 2
        assert after["radio_malformed"] - counters["radio_malformed"] == 1


async def test_a_copy_is_dropped(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await sensor(world)
        await gateway.join(device)
        await settled(gateway, device)
        frame = device.report(0x0402, "0000 29 6608")
        await gateway.until(lambda: values(gateway)[-1:] == [(("temperature", 21.5),)])
        before = len(values(gateway))
        adapter, counter = gateway.adapter, "reports_repeated"
        for aps_counter in (7, 7, 8):
            assert gateway.takes(device.eui64, came(1, 0x0402, aps_counter, frame))
        await gateway.until(lambda: len(values(gateway)) == before + 2)
        assert adapter.status()["counters"][counter] == 1


async def test_frames_kept_while_the_radio_starts_are_bounded(world: Any) -> None:
    """No later report waits: its reading is submitted before the radio's callback returns."""
    async with world.gateway() as gateway:
        device = await sensor(world)
        await gateway.join(device)
        await settled(gateway, device)
        before = len(values(gateway))
        devices, link = gateway.running.devices, gateway.running.dongle.link
        devices.down()
        for number in range(INBOX + 50):
            payload = bytes((0x18, number & 0xFF, 0x0A, 0, 0, 0x29)) + (number % 3000).to_bytes(2, "little")
            assert gateway.takes(device.eui64, came(1, 0x0402, number & 0xFF, payload))
        assert len(values(gateway)) == before
        devices.up(link.sender, link.radio)
        assert len(values(gateway)) == before + INBOX
        assert gateway.adapter.status()["counters"]["reports_dropped"] == 50
        assert values(gateway)[-1] == (("temperature", (INBOX - 1) / 100),)
        assert gateway.takes(device.eui64, came(1, 0x0402, 7, bytes.fromhex("18070a0000290708")))
        assert values(gateway)[-1] == (("temperature", 20.55),)


async def test_reports_that_come_while_the_radio_starts_are_kept(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dongle forwards from the moment that its network is up; whose they are is known a little later."""
    async with world.gateway() as gateway:
        device = await sensor(world)
        await gateway.join(device)
        await settled(gateway, device)
    started = Coordinator.start

    async def start(*given: Any, **named: Any) -> Coordinator:
        found = await started(*given, **named)
        device.report(0x0402, "0000 29 6608")
        async with asyncio.timeout(20):
            while True:
                await asyncio.sleep(0.01)  # and the adapter has its turn
                if found.counters["received"]:
                    return found

    monkeypatch.setattr(Coordinator, "start", start)
    async with world.gateway() as gateway:
        await gateway.until(lambda: (("temperature", 21.5),) in values(gateway))
        assert gateway.adapter.status()["counters"]["reports_unknown"] == 0
        await gateway.until(lambda: gateway.adapter.status()["reach"] == {"online": 1, "offline": 0, "not_known": 0})


async def test_of_a_stranger_nothing_is_taken(world: Any) -> None:
    async with world.gateway() as gateway:
        assert gateway.takes("00:00:00:00:00:00:00:01", came(1, 0x0402, 0, bytes.fromhex("180a0a0000296608")))
        await gateway.until(lambda: gateway.adapter.status()["counters"]["reports_unknown"] == 1)
        assert not gateway.context.of(Reading)
