"""Devices that join at the same time: they are interviewed and set up together, as far as the dongle has room, and one
that leaves, answers late, twice or never holds up no other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee import zcl
from carriage.zigbee.foundation import General
from gateway.api.model import Leave
from simulator.network.device_kinds import Identity, on_off, temperature
from simulator.network.radio import Conditions
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP, Gateway
from tests.harness.zcl_device import ZclDevice, settled, shown

FIRST = 0x000D6F0000000100
COUNT = 10
TOGETHER = 8
"""Of ten that are always on, so many are set up at once."""
IDENTITY = Identity("ACME", "Z1", mains=True)
DARK = Conditions(loss=1.0)


class Together:
    """Answers to Configure Reporting that wait until ``count`` devices have been asked."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: list[tuple[ZclDevice, zcl.ZclFrame]] = []
        self.asked = 0

    def answer(self, device: ZclDevice, cluster: int, asked: zcl.ZclFrame, own: zcl.ZclFrame) -> zcl.ZclFrame | None:
        if asked.command != General.CONFIGURE_REPORTING or asked.cluster_specific:
            return own
        self.asked += 1
        self._waiting.append((device, own))
        if self.asked >= self._count:
            for one, held in self._waiting:
                one.say(cluster, held.encode())
            self._waiting.clear()
        return None


async def attached(world: Any, count: int, *, sleepy: bool = False, first: int = FIRST) -> list[ZclDevice]:
    cluster = temperature if sleepy else on_off
    devices = [ZclDevice(first + n, cluster(IDENTITY)) for n in range(count)]
    for device in devices:
        await device.attach(world.socket, sleepy=sleepy, poll=0.05)
        world.devices.append(device)
    return devices


async def all_join(gateway: Gateway, devices: list[ZclDevice]) -> None:
    await gateway.adapter.command("permit-join", {"seconds": 200})
    async with asyncio.TaskGroup() as tasks:
        for device in devices:
            tasks.create_task(device.client.join(30))


async def all_settled(gateway: Gateway, devices: list[ZclDevice]) -> None:
    for device in devices:
        await gateway.until(lambda device=device: gateway.record(device.eui64).model is not None)
        await settled(gateway, device)


def slow(world: Any, delay: float) -> None:
    for station in world.network.stations.values():
        world.network.set_conditions(Conditions(delay_min=delay, delay_max=1.5 * delay), station)


async def interviewing(gateway: Gateway) -> int:
    return sum(each["interviewing"] for each in (await gateway.adapter.command("devices", {}))["devices"])


@BOTH_EZSP
async def test_all_that_join_together_are_interviewed_together(world: Any) -> None:
    async with world.gateway() as gateway:
        devices = await attached(world, COUNT)
        slow(world, 0.1)  # one interview takes ten times that
        await all_join(gateway, devices)
        most = 0
        while not all(gateway.record(each.eui64).model for each in devices):
            most = max(most, await interviewing(gateway))
            await asyncio.sleep(0.02)
        assert most == COUNT
        assert world.ncp.most_in_flight <= world.config().limits.in_flight


@BOTH_EZSP
async def test_devices_that_were_interviewed_are_set_up_together(world: Any) -> None:
    """None of ten answers before eight have been asked, so they would never be done if one waited for another."""
    together = Together(TOGETHER)
    async with world.gateway() as gateway:
        devices = await attached(world, COUNT)
        for device in devices:
            device.answer = partial(together.answer, device)
        await all_join(gateway, devices)
        await all_settled(gateway, devices)
        assert together.asked == COUNT  # each once: no question's time was up


async def test_sleepers_that_join_together_have_their_turns_while_they_are_awake(world: Any) -> None:
    """As many frames for them are in the dongle at once as they have slots."""
    async with world.gateway() as gateway:
        limits = world.config().limits
        devices = await attached(world, COUNT, sleepy=True)
        slow(world, 0.02)
        await all_join(gateway, devices)
        await gateway.until(lambda: all(gateway.record(each.eui64).model for each in devices))
        before = world.ncp.most_in_flight
        await all_settled(gateway, devices)
        assert limits.sleepy_in_flight <= before <= limits.in_flight


@pytest.mark.parametrize("sleepy", [False, True], ids=["always on", "sleeping"])
async def test_one_that_answers_nothing_holds_up_no_other(world: Any, sleepy: bool) -> None:
    async with world.gateway() as gateway:
        (dead,) = await attached(world, 1, sleepy=sleepy, first=FIRST + 0x80)
        others = await attached(world, COUNT - 1)
        await all_join(gateway, [dead])
        world.network.set_conditions(DARK, world.network.station(dead.address))
        await all_join(gateway, others)
        await all_settled(gateway, others)
        row = await shown(gateway, dead)
        assert (row["interviewing"], row["interviewed"]) == (True, False)


async def test_one_that_leaves_while_it_is_interviewed_is_gone_and_the_others_come(world: Any) -> None:
    async with world.gateway() as gateway:
        (leaving,) = await attached(world, 1, first=FIRST + 0x80)
        others = await attached(world, COUNT - 1)
        slow(world, 0.1)
        await all_join(gateway, [leaving])
        await gateway.until(lambda: gateway.running.dongle.link.radio.device(leaving.eui64))
        assert await interviewing(gateway) == 1
        world.network.leave(world.network.station(leaving.address))
        await all_join(gateway, others)
        await all_settled(gateway, others)
        listed = (await gateway.adapter.command("devices", {}))["devices"]
        assert {each["eui64"] for each in listed} == {each.eui64 for each in others}
        assert gateway.context.of(Leave)


@pytest.mark.parametrize("late", [0.0, 0.5], ids=["twice", "late and twice"])
async def test_answers_that_come_late_or_twice_are_taken_once(world: Any, late: float) -> None:
    async with world.gateway(times=ZigbeeTimes(answer=0.2, first_retry=0.1)) as gateway:
        (odd,) = await attached(world, 1, first=FIRST + 0x80)
        others = await attached(world, 3)

        def twice(cluster: int, asked: zcl.ZclFrame, own: zcl.ZclFrame | None) -> zcl.ZclFrame | None:
            if own is not None:
                for _ in range(2):
                    asyncio.get_running_loop().call_later(late, odd.say, cluster, own.encode())
            return None

        odd.answer = twice
        await all_join(gateway, [odd, *others])
        await all_settled(gateway, others)
        odd.answer = lambda cluster, asked, own: own
        while gateway.semantics.shown(odd.eui64)["setup_steps_left"]:
            odd.report(0x0006, "0000 10 01")  # who was silent is asked again when it is heard
            await asyncio.sleep(0.05)
        assert set(gateway.semantics.shown(odd.eui64)["reporting"].values()) == {"configured"}
