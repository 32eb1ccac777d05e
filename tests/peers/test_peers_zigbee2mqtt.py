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
from bench.hubs import Bellows, OurGateway, Zigbee2mqtt, devices
from bench.peers import Contender, opened
from bench.peers_report import LIBRARY, OURS, THEIRS
from bench.start import running_broker

LAMPS, SENSORS = 5, 4

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


CONTENDERS = (Contender(OURS, OurGateway), Contender(THEIRS, Zigbee2mqtt), Contender(LIBRARY, Bellows))


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with running_broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda each: each.name)
async def test_a_hub_lets_devices_in_and_carries_reports_and_sets(
    tmp_path: Path, mosquitto: tuple[int, int], contender: Contender
) -> None:
    home = devices(lamp=LAMPS, climate=SENSORS, thermometer=1)
    async with contextlib.AsyncExitStack() as exits:
        hub = await exits.enter_async_context(opened(contender, tmp_path, contender.name, *mosquitto, home))
        await hub.start_dongle("manual")
        await hub.start()
        assert (await measure.join(hub))["seconds"] > 0
        for rate in (0.0, 50.0):
            found = await measure.reports(hub, count=SENSORS, rate=rate, warm=0.2, seconds=0.5)
            assert found["published"] == 1 and found["cpu"] > 0 and found["rate"] > 0
            assert ("latency" in found) == (rate > 0 and contender.kind is not Bellows)
        assert 0 < (await measure.sets(hub, count=4))["latency"] < measure.PATIENCE
        found = await measure.burst(hub, count=LAMPS, rounds=4)
        assert found["lost"] == 0 and found["rate"] > 0
        held = measure.held(hub)
        assert held["rss"] > held["private"] > 0
        await asyncio.wait_for(hub.stop(), 30)
