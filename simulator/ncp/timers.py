"""Deadlines of the NCP: a heap that the owner runs; it has no clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from layer.errors import UsageError

MAX_TIMERS = 256


class Timer:
    """One deadline; ``cancel`` makes it never run."""

    __slots__ = ("action", "at")

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class NcpTimers:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()

    def after(self, delay: float, action: Callable[[], None]) -> Timer:
        """Run ``action`` in ``delay`` seconds. UsageError beyond ``MAX_TIMERS``."""
        if len(self._heap) >= MAX_TIMERS:
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
        if len(self._heap) >= MAX_TIMERS:
            raise UsageError("too many timers")
        timer = Timer(self._clock() + delay, action)
        heapq.heappush(self._heap, (timer.at, next(self._order), timer))
        return timer

    def clear(self) -> None:
        self._heap.clear()

    def next_deadline(self) -> float | None:
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Run what is due, in the order of the deadlines."""
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.action is not None:
                timer.action()
