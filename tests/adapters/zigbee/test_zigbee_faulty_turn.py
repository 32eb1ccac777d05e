"""A turn that raises stops no timer: what is due later has its turn, after a pause."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.running import AFTER_FAULT, RunningAdapter
from adapters.zigbee.times import TIMES
from gateway.api.model import Envelope, Verdict
from tests.harness.accepting_context import AcceptingContext


async def test_a_turn_that_raises_is_followed_by_another_one_after_a_pause(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    context = AcceptingContext(tmp_path, loop.time)
    running = RunningAdapter(ZigbeeConfig.model_validate({"path": "/dev/null"}), TABLE, context, TIMES)
    presence, now = running.devices._presence, loop.time()
    limit = presence._timeouts[True]
    for number, silent in enumerate((2 * limit, limit - 0.001)):  # the one is away, the other will be in a moment
        presence.add(ZigbeeDevice(f"00:0d:6f:00:00:00:00:0{number}"), sleepy=True, silent=silent, now=now)

    def planted(envelope: Envelope) -> Verdict | None:
        raise KeyError("planted")

    context.judge = planted
    before = loop.time()
    with pytest.raises(KeyError, match="planted"):
        running.flush()
    assert running._timer is not None
    assert running._timer.when() >= before + AFTER_FAULT
    running._timer.cancel()
