"""What one client can make the gateway write: rows and transactions are counted, at a real file."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.api.model import Accepted, Close, ContentKind, Open, Outcome, Reason, Refused
from gateway.engine.limits import EngineLimits
from gateway.engine.stored import Changes
from gateway.runtime import store_keeper
from gateway.runtime.store import Facts, Store
from gateway.runtime.store_keeper import StoreKeeper
from tests.harness.hub_bench import LAMP, Bench, until


class CountingStore(Store):
    """A store that keeps what it was given to write, but for all there is at the start and at the end."""

    def __init__(self, path) -> None:
        super().__init__(path, max_octets=1 << 26, wall=time.time, monotonic=time.monotonic)
        self.written: list[Changes] = []

    def write(self, changes: Changes, epoch: str, runs: int) -> Facts:
        facts = super().write(changes, epoch, runs)
        if not changes.whole:
            self.written.append(changes)
        return facts

    def rows(self, table: str) -> int:
        puts = sum(of == table for changes in self.written for of, _ in changes.rows)
        return puts + sum(of == table for changes in self.written for of, _ in changes.gone)


class Stored(Bench):
    """Hub, engine and a store that counts."""

    def __init__(self, tmp_path, limits: EngineLimits | None = None, soon: float = store_keeper.SOON) -> None:
        super().__init__(tmp_path, limits)
        self.store = CountingStore(tmp_path / "store.db")
        found, trouble = store_keeper.load(self.store)
        self.keeper = StoreKeeper(
            self.store, self.engine, self.hub.faults, found, trouble,
            loop=asyncio.get_running_loop(), wall=time.time, after=self.hub.touch, soon=soon,
        )  # fmt: skip
        self.hub.unsaved = self.keeper.touch
        self.keeper.start()

    async def __aexit__(self, *exception) -> None:
        self.hub.freeze()
        await self.keeper.save()
        await super().__aexit__(*exception)
        await self.keeper.close()

    def try_open(self, nonce: bytes) -> Accepted | Refused:
        return self.submit(
            Open(id=self.hub.next_id(), source=LAMP, to="phone", content=ContentKind.ATLS_DATA, nonce=nonce,
                 received_at=0.0)
        )  # fmt: skip

    async def settled(self, envelope) -> None:
        await until(lambda: any(r.id == envelope and r.outcome is Outcome.DELIVERED for r in self.left.receipts))


async def test_opens_and_closes_as_fast_as_they_are_answered_write_a_bounded_number_of_rows(tmp_path):
    async with Stored(tmp_path) as bench:
        begun, refused, burst = time.monotonic(), 0, EngineLimits().subject_opens_burst
        for n in range(3000):
            verdict = bench.try_open(b"%d" % n)
            if isinstance(verdict, Refused):
                assert (verdict.reason, verdict.retry_after is not None) == (Reason.OVER_RATE, True)
                refused += 1
            else:
                close = Close(id=bench.hub.next_id(), source=LAMP, session=verdict.session, reason=Reason.CLOSED,
                              received_at=0.0)  # fmt: skip
                bench.submit(close)
            await asyncio.sleep(0)
        passed = time.monotonic() - begun
        await until(lambda: not bench.engine.all_sessions())
        bound = burst + passed + 1
        assert 3000 - refused <= bound
        assert bench.engine.counters["accepted.open"] <= bound
    total = sum(len(changes.rows) + len(changes.gone) for changes in bench.store.written)
    # At most an open remembered, a session and a close put, and these two taken out again.
    assert total <= 5 * bound
    assert bench.store.rows("opens") <= bound


async def test_sessions_that_come_and_go_between_two_transactions_write_the_memory_of_their_open_only(tmp_path):
    # one transaction at the start, one at the end
    async with Stored(tmp_path, EngineLimits(subject_opens_burst=1000), soon=3600.0) as bench:
        for n in range(500):
            verdict = bench.try_open(b"%d" % n)
            close = Close(id=bench.hub.next_id(), source=LAMP, session=verdict.session, reason=Reason.CLOSED,
                          received_at=0.0)  # fmt: skip
            bench.submit(close)
            await bench.settled(close.id)
        changes = bench.engine.changes(samples=True)
        assert {table for table, _ in changes.rows} == {"opens"}
        assert (len(changes.rows), changes.gone) == (500, ())


@pytest.mark.parametrize("at_once", [1, 16])
async def test_what_is_held_one_by_one_costs_no_more_transactions_than_the_pace_allows(tmp_path, at_once):
    """A client that has each unit held, and sends the next at its receipt, can't take the whole disk."""
    async with Stored(tmp_path, EngineLimits(hold_after=0.0001, queue_units=10_000)) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        bench.right.last.on_send = lambda transmit: None
        before, begun = len(bench.store.written), time.monotonic()
        held = lambda: sum(r.outcome is Outcome.HELD for r in bench.left.receipts)  # noqa: E731
        for n in range(0, 16 * at_once, at_once):
            for k in range(at_once):
                bench.unit(session, n + k)
            await until(lambda count=n + at_once: held() == count)
        passed = time.monotonic() - begun
        assert len(bench.store.written) - before <= passed / store_keeper.PACE + 2
