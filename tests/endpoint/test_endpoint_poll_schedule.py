"""How often a sleeping device asks."""

from __future__ import annotations

from itertools import pairwise

from endpoint.transports.poll_schedule import FIRST, PollSchedule


def asked(polls: PollSchedule, until: float) -> list[float]:
    times = []
    while polls.due <= until:
        times.append(polls.due)
        polls.asked(polls.due)
    return times


def test_soon_after_something_happened_and_then_ever_more_seldom() -> None:
    polls = PollSchedule(60.0, 0.0)
    assert asked(polls, 200.0) == [FIRST, FIRST + 60, FIRST + 120, FIRST + 180]
    polls.activity(200.0)
    polls.activity(200.1)  # nothing is put off
    assert asked(polls, 330.0) == [200.25, 200.5, 201.0, 202.0, 204.0, 208.0, 216.0, 232.0, 264.0, 324.0]


def test_never_more_seldom_than_its_interval() -> None:
    polls = PollSchedule(0.1, 0.0)
    polls.activity(0.0)
    times = asked(polls, 1.0)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 0.1 + 1e-9
