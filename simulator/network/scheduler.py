"""A list of calls ordered by time, under an injected clock. No I/O; ``simulator.network.loop`` drives it.

Everything in the virtual network that takes time goes through one agenda, so that calls due at the same time run in
the order in which they were asked for, one timer of the event loop serves all, and tests can turn the clock by hand.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Alarm:
    """One call to come. ``cancel`` is always allowed and does nothing once it has run."""

    __slots__ = ("args", "call", "due")

    def __init__(self, due: float, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.due = due
        self.call: Callable[..., None] | None = call
        self.args = args

    def cancel(self) -> None:
        self.call = None
        self.args = ()


def _nobody(_due: float) -> None:
    """The default of ``on_earlier``: the caller that moves the clock looks at ``next_due`` anyway."""


class Agenda:
    """Calls in order of their time, then of their asking.

    ``now`` gives monotonic seconds. ``on_earlier`` (set by the driver) is called when the next call is due earlier
    than the driver knew.
    """

    __slots__ = ("_heap", "_order", "now", "on_earlier")

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.on_earlier: Callable[[float], None] = _nobody
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = 0

    def at(self, due: float, call: Callable[..., None], *args: Any) -> Alarm:
        """Run ``call(*args)`` at ``due`` (at the next turn when that is past)."""
        alarm = Alarm(due, call, args)
        self._order += 1
        heap = self._heap
        first = not heap or due < heap[0][0]
        heapq.heappush(heap, (due, self._order, alarm))
        if first:
            self.on_earlier(due)
        return alarm

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> Alarm:
        """Run ``call(*args)`` in ``seconds``."""
        return self.at(self.now() + seconds, call, *args)

    def next_due(self) -> float | None:
        """When the next call is due; None when there is none."""
        heap = self._heap
        while heap and heap[0][2].call is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run what is due. What these calls add waits for the next turn, so that no turn is endless."""
        heap = self._heap
        last = self._order
        waiting: list[tuple[float, int, Alarm]] = []
        try:
            while heap and heap[0][0] <= now:
                entry = heapq.heappop(heap)
                if entry[1] > last:
                    waiting.append(entry)
                    continue
                call = entry[2].call
                if call is not None:
                    args = entry[2].args
                    entry[2].cancel()
                    call(*args)
        finally:
            for entry in waiting:
                heapq.heappush(heap, entry)

    def __len__(self) -> int:
        return len(self._heap)
