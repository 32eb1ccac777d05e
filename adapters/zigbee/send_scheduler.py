"""Frames that wait for the dongle: a lane for each device, few frames in flight, another try if the dongle is full.

A dongle has some ten buffers for unicasts. Given more it refuses them (``MAX_MESSAGE_LIMIT_REACHED``) and zigpy gives
up; so frames wait here, in order for each device, and a refused one is offered again as soon as another is through.
Each refusal lowers the number of frames in flight to what the dongle took; success raises it again.

A frame for a device whose receiver is off while it idles would lie in the dongle until the device polls. So it stays in
its lane here, and goes out in the short time after the device was heard, when it listens. One that polls every few
seconds (``polls_often``) is sent to at any time.

States of a frame, and who moves it:

- *waiting*: ``submit`` put it into its device's lane. ``withdraw`` and ``left`` take it out.
- *in flight*: a worker gave it to the dongle, and it holds a slot. If the dongle is full it is offered again before the
  frames behind it, up to the number of ``busy_waits``; if its device sleeps meanwhile it is *waiting* again, as first.
- *over*: ``done`` was called with the outcome. The scheduler never sends a frame again that the dongle took: whether to
  try again is the caller's decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from adapters.zigbee.device import Lane, ZigbeeDevice
from adapters.zigbee.eager import begin
from adapters.zigbee.radio_port import BUSY_WAITS, Frame, SendOutcome

_LOG = logging.getLogger(__name__)

GROW_AFTER: Final = 64
"""Frames in a row that the dongle took, until it is given one more at once."""
SLEEPER_LANE: Final = 64
"""Frames that wait for one sleeping device; more are refused as BUSY."""


class _Slots:
    """How many frames the dongle is given at once: first come, first served; a refused frame comes first."""

    def __init__(self, most: int) -> None:
        self._most = self.limit = most
        self.taken = 0
        self._taken_in_a_row = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, first: bool = False) -> None:
        if self.taken < self.limit and (first or not self._waiting):
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        self.taken -= 1
        while self._waiting and self.taken < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.taken += 1
                turn.set_result(None)

    def refused(self) -> None:
        """The dongle has no room for the frame of this slot: it holds the others at most."""
        self.limit = max(1, min(self.limit, self.taken - 1))
        self._taken_in_a_row = 0

    def accepted(self) -> None:
        self._taken_in_a_row += 1
        if self._taken_in_a_row >= GROW_AFTER:
            self._taken_in_a_row = 0
            self.limit = min(self._most, self.limit + 1)


class _HeldSlot:
    """A slot, held for as long as a context lasts."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots

    async def __aenter__(self) -> None:
        await self._slots.acquire()

    async def __aexit__(self, *fault: object) -> None:
        self._slots.release()


class _Turns:
    """Devices that have something to send, in the order of their turns, and how many more are served at once."""

    def __init__(self, workers: int) -> None:
        self.waiting: deque[ZigbeeDevice] = deque()
        self.idle = workers


