"""One timer for many waits of the same length. Nothing else belongs here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class FixedTimeout(Generic[K]):
    """Calls ``over(key)`` once for each key that was begun ``seconds`` ago and neither ended nor begun anew since.

    Beginning and ending cost two steps in a table. ``begin`` needs the running loop.
    """

    __slots__ = ("_due", "_over", "_seconds", "_timer")

    def __init__(self, seconds: float, over: Callable[[K], None]) -> None:
        self._seconds = seconds
        self._over = over
        self._due: dict[K, float] = {}  # by time: every one is set the same distance ahead
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def begin(self, key: K) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._due.pop(key, None)
        self._due[key] = due
        if self._timer is None:
            self._timer = loop.call_at(due, self._look)

    def end(self, key: K) -> None:
        self._due.pop(key, None)

    def close(self) -> None:
        """Forget all keys; nothing is called any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            while self._due:
                key, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[key]
                self._over(key)
        finally:
            # Only now: what was begun in between comes behind the first of those that are left.
            first = next(iter(self._due.values()), None)
            self._timer = None if first is None else loop.call_at(first, self._look)
