"""Polling over the virtual dongle: what a device can't report is read, what it reports isn't."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.zigbee.clusters import ROWS, ClusterTable
from adapters.zigbee.times import ZigbeeTimes
from carriage.zigbee.zcl import ZclFrame
from simulator.network.datatypes import INT16, UINT16
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import shown

QUICK = ZigbeeTimes(poll=0.2, answer=0.3)


def refuses(cluster: int, attribute: int) -> Any:
    """A device that can't report an attribute."""

    def answer(at: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if at != cluster or request.command != 0x06 or request.cluster_specific:
            return own
        payload = b"\x8c\x00" + attribute.to_bytes(2, "little")
        return ZclFrame(0x07, payload, request.sequence, cluster_specific=False, to_client=True)

    return answer


def reads(device: Any, cluster: int) -> list[bytes]:
    return [frame.payload for at, frame in device.asked if at == cluster and frame.command == 0x00]


def counters(gateway: Any) -> Any:
    return gateway.adapter.status()["counters"]


async def test_what_a_device_refuses_to_report_is_polled_and_nothing_else(world: Any) -> None:
    plug = server(0x0B04, {0x0505: (UINT16, 230), 0x050B: (INT16, 5)}), server(0x0402, {0: (INT16, 2000)})
    async with world.gateway(times=QUICK) as gateway:
        device, asked = await joined(world, gateway, *plug, answer=refuses(0x0B04, 0x050B))
        plug[0].attributes[0x050B].value = 7
        await gateway.until(lambda: asked.reported().get("power") == 7)
        await gateway.until(lambda: counters(gateway)["polls"] >= 2)
        assert set(reads(device, 0x0B04)) == {b"\x0b\x05"} and reads(device, 0x0402) == []
        assert (await shown(gateway, device))["polled"] == ["power"]
        assert counters(gateway)["polls_unanswered"] == 0


async def test_what_is_reported_all_the_same_is_not_polled(world: Any) -> None:
    plug = server(0x0B04, {0x0505: (UINT16, 230), 0x050B: (INT16, 5)})
    async with world.gateway(times=ZigbeeTimes(poll=2.0)) as gateway:
        device, asked = await joined(world, gateway, plug, answer=refuses(0x0B04, 0x050B))
        polling = gateway.semantics._polling
        for number in range(3):
            device.report(0x0B04, f"0b05 29 {number + 1:02x}00")
            await gateway.until(lambda: asked.reported().get("power") == number + 1)  # noqa: B023
            polling.tick(gateway.context.now() + 0.9)  # not long after
        assert counters(gateway)["polls"] == 0
        polling.tick(gateway.context.now() + 3.0)
        polling.tick(gateway.context.now() + 6.0)
        await gateway.until(lambda: counters(gateway)["polls"] >= 1)


async def test_a_sleeping_device_is_never_polled(world: Any) -> None:
    sensor = server(0x0402, {0: (INT16, 2000)})
    async with world.gateway(times=QUICK) as gateway:
        device, _ = await joined(world, gateway, sensor, answer=refuses(0x0402, 0), sleepy=True)
        assert (await shown(gateway, device))["polled"] == []
        gateway.semantics._polling.tick(gateway.context.now() + 1000.0)
        assert counters(gateway)["polls"] == 0 and gateway.semantics._polling.next_deadline() is None


async def test_a_row_may_say_that_no_device_can_report_it(world: Any) -> None:
    row = next(row for row in ROWS if row.property.name == "temperature")
    table = ClusterTable(rows=(replace(row, reporting=None, poll=0.2),), writes=(), actions=(), events=())
    async with world.gateway(times=ZigbeeTimes(answer=0.1), table=table) as gateway:
        device, asked = await joined(world, gateway, server(0x0402, {0: (INT16, 2000)}))
        device.clusters[0x0402].attributes[0].value = 2100
        await gateway.until(lambda: asked.reported().get("temperature") == 21.0)
        device.answer = lambda cluster, request, own: None
        await gateway.until(lambda: counters(gateway)["polls_unanswered"] >= 2)
        # one that is offline is not asked until it is back
        gateway.record(device.eui64).availability.online = False
        polls = counters(gateway)["polls"]
        gateway.semantics._polling.tick(gateway.context.now() + 1.0)
        assert counters(gateway)["polls"] == polls
        gateway.record(device.eui64).availability.online = True
        device.answer = lambda cluster, request, own: own
        device.clusters[0x0402].attributes[0].value = 2200
        await gateway.until(lambda: asked.reported().get("temperature") == 22.0)


@pytest.mark.parametrize("count", [40])
async def test_polls_are_spread_out(world: Any, count: int) -> None:
    """Devices of the same kind that are set up at the same time are not asked at the same time."""
    async with world.gateway(times=ZigbeeTimes(poll=300.0)) as gateway:
        device, _ = await joined(world, gateway, server(0x0402, {0: (INT16, 2000)}), answer=refuses(0x0402, 0))
        polling, record = gateway.semantics._polling, gateway.record(device.eui64)
        for number in range(count):
            twin = replace(record, eui64=f"00:0d:6f:00:00:00:{number:02x}:07")
            polling._plan(twin, record.model, 0x10402, 300.0, (0,), 0.0)
        due = sorted(polling._due._due.values())
        assert len({int(each / 10) for each in due}) > 10
