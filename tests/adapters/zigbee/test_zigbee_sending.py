"""The queue before the dongle: order, windows, slots of sleepers, and what happens when the dongle is full or goes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from adapters.zigbee.sending import GROW_AFTER, Frame, Outcome, Sender


class Dongle:
    """Takes frames and finishes them when told; counts how many it has at once."""

    def __init__(self, buffers: int = 100) -> None:
        self.buffers = buffers
        self.held: list[tuple[Frame, asyncio.Future[Outcome]]] = []
        self.most = 0
        self.most_per_device: dict[str, int] = defaultdict(int)
        self.offered: list[bytes] = []

    async def transmit(self, frame: Frame) -> Outcome:
        self.offered.append(frame.payload)
        if len(self.held) >= self.buffers:
            return Outcome.BUSY
        fate: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.held.append((frame, fate))
        self.most = max(self.most, len(self.held))
        per_device = sum(other.eui64 == frame.eui64 for other, _ in self.held)
        self.most_per_device[frame.eui64] = max(self.most_per_device[frame.eui64], per_device)
        return await fate

    def finish(self, outcome: Outcome = Outcome.DELIVERED) -> None:
        held, self.held = self.held, []
        for _, fate in held:
            fate.set_result(outcome)


def sender(dongle: Dongle, **options: Any) -> Sender:
    given = {"in_flight": 8, "sleepy_in_flight": 2, "device_window": 2, "jitter": lambda: 0.0, "busy_waits": (0.0,) * 3}
    return Sender(dongle.transmit, lambda eui64: eui64.startswith("sleepy"), **{**given, **options})


class Run:
    """A sender at work; ``done`` holds (payload, outcome) in the order of the reports."""

    def __init__(self, subject: Sender) -> None:
        self.subject = subject
        self.done: list[tuple[bytes, Outcome]] = []

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

    def submit(self, eui64: str, payload: bytes) -> None:
        self.subject.submit(Frame(eui64, 1, payload, False, lambda outcome: self.done.append((payload, outcome))))


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
    assert {outcome for _, outcome in run.done} == {Outcome.DELIVERED}
    assert len(run.done) == 15


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


async def test_sleepers_keep_nobody_else_waiting() -> None:
    """Ten sleeping devices hold their slots for ever; the others go on."""
    dongle = Dongle()
    async with Run(sender(dongle)) as run:
        for n in range(10):
            run.submit(f"sleepy{n}", b"z")
        await run.settle()
        assert len(dongle.held) == 2
        for n in range(6):
            run.submit(f"awake{n}", b"a")
        await run.settle()
        assert sum(frame.payload == b"a" for frame, _ in dongle.held) == 6


async def test_a_full_dongle_is_asked_again_but_not_for_ever() -> None:
    dongle = Dongle(buffers=0)
    subject = sender(dongle)
    async with Run(subject) as run:
        run.submit("a", b"x")
        await run.settle()
        await asyncio.sleep(0.01)
        await run.settle()
    assert run.done == [(b"x", Outcome.BUSY)]
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
    assert run.done == [(b"x", Outcome.DELIVERED)]


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
    assert sorted(run.done) == [(bytes([n]), Outcome.DELIVERED) for n in range(12)]
    assert subject.counters["busy"] == 1


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
    assert {outcome for _, outcome in run.done} == {Outcome.DELIVERED}
    assert 2 <= dongle.most <= 4


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TOO_LONG, Outcome.NO_KEY, Outcome.NO_DEVICE])
async def test_what_was_sent_is_never_sent_again(outcome: Outcome) -> None:
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
    assert sorted(run.done) == [(bytes([n]), Outcome.FAILED) for n in range(10)]
    run.submit("a", b"late")
    assert run.done[-1] == (b"late", Outcome.FAILED)


async def test_bounded() -> None:
    dongle = Dongle()
    async with Run(sender(dongle, queued=3)) as run:
        for n in range(5):
            run.submit("a", bytes([n]))
        assert run.done == [(b"\3", Outcome.FAILED), (b"\4", Outcome.FAILED)]
        await run.settle()
        run.submit("a", b"again")
        assert len(run.done) == 2
