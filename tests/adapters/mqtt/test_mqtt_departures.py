"""Wills and what clients say of themselves, in any order: who is taken for gone, against a model of the rules."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.mqtt.departures import Departures
from carriage.mqtt.messages import Gone

RUNS = ("", "a0" * 8, "b0" * 8)
steps = st.one_of(
    st.builds(lambda run: ("will", run), st.sampled_from(RUNS)),
    st.builds(lambda run: ("back", run), st.sampled_from(RUNS[1:])),
    st.sampled_from([("heard", ""), ("connection ends", ""), ("time", "")]),
)


async def play(plan: list[tuple[str, str]]) -> list[int]:
    """How many times the user was gone after each step; the hold is over with the next turns of the loop."""
    gone: list[str] = []
    departures = Departures(0.0, gone.append)
    counts = []
    for step, run in plan:
        if step == "will":
            departures.announced("app", Gone(run))
        elif step == "back":
            departures.announced("app", Gone(run, back=True))
        elif step == "heard":
            departures.returned("app")
        elif step == "connection ends":
            departures.forget()
        else:
            for _ in range(3):
                await asyncio.sleep(0)
            assert not departures.leaving
        counts.append(len(gone))
    return counts


@settings(max_examples=150)
@given(plan=st.lists(steps, max_size=12))
def test_a_user_is_gone_when_nothing_contradicts_its_will(plan: list[tuple[str, str]]) -> None:
    held: str | None = None
    known, count, expected = "", 0, []
    for step, run in plan:
        if step == "will":
            if not run or not known or run == known:  # else an old one
                held = run
        elif step == "back":
            count += held is not None and held != run  # another run: that of the will does not come back
            held, known = None, run
        else:
            count += step == "time" and held is not None
            held = None
        expected.append(count)
    assert asyncio.run(play(plan)) == expected
