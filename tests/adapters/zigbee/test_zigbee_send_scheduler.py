"""The queue before the dongle: order, windows, slots of sleepers, and what happens when the dongle is full or goes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.radio_port import Frame, SendOutcome
from adapters.zigbee.send_scheduler import GROW_AFTER, SLEEPER_LANE, SendScheduler
from adapters.zigbee.zcl_transactions import PER_DEVICE


class Dongle:
    """Takes frames and finishes them when the test says so; counts how many it has at once."""

    def __init__(self, buffers: int = 100) -> None:
        self.buffers = buffers
        self.now = self.pause = 0.0
        self.held: list[tuple[ZigbeeDevice, asyncio.Future[SendOutcome]]] = []
        self.most = 0
        self.most_per_device: dict[str, int] = defaultdict(int)
        self.offered: list[bytes] = []

    async def transmit(self, device: ZigbeeDevice, frame: Frame) -> SendOutcome:
        self.offered.append(frame.payload)
        if len(self.held) >= self.buffers:
            self.now += self.pause
            return SendOutcome.BUSY
        fate: asyncio.Future[SendOutcome] = asyncio.get_running_loop().create_future()
        self.held.append((device, fate))
        self.most = max(self.most, len(self.held))
        per_device = sum(other is device for other, _ in self.held)
        self.most_per_device[device.eui64] = max(self.most_per_device[device.eui64], per_device)
        return await fate

    def finish(self, outcome: SendOutcome = SendOutcome.DELIVERED) -> None:
        held, self.held = self.held, []
        for _, fate in held:
            fate.set_result(outcome)


def sender(dongle: Dongle, **options: Any) -> SendScheduler:
    given = {
        "in_flight": 8,
        "sleepy_in_flight": 2,
        "device_window": 2,
        "awake": 1.0,
        "jitter": lambda: 0.0,
        "now": lambda: dongle.now,
        "busy_waits": (0.0,) * 3,
    }
    return SendScheduler(dongle.transmit, lambda device: device.eui64.startswith("sleepy"), **{**given, **options})


class Run:
    """A sender at work; ``done`` holds (payload, outcome) in the order of the reports."""

    def __init__(self, subject: SendScheduler) -> None:
        self.subject = subject
        self.records = DeviceRecords()
        self.done: list[tuple[bytes, SendOutcome]] = []

    async def __aenter__(self) -> Run:
        self.task = asyncio.get_running_loop().create_task(self.subject.run())
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    def submit(self, eui64: str, payload: bytes) -> Frame:
        frame = Frame(1, payload, False, lambda outcome: self.done.append((payload, outcome)))
        self.subject.submit(self.records.of(eui64), frame)
        return frame

    def heard(self, eui64: str) -> None:
        self.subject.heard(self.records.of(eui64))

    def withdraw(self, eui64: str, frame: Frame) -> bool:
        return self.subject.withdraw(self.records.of(eui64), frame)


async def test_order_and_windows() -> None:
    dongle = Dongle()
    async with Run(sender(dongle, in_flight=4, sleepy_in_flight=1)) as run:
        for n in range(5):
            for device in ("a", "b", "c"):
                run.submit(device, f"{device}{n}".encode())
        for _ in range(20):
            await run.settle()
            dongle.finish()
        await run.settle()
    assert dongle.most == 3  # the fourth slot is for sleepers
    assert set(dongle.most_per_device.values()) <= {1, 2}
    for device in ("a", "b", "c"):
        mine = [payload.decode() for payload, outcome in run.done if payload.decode()[0] == device]
        assert mine == [f"{device}{n}" for n in range(5)]
    assert {outcome for _, outcome in run.done} == {SendOutcome.DELIVERED}
    assert len(run.done) == 15


async def test_what_is_not_queued_here_takes_a_slot_from_the_others() -> None:
    """zigpy's own frames: first come, first served; one that fails gives its slot back."""
    dongle = Dongle()
    async with Run(sender(dongle, in_flight=3, sleepy_in_flight=1)) as run:
        async with run.subject.slot(False), run.subject.slot(True):  # the latter takes nothing from those awake
            for name in "abc":
                run.submit(name, name.encode())
            await run.settle()
            assert dongle.offered == [b"a"]
            waiting = asyncio.get_running_loop().create_task(fails(run.subject))
        await run.settle()
        assert dongle.offered == [b"a", b"b"]
        for _ in range(2):
            dongle.finish()
            await run.settle()
        assert waiting.done() and isinstance(waiting.exception(), OSError)
        assert dongle.offered == [b"a", b"b", b"c"]
        dongle.finish()
        await run.settle()
        assert len(run.done) == 3


async def fails(subject: SendScheduler) -> None:
    async with subject.slot(False):
        raise OSError


