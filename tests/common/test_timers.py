"""One timer for many timers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.timers import Timers

TIMES = st.integers(0, 50).map(float)


def test_earliest_first() -> None:
    timers: Timers[str] = Timers()
    timers.plan_by("a", 5.0)
    timers.plan_by("b", 3.0)
    timers.plan_by("a", 2.0)
    assert timers.next() == 2.0
    assert timers.take(4.0) == ["a", "b"]
    assert timers.next() is None


def test_forgotten_ones_do_not_wake() -> None:
    timers: Timers[str] = Timers()
    timers.plan_by("a", 1.0)
    timers.drop("a")
    assert timers.next() is None
    assert timers.take(2.0) == []
    timers.plan_by("a", None)
    assert timers.next() is None


@given(st.lists(st.tuples(st.integers(0, 5), TIMES)), TIMES)
def test_no_timer_is_late(sets: list[tuple[int, float]], now: float) -> None:
    """Each key is due at the earliest of its times; afterwards nothing that is left is due."""
    timers: Timers[int] = Timers()
    earliest: dict[int, float] = {}
    for key, due in sets:
        timers.plan_by(key, due)
        earliest[key] = min(due, earliest.get(key, due))
    taken = timers.take(now)
    assert sorted(taken) == sorted(key for key, due in earliest.items() if due <= now)
    after = timers.next()
    assert after == min((due for due in earliest.values() if due > now), default=None)


@given(st.lists(TIMES, min_size=1, max_size=200))
def test_a_key_set_often_stays_small(times: list[float]) -> None:
    """A deadline that only moves later adds nothing: the heap grows only with earlier ones."""
    timers: Timers[str] = Timers()
    for due in sorted(times):
        timers.plan_by("a", due)
    assert len(timers._heap) == 1


class Timed(RuleBasedStateMachine):
    """Against the plainest thing that could be right: a table that is searched."""

    @initialize(grain=st.sampled_from([0.0, 4.0]))
    def begin(self, grain: float) -> None:
        self.timers: Timers[int] = Timers(grain)
        self.grain = grain
        self.due: dict[int, float] = {}

    def rounded(self, when: float) -> float:
        return (int(when / self.grain) + 1) * self.grain if self.grain else when

    @rule(key=st.integers(0, 5), when=TIMES)
    def plan(self, key: int, when: float) -> None:
        self.timers.plan(key, when)
        self.due[key] = self.rounded(when)

    @rule(key=st.integers(0, 5), when=TIMES)
    def plan_by(self, key: int, when: float) -> None:
        self.timers.plan_by(key, when)
        if when < self.due.get(key, float("inf")):
            self.due[key] = self.rounded(when)

    @rule(key=st.integers(0, 5))
    def drop(self, key: int) -> None:
        self.timers.drop(key)
        self.due.pop(key, None)

    @rule(now=TIMES)
    def take(self, now: float) -> None:
        taken = self.timers.take(now)
        assert sorted(taken) == sorted(key for key, when in self.due.items() if when <= now)
        times = [self.due.pop(key) for key in taken]
        assert times == sorted(times)

    @rule(now=TIMES)
    def take_due(self, now: float) -> None:
        key = self.timers.take_due(now)
        first = min(self.due.values(), default=float("inf"))
        assert (key is None) == (first > now)
        if key is not None:
            assert self.due.pop(key) == first

    @invariant()
    def same(self) -> None:
        if hasattr(self, "timers"):
            assert self.timers.next() == min(self.due.values(), default=None)
            assert len(self.timers) == len(self.due)
            assert all((key in self.timers) == (key in self.due) for key in range(6))
            assert len(self.timers._heap) <= 4 * len(self.due) + 64


TestTimed = Timed.TestCase


def test_a_time_that_moves_on_and_on_holds_no_pile_of_old_ones() -> None:
    timers: Timers[str] = Timers()
    for number in range(10_000):
        timers.plan("kept", 1e6)
        timers.plan("a", float(number))
        timers.drop("a")
    assert len(timers._heap) <= 4 * 1 + 64
    assert timers.take(2e6) == ["kept"]


def test_keys_that_cannot_be_compared_come_in_the_order_in_which_they_were_planned() -> None:
    first, second = object(), object()
    timers: Timers[object] = Timers()
    timers.plan(first, 1.0)
    timers.plan(second, 1.0)
    assert timers.take(1.0) == [first, second]


def test_with_a_grain_those_that_are_nearly_due_share_a_time() -> None:
    timers: Timers[int] = Timers(0.02)
    for peer, at in ((1, 10.0), (2, 10.001), (3, 11.0)):
        timers.plan_by(peer, at)
    first = timers.next()
    assert first is not None and 10.0 < first <= 10.02
    assert timers.take(9.99) == []
    assert set(timers.take(10.04)) == {1, 2}
    assert timers.take(20.0) == [3]
