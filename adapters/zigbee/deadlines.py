"""One timer for many deadlines: a heap that may hold stale entries, since waking early does no harm."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """When each key wants to be woken, in monotonic seconds. Setting a later time than before costs nothing at all.

    A key may be returned before its latest time (at one that was set earlier): look at the clock again then.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._order = count()

    def set(self, key: K, due: float | None) -> None:
        """Wake ``key`` at ``due`` or earlier; None: nothing more is wanted (an entry that is there goes unused)."""
        if due is None:
            return
        before = self._due.get(key)
        if before is None or due < before:
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))

    def forget(self, key: K) -> None:
        self._due.pop(key, None)

    def next(self) -> float | None:
        """The earliest time that counts."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> list[K]:
        """The keys that are due. Each has to be set again."""
        taken: list[K] = []
        while (due := self.next()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            taken.append(key)
        return taken
