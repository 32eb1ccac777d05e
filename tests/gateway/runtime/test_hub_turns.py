"""When the hub has its turn: behind an adapter's callback (``in_turn``), else in the loop's next iteration; which
adapters are called meanwhile, and that no adapter waits for one that floods the hub."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.api.model import Outcome, Receipt
from gateway.engine.limits import EngineLimits
from gateway.runtime.hub import MAX_TURN
from tests.harness.hub_bench import PHONE, Bench, until

WIDE = EngineLimits(queue_units=100_000, queue_octets=1 << 30, total_octets=1 << 30)
SENT = 3 * MAX_TURN


class Watched:
    """Wraps every call of the hub into the two adapters, and says which of them were under way together."""

    def __init__(self, bench: Bench) -> None:
        self.calls: list[str] = []
        self.nested: list[tuple[str, str]] = []
        self._open: list[str] = []
        for side in ("left", "right"):
            adapter = getattr(bench, side).last
            for name in ("send", "receipt", "flush"):
                setattr(adapter, name, self.around(f"{side}.{name}", getattr(adapter, name)))

    def around(self, name: str, call: Callable[..., None]) -> Callable[..., None]:
        def watched(*arguments: Any) -> None:
            self.nested += [(each, name) for each in self._open]
            self.calls.append(name)
            self._open.append(name)
            try:
                call(*arguments)
            finally:
                self._open.remove(name)

        return watched


async def settled(bench: Bench) -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_what_a_callback_submits_is_carried_out_as_soon_as_it_is_back(tmp_path: Path) -> None:
    """Its order, the receipt of that, and both flushes, without another iteration of the loop."""
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled(bench)
        watched = Watched(bench)

        def callback(first: int) -> None:
            bench.unit(session, first)
            bench.unit(session, first + 1)
            assert watched.calls == ["callback"]  # the verdicts are there, and nothing else has happened

        bench.hub.in_turn(watched.around("callback", callback), 0)
        assert watched.calls[:5] == ["callback", "right.send", "right.send", "left.receipt", "left.receipt"]
        assert sorted(watched.calls[5:]) == ["left.flush", "right.flush"]
        assert watched.nested == []
        await settled(bench)
        assert len(watched.calls) == 7


async def test_a_callback_that_asks_for_nothing_brings_no_turn(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        await settled(bench)
        watched = Watched(bench)
        bench.hub.in_turn(lambda: None)
        await settled(bench)
        assert watched.calls == []


async def test_no_adapter_is_entered_while_it_is_in_a_call(tmp_path: Path) -> None:
    """Also if it has the hub call a callback in the middle of another one, of a turn, or of a flush."""
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled(bench)
        left, right = bench.left.last, bench.right.last
        more = iter(range(1, 4))

        def another(_: object = None) -> None:
            if (n := next(more, None)) is not None:
                bench.hub.in_turn(bench.unit, session, n)

        sending, flush = right.on_send, left.flush
        right.on_send = lambda transmit: (another(), sending(transmit))
        left.on_receipt = another
        left.flush = lambda: (another(), flush())
        watched = Watched(bench)

        def callback() -> None:
            bench.hub.in_turn(bench.unit, session, 0)
            assert watched.calls == ["callback"]

        bench.hub.in_turn(watched.around("callback", callback))
        await settled(bench)
        assert watched.nested == []
        assert [unit.n for unit in bench.right.sent[1:]] == [0, 1, 2, 3]
        assert {receipt.id for receipt in bench.left.receipts} == set(bench.accepted)


async def test_a_callback_that_raises_has_its_turn_and_its_exception(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled(bench)

        def callback() -> None:
            bench.unit(session, 0)
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            bench.hub.in_turn(callback)
        assert len(bench.right.sent) == 2
        bench.hub.in_turn(bench.unit, session, 1)
        assert len(bench.right.sent) == 3


async def test_a_turn_that_the_loop_has_already_keeps_its_order(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled(bench)
        bench.unit(session, 0)  # from a timer, say
        bench.hub.in_turn(bench.unit, session, 1)
        assert len(bench.right.sent) == 1
        await asyncio.sleep(0)
        assert [unit.n for unit in bench.right.sent[1:]] == [0, 1]


async def test_one_that_floods_does_not_keep_another_waiting(tmp_path: Path) -> None:
    """A turn is of ``MAX_TURN`` commands at most, and what is left is the loop's: another one's message waits for what
    was there before it, and no longer."""
    async with Bench(tmp_path, limits=WIDE) as bench:
        session = bench.open()
        await settled(bench)
        loop, rounds = asyncio.get_running_loop(), 12
        sent, numbers = bench.right.sent, iter(range(100_000))

        def done() -> int:
            return len(sent) + len(bench.left.receipts)

        after = [done()]
        bench.hub.unsaved = lambda: after.append(done())  # after each turn

        def flood() -> None:
            for _ in range(SENT):
                bench.unit(session, next(numbers))

        waited: list[int] = []
        for iteration in range(rounds):
            loop.call_soon(bench.hub.in_turn, flood)
            before = len(bench.left.sent)
            loop.call_soon(bench.hub.in_turn, bench.unit, session, iteration, PHONE)
            for passed in range(200):
                await asyncio.sleep(0)
                if len(bench.left.sent) > before:
                    waited.append(passed)
                    break
        assert len(waited) == rounds and max(waited) <= 2 * SENT // MAX_TURN + 2
        assert max(later - earlier for earlier, later in itertools.pairwise(after)) <= MAX_TURN


async def test_a_flush_that_asks_for_a_turn_each_time_leaves_the_loop_its_own(tmp_path: Path) -> None:
    """Each of those turns is another iteration of the loop: the callback is back after the first."""
    async with Bench(tmp_path) as bench:
        await settled(bench)
        left = bench.left.last
        flushes: list[int] = []

        def flush() -> None:
            flushes.append(len(flushes))
            left.context.touch()

        left.flush = flush
        bench.hub.in_turn(left.context.touch)
        assert len(flushes) == 1
        for passed in range(1, 6):
            await asyncio.sleep(0)
            assert len(flushes) == passed + 1


async def test_nothing_is_carried_out_once_the_hub_is_frozen(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await settled(bench)

        def callback() -> None:
            bench.unit(session, 0)
            bench.hub.freeze()

        bench.hub.in_turn(callback)
        await settled(bench)
        assert len(bench.right.sent) == 1
        bench.right.last.context.settle(Receipt(bench.accepted[-1], Outcome.DELIVERED))
        await settled(bench)
        assert len(bench.left.receipts) == 1


async def test_an_earlier_deadline_moves_the_timer_and_each_is_met(tmp_path: Path) -> None:
    limits = EngineLimits(unit_lifetime=0.2, idle=60.0, unreachable_after=60.0)
    async with Bench(tmp_path, limits=limits) as bench:
        session = bench.open()
        await settled(bench)
        bench.right.last.on_send = lambda transmit: None  # it never settles
        before = bench.hub._timer_at
        bench.hub.in_turn(bench.unit, session, 0)
        assert bench.hub._timer_at < before
        await until(lambda: len(bench.left.receipts) == 2)
        assert bench.left.receipts[-1].outcome is Outcome.EXPIRED
        assert bench.hub.overdue() == 0.0
