"""How often the hub looks for the engine's next deadline. The calls of a compiled engine can't be counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.harness.hub_bench import Bench
from tests.harness.watched import Watched


async def settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_deadlines_are_looked_for_when_the_timer_goes_off_and_not_for_each_message(tmp_path: Path) -> None:
    """Each unit is accepted, delivered and forgotten before it expires: the timer stays as it is."""
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled()
        looked: list[None] = []
        next_deadline, armed = bench.engine.next_deadline, 0

        def look() -> float | None:
            looked.append(None)
            return next_deadline()

        bench.hub.engine = Watched(bench.engine, next_deadline=look)  # type: ignore[assignment]
        timer = bench.hub._timer
        for n in range(100):
            bench.hub.in_turn(bench.unit, session, n)
            armed += bench.hub._timer is not timer
            timer = bench.hub._timer
        assert len(bench.left.receipts) == 101
        assert looked == [] and armed <= 1
