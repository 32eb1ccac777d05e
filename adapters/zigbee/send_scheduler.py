"""What waits for the dongle: a lane for each device, few frames in flight, and another try where the dongle is full.

A dongle has some ten buffers for unicasts. Given more it refuses them (``MAX_MESSAGE_LIMIT_REACHED``) and zigpy gives
up; so frames wait here, in order for each device, and a refused one is offered again as soon as another is through.
Each refusal lowers the number of frames in flight to what the dongle took; success raises it again. A frame that the
dongle took is never sent again from here: what became of it is the caller's to judge.

A frame for a device whose receiver is off while it idles would lie in the dongle until the device polls. So it stays in
its lane here, and goes out in the short time after the device was heard, when it listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from carriage.zigbee.tunneling import CLUSTER_ID

_LOG = logging.getLogger(__name__)

BUSY_WAITS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)
"""Seconds before a frame is offered again that was refused though none of ours is in flight; ends after the last."""
GROW_AFTER: Final = 64
"""Frames in a row that the dongle took, until it is given one more at once."""
SLEEPER_LANE: Final = 64
"""Frames that wait for one sleeping device; more are refused as BUSY."""
SLEEPERS: Final = 1024
"""Sleeping devices of which we remember when they were heard."""
HOME_AUTOMATION: Final = 0x0104


class SendOutcome(Enum):
    """What became of one attempt to send."""

    DELIVERED = "delivered"
    """APS acknowledgement seen."""
    FAILED = "failed"
    """The dongle gave it up, or isn't there."""
    BUSY = "busy"
    """There is no room for it now, in the dongle or in our queue; nothing was sent."""
    TOO_LONG = "too-long"
    """More than one APS frame holds; nothing was sent."""
    NO_KEY = "no-key"
    """There is no link key with the device; nothing was sent."""
    NO_DEVICE = "no-device"
    """Not a device of this network."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One APS unicast. ``endpoint`` is the device's, ``source_endpoint`` ours. ``done`` is called exactly once, unless
    the frame is withdrawn."""

    eui64: str
    endpoint: int
    payload: bytes = field(repr=False)
    link_key: bool
    done: Callable[[SendOutcome], None] = field(repr=False, compare=False)
    cluster: int = CLUSTER_ID
    profile: int = HOME_AUTOMATION
    source_endpoint: int = 1


@dataclass(slots=True, eq=False)
class _Lane:
    """The frames of one device. ``active``: how many workers it has, or waits for, now."""

    sleepy: bool
    frames: deque[Frame] = field(default_factory=deque)
    active: int = 0


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


