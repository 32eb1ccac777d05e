"""Numbers from the operating system: in range, spread, and with one system call for many."""

from __future__ import annotations

import os

import pytest

from common.chance import system_numbers


def test_numbers_are_in_range_and_spread() -> None:
    draw = system_numbers()
    numbers = [draw() for _ in range(4096)]
    assert all(0.0 <= each < 1.0 for each in numbers)
    assert len(set(numbers)) == len(numbers)
    eighths = [sum(int(each * 8) == eighth for each in numbers) for eighth in range(8)]
    assert min(eighths) > 350  # of 512; a chance of less than 1 in 10**12


def test_one_system_call_gives_many(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    urandom = os.urandom

    def counted(size: int) -> bytes:
        calls.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", counted)
    draw = system_numbers()
    for _ in range(128):
        draw()
    assert calls == [512, 512]


def test_the_extremes_stay_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda size: b"\xff" * size)
    assert system_numbers()() == 1.0 - 2.0**-53
    monkeypatch.setattr(os, "urandom", bytes)
    assert system_numbers()() == 0.0
