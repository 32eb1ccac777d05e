"""What a policy comes to know is read: the adapter over the virtual dongle, with the real hub and engine."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.zigbee.adapter import ZigbeeAdapter
from gateway.api.model import EnvelopeId, LinkSecurity, Peer, SessionId, Update
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.engine.policy import DEVICE_ACTIONS, Effect, Rule, Subject
from gateway.runtime.audit import AuditLog
from gateway.runtime.hub import Hub
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.harness.engine_stage import PolicySet
from tests.harness.zcl_device import ZclDevice

DEVICE = 0x000D6F0000000071
TEXT = "00:0d:6f:00:00:00:00:71"
IDENTITY = Identity("ACME", "Z1", mains=True)
APP = Peer(scheme="net", claims=("user:app",), link=LinkSecurity(protocol="none"))
BEFORE = PolicySet(subjects=(Subject("app", "net", "user:app"),), rules=())
NAMED = PolicySet(
    subjects=(*BEFORE.subjects, Subject("lamp", "zigbee", f"eui64:{TEXT}")),
    rules=(Rule(id="use", effect=Effect.PERMIT, subjects=("app",), resources=("lamp",), actions=DEVICE_ACTIONS),),
)
READ = 0x00


class Watcher:
    """An adapter without a carriage."""

    window = 1

    async def run(self, context: Any) -> None: ...

    def flush(self) -> None: ...

    def update(self, update: Update) -> None: ...

    def receipt(self, receipt: Any) -> None: ...


class Site:
    """Gateway and watcher."""

    def __init__(self, world: Any) -> None:
        ids = itertools.count(1)
        next_id = lambda: EnvelopeId(next(ids))  # noqa: E731
        self.engine = Engine(BEFORE, EngineLimits(), lambda: SessionId("s"), next_id)
        self.hub = Hub(
            self.engine, AuditLog(), loop=asyncio.get_running_loop(), next_id=next_id, state_dir=world.state_dir,
            epoch="e", schemes=["zigbee", "net"],
        )  # fmt: skip
        self.adapter = ZigbeeAdapter(world.config())
        self.context = self.hub.attach("zigbee", self.adapter)
        self.watcher = self.hub.attach("net", Watcher())  # type: ignore[arg-type]
        self.task = asyncio.get_running_loop().create_task(self.adapter.run(self.context))
        self.world = world

    async def until(self, condition: Any) -> Any:
        async with asyncio.timeout(20):
            while not (value := condition()):
                if self.task.done():
                    await self.task
                await asyncio.sleep(0.01)
        return value

    async def up(self) -> None:
        await self.until(lambda: self.adapter.status()["link"] == "up")

    async def join(self, device: ZclDevice) -> None:
        await self.adapter.command("permit-join", {"seconds": 60})
        await device.client.join(20)
        assert self.adapter.running is not None
        semantics = self.adapter.running.devices
        await self.until(lambda: semantics.shown(TEXT)["properties"] and not semantics.shown(TEXT)["setup_steps_left"])
        device.asked.clear()

    def reload(self, policy: PolicySet) -> None:
        self.engine.replace_policy(policy, now=self.hub.now())
        self.hub.touch()

    def value(self, name: str) -> Any:
        for view in self.watcher.devices(APP):
            sample = view.samples.get(name)
            return None if sample is None else sample.value
        return None


@asynccontextmanager
async def site_of(world: Any) -> AsyncIterator[Site]:
    site = Site(world)
    try:
        await site.up()
        yield site
    finally:
        site.task.cancel()
        await asyncio.gather(site.task, return_exceptions=True)
        site.hub.close()


def reads(device: ZclDevice) -> list[int]:
    return [cluster for cluster, frame in device.asked if frame.command == READ and not frame.cluster_specific]


async def device_of(world: Any, cluster: Any, *, sleepy: bool = False) -> ZclDevice:
    device = await ZclDevice(DEVICE, cluster(IDENTITY)).attach(world.socket, sleepy=sleepy)
    world.devices.append(device)
    return device


async def test_a_device_is_read_when_the_policy_names_it(world: Any) -> None:
    async with site_of(world) as site:
        device = await device_of(world, on_off)
        await site.join(device)
        device.clusters[0x0006].attributes[0].value = 1
        site.reload(NAMED)
        await site.until(lambda: site.value("state") is True)
        assert reads(device) == [0x0006]


async def test_a_subject_that_is_removed_and_restored_has_its_values_again(world: Any) -> None:
    async with site_of(world) as site:
        device = await device_of(world, on_off)
        site.reload(NAMED)
        await site.join(device)
        await site.until(lambda: site.value("state") is False)
        site.reload(BEFORE)
        await asyncio.sleep(0)
        assert site.value("state") is None
        device.clusters[0x0006].attributes[0].value = 1
        site.reload(NAMED)
        await site.until(lambda: site.value("state") is True)


async def test_a_sleeping_device_is_read_when_it_is_heard(world: Any) -> None:
    async with site_of(world) as site:
        device = await device_of(world, temperature, sleepy=True)
        await site.join(device)
        running: Any = site.adapter.running
        await site.until(lambda: not running.dongle.link.sender.listens(running.records.of(TEXT)))
        site.reload(NAMED)
        await site.until(lambda: len(site.watcher.devices(APP)) == 1)
        assert site.value("temperature") is None and reads(device) == []
        device.report(0x0001, "2100 20 c8")  # of something that is no property of it
        await site.until(lambda: site.value("temperature") == 20.0)
        assert reads(device) == [0x0402]


async def test_twice_is_read_once(world: Any) -> None:
    async with site_of(world) as site:
        device = await device_of(world, on_off)
        await site.join(device)
        for policy in (NAMED, BEFORE, NAMED, BEFORE, NAMED):
            site.reload(policy)
        await site.until(lambda: site.value("state") is False)
        assert reads(device) == [0x0006]


@pytest.mark.parametrize("sleepy", [False, True])
async def test_while_the_radio_is_away(world: Any, sleepy: bool) -> None:
    """It is read when the radio is back; of one that sleeps, set up long ago, nothing else would be."""
    async with site_of(world) as site:
        device = await device_of(world, temperature, sleepy=sleepy)
        await site.join(device)
        world.port.unplug()
        await site.until(lambda: site.adapter.status()["link"] == "down")
        site.reload(NAMED)
        world.port.plug()
        await site.up()
        async with asyncio.timeout(20):
            while site.value("temperature") != 20.0:
                device.report(0x0001, "2100 20 c8")
                await asyncio.sleep(0.05)


async def test_a_device_that_did_not_answer_is_asked_at_once(world: Any) -> None:
    """The pause before its next try is for what it was asked before."""
    async with site_of(world) as site:
        device = await device_of(world, on_off)
        await site.join(device)
        semantics = site.adapter.running.devices
        job_of = semantics._setup.jobs.get
        device.close()
        semantics._setup.read(semantics._records.of(TEXT))
        job = await site.until(lambda: (job := job_of(TEXT)) and job.retry_at and job)
        assert job.retry_at > site.hub.now() + 10
        await device.attach(world.socket)
        site.reload(NAMED)
        await site.until(lambda: site.value("state") is False)
