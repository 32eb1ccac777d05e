"""Pauses between attempts: they double up to a bound, chance takes at most half away, and a reset begins again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.backoff import Backoff

SECONDS = st.floats(0.001, 1000.0)
CHANCES = st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=40)


@given(SECONDS, SECONDS, CHANCES)
def test_they_double_up_to_a_bound_and_are_spread(first: float, longest: float, chances: list[float]) -> None:
    drawn = iter([*chances, 0.0])
    pauses = Backoff(first, longest, lambda: next(drawn))
    for number, _ in enumerate(chances):
        full = min(longest, first * 2.0**number)
        assert full / 2 <= pauses.next() <= full
    pauses.reset()
    assert pauses.next() == min(first, longest)


def test_without_chance_they_are_the_full_ones() -> None:
    pauses = Backoff(1.0, 60.0, lambda: 0.0)
    assert [pauses.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
