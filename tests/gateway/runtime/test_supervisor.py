"""Hub and supervisor with the real engine and adapters in memory: one receipt each, whatever the adapters do."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.errors import ConfigError, CredentialError
from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    EnvelopeId,
    Open,
    Outcome,
    Reason,
    Refused,
    Sealed,
    SessionId,
    Unit,
)
from gateway.engine.limits import EngineLimits
from gateway.runtime.supervisor import RestartPauses, keep_all
from tests.harness.hub_bench import LAMP, PHONE, QUICK, Bench, until


async def test_the_verdict_comes_before_the_receipt_although_all_is_settled_at_once(tmp_path):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        assert bench.left.receipts == [] and bench.right.sent == []
        await until(lambda: bench.left.receipts)
        bench.unit(session, 0)
        bench.unit(session, 1)
        await until(lambda: len(bench.left.receipts) == 3)
        assert bench.receipts() == Counter(bench.accepted)
        assert [type(envelope) for envelope in bench.right.sent] == [Open, Unit, Unit]


async def test_an_adapter_that_answers_each_receipt_with_a_unit_needs_no_stack(tmp_path):
    rounds = sys.getrecursionlimit() * 3
    async with Bench(tmp_path) as bench:
        session = bench.open()
        numbers = itertools.count()

        def more(receipt):
            n = next(numbers)
            if n < rounds:
                bench.unit(session, n)

        bench.left.last.on_receipt = more
        await until(lambda: len(bench.left.receipts) == rounds + 1)
        assert bench.receipts() == Counter(bench.accepted)


async def test_a_crash_in_the_middle_drops_what_was_on_its_way_and_the_next_instance_goes_on(tmp_path, caplog):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        old = bench.right.last
        old.on_send = lambda transmit: None
        for n in range(5):
            bench.unit(session, n)
        await until(lambda: len(bench.right.sent) == 6)
        old.delivered(bench.accepted[1])
        old.end.set_exception(RuntimeError("boom\nforged line"))
        await until(lambda: len(bench.right.instances) == 2 and bench.hub.states["right"].ready)
        await until(lambda: len(bench.left.receipts) == 6)
        outcomes = [(receipt.outcome, receipt.reason) for receipt in bench.left.receipts[1:]]
        assert outcomes == [(Outcome.DELIVERED, None)] + [(Outcome.DROPPED, Reason.UNREACHABLE)] * 4
        bench.unit(session, 5)
        await until(lambda: len(bench.left.receipts) == 7)
        assert bench.left.receipts[-1].outcome is Outcome.DELIVERED
        assert bench.receipts() == Counter(bench.accepted)
        assert len(bench.left.instances) == 1
        stops = [record.getMessage() for record in caplog.records if "starting again" in record.getMessage()]
        assert len(stops) == 1 and "\n" not in stops[0]


async def test_calls_of_a_dead_instance_change_nothing(tmp_path):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        old = bench.right.last
        old.on_send = lambda transmit: None
        bench.unit(session, 0)
        await until(lambda: len(bench.right.sent) == 2)
        old.end.set_exception(RuntimeError("boom"))
        await until(lambda: len(bench.right.instances) == 2 and len(bench.left.receipts) == 2)
        old.delivered(bench.accepted[-1])
        old.context.fault("I am no longer here")
        late = Close(id=bench.hub.next_id(), source=PHONE, session=session, reason=Reason.CLOSED, received_at=0.0)
        assert old.context.submit(late) == Refused(Reason.UNREACHABLE)
        await asyncio.sleep(0.01)
        assert bench.receipts() == Counter(bench.accepted)
        assert bench.hub.states["right"].ready


async def test_an_instance_gets_no_receipt_for_its_predecessor(tmp_path):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        bench.right.last.on_send = lambda transmit: None
        bench.unit(session, 0)
        await until(lambda: len(bench.right.sent) == 2)
        bench.left.last.end.set_exception(RuntimeError("boom"))
        await until(lambda: len(bench.left.instances) == 2 and bench.hub.states["left"].ready)
        bench.right.last.delivered(bench.accepted[-1])
        await asyncio.sleep(0.01)
        assert len(bench.left.receipts) == 1


async def test_a_receipt_counts_once(tmp_path):
    async with Bench(tmp_path) as bench:
        right = bench.right.last
        right.on_send = lambda transmit: (right.delivered(transmit.envelope.id), right.delivered(transmit.envelope.id))
        bench.open()
        await until(lambda: bench.left.receipts)
        await asyncio.sleep(0.01)
        assert bench.receipts() == Counter(bench.accepted)
        assert bench.hub.counters["stray_receipts"] == 1


async def test_an_adapter_that_raises_in_a_call_loses_that_message_only(tmp_path, caplog):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        bench.right.last.on_send = lambda transmit: 1 / 0
        bench.left.last.on_receipt = lambda receipt: 1 / 0
        bench.unit(session, 0)
        await until(lambda: len(bench.left.receipts) == 2)
        assert bench.left.receipts[1].reason is Reason.UNREACHABLE
        assert bench.hub.counters["adapter_errors"] == 2
        assert len(bench.right.instances) == len(bench.left.instances) == 1
        assert [record.levelno for record in caplog.records if "failed in" in record.getMessage()] == [
            logging.ERROR
        ] * 2


async def test_the_engine_has_its_deadline_kept(tmp_path):
    limits = EngineLimits(unit_lifetime=0.05)
    async with Bench(tmp_path, limits) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        bench.right.last.on_send = lambda transmit: None
        bench.unit(session, 0)
        await until(lambda: len(bench.left.receipts) == 2)
        assert bench.left.receipts[1].outcome is Outcome.EXPIRED
        assert bench.right.withdrawn == [bench.accepted[1]]
        assert bench.hub.overdue() == 0.0


@pytest.mark.parametrize("how", ["returns", "leaks a cancellation", "raises a group"])
async def test_an_adapter_that_ends_in_another_way_is_started_again(tmp_path, how):
    async with Bench(tmp_path) as bench:
        end = bench.right.last.end
        if how == "returns":
            end.set_result(None)
        elif how == "leaks a cancellation":
            end.cancel()
        else:
            end.set_exception(ExceptionGroup("parts", [OSError("gone"), ValueError("odd")]))
        await until(lambda: len(bench.right.instances) == 2 and bench.hub.states["right"].ready)
        assert bench.hub.states["right"].starts == 2


async def test_an_adapter_that_can_not_be_made_is_tried_again(tmp_path):
    async with Bench(tmp_path) as bench:
        made = bench.makers["right"]
        failures = iter([OSError("disk full"), ValueError("odd")])

        def make():
            if error := next(failures, None):
                raise error
            return made()

        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)
        bench.makers["right"] = make
        bench.task = asyncio.get_running_loop().create_task(keep_all(bench.hub, bench.slots, QUICK))
        await until(lambda: bench.hub.states["right"].ready)
        assert next(failures, None) is None


@pytest.mark.parametrize(
    "error", [ConfigError("a.b", "expected c"), CredentialError("/k", "is gone"), ConfigError("deep", "expected d")]
)
async def test_a_mistake_in_the_config_ends_everything(tmp_path, error):
    async with Bench(tmp_path) as bench:
        wrapped = ExceptionGroup("parts", [ExceptionGroup("more", [error])]) if "deep" in str(error) else error
        bench.right.last.end.set_exception(wrapped)
        with pytest.raises(ExceptionGroup) as caught:
            await bench.task
        assert caught.value.exceptions == (error,)
        assert error.__notes__ == ["right"]


async def test_the_end_leaves_no_order_open(tmp_path):
    async with Bench(tmp_path) as bench:
        session = bench.open()
        await until(lambda: bench.left.receipts)
        bench.right.last.on_send = lambda transmit: None
        bench.unit(session, 0)
        await until(lambda: len(bench.right.sent) == 2)
    assert not bench.engine.in_flight("right")
    assert bench.hub.states["right"].adapter is None


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("unit"), st.sampled_from([LAMP, PHONE])),
        st.tuples(st.just("crash"), st.sampled_from(["left", "right"])),
        st.tuples(st.just("settle"), st.integers(0, 3)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
        st.tuples(st.just("open"), st.integers(0, 2)),
        st.tuples(st.just("close"), st.sampled_from([LAMP, PHONE])),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=_STEPS)
def test_whatever_happens_every_accepted_envelope_ends_in_one_receipt(tmp_path_factory, steps):
    asyncio.run(_whatever_happens(tmp_path_factory.mktemp("state", numbered=True), steps))


async def _whatever_happens(tmp_path, steps):
    async with Bench(tmp_path) as bench:
        heard = _spy(bench)
        unsettled: list[tuple[object, EnvelopeId]] = []

        def hold(memory):
            for adapter in memory.instances:
                adapter.on_send = lambda transmit, adapter=adapter: unsettled.append((adapter, transmit.envelope.id))

        sessions = [bench.open()]
        numbers: Counter[tuple[SessionId, str]] = Counter()
        for step, detail in steps:
            hold(bench.left), hold(bench.right)
            if step == "turn":
                for _ in range(detail):
                    await asyncio.sleep(0)
            elif step == "open" and bench.hub.states["left"].adapter is not None:
                sessions.append(bench.open(bytes([detail])))
            elif step == "settle" and unsettled:
                adapter, envelope = unsettled.pop(detail % len(unsettled))
                adapter.delivered(envelope)
            elif step == "crash":
                memory = getattr(bench, detail)
                if not memory.last.end.done():
                    memory.last.end.set_exception(RuntimeError("boom"))
            elif step in ("unit", "close") and bench.hub.states[detail.scheme].adapter is not None:
                session = sessions[-1]
                if step == "unit":
                    if isinstance(bench.unit(session, numbers[session, detail.scheme], detail), Accepted):
                        numbers[session, detail.scheme] += 1
                else:
                    name = bench.hub.next_id()
                    bench.submit(Close(id=name, source=detail, session=session, reason=Reason.CLOSED, received_at=0.0))
        for memory in (bench.left, bench.right):  # the end of all: what is still on its way is lost
            if not memory.last.end.done():
                memory.last.end.set_exception(RuntimeError("boom"))
        await until(lambda: not any(bench.engine.in_flight(scheme) for scheme in bench.hub.states))
        await until(lambda: set(bench.accepted) <= set(heard))
        await asyncio.sleep(0.005)
        assert {envelope: count for envelope, count in heard.items() if count > 1} == {}


def _spy(bench) -> Counter[EnvelopeId]:
    """Counts what the engine has notified, also what no instance was there to get."""
    heard: Counter[EnvelopeId] = Counter()

    class Backlog(deque):
        def extend(self, found):
            heard.update(command.receipt.id for command in found if type(command).__name__ == "ReportOutcome")
            super().extend(found)

    bench.hub._backlog = Backlog(bench.hub._backlog)
    return heard


async def test_another_instance_can_be_put_in(tmp_path):
    """By a reload: the instance that runs ends at once and without a pause, its orders are settled."""
    async with Bench(tmp_path) as bench:
        old = bench.right.last
        bench.slots["right"].renew(bench.makers["right"])
        bench.slots["right"].renew(bench.makers["right"])  # twice at once is once
        await until(lambda: len(bench.right.instances) == 2 and bench.hub.states["right"].ready)
        assert bench.right.last is not old
        assert isinstance(old.context.submit(unit_of_nobody(bench)), Refused)
        assert len(bench.left.instances) == 1


async def test_a_pause_is_cut_short_by_another_instance(tmp_path):
    bench = Bench(tmp_path)
    slow = RestartPauses(first=3600.0, longest=3600.0)
    made, failing = bench.makers["right"], [OSError("no")]

    def make():
        if failing:
            raise failing[0]
        return made()

    bench.makers["right"] = make
    bench.task = asyncio.get_running_loop().create_task(keep_all(bench.hub, bench.slots, slow))
    await until(lambda: bench.hub.all_tried)
    failing.clear()
    bench.slots["right"].renew(made)
    await until(lambda: bench.hub.states["right"].ready)
    await bench.__aexit__()


@pytest.mark.parametrize("error", [ConfigError("a.b", "expected c"), CredentialError("/k", "is gone")])
async def test_a_mistake_found_by_an_instance_that_a_reload_put_in_costs_the_change_only(tmp_path, error):
    async with Bench(tmp_path) as bench:

        def make():
            raise error

        bench.slots["right"].renew(make)
        await until(lambda: len(bench.right.instances) == 2 and bench.hub.states["right"].ready)
        assert bench.slots["right"].rejected
        assert not bench.task.done()
        bench.slots["right"].renew(bench.makers["right"])
        assert not bench.slots["right"].rejected
        await until(lambda: len(bench.right.instances) == 3 and bench.hub.states["right"].ready)


def unit_of_nobody(bench):
    now = bench.hub.now()
    return Unit(
        id=bench.hub.next_id(), source=PHONE, session=SessionId("00" * 16), content=ContentKind.ATLS_DATA, n=0,
        payload=Sealed(b""), received_at=now,
    )  # fmt: skip
