"""``async with`` for compiled coroutines. This module stays interpreted.

mypyc leaves an exception behind when two compiled coroutines wait at once for the ends of their ``async with``: it
becomes the context of every later one, and these gather (docs/decisions, "Hot values").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

_Entered = TypeVar("_Entered")
_Result = TypeVar("_Result")


async def within(
    manager: AbstractAsyncContextManager[_Entered], body: Callable[[_Entered], Awaitable[_Result]]
) -> _Result:
    """The result of ``body`` with what ``manager`` gives it, which is left afterwards as by ``async with``."""
    async with manager as entered:
        return await body(entered)
    raise AssertionError("the manager swallowed an exception")