async def test_window_of_one_serialises() -> None:
    dongle = Dongle()
    async with Run(sender(dongle, device_window=1)) as run:
        for n in range(4):
            run.submit("a", bytes([n]))
        await run.settle()
        assert dongle.offered == [b"\0"]
        dongle.finish()
        await run.settle()
        assert dongle.offered == [b"\0", b"\1"]


async def test_sleepers_delay_nobody_who_is_awake() -> None:
    """Fifty frames wait for three sleepers. Those that are awake have the slots that they'd have without them."""

    async def awake_slots(*, with_sleepers: bool) -> list[int]:
        dongle = Dongle()
        taken = []
        async with Run(sender(dongle)) as run:
            if with_sleepers:
                for n in range(50):
                    run.submit(f"sleepy{n % 3}", b"z")
                for n in range(3):
                    run.heard(f"sleepy{n}")  # and none of them acknowledges anything
            for n in range(40):
                run.submit(f"awake{n % 10}", b"a")
            for _ in range(8):
                await run.settle()
                ours = [entry for entry in dongle.held if entry[0].eui64.startswith("awake")]
                taken.append(len(ours))
                dongle.held = [entry for entry in dongle.held if entry not in ours]
                for _, fate in ours:
                    fate.set_result(SendOutcome.DELIVERED)
            assert [payload for payload, _ in run.done].count(b"a") == 40
            assert len(dongle.held) <= 2  # the sleepers' own slots
        return taken

    alone = await awake_slots(with_sleepers=False)
    assert alone[0] == 6
    assert await awake_slots(with_sleepers=True) == alone


async def test_a_sleeper_is_sent_to_only_while_it_listens() -> None:
    dongle = Dongle()
    async with Run(sender(dongle)) as run:
        for n in range(4):
            run.submit("sleepy", bytes([n]))
        await run.settle()
        assert dongle.offered == []
        assert not run.subject.listens(run.records.of("sleepy"))
        run.heard("sleepy")
        assert run.subject.listens(run.records.of("sleepy"))
        await run.settle()
        assert dongle.offered == [b"\0"]  # one at a time
        dongle.finish()
        await run.settle()
        assert dongle.offered == [b"\0", b"\1"]
        dongle.now = 1.0
        dongle.finish()
        await run.settle()
        assert dongle.offered == [b"\0", b"\1"]  # it sleeps again
        run.heard("sleepy")
        await run.settle()
        dongle.finish()
        await run.settle()
        assert dongle.offered == [b"\0", b"\1", b"\2", b"\3"]
        dongle.finish()
        await run.settle()
        run.submit("sleepy", b"\4")
        await run.settle()
        assert dongle.offered[-1] == b"\4"  # it was heard a moment ago
    assert [payload for payload, _ in run.done] == [bytes([n]) for n in range(5)]


async def test_a_sleeper_that_nods_off_before_the_dongle_has_room_keeps_its_frame() -> None:
    dongle = Dongle(buffers=0)
    dongle.pause = 0.6
    async with Run(sender(dongle)) as run:
        run.submit("sleepy", b"x")
        run.submit("sleepy", b"y")
        run.heard("sleepy")
        await asyncio.sleep(0.01)  # the waits are of no length, but they are timers
        await run.settle()
        assert dongle.offered == [b"x", b"x"]
        assert run.done == []
        dongle.buffers = 1
        run.heard("sleepy")
        for _ in range(2):
            await run.settle()
            dongle.finish()
        await run.settle()
    assert run.done == [(b"x", SendOutcome.DELIVERED), (b"y", SendOutcome.DELIVERED)]


async def test_sleepers_lanes_are_bounded() -> None:
    dongle = Dongle()
    async with Run(sender(dongle)) as run:
        for _ in range(SLEEPER_LANE + 2):
            run.submit("sleepy", b"x")
        assert run.done == [(b"x", SendOutcome.BUSY)] * 2


async def test_a_waiting_frame_can_be_taken_back() -> None:
    dongle = Dongle()
    async with Run(sender(dongle, queued=2)) as run:
        first, second = run.submit("sleepy", b"x"), run.submit("sleepy", b"x")
        assert run.withdraw("sleepy", second)
        assert not run.withdraw("sleepy", second)
        run.submit("sleepy", b"y")
        assert run.done == []  # its room is free again
        run.heard("sleepy")
        await run.settle()
        assert not run.withdraw("sleepy", first)  # the dongle has it
        dongle.finish()
        await run.settle()
        dongle.finish()
        await run.settle()
    assert run.done == [(b"x", SendOutcome.DELIVERED), (b"y", SendOutcome.DELIVERED)]


