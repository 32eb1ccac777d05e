"""The availability of devices: some were heard recently, some have to be asked, some stay silent too long.

Pure: time enters as ``now``. A device is *online* when it is heard (``heard``). One that is always on is asked after
``always_on`` seconds of silence, and at once when something that it was sent stayed unanswered (``doubt``). Each such
thing and each question without an answer is a miss: after the first the device is asked again, so that one lost frame
says nothing; after the second it is *offline* (``asked``). It is asked on with pauses that grow (``again``), so that it
is online again soon after it can be reached. A sleeping device is never asked: it is offline after ``sleepy`` seconds
of silence (``tick``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from adapters.zigbee.device import Availability, ZigbeeDevice
from common.timers import Timers

ASKED: Final = 2
"""Devices that are asked at once."""
FIRST_CHECK: Final = 30.0
"""A device that is always on is asked when it wasn't heard so long after the radio came up."""
AGAIN: Final[tuple[float, ...]] = (5.0, 15.0, 60.0)
"""Seconds from one question without an answer to the next; afterwards it is ``always_on``."""
MISSES: Final = 2
"""Things without an answer in a row that make a device offline."""


class AvailabilityChange(NamedTuple):
    device: ZigbeeDevice
    online: bool


class AvailabilityTable:
    """All devices of one adapter. ``asks`` and ``news`` are to be taken after every call."""

    def __init__(self, *, always_on: float, sleepy: float, again: tuple[float, ...] = AGAIN) -> None:
        self._timeouts = (always_on, sleepy)
        self._again = again
        self._known: set[ZigbeeDevice] = set()
        self._deadlines: Timers[ZigbeeDevice] = Timers()
        self._queue: deque[ZigbeeDevice] = deque()
        self._asked: set[ZigbeeDevice] = set()
        self._news: deque[AvailabilityChange] = deque()

    def online(self, device: ZigbeeDevice) -> bool | None:
        """None: not known yet."""
        state = device.availability
        return None if state is None else state.online

    def add(self, device: ZigbeeDevice, *, sleepy: bool, silent: float | None, now: float) -> None:
        """A device is in the network. ``silent``: seconds since it was last heard, None where that isn't known."""
        known = device.availability
        if known is not None:
            if known.sleepy is sleepy:
                return
            self.remove(device)
        limit = self._timeouts[sleepy]
        state = device.availability = Availability(sleepy, now, limit)
        self._known.add(device)
        if not sleepy:
            state.heard = now - max(0.0, limit - FIRST_CHECK)
        elif silent is not None:
            state.heard = now - silent
            state.online = silent < limit
            self._news.append(AvailabilityChange(device, state.online))
        self._deadlines.plan_by(device, state.heard + limit)

    def limit(self, device: ZigbeeDevice, seconds: float | None, now: float) -> None:
        """How long a device may be silent, None: as long as others. For what is planned already it counts at once."""
        state = device.availability
        if state is None:
            return
        limit = self._timeouts[state.sleepy] if seconds is None else seconds
        if limit != state.limit:
            state.limit = limit
            state.due = 0.0
            self._deadlines.plan(device, max(now, state.heard + limit))

    def remove(self, device: ZigbeeDevice) -> None:
        device.availability = None
        self._known.discard(device)
        self._asked.discard(device)
        self._deadlines.drop(device)

    def clear(self) -> None:
        """The radio is gone: nothing is known of anybody."""
        for device in tuple(self._known):
            self.remove(device)
        self._queue.clear()
        self._news.clear()

    def heard(self, device: ZigbeeDevice, now: float) -> bool:
        """A frame came. True where that is news. Called for every frame: stays cheap."""
        state = device.availability
        if state is None:
            return False
        state.heard = now
        if state.calm:
            return False
        state.calm = True
        state.misses = state.questions = 0
        state.due = 0.0
        self._deadlines.plan_by(device, now + state.limit)
        if state.online:
            return False
        state.online = True
        self._news.append(AvailabilityChange(device, True))
        return True

    def doubt(self, device: ZigbeeDevice) -> None:
        """Something stayed unanswered, or could not be delivered: a device that is always on is asked at once."""
        state = device.availability
        if state is not None and not state.sleepy and not state.waits:
            state.calm = False
            state.misses += 1
            state.questions = 0
            self._ask(device, state)

    def _ask(self, device: ZigbeeDevice, state: Availability) -> None:
        state.waits = True
        self._queue.append(device)

    def tick(self, now: float) -> None:
        for device in self._deadlines.take(now):
            state = device.availability
            assert state is not None  # else its deadline was dropped
            due = state.due or state.heard + state.limit
            if due > now:
                self._deadlines.plan_by(device, due)
            elif state.sleepy:
                self._offline(device, state)
            elif not state.waits:
                self._ask(device, state)

    def _offline(self, device: ZigbeeDevice, state: Availability) -> None:
        state.calm = False
        if state.online is not False:
            state.online = False
            self._news.append(AvailabilityChange(device, False))

    @property
    def stirs(self) -> bool:
        """There may be a device to ask, or a change."""
        return bool(self._queue or self._news)

    def asks(self) -> Iterator[ZigbeeDevice]:
        """Whom to ask now; each ends with ``asked``."""
        while self._queue and len(self._asked) < ASKED:
            device = self._queue.popleft()
            state = device.availability
            if state is not None and state.waits and device not in self._asked:
                self._asked.add(device)
                yield device

    def asked(self, device: ZigbeeDevice, answered: bool | None, now: float) -> None:
        """The outcome of asking a device. An answer was ``heard`` before. None: there was no room to ask it."""
        state = device.availability
        if state is None or device not in self._asked:
            return
        self._asked.discard(device)
        state.waits = False
        limit = state.limit
        if answered:
            self._deadlines.plan_by(device, state.heard + limit)
            return
        state.calm = False
        state.due = now + (self._again[state.questions] if state.questions < len(self._again) else limit)
        if answered is not None:
            state.questions += 1
            state.misses += 1
        self._deadlines.plan_by(device, state.due)
        if state.misses >= MISSES:
            self._offline(device, state)

    def news(self) -> Iterator[AvailabilityChange]:
        while self._news:
            yield self._news.popleft()

    def next_deadline(self) -> float | None:
        return self._deadlines.next()