class SendScheduler:
    """Sends through ``transmit``, at most ``in_flight`` frames at once and ``device_window`` to one device.

    ``sleepy_in_flight`` of the slots serve sleeping devices, and no others; such a device has one frame in flight, and
    only within ``awake`` seconds after it was ``heard``. ``asleep`` tells which devices sleep. ``jitter`` gives a
    number in [0, 1). ``queued``: frames that wait for sleeping devices, and as many for all others.
    """

    def __init__(
        self,
        transmit: Callable[[ZigbeeDevice, Frame], Awaitable[SendOutcome]],
        asleep: Callable[[ZigbeeDevice], bool],
        *,
        in_flight: int,
        sleepy_in_flight: int,
        device_window: int,
        awake: float,
        jitter: Callable[[], float],
        now: Callable[[], float],
        queued: int = 4096,
        busy_waits: tuple[float, ...] = BUSY_WAITS,
    ) -> None:
        self._transmit = transmit
        self._asleep = asleep
        self._slots = (max(1, in_flight - sleepy_in_flight), sleepy_in_flight)  # by whether they are for sleepers
        self._windows = (device_window, 1)
        self._awake = awake
        self._jitter = jitter
        self._now = now
        self._busy_waits = busy_waits
        self._in_flight = tuple(_Slots(slots) for slots in self._slots)
        self._room = [queued, queued]
        self._lanes: dict[ZigbeeDevice, None] = {}
        """The devices that have a lane."""
        self._turns = tuple(_Turns(slots) for slots in self._slots)
        self._workers: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._open = True
        self.counters: dict[str, int] = dict.fromkeys(SendOutcome, 0)
        """Attempts by outcome."""

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        """Queue a frame. It fails at once, before the return, if the queue is full or the link gone."""
        lane = device.lane
        if not self._open:
            frame.done(SendOutcome.FAILED)
            return
        sleepy = self._asleep(device) if lane is None else lane.sleepy
        if self._room[sleepy] <= 0 or (sleepy and lane is not None and len(lane.frames) >= SLEEPER_LANE):
            frame.done(SendOutcome.BUSY)
            return
        self._room[sleepy] -= 1
        if lane is None:
            lane = device.lane = Lane(sleepy)
            self._lanes[device] = None
        lane.frames.append(frame)
        self._schedule(device, lane)

    def withdraw(self, device: ZigbeeDevice, frame: Frame) -> bool:
        """Take a frame back that still waits; ``done`` isn't called then. False: it's too late."""
        lane = device.lane
        if lane is None:
            return False
        for index, waiting in enumerate(lane.frames):
            if waiting is frame:
                del lane.frames[index]
                self._room[lane.sleepy] += 1
                self._forget_idle(device, lane)
                return True
        return False

    def left(self, device: ZigbeeDevice) -> None:
        """A device has left the network: what waits for it is not sent."""
        lane = device.lane
        while lane is not None and lane.frames:
            self._room[lane.sleepy] += 1
            lane.frames.popleft().done(SendOutcome.NO_DEVICE)
        if lane is not None:
            self._forget_idle(device, lane)

    def listens(self, device: ZigbeeDevice) -> bool:
        """Whether a frame for this device would go out now: false while it sleeps."""
        return not self._asleep(device) or device.listens_until > self._now() or device.polls_often

    def heard(self, device: ZigbeeDevice) -> None:
        """A frame of a sleeping device came: for a short while it listens."""
        device.listens_until = self._now() + self._awake
        if device.lane is not None:
            self._schedule(device, device.lane)

    def slot(self, sleepy: bool) -> AbstractAsyncContextManager[None]:
        """A frame that isn't queued here (zigpy's own) is with the dongle: one of the slots for sleeping devices, or of
        the others. The caller offers a refused frame again itself, outside."""
        return _HeldSlot(self._in_flight[sleepy])

    async def run(self) -> None:
        """Serve until cancelled; then every frame that is left fails."""
        self._failed = asyncio.get_running_loop().create_future()
        ended: BaseException | None = None
        try:
            await self._failed
        except BaseException as error:
            ended = error
        # After the handler, in which nothing may be awaited: see docs/decisions, "Hot values".
        self._open = False
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        for device in tuple(self._lanes):
            lane, device.lane = device.lane, None
            while lane is not None and lane.frames:
                lane.frames.popleft().done(SendOutcome.FAILED)
        self._lanes.clear()
        if ended is not None:
            raise ended

    def _schedule(self, device: ZigbeeDevice, lane: Lane) -> None:
        if lane.active < self._windows[lane.sleepy] and self._may_go(device, lane):
            lane.active += 1
            turns = self._turns[lane.sleepy]
            if not turns.idle:
                turns.waiting.append(device)
                return
            turns.idle -= 1
            worker = begin(self._serve(turns, device))  # a frame that nothing stands in the way of is sent now
            if worker is not None:
                self._workers.add(worker)
                worker.add_done_callback(self._ended)

    def _may_go(self, device: ZigbeeDevice, lane: Lane) -> bool:
        return not lane.sleepy or device.listens_until > self._now() or device.polls_often

    def _forget_idle(self, device: ZigbeeDevice, lane: Lane) -> None:
        if not lane.active and not lane.frames:
            device.lane = None
            self._lanes.pop(device, None)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        fault, failed = None if worker.cancelled() else worker.exception(), self._failed
        if fault is not None and failed is not None and not failed.done():
            failed.set_exception(fault)

    async def _serve(self, turns: _Turns, device: ZigbeeDevice) -> None:
        """This device and, one after the other, those whose turns are next."""
        try:
            while True:
                lane = device.lane
                assert lane is not None  # it goes when the last of its workers does
                if lane.frames and self._may_go(device, lane):
                    await self._offer(device, lane)
                if lane.frames and self._may_go(device, lane):
                    turns.waiting.append(device)  # behind the other devices
                else:
                    lane.active -= 1
                    self._forget_idle(device, lane)
                if not turns.waiting:
                    return
                device = turns.waiting.popleft()
        finally:
            turns.idle += 1

    async def _offer(self, device: ZigbeeDevice, lane: Lane) -> None:
        """Give the dongle the lane's first frame, again and again while it has no room."""
        frame = lane.frames.popleft()
        self._room[lane.sleepy] += 1
        outcome: SendOutcome | None = SendOutcome.FAILED
        try:
            for number, wait in enumerate((*self._busy_waits, None)):
                if number and not self._may_go(device, lane):
                    outcome = None
                    break
                taken = await self._attempt(device, frame, self._in_flight[lane.sleepy], wait, first=number > 0)
                if wait is None or taken is not SendOutcome.BUSY:
                    outcome = taken
                    break
        finally:
            if outcome is not None:
                frame.done(outcome)
            else:
                lane.frames.appendleft(frame)  # the next time that it listens
                self._room[lane.sleepy] -= 1

    async def _attempt(
        self, device: ZigbeeDevice, frame: Frame, slots: _Slots, wait: float | None, *, first: bool
    ) -> SendOutcome:
        await slots.acquire(first=first)
        try:
            outcome = await self._transmit(device, frame)
            self.counters[outcome] += 1
            if outcome is not SendOutcome.BUSY:
                slots.accepted()
                return outcome
            alone = slots.taken == 1
            slots.refused()
            if alone and wait is not None:
                await asyncio.sleep(wait * (0.5 + self._jitter()))
            return outcome
        finally:
            slots.release()
