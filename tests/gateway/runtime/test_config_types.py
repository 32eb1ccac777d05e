"""Durations, sizes, rates and times of day as people write them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.engine.limits import Rate
from gateway.engine.policy import Hours
from gateway.runtime.config_types import parse_duration, parse_size
from gateway.runtime.policy_tables import ConditionTable


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5min", 300), ("1h", 3600), ("2 d", 172800), ("007s", 7)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "30", 30, 1.5, True, None, "1h30min", "-1s", "0s", "s", "1 S", "1e3s", "1" * 13 + "s", "٣s"]
)
def test_text_that_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="expected a duration with its unit"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "octets"), [(1280, 1280), ("64B", 64), ("8KiB", 8192), ("1 MiB", 1048576), ("2kB", 2000), ("1MB", 10**6)]
)
def test_sizes(value, octets):
    assert parse_size(value) == octets


@pytest.mark.parametrize("value", [0, -1, True, 1.5, None, "1280", "8 kib", "KiB", "0B", "1GiB"])
def test_text_that_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(value)


def test_rates_and_hours_become_the_values_of_the_engine():
    table = ConditionTable.model_validate({"bytes": "8KiB/min", "handshakes": "3/min", "hours": "22:00-06:00"})
    assert table.bytes == Rate(8192, 60.0)
    assert table.handshakes == Rate(3, 60.0)
    assert table.hours == Hours(22 * 60, 6 * 60)


@pytest.mark.parametrize(
    ("key", "value"), [("bytes", "8KiB"), ("bytes", 8), ("handshakes", "0/min"), ("hours", "6-23"), ("hours", 6)]
)
def test_values_that_are_no_rate_or_time_of_day_are_refused(key, value):
    with pytest.raises(ValidationError, match=r"expected (a rate|an amount per|two times of the day)"):
        ConditionTable.model_validate({key: value})
