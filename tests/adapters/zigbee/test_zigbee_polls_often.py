"""Commands to devices that sleep and poll every few seconds, over the virtual dongle: a lock need not speak first."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.families.poll_control import polls_often
from adapters.zigbee.network_port import FrameSender
from adapters.zigbee.radio_port import Frame, SendOutcome
from gateway.api.model import InvokeAction, Outcome, Reason, WriteProperties
from simulator.network.clusters.closures import NEEDS_PIN, door_lock
from simulator.network.clusters.hvac import thermostat, thermostat_ui
from simulator.network.clusters.ids import Identity
from tests.harness.zcl_asked import Asked, joined

IDENTITY = Identity("ACME", "P1", mains=False)
POLL, LOCK, THERMOSTAT, UI, TEMPERATURE = 0x0020, 0x0101, 0x0201, 0x0204, 0x0402
PIN = "40961357"


def outcomes(gateway: Any) -> list[Outcome]:
    return [each.outcome for each in gateway.context.receipts]


async def asleep(gateway: Any, device: Any) -> None:
    """It was heard so long ago that nothing is sent to one that sleeps in earnest."""
    record = gateway.record(device.eui64)
    await gateway.until(lambda: record.listens_until < gateway.context.now())


async def test_a_lock_gets_a_command_while_it_says_nothing(world: Any) -> None:
    async with world.gateway(limits={"awake": 0.01}) as gateway:
        lock = door_lock(IDENTITY)
        device, asked = await joined(world, gateway, lock, sleepy=True, poll=0.1)
        for word, state in (("LOCK", 1), ("UNLOCK", 2)):
            await asleep(gateway, device)
            assert (await asked.does(WriteProperties, values={"state": word})).outcome is Outcome.DELIVERED
            assert lock.whole(0x0000) == state
        assert outcomes(gateway) == [Outcome.DELIVERED] * 2
        extended = world.ncp._node.memory.extended_timeouts
        assert extended[device.address], "the dongle waits until it polls"


class Deaf:
    """A sender whose frames are not delivered; with ``open`` they go to the real one."""

    def __init__(self, sender: FrameSender) -> None:
        self.sender, self.open, self.lost = sender, False, 0
        self.withdraw, self.listens = sender.withdraw, sender.listens

    def submit(self, device: Any, frame: Frame) -> None:
        if self.open:
            self.sender.submit(device, frame)
        else:
            self.lost += 1
            frame.done(SendOutcome.FAILED)


async def deafened(world: Any, gateway: Any, *clusters: Any) -> tuple[Any, Asked, Deaf]:
    device, asked = await joined(world, gateway, *clusters, sleepy=True, poll=0.1)
    transactions = gateway.semantics._transactions
    transactions.sender = sender = Deaf(transactions.sender)
    return device, asked, sender


async def test_what_is_not_delivered_is_held_until_the_device_is_heard(world: Any) -> None:
    async with world.gateway() as gateway:
        valve = thermostat(IDENTITY)
        device, asked, sender = await deafened(world, gateway, valve)
        run = gateway.task.get_loop().create_task(asked.does(WriteProperties, values={"occupied_heating_setpoint": 18}))
        await gateway.until(lambda: outcomes(gateway) == [Outcome.HELD])
        assert (sender.lost, gateway.adapter.status()["counters"]["commands_held"]) == (1, 1)
        sender.open = True
        device.report(THERMOSTAT, "0000 29 6608")
        assert (await run).outcome is Outcome.DELIVERED
        assert valve.whole(0x0012) == 1800


async def test_what_must_not_be_done_twice_fails_at_once(world: Any) -> None:
    """A setpoint that is raised may have been raised, though no acknowledgement came."""
    async with world.gateway() as gateway:
        _, asked, sender = await deafened(world, gateway, thermostat(IDENTITY))
        receipt = await asked.does(InvokeAction, name="setpoint_raise_lower", input={"amount": 1})
        assert (receipt.reason, receipt.detail, sender.lost) == (Reason.UNREACHABLE, "not delivered", 1)
        assert not gateway.record(asked.device.eui64).held


async def test_what_fails_when_the_device_was_heard_is_not_held_again(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked, sender = await deafened(world, gateway, thermostat(IDENTITY))
        run = gateway.task.get_loop().create_task(asked.does(WriteProperties, values={"occupied_heating_setpoint": 18}))
        await gateway.until(lambda: outcomes(gateway) == [Outcome.HELD])
        device.report(THERMOSTAT, "0000 29 6608")
        receipt = await run
        assert (receipt.reason, receipt.detail, sender.lost) == (Reason.UNREACHABLE, "not delivered", 2)


async def test_a_code_for_a_lock_that_sleeps_on_is_not_reported_as_held(world: Any) -> None:
    """What is held is in the store. This one goes out when the lock is heard, or the gateway gives up on it in time."""
    async with world.gateway() as gateway:
        lock = door_lock(IDENTITY)
        lock.attributes[NEEDS_PIN].value = 1
        lock.memory["3"] = PIN.encode().hex()
        device, asked, sender = await deafened(world, gateway, lock)
        run = gateway.task.get_loop().create_task(asked.does(WriteProperties, values={"state": "LOCK", "code": PIN}))
        await gateway.until(lambda: gateway.record(device.eui64).held)
        sender.open = True
        device.report(LOCK, "0300 30 00")
        assert (await run).outcome is Outcome.DELIVERED
        assert (outcomes(gateway), lock.whole(0x0000)) == ([Outcome.DELIVERED], 1)
        assert gateway.adapter.status()["counters"]["commands_held"] == 0


async def test_any_other_sleeper_is_sent_to_when_it_is_heard(world: Any) -> None:
    async with world.gateway(limits={"awake": 0.01}) as gateway:
        device, asked = await joined(world, gateway, thermostat_ui(IDENTITY), sleepy=True, poll=0.1)
        await asleep(gateway, device)
        device.asked.clear()
        run = gateway.task.get_loop().create_task(asked.does(WriteProperties, values={"keypad_lockout": "lock1"}))
        await gateway.until(lambda: outcomes(gateway) == [Outcome.HELD])
        assert device.asked == []
        device.report(UI, "0100 30 00")
        assert (await run).outcome is Outcome.DELIVERED


@pytest.mark.parametrize(
    ("clusters", "long_poll", "often"),
    [
        ({LOCK}, None, True),
        ({THERMOSTAT, POLL}, 28, True),
        ({THERMOSTAT, POLL}, 120, False),  # it says that it polls each half minute
        ({TEMPERATURE, POLL}, 20, True),
        ({TEMPERATURE}, None, False),
        ({TEMPERATURE, POLL}, 0, False),
        ({UI}, None, False),
    ],
)
def test_who_polls_often(clusters: set[int], long_poll: int | None, often: bool) -> None:
    assert polls_often(clusters, {} if long_poll is None else {0x0001: long_poll}) is often
