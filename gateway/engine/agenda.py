"""When to look at what: one planned time for each name, the earliest first. No clock."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

K = TypeVar("K", bound=str | int)


class Agenda(Generic[K]):
    """One time for each key. Holds at most a small multiple of the keys that are planned."""

    __slots__ = ("_heap", "_planned")

    def __init__(self) -> None:
        self._planned: dict[K, float] = {}
        self._heap: list[tuple[float, K]] = []

    def __len__(self) -> int:
        return len(self._planned)

    def plan(self, key: K, when: float) -> None:
        """Look at ``key`` at ``when``, whatever was planned before."""
        if self._planned.get(key) == when:
            return
        self._planned[key] = when
        heapq.heappush(self._heap, (when, key))
        # Entries that count no more stay behind; they must not pile up.
        if len(self._heap) > 4 * len(self._planned) + 64:
            self._heap = [(when, key) for key, when in self._planned.items()]
            heapq.heapify(self._heap)

    def plan_by(self, key: K, when: float) -> None:
        """Look at ``key`` at ``when``, unless that is planned for earlier already."""
        if when < self._planned.get(key, float("inf")):
            self.plan(key, when)

    def drop(self, key: K) -> None:
        self._planned.pop(key, None)

    def next(self) -> float | None:
        heap = self._heap
        while heap:
            when, key = heap[0]
            if self._planned.get(key) == when:
                return when
            heapq.heappop(heap)
        return None

    def take_due(self, now: float) -> K | None:
        """A key whose time has come, which is planned no longer; None where there is none."""
        when = self.next()
        if when is None or when > now:
            return None
        _, key = heapq.heappop(self._heap)
        del self._planned[key]
        return key
