"""An event loop that skips the time in which it would only wait: hours of timers pass in moments.

Work that it gave to threads is waited for, and takes none of its time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class _Skipper(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """In the place of a wait it puts the clock forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.at_work = 0
        """How many threads have work to do."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.at_work or timeout is None:
            return super().select(None)
        self.now += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """For ``asyncio.Runner(loop_factory=SkippingLoop)``; ``time()`` begins at 0."""

    def __init__(self) -> None:
        self._skipper = _Skipper()
        super().__init__(self._skipper)

    def time(self) -> float:
        return self._skipper.now

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        self._skipper.at_work += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self._skipper.at_work -= 1
