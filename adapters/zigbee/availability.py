"""Whether devices can be reached: who was heard lately, who has to be asked, who stays silent too long.

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
from dataclasses import dataclass
from typing import Final, NamedTuple

from common.timers import Timers

ASKED: Final = 2
"""Devices that are asked at once."""
FIRST_CHECK: Final = 30.0
"""A device that is always on is asked when it wasn't heard so long after the radio came up."""
AGAIN: Final = (5.0, 15.0, 60.0)
"""Seconds from one question without an answer to the next; afterwards it is ``always_on``."""
MISSES: Final = 2
"""Things without an answer in a row that make a device offline."""


class AvailabilityChange(NamedTuple):
    eui64: str
    online: bool


@dataclass(slots=True, eq=False)
class _State:
    sleepy: bool
    heard: float
    online: bool | None = None
    waits: bool = False
    """It is asked, or about to be."""
    misses: int = 0
    """Things without an answer since it was heard."""
    questions: int = 0
    """How many of them were questions, since the last doubt."""
    calm: bool = False
    """It is online and answers: there is nothing to do when it is heard."""
    due: float = 0.0
    """When it is asked again, or is offline; not before ``heard`` and its time-out."""


class AvailabilityTable:
    """All devices of one adapter. ``asks`` and ``news`` are to be taken after every call."""

    def __init__(self, *, always_on: float, sleepy: float, again: tuple[float, ...] = AGAIN) -> None:
        self._timeouts = (always_on, sleepy)
        self._again = again
        self._states: dict[str, _State] = {}
        self._deadlines: Timers[str] = Timers()
        self._queue: deque[str] = deque()
        self._asked: set[str] = set()
        self._news: deque[AvailabilityChange] = deque()

    def online(self, eui64: str) -> bool | None:
        """None: nobody knows yet."""
        state = self._states.get(eui64)
        return None if state is None else state.online

    def add(self, eui64: str, *, sleepy: bool, silent: float | None, now: float) -> None:
        """A device is in the network. ``silent``: seconds since it was last heard, None where that isn't known."""
        known = self._states.get(eui64)
        if known is not None:
            if known.sleepy is sleepy:
                return
            self.remove(eui64)
        limit = self._timeouts[sleepy]
        state = self._states[eui64] = _State(sleepy, now)
        if not sleepy:
            state.heard = now - max(0.0, limit - FIRST_CHECK)
        elif silent is not None:
            state.heard = now - silent
            state.online = silent < limit
            self._news.append(AvailabilityChange(eui64, state.online))
        self._deadlines.plan_by(eui64, state.heard + limit)

    def remove(self, eui64: str) -> None:
        self._states.pop(eui64, None)
        self._asked.discard(eui64)
        self._deadlines.drop(eui64)

    def clear(self) -> None:
        """The radio is gone: nothing is known of anybody."""
        for eui64 in tuple(self._states):
            self.remove(eui64)
        self._queue.clear()
        self._news.clear()

    def heard(self, eui64: str, now: float) -> bool:
        """A frame came. True where that is news. Called for every frame: stays cheap."""
        state = self._states.get(eui64)
        if state is None:
            return False
        state.heard = now
        if state.calm:
            return False
        state.calm = True
        state.misses = state.questions = 0
        state.due = 0.0
        self._deadlines.plan_by(eui64, now + self._timeouts[state.sleepy])
        if state.online:
            return False
        state.online = True
        self._news.append(AvailabilityChange(eui64, True))
        return True

    def doubt(self, eui64: str) -> None:
        """Something stayed unanswered, or could not be delivered: a device that is always on is asked at once."""
        state = self._states.get(eui64)
        if state is not None and not state.sleepy and not state.waits:
            state.calm = False
            state.misses += 1
            state.questions = 0
            self._ask(eui64, state)

    def _ask(self, eui64: str, state: _State) -> None:
        state.waits = True
        self._queue.append(eui64)

    def tick(self, now: float) -> None:
        for eui64 in self._deadlines.take(now):
            state = self._states[eui64]
            due = state.due or state.heard + self._timeouts[state.sleepy]
            if due > now:
                self._deadlines.plan_by(eui64, due)
            elif state.sleepy:
                self._offline(eui64, state)
            elif not state.waits:
                self._ask(eui64, state)

    def _offline(self, eui64: str, state: _State) -> None:
        state.calm = False
        if state.online is not False:
            state.online = False
            self._news.append(AvailabilityChange(eui64, False))

    @property
    def stirs(self) -> bool:
        """There may be somebody to ask, or news."""
        return bool(self._queue or self._news)

    def asks(self) -> Iterator[str]:
        """Whom to ask now; each ends with ``asked``."""
        while self._queue and len(self._asked) < ASKED:
            eui64 = self._queue.popleft()
            state = self._states.get(eui64)
            if state is not None and state.waits and eui64 not in self._asked:
                self._asked.add(eui64)
                yield eui64

    def asked(self, eui64: str, answered: bool | None, now: float) -> None:
        """What came of asking a device. An answer was ``heard`` before. None: there was no room to ask it."""
        state = self._states.get(eui64)
        if state is None or eui64 not in self._asked:
            return
        self._asked.discard(eui64)
        state.waits = False
        limit = self._timeouts[state.sleepy]
        if answered:
            self._deadlines.plan_by(eui64, state.heard + limit)
            return
        state.calm = False
        state.due = now + (self._again[state.questions] if state.questions < len(self._again) else limit)
        if answered is not None:
            state.questions += 1
            state.misses += 1
        self._deadlines.plan_by(eui64, state.due)
        if state.misses >= MISSES:
            self._offline(eui64, state)

    def news(self) -> Iterator[AvailabilityChange]:
        while self._news:
            yield self._news.popleft()

    def next_deadline(self) -> float | None:
        return self._deadlines.next()
