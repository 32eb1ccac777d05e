"""zigbee2mqtt, bellows alone and this gateway under the loads of ``make bench-peers``: each carries all of it.

Nothing here says how fast anything has to be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import peers_measure as measure
from bench.hubs import Bellows, MeasuredHub, OurGateway, Zigbee2mqtt, devices
from bench.peers import opened
from bench.start import broker

LAMPS, SENSORS = 5, 4

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.mark.parametrize("kind", [OurGateway, Zigbee2mqtt, Bellows], ids=lambda kind: kind.name)
async def test_a_hub_lets_devices_in_and_carries_reports_and_sets(
    tmp_path: Path, port: int, kind: type[MeasuredHub]
) -> None:
    home = devices(lamp=LAMPS, climate=SENSORS, thermometer=1)
    async with contextlib.AsyncExitStack() as exits:
        hub = await exits.enter_async_context(opened(kind, tmp_path, kind.name, port, home))
        await hub.start_dongle("manual")
        await hub.start()
        assert (await measure.join(hub))["seconds"] > 0
        for rate in (0.0, 50.0):
            found = await measure.reports(hub, count=SENSORS, rate=rate, warm=0.2, seconds=0.5)
            assert found["published"] == 1 and found["cpu"] > 0 and found["rate"] > 0
            assert ("latency" in found) == (rate > 0 and kind is not Bellows)
        assert 0 < (await measure.sets(hub, count=4))["latency"] < measure.PATIENCE
        found = await measure.burst(hub, rounds=4)
        assert found["lost"] == 0 and found["rate"] > 0
        held = measure.held(hub)
        assert held["rss"] > held["private"] > 0
        await asyncio.wait_for(hub.stop(), 30)
