"""Many due times in one heap: which of many keys is due when. No clock and no loop; nothing else belongs here."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """One due time for each key, in seconds of whatever clock the owner reads.

    ``grain``: due times are put off to a multiple of so many seconds, so that keys that are due at nearly the same time
    share one wake-up; 0: exact. Holds at most a small multiple of the keys that are planned.
    """

    __slots__ = ("_due", "_grain", "_heap", "_order")

    def __init__(self, grain: float = 0.0) -> None:
        self._due: dict[K, float] = {}
        self._grain = grain
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0  # keys of the same time come in the order in which they were planned, and need no order

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def plan(self, key: K, when: float) -> None:
        """``key`` is due at ``when``, whatever was planned before."""
        if self._grain:
            when = (int(when / self._grain) + 1) * self._grain
        if self._due.get(key) == when:
            return
        self._due[key] = when
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, key))
        # Entries that are no longer in force stay behind; they must not pile up.
        if len(self._heap) > 4 * len(self._due) + 64:
            self._heap = [(due, order, key) for order, (key, due) in enumerate(self._due.items())]
            heapq.heapify(self._heap)

    def plan_by(self, key: K, when: float | None) -> None:
        """``key`` is due at ``when``, unless it is due earlier already; None changes nothing."""
        if when is not None and ((before := self._due.get(key)) is None or when < before):
            self.plan(key, when)

    def drop(self, key: K) -> None:
        """``key`` is no longer due; one that is not planned is fine."""
        self._due.pop(key, None)

    def clear(self) -> None:
        self._due.clear()
        self._heap.clear()

    def next(self) -> float | None:
        """The earliest due time."""
        heap, due = self._heap, self._due
        while heap:
            when, _, key = heap[0]
            if due.get(key) == when:
                return when
            heapq.heappop(heap)
        return None

    def take_due(self, now: float) -> K | None:
        """The key that is due first, if that is by ``now``; it is planned no longer."""
        when = self.next()
        if when is None or when > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        return key

    def take(self, now: float) -> list[K]:
        """All keys that are due by ``now``, the earliest first; they are planned no longer."""
        heap, due = self._heap, self._due
        taken: list[K] = []
        while heap and heap[0][0] <= now:
            when, _, key = heapq.heappop(heap)
            if due.get(key) == when:
                del due[key]
                taken.append(key)
        return taken
