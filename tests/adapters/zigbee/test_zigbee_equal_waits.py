"""What the dongle says of frames and commands: each answer comes, or its time is up."""

from __future__ import annotations

import asyncio

import pytest

from adapters.zigbee.equal_waits import EqualWaits


async def test_a_report_that_does_not_come_ends_by_itself_and_no_other_with_it() -> None:
    reports = EqualWaits(0.02)
    first = reports.expect()
    second = reports.expect()
    second.set_result("in time")
    with pytest.raises(TimeoutError):
        await first
    assert await second == "in time"
    with pytest.raises(TimeoutError):
        await reports.expect()  # after a pause, too
    reports.stop()


async def test_reports_that_came_are_not_kept_and_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    armed: list[float] = []
    call_later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda delay, *given: (armed.append(delay), call_later(delay, *given))[1])
    reports = EqualWaits(60.0)
    for _ in range(1000):
        reports.expect().set_result(None)
    reports.expect().cancel()
    assert len(reports._expected) <= 1 and armed == [60.0]
    reports.stop()
