"""How often a sleeping device asks."""

from __future__ import annotations

from itertools import pairwise

from endpoint.transports.poll_schedule import FIRST, Pace


def asked(pace: Pace, until: float) -> list[float]:
    times = []
    while pace.due <= until:
        times.append(pace.due)
        pace.asked(pace.due)
    return times


def test_soon_after_something_happened_and_then_ever_more_seldom() -> None:
    pace = Pace(60.0, 0.0)
    assert asked(pace, 200.0) == [FIRST, FIRST + 60, FIRST + 120, FIRST + 180]
    pace.stir(200.0)
    pace.stir(200.1)  # nothing is put off
    assert asked(pace, 330.0) == [200.25, 200.5, 201.0, 202.0, 204.0, 208.0, 216.0, 232.0, 264.0, 324.0]


def test_never_more_seldom_than_its_interval() -> None:
    pace = Pace(0.1, 0.0)
    pace.stir(0.0)
    times = asked(pace, 1.0)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 0.1 + 1e-9
