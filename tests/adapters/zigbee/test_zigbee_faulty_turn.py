"""A turn that raises stops no timer: what is due later has its turn, after a pause."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.running import AFTER_FAULT, RunningAdapter
from adapters.zigbee.times import TIMES
from tests.harness.accepting_context import AcceptingContext


async def test_a_turn_that_raises_is_followed_by_another_one_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    context = AcceptingContext(tmp_path, loop.time)
    running = RunningAdapter(ZigbeeConfig.model_validate({"path": "/dev/null"}), TABLE, context, TIMES)

    def faulty(now: float) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(running.devices, "turn", faulty)
    monkeypatch.setattr(running.devices, "next_deadline", lambda: 0.0)  # overdue, for ever
    before = loop.time()
    with pytest.raises(KeyError, match="planted"):
        running.flush()
    assert running._timer is not None
    assert running._timer.when() >= before + AFTER_FAULT
    running._timer.cancel()
