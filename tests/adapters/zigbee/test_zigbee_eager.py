"""Tasks that begin at once: the first part now, the rest as any task."""

from __future__ import annotations

import asyncio

import pytest

from adapters.zigbee.eager import begin


async def test_what_has_nothing_to_wait_for_is_done_at_once() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append("done")

    assert begin(work()) is None
    assert seen == ["done"]


async def test_the_rest_is_a_task_that_waits_and_catches_as_any() -> None:
    seen: list[str] = []
    first: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        seen.append("begun")
        try:
            seen.append(await first)
        except OSError as fault:
            seen.append(str(fault))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.sleep(0.001)
        seen.append("done")

    task = begin(work())
    assert task is not None and seen == ["begun"]
    first.set_exception(OSError("a fault"))
    await task
    assert seen == ["begun", "a fault", "done"]


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_it_can_be_cancelled_at_any_time(turns: int) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("cleared up")

    task = begin(work())
    assert task is not None
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cleared up"]


async def test_what_it_raises_is_raised_there_or_is_the_tasks() -> None:
    async def at_once() -> None:
        raise OSError("now")

    async def later() -> None:
        await asyncio.sleep(0)
        raise OSError("later")

    with pytest.raises(OSError, match="now"):
        begin(at_once())
    task = begin(later())
    assert task is not None
    with pytest.raises(OSError, match="later"):
        await task
