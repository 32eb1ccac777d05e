"""Time-outs of many that are waited for: what the dongle says of the frames and the commands that it was given."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class EqualWaits:
    """Futures that are waited for equally long: one timer does for all."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._expected: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> asyncio.Future[Any]:
        """One more; TimeoutError when its time is up. A caller that gives up waiting for one cancels it."""
        while self._expected and self._expected[0][1].done():
            self._expected.popleft()
        awaited: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._expected.append((self._loop.time() + self._seconds, awaited))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)
        return awaited

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        expected, now = self._expected, self._loop.time()
        while expected and (expected[0][1].done() or expected[0][0] <= now):
            _, awaited = expected.popleft()
            if not awaited.done():
                awaited.set_exception(TimeoutError())
        if expected:
            self._timer = self._loop.call_at(expected[0][0], self._look)
