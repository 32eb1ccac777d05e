"""Tasks that begin at once: what they do before they first have to wait is done when ``begin`` returns.

As ``eager_start`` of Python 3.12, but without a current task until the first wait: up to there nothing may ask for it,
as ``asyncio.timeout`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def begin(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run a coroutine as far as it comes; the task of the rest, None if there is none. What it raises up to there is
    raised here."""
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_Rest(coroutine, awaited))


class _Rest(Coroutine[Any, Any, None]):
    """A coroutine that waits already: at its first step its task gets what it waits for."""

    __slots__ = ("_awaited", "_begun", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine, self._awaited, self._begun = coroutine, awaited, False

    def send(self, value: Any) -> Any:
        if self._begun:
            return self._coroutine.send(value)
        self._begun = True
        return self._awaited

    def throw(self, *fault: Any) -> Any:
        self._begun = True
        return self._coroutine.throw(*fault)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError("it is a task's")
