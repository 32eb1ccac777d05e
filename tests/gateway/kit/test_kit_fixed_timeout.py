"""Waits of the same length: which keys are called, and in which order."""

from __future__ import annotations

import asyncio

from gateway.kit.fixed_timeout import FixedTimeout
from tests.harness.gateway_in_loop import until

SECONDS = 0.02


async def test_what_one_call_ends_or_begins_again_is_not_called_with_it() -> None:
    over: list[str] = []

    def called(key: str) -> None:
        over.append(key)
        if key == "a":
            waits.end("b")
            waits.begin("c")
            assert over == ["a"] and "c" in waits and len(waits) == 2  # c and d

    waits: FixedTimeout[str] = FixedTimeout(SECONDS, called)
    for key in "abcd":
        waits.begin(key)
    await until(lambda: len(over) == 3)
    assert over == ["a", "d", "c"] and not len(waits)
    await asyncio.sleep(2 * SECONDS)
    assert len(over) == 3


async def test_one_that_is_begun_again_comes_last() -> None:
    over: list[str] = []
    waits: FixedTimeout[str] = FixedTimeout(SECONDS, over.append)
    for key in "aba":
        waits.begin(key)
    await until(lambda: len(over) == 2)
    assert over == ["b", "a"]


async def test_a_call_that_raises_keeps_no_other_key_from_its_end() -> None:
    over: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: over.append(str(context["exception"])))

    def called(key: str) -> None:
        if key == "a":
            raise ValueError("a mistake")
        over.append(key)

    waits: FixedTimeout[str] = FixedTimeout(SECONDS, called)
    for key in "ab":
        waits.begin(key)
    await until(lambda: len(over) == 2)
    assert over == ["a mistake", "b"]
