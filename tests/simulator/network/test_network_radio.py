"""The radio's model: its counters add up, a seed repeats a run, probabilities and times keep their bounds."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.errors import PeerError
from simulator.network.radio import DOWN, UP, Conditions, Link

CONDITIONS = st.builds(
    lambda loss, low, more, duplicate, reorder: Conditions(
        loss=loss, delay_min=low, delay_max=low + more, duplicate=duplicate, reorder=reorder
    ),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)


def transmit(link: Link, count: int, gap: float = 0.01) -> list[tuple[float, int]]:
    """Send ``count`` frames, each arriving at its time; (time, number) of each arrival."""
    heap: list[tuple[float, int, int]] = []
    arrived = []
    order = 0

    def deliver(until: float) -> None:
        while heap and heap[0][0] <= until:
            due, _, number = heapq.heappop(heap)
            link.arrive(number, heard=True)
            arrived.append((due, number))

    for index in range(count):
        deliver(index * gap)
        number, dues = link.transmit(index * gap)
        for due in dues:
            order += 1
            heapq.heappush(heap, (due, order, number))
    deliver(float("inf"))
    return arrived


@settings(max_examples=60, deadline=None)
@given(CONDITIONS, st.integers(0, 2**32), st.integers(0, 200))
def test_counters_add_up(conditions: Conditions, seed: int, count: int) -> None:
    link = Link(seed, 0x1122334455667788, UP, conditions)
    arrived = transmit(link, count)
    counters = link.counters
    assert counters.transmitted == count
    assert counters.transmitted + counters.duplicated == counters.lost + counters.delivered
    assert counters.delivered == len(arrived)
    assert link.in_flight == 0
    behind = [number < max((n for _, n in arrived[:index]), default=0) for index, (_, number) in enumerate(arrived)]
    assert counters.reordered == sum(behind)


@settings(max_examples=60, deadline=None)
@given(CONDITIONS, st.integers(0, 2**32))
def test_same_seed_same_outcome(conditions: Conditions, seed: int) -> None:
    first, again = (Link(seed, 7, DOWN, conditions) for _ in range(2))
    assert transmit(first, 100) == transmit(again, 100)
    assert first.counters == again.counters


def test_links_are_independent() -> None:
    conditions = Conditions(loss=0.5)
    fates = {
        tuple(number for _, number in transmit(Link(seed, address, direction, conditions), 64))
        for seed in (1, 2)
        for address in (1, 2)
        for direction in (UP, DOWN)
    }
    assert len(fates) == 8


@settings(max_examples=60, deadline=None)
@given(CONDITIONS, st.integers(0, 2**32))
def test_order_and_times(conditions: Conditions, seed: int) -> None:
    link = Link(seed, 7, DOWN, conditions)
    gap = 0.01
    for index in range(100):
        now = index * gap
        _, dues = link.transmit(now)
        for due in dues:
            assert due >= now + conditions.delay_min
        assert len(dues) <= 2
    if conditions.reorder == 0:
        plain = Link(seed, 7, DOWN, conditions)
        transmit(plain, 200, gap)
        assert plain.counters.reordered == 0


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_probabilities_are_kept(probability: float) -> None:
    count = 4000
    margin = 0.03 * count if 0 < probability < 1 else 0
    lossy = Link(3, 9, UP, Conditions(loss=probability))
    transmit(lossy, count)
    assert abs(lossy.counters.lost - probability * count) <= margin
    double = Link(3, 9, UP, Conditions(duplicate=probability))
    transmit(double, count)
    assert abs(double.counters.duplicated - probability * count) <= margin
    late = Link(3, 9, UP, Conditions(reorder=probability, hold=0.015))
    transmit(late, count)
    # held behind exactly the next one, unless that is held, too
    assert abs(late.counters.reordered - probability * (1 - probability) * count) <= margin


def test_a_full_air_loses() -> None:
    link = Link(1, 2, UP, Conditions(delay_min=1, delay_max=1), max_in_flight=3)
    assert [len(link.transmit(0.0)[1]) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert link.counters.lost == 2


def test_unheard_arrival_is_lost() -> None:
    link = Link(1, 2, UP, Conditions())
    number, _ = link.transmit(0.0)
    link.arrive(number, heard=False)
    link.lose()
    assert (link.counters.transmitted, link.counters.lost, link.counters.delivered) == (2, 2, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": 1.1},
        {"loss": -0.1},
        {"duplicate": float("nan")},
        {"delay_min": 2.0, "delay_max": 1.0},
        {"delay_max": 61.0},
        {"hold": -1.0},
    ],
)
def test_impossible_conditions(wrong: dict[str, float]) -> None:
    with pytest.raises(PeerError):
        Conditions(**wrong)


def test_a_new_seed_restarts_the_draw() -> None:
    lossy = Conditions(loss=0.5)

    def fates(link: Link) -> list[bool]:
        return [bool(link.transmit(0.0)[1]) for _ in range(64)]

    link = Link(1, 0xA, UP, lossy)
    first = fates(link)
    link.reseed(2)
    assert fates(link) == fates(Link(2, 0xA, UP, lossy)) != first
    link.reseed(1)
    assert fates(link) == first
