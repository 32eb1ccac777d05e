"""What a delivered unit costs in durable commits, at a real file: the COMMITs that SQLite is given are counted.

Slow traffic runs on a loop that skips the time in which nothing happens, so that minutes of it pass in moments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bench.skipping_loop import SkippingLoop
from gateway.api.model import ContentKind, Open, Outcome, Sealed, Unit
from gateway.engine.policy import Condition, Effect, Rule, Subject
from gateway.engine.stored import StoredSession
from gateway.runtime import store_keeper
from gateway.runtime.store import Store
from gateway.runtime.store_keeper import StoreKeeper
from layer.tls_stream import StreamState
from tests.harness.engine_stage import KINDS, PolicySet
from tests.harness.hub_bench import LAMP, PHONE, Bench
from tests.harness.tls_octets import client_hello, dtls_record, tls_message, tls_record

ATLS, ADTLS, ATLS_DATA = ContentKind.ATLS, ContentKind.ADTLS, ContentKind.ATLS_DATA
HELLO = tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304,))))
DATA = {ATLS: tls_record(23, b"x" * 20), ADTLS: dtls_record(23, b"x" * 20, 1), ATLS_DATA: b"x" * 20}
POLICY = PolicySet(
    subjects=(Subject("lamp", "left", "user:lamp"), Subject("phone", "right", "user:phone")),
    rules=(
        Rule(
            id="all",
            effect=Effect.PERMIT,
            subjects=("*",),
            resources=("*",),
            content=KINDS,
            condition=Condition(max_unit=4000),
        ),
    ),
)


class Counted(Bench):
    """Hub, engine, keeper and a file, with a session from the lamp to the phone."""

    def __init__(self, tmp_path, kind: ContentKind) -> None:
        super().__init__(tmp_path)
        self.kind = kind
        self.path = tmp_path / "store.db"
        self.engine.replace_policy(POLICY, now=0.0)
        loop = asyncio.get_running_loop()
        self.store = self.another_store()
        found, trouble = store_keeper.load(self.store)
        self.commits = 0
        self.store._connection.set_trace_callback(self._executed)
        self.keeper = StoreKeeper(
            self.store, self.engine, self.hub.faults, found, trouble, loop=loop, wall=loop.time, after=self.hub.touch
        )
        self.hub.unsaved = self.keeper.touch
        self.keeper.start()

    def another_store(self) -> Store:
        loop = asyncio.get_running_loop()
        return Store(self.path, max_octets=1 << 26, wall=lambda: time.time() + loop.time(), monotonic=loop.time)

    def _executed(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    async def __aenter__(self):
        await super().__aenter__()
        asked = Open(id=self.hub.next_id(), source=LAMP, to="phone", content=self.kind, nonce=b"1", received_at=0.0)
        self.session = self.submit(asked).session
        await asyncio.sleep(1.0)
        return self

    async def __aexit__(self, *exception) -> None:
        await super().__aexit__(*exception)
        await self.keeper.close()

    def sends(self, n: int, source=LAMP) -> None:
        self.submit(
            Unit(id=self.hub.next_id(), source=source, session=self.session, content=self.kind, n=n,
                 payload=Sealed(HELLO if self.kind is ATLS and n == 0 else DATA[self.kind]), received_at=0.0)
        )  # fmt: skip

    def delivered(self) -> int:
        return sum(receipt.outcome is Outcome.DELIVERED for receipt in self.left.receipts + self.right.receipts) - 1


def runs(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(work())


@pytest.mark.parametrize("rate", [0.05, 2.0, 50.0])
@pytest.mark.parametrize("kind", [ATLS, ADTLS, ATLS_DATA])
def test_a_delivered_unit_costs_at_most_a_fiftieth_of_a_commit(tmp_path, kind: ContentKind, rate: float) -> None:
    async def work() -> None:
        async with Counted(tmp_path, kind) as bench:
            bench.sends(0)
            bench.sends(0, PHONE)
            await asyncio.sleep(1.0)
            before, began, rounds = bench.commits, bench.hub.now(), 640
            for n in range(1, rounds + 1):
                bench.sends(n)
                await asyncio.sleep(0.5 / rate)
                bench.sends(n, PHONE)
                await asyncio.sleep(0.5 / rate)
            assert bench.hub.now() - began == pytest.approx(rounds / rate)
            await asyncio.sleep(60.0)
            units, commits = 2 * rounds, bench.commits - before
            assert bench.delivered() == 2 + units
            assert 0 < commits <= 0.02 * units, f"{commits} commits for {units} units"

    runs(work)


@pytest.mark.parametrize("sessions", [1, 8])
def test_traffic_without_a_pause_costs_less(tmp_path, sessions: int) -> None:
    """A thousand units a second of each session: the rows of all that are due go into one commit."""

    async def work() -> None:
        async with Counted(tmp_path, ATLS_DATA) as bench:
            names = [bench.session, *(bench.open(b"%d" % n) for n in range(2, sessions + 1))]
            await asyncio.sleep(1.0)
            before, delivered_before = bench.commits, bench.delivered()
            for n in range(400):
                for bench.session in names:
                    bench.sends(n)
                await asyncio.sleep(0.001)
            await asyncio.sleep(1.0)
            assert bench.delivered() - delivered_before == 400 * sessions
            assert 0 < bench.commits - before <= 0.02 * 400

    runs(work)


@pytest.mark.parametrize("kind", [ATLS, ADTLS, ATLS_DATA])
def test_an_orderly_stop_costs_one_commit_and_loses_no_number(tmp_path, kind: ContentKind) -> None:
    async def work() -> None:
        async with Counted(tmp_path, kind) as bench:
            for n in range(30):
                bench.sends(n)
                await asyncio.sleep(0.5)
            bench.right.last.on_send = lambda transmit: None
            bench.sends(30)
            bench.hub.freeze()
            before = bench.commits
            await bench.keeper.save()
            assert bench.commits - before == 1
        again = bench.another_store()
        rows = again.open().rows
        again.close()
        (session,) = (row for row in rows if isinstance(row, StoredSession))
        assert (session.up.watermark, session.up.next_out, session.up.units) == (31, 31, 31)
        assert [row.n for row in rows if row.table == "units"] == [30], "what had no receipt is in the file"
        assert isinstance(session.up.stream, StreamState) == (kind is ATLS)

    runs(work)