class SendScheduler:
    """Sends through ``transmit``, at most ``in_flight`` frames at once and ``device_window`` to one device.

    ``sleepy_in_flight`` of the slots serve sleeping devices, and no others; such a device has one frame in flight, and
    only within ``awake`` seconds after it was ``heard``. ``asleep`` tells which devices sleep. ``jitter`` gives a
    number in [0, 1). ``queued``: frames that wait for sleeping devices, and as many for all others.
    """

    def __init__(
        self,
        transmit: Callable[[Frame], Awaitable[SendOutcome]],
        asleep: Callable[[str], bool],
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
        self._lanes: dict[str, _Lane] = {}
        self._turns: tuple[asyncio.Queue[str], asyncio.Queue[str]] = (asyncio.Queue(), asyncio.Queue())
        self._listens: dict[str, float] = {}
        self._open = True
        self.counters: dict[str, int] = {outcome.value: 0 for outcome in SendOutcome}
        """Attempts by outcome."""

    def submit(self, frame: Frame) -> None:
        """Queue a frame. It fails at once, before the return, where the queue is full or the link gone."""
        lane = self._lanes.get(frame.eui64)
        if not self._open:
            frame.done(SendOutcome.FAILED)
            return
        sleepy = self._asleep(frame.eui64) if lane is None else lane.sleepy
        if self._room[sleepy] <= 0 or (sleepy and lane is not None and len(lane.frames) >= SLEEPER_LANE):
            frame.done(SendOutcome.BUSY)
            return
        self._room[sleepy] -= 1
        if lane is None:
            lane = self._lanes[frame.eui64] = _Lane(sleepy)
        lane.frames.append(frame)
        self._schedule(frame.eui64, lane)

    def withdraw(self, frame: Frame) -> bool:
        """Take a frame back that still waits; ``done`` isn't called then. False: it's too late."""
        lane = self._lanes.get(frame.eui64)
        if lane is None:
            return False
        for index, waiting in enumerate(lane.frames):
            if waiting is frame:
                del lane.frames[index]
                self._room[lane.sleepy] += 1
                self._forget_idle(frame.eui64, lane)
                return True
        return False

    def listens(self, eui64: str) -> bool:
        """Whether a frame for this device would go out now: false while it sleeps."""
        return not self._asleep(eui64) or self._listens.get(eui64, float("-inf")) > self._now()

    def heard(self, eui64: str) -> None:
        """A frame of a sleeping device came: for a short while it listens."""
        self._listens.pop(eui64, None)
        if len(self._listens) >= SLEEPERS:
            del self._listens[next(iter(self._listens))]
        self._listens[eui64] = self._now() + self._awake
        lane = self._lanes.get(eui64)
        if lane is not None:
            self._schedule(eui64, lane)

    async def run(self) -> None:
        """Serve until cancelled; then every frame that is left fails."""
        try:
            async with asyncio.TaskGroup() as group:
                for turns, slots in zip(self._turns, self._slots, strict=True):
                    for _ in range(slots):
                        group.create_task(self._serve(turns))
        finally:
            self._open = False
            for lane in self._lanes.values():
                while lane.frames:
                    lane.frames.popleft().done(SendOutcome.FAILED)
            self._lanes.clear()

    def _schedule(self, eui64: str, lane: _Lane) -> None:
        if lane.active < self._windows[lane.sleepy] and self._may_go(eui64, lane):
            lane.active += 1
            self._turns[lane.sleepy].put_nowait(eui64)

    def _may_go(self, eui64: str, lane: _Lane) -> bool:
        return not lane.sleepy or self._listens.get(eui64, float("-inf")) > self._now()

    def _forget_idle(self, eui64: str, lane: _Lane) -> None:
        if not lane.active and not lane.frames:
            del self._lanes[eui64]

    async def _serve(self, turns: asyncio.Queue[str]) -> None:
        while True:
            eui64 = await turns.get()
            lane = self._lanes[eui64]
            if lane.frames and self._may_go(eui64, lane):
                await self._offer(eui64, lane)
            if lane.frames and self._may_go(eui64, lane):
                turns.put_nowait(eui64)  # behind the other devices
                continue
            lane.active -= 1
            self._forget_idle(eui64, lane)

    async def _offer(self, eui64: str, lane: _Lane) -> None:
        """Give the dongle the lane's first frame, again and again while it has no room."""
        frame = lane.frames.popleft()
        self._room[lane.sleepy] += 1
        outcome: SendOutcome | None = SendOutcome.FAILED
        try:
            outcome = await self._until_taken(frame, lambda: self._may_go(eui64, lane), self._in_flight[lane.sleepy])
        finally:
            if outcome is not None:
                frame.done(outcome)
            else:
                lane.frames.appendleft(frame)  # the next time that it listens
                self._room[lane.sleepy] -= 1

    async def _until_taken(self, frame: Frame, may_go: Callable[[], bool], slots: _Slots) -> SendOutcome | None:
        """None: the device went to sleep before the dongle had room."""
        for number, wait in enumerate((*self._busy_waits, None)):
            if number and not may_go():
                return None
            outcome = await self._attempt(frame, slots, wait, first=number > 0)
            if outcome is not SendOutcome.BUSY:
                return outcome
        return SendOutcome.BUSY

    async def _attempt(self, frame: Frame, slots: _Slots, wait: float | None, *, first: bool) -> SendOutcome:
        await slots.acquire(first=first)
        try:
            outcome = await self._transmit(frame)
            self.counters[outcome.value] += 1
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
