"""One timer for many deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.deadlines import Deadlines

TIMES = st.integers(0, 50).map(float)


def test_earliest_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 5.0)
    deadlines.set("b", 3.0)
    deadlines.set("a", 2.0)
    assert deadlines.next() == 2.0
    assert deadlines.take(4.0) == ["a", "b"]
    assert deadlines.next() is None


def test_forgotten_ones_do_not_wake() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.forget("a")
    assert deadlines.next() is None
    assert deadlines.take(2.0) == []
    deadlines.set("a", None)
    assert deadlines.next() is None


@given(st.lists(st.tuples(st.integers(0, 5), TIMES)), TIMES)
def test_nobody_is_woken_late(sets: list[tuple[int, float]], now: float) -> None:
    """Each key is due at the earliest of its times; afterwards nothing that is left is due."""
    deadlines: Deadlines[int] = Deadlines()
    earliest: dict[int, float] = {}
    for key, due in sets:
        deadlines.set(key, due)
        earliest[key] = min(due, earliest.get(key, due))
    taken = deadlines.take(now)
    assert sorted(taken) == sorted(key for key, due in earliest.items() if due <= now)
    after = deadlines.next()
    assert after == min((due for due in earliest.values() if due > now), default=None)


@given(st.lists(TIMES, min_size=1, max_size=200))
def test_a_key_set_often_stays_small(times: list[float]) -> None:
    """A deadline that only moves later adds nothing: the heap grows only with earlier ones."""
    deadlines: Deadlines[str] = Deadlines()
    for due in sorted(times):
        deadlines.set("a", due)
    assert len(deadlines._heap) == 1
