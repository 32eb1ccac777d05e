"""What waits for the dongle: a queue for each device, few frames in flight, and another try where the dongle is full.

A dongle has some ten buffers for unicasts. Given more it refuses them (``MAX_MESSAGE_LIMIT_REACHED``) and zigpy gives
up; so frames wait here, in order for each device, and a refused one is offered again as soon as another is through.
Each refusal lowers the number of frames in flight to what the dongle took; success raises it again. A frame that the
dongle took is never sent again from here: what became of it is the caller's to judge.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

_LOG = logging.getLogger(__name__)

BUSY_WAITS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)
"""Seconds before a frame is offered again that was refused though none of ours is in flight; ends after the last."""
GROW_AFTER: Final = 64
"""Frames in a row that the dongle took, until it is given one more at once."""


class Outcome(Enum):
    """What became of one attempt to send."""

    DELIVERED = "delivered"
    """APS acknowledgement seen."""
    FAILED = "failed"
    """The dongle gave it up, or isn't there."""
    BUSY = "busy"
    """The dongle has no room now; nothing was sent."""
    TOO_LONG = "too-long"
    """More than one APS frame holds; nothing was sent."""
    NO_KEY = "no-key"
    """There is no link key with the device; nothing was sent."""
    NO_DEVICE = "no-device"
    """Not a device of this network."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One APS unicast on the tunnelling cluster. ``endpoint`` is the device's. ``done`` is called exactly once."""

    eui64: str
    endpoint: int
    payload: bytes = field(repr=False)
    link_key: bool
    done: Callable[[Outcome], None] = field(repr=False, compare=False)


@dataclass(slots=True, eq=False)
class _Lane:
    """The frames of one device. ``active``: how many workers it has, or waits for, now."""

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


class Sender:
    """Sends through ``transmit``, at most ``in_flight`` frames at once and ``device_window`` to one device.

    ``sleepy_in_flight`` of the slots serve sleeping devices, and no others: a frame for one of them can stay in the
    dongle for many seconds. ``asleep`` tells them. ``jitter`` gives a number in [0, 1).
    """

    def __init__(
        self,
        transmit: Callable[[Frame], Awaitable[Outcome]],
        asleep: Callable[[str], bool],
        *,
        in_flight: int,
        sleepy_in_flight: int,
        device_window: int,
        jitter: Callable[[], float],
        queued: int = 4096,
        busy_waits: tuple[float, ...] = BUSY_WAITS,
    ) -> None:
        self._transmit = transmit
        self._asleep = asleep
        self._slots = (max(1, in_flight - sleepy_in_flight), sleepy_in_flight)
        self._device_window = device_window
        self._jitter = jitter
        self._busy_waits = busy_waits
        self._in_flight = _Slots(in_flight)
        self._room = queued
        self._lanes: dict[str, _Lane] = {}
        self._turns: tuple[asyncio.Queue[str], asyncio.Queue[str]] = (asyncio.Queue(), asyncio.Queue())
        self._open = True
        self.counters: dict[str, int] = {outcome.value: 0 for outcome in Outcome}
        """Attempts by outcome."""

    def submit(self, frame: Frame) -> None:
        """Queue a frame. It fails at once, before the return, where the queue is full or the link gone."""
        if not self._open or self._room <= 0:
            frame.done(Outcome.FAILED)
            return
        self._room -= 1
        lane = self._lanes.get(frame.eui64)
        if lane is None:
            lane = self._lanes[frame.eui64] = _Lane()
        lane.frames.append(frame)
        if lane.active < self._device_window:
            lane.active += 1
            self._turns[self._asleep(frame.eui64)].put_nowait(frame.eui64)

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
                    lane.frames.popleft().done(Outcome.FAILED)
            self._lanes.clear()

    async def _serve(self, turns: asyncio.Queue[str]) -> None:
        while True:
            eui64 = await turns.get()
            lane = self._lanes[eui64]
            if lane.frames:
                frame = lane.frames.popleft()
                self._room += 1
                outcome = Outcome.FAILED
                try:
                    outcome = await self._offer(frame)
                finally:
                    frame.done(outcome)
            if lane.frames:
                turns.put_nowait(eui64)  # behind the other devices
                continue
            lane.active -= 1
            if not lane.active:
                del self._lanes[eui64]

    async def _offer(self, frame: Frame) -> Outcome:
        slots = self._in_flight
        for number, wait in enumerate((*self._busy_waits, None)):
            await slots.acquire(first=number > 0)
            try:
                outcome = await self._transmit(frame)
                self.counters[outcome.value] += 1
                if outcome is not Outcome.BUSY:
                    slots.accepted()
                    return outcome
                alone = slots.taken == 1
                slots.refused()
                if alone and wait is not None:
                    await asyncio.sleep(wait * (0.5 + self._jitter()))
            finally:
                slots.release()
        return Outcome.BUSY
