"""Rates and token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.limits import Bucket, Buckets, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("3/min", Rate(3, 60)),
        ("8KiB/min", Rate(8192, 60)),
        ("8 KiB / min", Rate(8192, 60)),
        ("100/s", Rate(100, 1)),
        ("1MB/day", Rate(1_000_000, 86400)),
        ("12B/h", Rate(12, 3600)),
        ("2MiB/hour", Rate(2 * 1024 * 1024, 3600)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "3", "/min", "3/", "3/week", "0/min", "-1/min", "1.5/s", "3KiB", "³/min", "KiB/s"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected an amount"):
        parse_rate(text)


def test_a_bucket_starts_full_refills_and_never_overflows() -> None:
    bucket = Bucket(Rate(6, 60), now=0.0)
    assert bucket.wait(6, 0.0) == 0.0
    bucket.take(6)
    assert bucket.wait(1, 0.0) == pytest.approx(10.0)
    assert bucket.wait(1, 10.0) == 0.0
    assert bucket.wait(7, 1000.0) == 0.0, "more than the bucket holds passes when it is full"
    bucket.take(7)
    assert bucket.wait(1, 1000.0) == pytest.approx(20.0), "and is paid off"


@given(
    rate=st.builds(Rate, st.integers(1, 10_000), st.floats(0.1, 86400)),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 20_000)), max_size=60),
)
def test_the_rate_is_never_exceeded_and_the_wait_it_asks_for_suffices(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    bucket, now, passed, largest = Bucket(rate, 0.0), 0.0, 0, 0
    for pause, cost in steps:
        now += pause
        wait = bucket.wait(cost, now)
        assert wait >= 0.0
        if wait:
            now += wait
            assert bucket.wait(cost, now) <= 1e-6 * rate.period
        bucket.take(cost)
        passed += cost
        largest = max(largest, cost)
    assert passed <= (rate.amount + now * rate.amount / rate.period + largest) * 1.000001 + 1e-3


def test_buckets_are_apart_and_forget_with_their_rule() -> None:
    buckets, rate = Buckets(), Rate(1, 60)
    buckets.get("a", "bytes", "lamp", rate, 0.0).take(1)
    assert buckets.get("a", "bytes", "lamp", rate, 0.0).wait(1, 0.0) > 0
    for other in (("b", "bytes", "lamp"), ("a", "units", "lamp"), ("a", "bytes", "phone")):
        assert buckets.get(*other, rate, 0.0).wait(1, 0.0) == 0.0
    buckets.keep(["b"])
    assert len(buckets) == 1
    assert buckets.get("a", "bytes", "lamp", rate, 0.0).wait(1, 0.0) == 0.0
