"""adapters.zigbee.fragments: every order, repetitions, what never ends, what is too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.fragments import FRAGMENTS, MESSAGES, PATIENCE, Reassembly

KEY = (0x1234, 1, 0x0104, 0x0402)


@given(parts=st.lists(st.binary(max_size=8), min_size=1, max_size=FRAGMENTS), data=st.data())
def test_any_order_with_repetitions(parts: list[bytes], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(parts))))
    whole = Reassembly()
    for index in order[:-1]:
        for _ in range(data.draw(st.integers(1, 3))):
            assert whole.add(KEY, (len(parts) if index == 0 else 0) << 8 | index, parts[index], 0.0) is None
    last = order[-1]
    assert whole.add(KEY, (len(parts) if last == 0 else 0) << 8 | last, parts[last], 0.0) == b"".join(parts)
    assert len(whole) == 0


def test_a_pause_that_is_too_long_begins_anew() -> None:
    whole = Reassembly()
    assert whole.add(KEY, 2 << 8, b"old", 0.0) is None
    assert whole.add(KEY, 1, b"new", PATIENCE + 1) is None
    assert whole.add(KEY, 2 << 8, b"first ", PATIENCE + 2) == b"first new"


def test_bounds() -> None:
    whole = Reassembly()
    for sender in range(3 * MESSAGES):
        assert whole.add((sender, 1, 0, 0), 4 << 8, b"part", 0.0) is None
    assert len(whole) == MESSAGES
    assert whole.add(KEY, (FRAGMENTS + 1) << 8, b"too many", 0.0) is None
    assert whole.add(KEY, FRAGMENTS, b"too far", 0.0) is None
    assert len(whole) == MESSAGES


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 0xFFFF), st.binary(max_size=4), st.floats(0, 100))))
def test_whatever_comes_is_taken_and_bounded(frames: list[tuple[int, int, bytes, float]]) -> None:
    whole = Reassembly()
    for sender, group, part, now in frames:
        whole.add((sender, 0, 0, 0), group, part, now)
        assert len(whole) <= MESSAGES
