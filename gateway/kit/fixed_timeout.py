"""Many waits of the same length on the loop's clock, with one timer. Nothing else belongs here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import TypeVar

from common.timers import Timers

K = TypeVar("K", bound=Hashable)


class FixedTimeout(Timers[K]):
    """Calls ``over(key)`` once for each key that was begun ``seconds`` ago and neither ended nor begun again since."""

    __slots__ = ("_loop", "_over", "_seconds", "_timer")

    def __init__(self, seconds: float, over: Callable[[K], None]) -> None:
        super().__init__()
        self._seconds = seconds
        self._over = over
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, key: K) -> None:
        """Needs the running loop."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        when = loop.time() + self._seconds
        self.plan(key, when)
        if self._timer is None:
            self._timer = loop.call_at(when, self._look)

    def end(self, key: K) -> None:
        """``over`` is not called for it; one that was not begun is fine."""
        self.drop(key)

    def close(self) -> None:
        """Forget all keys; nothing is called from now on."""
        self.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._loop is not None
        now = self._loop.time()
        try:
            while (key := self.take_due(now)) is not None:
                self._over(key)
        finally:
            # Only now: what was begun in between comes behind the first of those that are left.
            first = self.next()
            self._timer = None if first is None else self._loop.call_at(first, self._look)
