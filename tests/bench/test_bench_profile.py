"""The shares that ``python -m bench.profile`` makes of py-spy's looks."""

from __future__ import annotations

from collections import Counter

import pytest

from bench import profile
from bench.profile import KERNEL, Profile, page, shares

RAW = [
    "run (asyncio/runners.py:190);_run_once (asyncio/base_events.py:1922);decode (carriage/coap/message.py:91) 30",
    "run (asyncio/runners.py:190);_run_once (asyncio/base_events.py:1922);Hub.turn (gateway/runtime/hub.py:10) 10",
    "run (asyncio/runners.py:190);_run_once (asyncio/base_events.py:1900) 20",
    "run (asyncio/runners.py:190);Wire.write (carriage/mqtt/wire.py:33) 900",
    "run (asyncio/runners.py:190);EpollSelector.select (selectors.py:468) 900",
    "something (json/encoder.py:1) 40",
    "not a line of py-spy",
]


def test_a_look_counts_for_the_room_of_the_function_that_runs_and_not_where_that_waits_for_the_kernel() -> None:
    rooms, functions = shares(RAW)
    assert rooms == {"carriage/coap": 30, "hub and runtime": 10, "asyncio": 20, "other": 40}
    assert functions["decode (carriage/coap/message.py)"] == 30


def test_shares_are_of_the_cpu_with_the_kernels_part() -> None:
    rooms, functions = shares(RAW)
    one = Profile("coaps to mqtt, 100/s", 0.0002, 0.5, rooms, functions, {"sendto": 1.25, "recvfrom": 2.0})
    assert one.shares(one.rooms) == {KERNEL: 0.5, "carriage/coap": 0.15, "hub and runtime": 0.05, "asyncio": 0.1} | {
        "other": 0.2
    }
    lines = list(page([one]))
    assert lines[0] == "| share of CPU | coaps to mqtt, 100/s |"
    assert lines[2] == "| system calls | 50 % |"
    assert "| carriage/coap | 15 % |" in lines and "| CPU us/message | 200 |" in lines
    assert "| system calls/message | 3.2 |" in lines
    assert lines[-1] == "  system calls: recvfrom 2.00, sendto 1.25"


def test_a_row_without_a_look_has_no_shares_but_the_kernels() -> None:
    assert Profile("idle", 0.0, 0.0, Counter(), Counter(), {}).shares(Counter()) == {KERNEL: 0.0}


def test_what_is_missing_is_said_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    assert profile.main([]) == 2
    assert "pip install py-spy" in capsys.readouterr().err
