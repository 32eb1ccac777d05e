"""Slices of units: vectors by hand, any order and repetition puts the unit together, everything is bounded."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee.segmentation import (
    DTLS_UNIT_LIMIT,
    OversizeError,
    Reassembler,
    SegmentedUnit,
    Slice,
    cut,
    decode_slice,
    slice_count,
    slice_size,
)
from layer.errors import PeerError


def slices(n: int, data: bytes, size: int = 64) -> list[Slice]:
    return [cut(n, data, index, size) for index in range(slice_count(len(data), size))]


def test_slice_vector() -> None:
    part = cut(0x10002, bytes(range(10)), 1, 4)
    assert part.encode() == bytes.fromhex("00 0200 0100 0300 04050607")
    assert decode_slice(part.encode()) == part == Slice(2, 1, 3, b"\4\5\6\7")


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "00 0000 0000 0100",
        "01 0000 0000 0100 aa",
        "80 0000 0000 0100 aa",
        "00 0000 0100 0100 aa",
        "00 0000 0000 0000 aa",
    ],
)
def test_what_is_no_slice(octets: str) -> None:
    with pytest.raises(PeerError):
        decode_slice(bytes.fromhex(octets))


@given(st.binary(max_size=80))
def test_any_octets_give_a_slice_or_a_peer_error(octets: bytes) -> None:
    try:
        part = decode_slice(octets)
    except PeerError:
        return
    assert part.encode() == octets


@pytest.mark.parametrize(
    ("payload", "incoming", "size"),
    [(82, 1500, 64), (76, 1500, 64), (73, 1500, 61), (60, 1500, 48), (82, 60, 53), (13, 1500, 1), (0, 1500, 1)],
)
def test_slice_size_follows_the_route_and_the_receiver(payload: int, incoming: int, size: int) -> None:
    assert slice_size(payload, incoming) == size


@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    st.integers(1, 64),
    st.integers(0, 70_000),
    st.randoms(use_true_random=False),
)
def test_any_order_and_repetition_within_a_unit(units: list[bytes], size: int, first: int, rng: random.Random) -> None:
    """Units one after another; late copies of earlier ones anywhere."""
    reassembler = Reassembler(300, 60.0)
    whole: list[SegmentedUnit] = []
    past: list[Slice] = []
    for n, data in enumerate(units):
        parts = slices(n, data, size)
        arriving = parts + rng.choices(parts, k=len(parts)) + rng.sample(past, min(len(past), 5))
        rng.shuffle(arriving)
        for part in arriving:
            unit = reassembler.receive(decode_slice(part.encode()), 0.0)
            if unit is not None:
                whole.append(unit)
        past += parts
    assert whole == [SegmentedUnit(n, data, False) for n, data in enumerate(units)]
    assert reassembler.unfinished is None


def test_numbers_go_on_beyond_16_bits() -> None:
    reassembler = Reassembler(10, 60.0)
    last = 0
    for n in range(0, 200_000, 20_000):
        unit = reassembler.receive(cut(n, b"x", 0, 64), 0.0)
        assert unit == SegmentedUnit(n, b"x", n > last)
        last = n + 1
    assert reassembler.receive(cut(last - 1, b"x", 0, 64), 0.0) is None  # lower: dropped


def test_a_reassembled_unit_says_whether_numbers_were_skipped() -> None:
    reassembler = Reassembler(100, 60.0)
    assert reassembler.receive(cut(1, b"b", 0, 64), 0.0) == SegmentedUnit(1, b"b", True)
    assert reassembler.receive(cut(0, b"a", 0, 64), 0.0) is None
    assert reassembler.receive(cut(2, b"c", 0, 64), 0.0) == SegmentedUnit(2, b"c", False)


def test_a_later_unit_gives_up_the_unfinished_one() -> None:
    reassembler = Reassembler(200, 60.0)
    parts = slices(0, bytes(100))
    assert reassembler.receive(parts[0], 0.0) is None
    assert reassembler.receive(cut(1, b"b", 0, 64), 0.0) == SegmentedUnit(1, b"b", True)
    assert reassembler.receive(parts[1], 0.0) is None
    assert reassembler.unfinished is None


def test_time_out_counts_from_the_last_new_slice() -> None:
    reassembler = Reassembler(1000, 60.0)
    parts = slices(0, bytes(200))
    assert reassembler.deadline is None
    reassembler.receive(parts[0], 100.0)
    reassembler.receive(parts[1], 130.0)
    reassembler.receive(parts[1], 180.0)  # nothing new
    assert reassembler.deadline == 190.0
    assert reassembler.expire(189.9) is None
    assert reassembler.expire(190.0) == 0
    assert reassembler.receive(parts[2], 191.0) is None
    assert reassembler.receive(parts[0], 191.0) is None
    assert reassembler.unfinished is None  # the rest of it is not begun anew


@pytest.mark.parametrize(
    "second",
    [Slice(0, 1, 3, b"b"), Slice(0, 0, 2, b"other"), Slice(0, 0, 65535, b"a")],
    ids=["count", "octets", "count beyond the limit"],
)
def test_contradictions_give_the_unit_up(second: Slice) -> None:
    reassembler = Reassembler(100, 60.0)
    reassembler.receive(Slice(0, 0, 2, b"a"), 0.0)
    with pytest.raises(PeerError):
        reassembler.receive(second, 0.0)
    assert reassembler.unfinished is None
    assert reassembler.receive(Slice(0, 0, 2, b"a"), 0.0) is None
    assert reassembler.unfinished is None
    assert reassembler.receive(Slice(1, 0, 1, b"b"), 0.0) == SegmentedUnit(1, b"b", True)


def test_a_unit_of_exactly_the_limit_passes_and_one_octet_more_does_not() -> None:
    for length in (DTLS_UNIT_LIMIT, DTLS_UNIT_LIMIT + 1):
        reassembler = Reassembler(DTLS_UNIT_LIMIT, 60.0)
        parts = slices(0, bytes(length))
        for part in parts[:-1]:
            assert reassembler.receive(part, 0.0) is None
        if length == DTLS_UNIT_LIMIT:
            assert reassembler.receive(parts[-1], 0.0) == SegmentedUnit(0, bytes(length), False)
        else:
            with pytest.raises(OversizeError):
                reassembler.receive(parts[-1], 0.0)


def test_a_count_that_cannot_fit_is_refused_at_once() -> None:
    with pytest.raises(OversizeError):
        Reassembler(100, 60.0).receive(Slice(0, 0, 101, b"x"), 0.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.binary(min_size=1, max_size=9))))
def test_any_slices_keep_the_bounds(arriving: list[tuple[int, int, int, bytes]]) -> None:
    reassembler = Reassembler(20, 60.0)
    numbers = []
    for number, index, count, data in arriving:
        try:
            part = decode_slice(Slice(number, index, count, data).encode())
            unit = reassembler.receive(part, 0.0)
        except PeerError:
            continue
        if unit is not None:
            assert len(unit.data) <= 20
            numbers.append(unit.n)
    assert numbers == sorted(set(numbers))
