"""The agenda: order of time, then of asking; no endless turn; and the loop that turns it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.network.loop import LoopDriver
from simulator.network.scheduler import Agenda


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_order(calls: list[tuple[int, bool]]) -> None:
    agenda = Agenda(lambda: 0.0)
    ran: list[int] = []
    for index, (due, cancelled) in enumerate(calls):
        alarm = agenda.at(float(due), ran.append, index)
        if cancelled:
            alarm.cancel()
    kept = [(due, index) for index, (due, cancelled) in enumerate(calls) if not cancelled]
    agenda.run(2.5)
    assert ran == [index for due, index in sorted(kept) if due <= 2]
    assert agenda.next_due() == min((float(due) for due, _ in kept if due > 2), default=None)
    agenda.run(5.0)
    assert ran == [index for _, index in sorted(kept)]
    assert agenda.next_due() is None and len(agenda) == 0


def test_a_turn_ends() -> None:
    agenda = Agenda(lambda: 0.0)
    ran: list[int] = []

    def again(count: int) -> None:
        ran.append(count)
        agenda.at(0.0, again, count + 1)

    agenda.at(0.0, again, 0)
    agenda.run(1.0)
    assert ran == [0]
    agenda.run(1.0)
    assert ran == [0, 1]


def test_a_call_that_fails_loses_no_other() -> None:
    agenda = Agenda(lambda: 0.0)
    ran: list[int] = []

    def fail() -> None:
        agenda.at(0.0, ran.append, 1)
        agenda.at(-1.0, ran.append, 2)
        raise ZeroDivisionError

    agenda.at(0.0, fail)
    agenda.at(0.0, ran.append, 3)
    with pytest.raises(ZeroDivisionError):
        agenda.run(0.0)
    agenda.run(0.0)
    assert sorted(ran) == [1, 2, 3]


async def test_the_loop_turns_it() -> None:
    driver = LoopDriver(asyncio.get_running_loop())
    ran: list[str] = []
    done = asyncio.Event()
    driver.agenda.after(0.03, ran.append, "third")
    driver.agenda.after(0.01, ran.append, "second")
    driver.agenda.after(0.0, ran.append, "first")
    driver.agenda.after(0.05, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert ran == ["first", "second", "third"]
    driver.agenda.after(0.0, ran.append, "never")
    driver.close()
    driver.agenda.after(0.0, ran.append, "never")
    await asyncio.sleep(0.02)
    assert "never" not in ran