async def test_a_full_dongle_is_asked_again_but_not_for_ever() -> None:
    dongle = Dongle(buffers=0)
    subject = sender(dongle)
    async with Run(subject) as run:
        run.submit("a", b"x")
        await run.settle()
        await asyncio.sleep(0.01)
        await run.settle()
    assert run.done == [(b"x", SendOutcome.BUSY)]
    assert dongle.offered == [b"x"] * 4
    assert subject.counters["busy"] == 4


async def test_room_comes_back() -> None:
    dongle = Dongle(buffers=0)
    async with Run(sender(dongle, busy_waits=(0.01, 0.01))) as run:
        run.submit("a", b"x")
        await run.settle()
        dongle.buffers = 1
        await asyncio.sleep(0.05)
        dongle.finish()
        await run.settle()
    assert run.done == [(b"x", SendOutcome.DELIVERED)]


async def test_a_small_dongle_is_learnt() -> None:
    """Two buffers: after the first refusals no more than two are offered at once, and every frame gets through."""
    dongle = Dongle(buffers=2)
    subject = sender(dongle, busy_waits=(10.0,) * 8)
    async with Run(subject) as run:
        for n in range(12):
            run.submit(f"device{n}", bytes([n]))
        for _ in range(12):
            await run.settle()
            dongle.finish()
        await run.settle()
    assert sorted(run.done) == [(bytes([n]), SendOutcome.DELIVERED) for n in range(12)]
    assert subject.counters["busy"] == 1


async def test_a_burst_over_many_devices_is_carried_out() -> None:
    """All questions that fifty devices may have open at once, through a dongle with ten buffers: none is refused."""
    dongle = Dongle(buffers=10)
    async with Run(sender(dongle)) as run:
        for number in range(PER_DEVICE):
            for device in range(50):
                run.submit(f"device {device}", bytes((number, device)))
        while len(run.done) < 50 * PER_DEVICE:
            dongle.finish()
            await asyncio.sleep(0)
    assert {outcome for _, outcome in run.done} == {SendOutcome.DELIVERED}
    assert dongle.most <= 8 and max(dongle.most_per_device.values()) <= 2


async def test_a_dongle_with_room_again_is_given_more() -> None:
    dongle = Dongle(buffers=1)
    async with Run(sender(dongle, device_window=8)) as run:
        for n in range(GROW_AFTER * 4):
            run.submit(f"device{n % 8}", bytes([n]))
        for _ in range(4):
            await run.settle()
            dongle.finish()
        dongle.buffers = 100
        dongle.most = 0
        while len(run.done) < GROW_AFTER * 4:
            await run.settle()
            dongle.finish()
    assert {outcome for _, outcome in run.done} == {SendOutcome.DELIVERED}
    assert 2 <= dongle.most <= 4


@pytest.mark.parametrize(
    "outcome", [SendOutcome.FAILED, SendOutcome.TOO_LONG, SendOutcome.NO_KEY, SendOutcome.NO_DEVICE]
)
async def test_what_was_sent_is_never_sent_again(outcome: SendOutcome) -> None:
    """zigpy would try three times, and a device would run a command twice."""
    dongle = Dongle()
    async with Run(sender(dongle)) as run:
        run.submit("a", b"x")
        await run.settle()
        dongle.finish(outcome)
        await run.settle()
    assert dongle.offered == [b"x"]
    assert run.done == [(b"x", outcome)]


async def test_the_end_fails_everything_once() -> None:
    dongle = Dongle()
    async with Run(sender(dongle)) as run:
        for n in range(10):
            run.submit("a", bytes([n]))
        await run.settle()
    assert sorted(run.done) == [(bytes([n]), SendOutcome.FAILED) for n in range(10)]
    run.submit("a", b"late")
    assert run.done[-1] == (b"late", SendOutcome.FAILED)


async def test_a_device_that_left_leaves_its_places_to_others() -> None:
    """A sleeper is not heard any more: its frames would wait for ever."""
    dongle = Dongle()
    async with Run(sender(dongle, queued=3)) as run:
        for n in range(3):
            run.submit("sleepy", bytes([n]))
        run.subject.left(run.records.of("sleepy"))
        assert run.done == [(bytes([n]), SendOutcome.NO_DEVICE) for n in range(3)]
        assert run.records.of("sleepy").lane is None
        for n in range(3):
            run.submit("sleepy other", bytes([n]))
        assert len(run.done) == 3 and dongle.offered == []


async def test_bounded() -> None:
    dongle = Dongle()
    async with Run(sender(dongle, queued=3)) as run:
        for n in range(5):
            run.submit("a", bytes([n]))
        assert run.done == [(b"\3", SendOutcome.BUSY), (b"\4", SendOutcome.BUSY)]
        await run.settle()
        run.submit("a", b"again")
        assert len(run.done) == 2
