"""Setting devices up over the virtual dongle: bound, reported, read once; remembered, and tried again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.zigbee import reporting_setup as steps
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.network_hooks import ANNOUNCED
from adapters.zigbee.network_port import AWAY
from adapters.zigbee.reporting_memory import MEMORY, ReportingMemory
from adapters.zigbee.reporting_setup import UNHEARD
from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Join, Presence, Reading
from simulator.network.device_kinds import Identity, humidity, on_off, power, temperature
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_device import ZclDevice, settled, shown

DEVICE = 0x000D6F0000000041
IDENTITY = Identity("ACME", "Z1", mains=True)
READ, CONFIGURE, CHECK = 0x00, 0x06, 0x08


def asked(device: ZclDevice, command: int) -> list[int]:
    return [cluster for cluster, frame in device.asked if frame.command == command and not frame.cluster_specific]


async def device_of(world: Any, *clusters: Any, **options: Any) -> ZclDevice:
    device = ZclDevice(DEVICE, *(make(IDENTITY) for make in clusters))
    await device.attach(world.socket, **options)
    world.devices.append(device)
    return device


def readings(gateway: Any) -> dict[str, Any]:
    return {name: value for reading in gateway.context.of(Reading) for name, value in reading.values}


@pytest.mark.parametrize("sleepy", [False, True])
async def test_after_the_interview_and_not_again(world: Any, sleepy: bool) -> None:
    async with world.gateway() as gateway:
        device = await device_of(world, temperature, humidity, power, sleepy=sleepy)
        await gateway.join(device)
        await settled(gateway, device)
        assert asked(device, CONFIGURE) == asked(device, READ) == [0x0402, 0x0405, 0x0001]
        values = {"temperature": 20.0, "humidity": 50.0, "battery": 100.0, "voltage": 3000}
        assert readings(gateway) == values
        reporting = device.clusters[0x0402].reporting[0]
        assert (reporting.minimum, reporting.maximum, reporting.change) == (10, 3600, 10)
        assert len(world.network.station(DEVICE).device.bindings) == 3
        row = await shown(gateway, device)
        assert row["reporting"] == {"1/0001": "configured", "1/0402": "configured", "1/0405": "configured"}
        assert [one["name"] for one in row["properties"]] == [*values]
        assert row["endpoints"][0]["in"] == ["0000", "0402", "0405", "0001"] and row["online"] is True
        device.asked.clear()
        # what the device has to say it says by itself from now on
        device.report(0x0402, "0000 29 3408")
        await gateway.until(lambda: readings(gateway)["temperature"] == 21.0)
    async with world.gateway() as gateway:
        if not sleepy:
            await gateway.until(lambda: readings(gateway) == values)
        await settled(gateway, device)
        assert asked(device, CONFIGURE) == []
        assert asked(device, READ) == ([] if sleepy else [0x0402, 0x0405, 0x0001])
        await gateway.until(lambda: gateway.context.of(Presence))
        assert [presence.online for presence in gateway.context.of(Presence)] == [True]


async def test_a_remote_is_bound_to_us_once(world: Any) -> None:
    """What its buttons send goes to those that it is bound to."""
    async with world.gateway() as gateway:
        device = ZclDevice(DEVICE, power(IDENTITY), clients=(0x0006, 0x0008, 0x0019))
        await device.attach(world.socket, sleepy=True)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        bound = world.network.station(DEVICE).device.bindings
        assert sorted(each.cluster for each in bound) == [0x0001, 0x0006, 0x0008]
    bound.clear()
    async with world.gateway() as gateway:
        await settled(gateway, device)
        assert not bound  # it is remembered


async def test_a_device_that_joins_again_may_have_forgotten(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await gateway.join(device)
        await settled(gateway, device)
        await device.client.leave()
        await gateway.until(lambda: not (world.state_dir / MEMORY).read_text().count("0006"))
        device.asked.clear()
        device.clusters[0x0006].reporting.clear()
        await gateway.join(device)
        await gateway.until(lambda: asked(device, READ) and asked(device, CONFIGURE))
        await settled(gateway, device)
        assert asked(device, CONFIGURE) == [0x0006] and device.clusters[0x0006].reporting


async def test_reporting_that_a_device_refuses_is_logged_and_not_asked_again(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if request.command == CONFIGURE and cluster == 0x0402:  # a default response in its place
            payload = bytes((CONFIGURE, 0x82))
            return ZclFrame(0x0B, payload, request.sequence, cluster_specific=False, to_client=True)
        if request.command == CONFIGURE and cluster == 0x0405:
            payload = bytes.fromhex("8c 00 0000")
            return ZclFrame(0x07, payload, request.sequence, cluster_specific=False, to_client=True)
        if request.command == READ and cluster == 0x0402:
            payload = bytes.fromhex("0000 86")
            return ZclFrame(0x01, payload, request.sequence, cluster_specific=False, to_client=True)
        if request.command == READ and cluster == 0x0405:
            return ZclFrame(0x01, b"\x00", request.sequence, cluster_specific=False, to_client=True)
        return own

    async with world.gateway() as gateway:
        device = await device_of(world, temperature, humidity, on_off)
        device.answer = answer
        await gateway.join(device)
        await settled(gateway, device)
        assert (await shown(gateway, device))["reporting"] == {
            "1/0006": "configured",
            "1/0402": "0000 UNSUP_GENERAL_COMMAND",
            "1/0405": "0000 UNREPORTABLE_ATTRIBUTE",
        }
        assert readings(gateway) == {"state": False}
        # reported all the same: it counts
        device.report(0x0405, "0000 21 8813")
        await gateway.until(lambda: readings(gateway).get("humidity") == 50.0)
        device.asked.clear()
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert asked(device, CONFIGURE) == []


async def test_tried_again_when_it_is_heard(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(first_retry=0.0, answer=0.1)) as gateway:
        device = await device_of(world, temperature)
        device.answer = lambda cluster, request, own: None
        await gateway.join(device)
        await gateway.until(lambda: asked(device, READ))
        device.answer = lambda cluster, request, own: own
        # no answer, so a ping; whose answer is heard
        await settled(gateway, device)
        assert readings(gateway) == {"temperature": 20.0}
        assert (asked(device, READ), asked(device, CONFIGURE)) == ([0x0402, 0x0402], [0x0402])


async def test_a_sleeping_device_that_says_nothing_is_tried_again_a_few_times(world: Any) -> None:
    """It may have missed the request, and may have nothing to say for hours: then nothing is heard of it."""
    async with world.gateway(times=ZigbeeTimes(first_retry=0.01, answer=0.1)) as gateway:
        device = await device_of(world, temperature, sleepy=True, poll=0.02)
        device.answer = lambda cluster, request, own: None
        await gateway.join(device)
        await gateway.until(lambda: len(asked(device, READ)) == 2)
        device.answer = lambda cluster, request, own: own
        await settled(gateway, device)
        assert readings(gateway) == {"temperature": 20.0}


async def test_a_sleeping_device_that_stays_silent_is_left_alone(world: Any) -> None:
    async with world.gateway(times=ZigbeeTimes(first_retry=0.01, answer=0.05)) as gateway:
        device = await device_of(world, temperature, sleepy=True, poll=0.02)
        device.answer = lambda cluster, request, own: None
        await gateway.join(device)
        await gateway.until(lambda: len(asked(device, READ)) == 1 + UNHEARD, 20)
        await gateway.until(lambda: gateway.semantics._setup.next_deadline() is None)

        def asked_again() -> bool:
            device.report(0x0402, "0000 29 3408")  # it is heard, after all
            return len(asked(device, READ)) > 1 + UNHEARD

        await gateway.until(asked_again, 20)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"b": 1}}', "\xff"])
async def test_a_memory_that_is_nonsense_is_left_out(world: Any, text: str) -> None:
    (world.state_dir / MEMORY).write_text(text, encoding="latin-1")
    memory = ReportingMemory(world.state_dir / MEMORY)
    assert memory.devices == {}
    memory.devices = {"a": {"1/0006": {"bind": "SUCCESS"}}}
    memory.save()
    assert json.loads((world.state_dir / MEMORY).read_text()) == memory.devices
    assert ReportingMemory(world.state_dir / MEMORY).devices == memory.devices


async def test_only_a_few_devices_at_once(world: Any) -> None:
    """With many devices to be set up the radio stays free for others."""
    most = 0
    async with world.gateway() as gateway:
        devices = []
        for number in range(steps.AT_ONCE + 2):
            device = ZclDevice(DEVICE + number, on_off(IDENTITY))
            await device.attach(world.socket)
            world.devices.append(device)
            devices.append(device)
            await gateway.join(device)
            await settled(gateway, device)
        inner = gateway.semantics._setup
        inner._memory.devices.clear()
        for device in devices:
            inner.add(gateway.record(device.eui64), joined=True)
            most = max(most, inner._active)
        assert most == inner._active == steps.AT_ONCE
        for device in devices:
            await settled(gateway, device)
        assert inner._active == 0


async def test_a_device_that_comes_back_is_read_again(world: Any) -> None:
    """A lamp that was cut off from power may be in another state: it is asked as soon as it is heard."""
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await gateway.join(device)
        await settled(gateway, device)
        device.close()
        gateway.semantics._presence.doubt(gateway.record(device.eui64))
        gateway.context.touch()
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False])
        device.clusters[0x0006].attributes[0].value = 1
        device.asked.clear()
        await device.attach(world.socket)
        await device.client.rejoin(10)
        await gateway.until(lambda: readings(gateway) == {"state": True})
        assert asked(device, CONFIGURE) == []
        await gateway.until(lambda: [each.online for each in gateway.context.of(Presence)] == [True, False, True])


async def after_a_power_cut(world: Any, gateway: Any, device: ZclDevice, *, forget: bool) -> None:
    """A lamp that is set up loses power, is on afterwards, and announces itself under its old address."""
    await gateway.join(device)
    await settled(gateway, device)
    station = world.network.station(DEVICE)
    nwk = station.device.nwk
    if forget:
        device.clusters[0x0006].reporting.clear()
    device.clusters[0x0006].attributes[0].value = 1
    device.asked.clear()
    assert world.network.restart(station, forget=forget) and station.device.nwk == nwk
    await gateway.until(lambda: readings(gateway) == {"state": True})
    await settled(gateway, device)


@BOTH_EZSP
@pytest.mark.parametrize("forget", [False, True])
async def test_a_device_that_announces_itself_is_read_and_its_reporting_is_checked(world: Any, forget: bool) -> None:
    """It is online all the time, so nothing else says that it was without power."""
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await after_a_power_cut(world, gateway, device, forget=forget)
        assert asked(device, READ) == asked(device, CHECK) == [0x0006]
        assert asked(device, CONFIGURE) == ([0x0006] if forget else [])
        assert device.clusters[0x0006].reporting and world.network.station(DEVICE).device.bindings
        assert [each.online for each in gateway.context.of(Presence)] == [True]
        assert (await shown(gateway, device))["reporting"] == {"1/0006": "configured"}


async def test_a_device_that_cannot_tell_its_reporting_is_configured_again(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if request.command == CHECK:
            payload = bytes((CHECK, 0x82))
            return ZclFrame(0x0B, payload, request.sequence, cluster_specific=False, to_client=True)
        return own

    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        device.answer = answer
        await after_a_power_cut(world, gateway, device, forget=True)
        assert asked(device, CONFIGURE) == [0x0006] and device.clusters[0x0006].reporting


async def test_refused_reporting_is_not_asked_for_again_at_the_device_s_restart(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if request.command == CONFIGURE:
            return ZclFrame(0x07, bytes.fromhex("8c 00 0000"), request.sequence, cluster_specific=False, to_client=True)
        return own

    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        device.answer = answer
        await after_a_power_cut(world, gateway, device, forget=True)
        assert asked(device, CONFIGURE) == []


async def test_announcements_that_repeat_cost_one_round_each_at_most(world: Any) -> None:
    """Steps that are left are not doubled."""
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await gateway.join(device)
        await settled(gateway, device)
        device.asked.clear()
        setup, record = gateway.semantics._setup, gateway.record(device.eui64)
        for _ in range(20):
            setup.restarted(record)
            setup.read(record)
        await settled(gateway, device)
        assert asked(device, READ) == asked(device, CHECK) == [0x0006]


async def test_a_device_that_announces_itself_all_the_time_is_not_asked_each_time(world: Any) -> None:
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await gateway.join(device)
        await settled(gateway, device)
        device.asked.clear()
        for _ in range(ANNOUNCED + 3):
            assert world.network.restart(world.network.station(DEVICE))
            device.report(0x0006, "0000 10 01")
            count = gateway.adapter.status()["counters"]["reports"]
            await gateway.until(lambda: gateway.adapter.status()["counters"]["reports"] > count)  # noqa: B023
            await settled(gateway, device)
        assert 1 <= len(asked(device, READ)) <= ANNOUNCED
        assert gateway.adapter.status()["counters"]["radio_announcements_ignored"] >= 3


async def test_an_announcement_of_a_sleeping_device_is_no_restart(world: Any) -> None:
    """It looks for another parent each time that it loses its own."""
    async with world.gateway() as gateway:
        device = await device_of(world, temperature, sleepy=True)
        await gateway.join(device)
        await settled(gateway, device)
        device.asked.clear()
        assert world.network.restart(world.network.station(DEVICE))
        device.report(0x0402, "0000 29 3408")
        await gateway.until(lambda: readings(gateway)["temperature"] == 21.0)
        assert device.asked == []


async def test_the_radio_may_go_with_any_number_of_devices_waiting(world: Any) -> None:
    """Each question fails at once then: one after another, and not one inside the other."""
    async with world.gateway() as gateway:
        device = await device_of(world, on_off)
        await gateway.join(device)
        await settled(gateway, device)
        setup, model = gateway.semantics._setup, gateway.record(device.eui64).model
        setup._transactions.sender = AWAY
        for number in range(1000):
            eui64 = f"{number:016x}"
            setup.add(ZigbeeDevice(eui64, model=replace(model, eui64=eui64)), joined=True)
        assert setup._active == 0 and len(setup.jobs) == 1000
        setup.clear()
        assert setup._active == 0 and not setup.jobs and not setup._queue
