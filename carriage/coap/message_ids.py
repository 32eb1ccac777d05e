"""Message ids of one association: none comes twice within its lifetime (RFC 7252 section 4.4). Nothing else."""

from __future__ import annotations

from collections import deque
from typing import Final

SPACE: Final = 65_536
_GRAIN: Final = 1.0  # seconds per counted bucket: bounds the record to lifetime / grain entries


class MessageIds:
    """Hands out the 65,536 ids in order from ``first``; refuses while all of them are younger than ``lifetime``."""

    __slots__ = ("_buckets", "_lifetime", "_live", "_next", "_space")

    def __init__(self, first: int, lifetime: float, space: int = SPACE) -> None:
        self._next = first % SPACE
        self._lifetime = lifetime
        self._space = space
        self._live = 0
        self._buckets: deque[list[float]] = deque()  # [time of the last id in it, ids in it]

    def take(self, now: float) -> int | None:
        """The next id, or ``None`` while none is free."""
        buckets = self._buckets
        if self._live >= self._space:
            self._expire(now)
            if self._live >= self._space:
                return None
        if buckets and now - buckets[-1][0] < _GRAIN:
            buckets[-1][1] += 1
        else:
            if buckets and now - buckets[0][0] >= self._lifetime + _GRAIN:
                self._expire(now)
            buckets.append([now, 1])
        self._live += 1
        taken = self._next
        self._next = (taken + 1) % SPACE
        return taken

    def free_at(self) -> float | None:
        """When the oldest ids come free, if all are taken; ``None`` while some are free."""
        if self._live < self._space:
            return None
        return self._buckets[0][0] + self._lifetime + _GRAIN

    def _expire(self, now: float) -> None:
        buckets = self._buckets
        # A bucket's ids are up to one grain younger than its start.
        while buckets and now >= buckets[0][0] + self._lifetime + _GRAIN:
            self._live -= int(buckets.popleft()[1])
