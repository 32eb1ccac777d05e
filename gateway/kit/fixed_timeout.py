"""Many waits of the same length on the loop's clock, with one timer. Nothing else belongs here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class FixedTimeout(Generic[K]):
    """Calls ``over(key)`` once for each key that was begun ``seconds`` ago and neither ended nor begun again since."""

    __slots__ = ("_due", "_loop", "_over", "_seconds", "_timer")

    def __init__(self, seconds: float, over: Callable[[K], None]) -> None:
        self._seconds = seconds
        self._over = over
        self._due: dict[K, float] = {}
        """In the order in which they were begun, which is that in which they are due: no heap is needed."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def begin(self, key: K) -> None:
        """Needs the running loop."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        when = loop.time() + self._seconds
        self._due.pop(key, None)
        self._due[key] = when
        if self._timer is None:
            self._timer = loop.call_at(when, self._look)

    def end(self, key: K) -> None:
        """``over`` is not called for it; one that was not begun is fine."""
        self._due.pop(key, None)

    def close(self) -> None:
        """Forget all keys; nothing is called from now on."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        try:
            for key, when in self._ripe(now):
                if self._due.get(key) == when:  # neither ended nor begun again by what was called before it
                    del self._due[key]
                    self._over(key)
        finally:
            # Only now: what was begun in between comes behind the first of those that are left.
            first = next(iter(self._due.values()), None)
            self._timer = None if first is None else self._loop.call_at(first, self._look)

    def _ripe(self, now: float) -> list[tuple[K, float]]:
        found = []
        for key, when in self._due.items():
            if when > now:
                break
            found.append((key, when))
        return found
