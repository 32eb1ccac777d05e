"""An event loop that skips the time in which it would only wait: hours of timers pass in moments.

Work that it gave to threads is waited for, and takes none of its time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class _Skipper(selectors.DefaultSelector):
    """In the place of a wait it puts the clock forward. ``grace``: seconds that it does wait before, for what other
    processes, or the kernel, still have to bring."""

    def __init__(self, grace: float) -> None:
        super().__init__()
        self.now = 0.0
        self._grace = grace
        self.at_work = 0
        """How many threads have work to do."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout != 0 and self._grace:
            ready = super().select(self._grace)
        if ready or timeout == 0:
            return ready
        if self.at_work or timeout is None:
            return super().select(None)
        self.now += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """For ``asyncio.Runner(loop_factory=SkippingLoop)``; ``time()`` begins at 0."""

    def __init__(self, grace: float = 0.0) -> None:
        self._skipper = _Skipper(grace)
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
