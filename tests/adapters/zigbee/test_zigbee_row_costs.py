"""What a report costs in Python calls: as many with all rows of the tables as with the six of the first table, and
as many beside a device that goes by a quirk."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from adapters.zigbee.clusters import ACTIONS, EVENTS, ROWS, TABLE, WRITES, ClusterTable
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.datatypes import INT16, UINT8, UINT16
from simulator.network.device_kinds import on_off
from tests.adapters.zigbee.device_commands import IDENTITY
from tests.adapters.zigbee.zigbee_world import came
from tests.harness.own_quirks import OWN, OwnRegistry
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import ZclDevice, settled

FIRST = {"state", "brightness", "temperature", "humidity", "battery", "alarm"}
FEW = ClusterTable(
    [row for row in ROWS if row.property.name in FIRST and not row.needs],
    [row for row in WRITES if row.cluster == 0x0008],
    [row for row in ACTIONS if row.action.name == "toggle"],
    [row for row in EVENTS if row.cluster == 0x0006],
)
REPORTS = [
    (0x0402, "18 {:02x} 0a 0000 29 6608"),
    (0x0006, "18 {:02x} 0a 0000 10 01"),
    (0x0008, "18 {:02x} 0a 0000 20 63"),
]


async def test_a_row_costs_other_reports_nothing(make_world: Any) -> None:
    servers = [
        on_off(IDENTITY),
        make_cluster(0x0008, [Attribute(0x0000, UINT8, 1, reportable=True)]),
        make_cluster(0x0300, [Attribute(0x0003, UINT16, 1, reportable=True)]),
        make_cluster(0x0402, [Attribute(0x0000, INT16, 1, reportable=True)]),
    ]
    found = []
    for table in (FEW, TABLE):
        world = await make_world(seed=len(found) + 1)
        async with world.gateway(table=table) as gateway:
            device, _ = await joined(world, gateway, *servers)
            frames = [
                came(1, cluster, number, bytes.fromhex(octets.format(number)))
                for cluster, octets in REPORTS
                for number in range(3)
            ]
            found.append([calls(gateway, device.eui64, frame) for frame in frames])
    assert found[0] == found[1] and 0 < found[0][-1] < 40


async def test_a_device_by_a_quirk_costs_other_reports_nothing(make_world: Any) -> None:
    found = []
    for quirks in ("never", "if-installed"):
        world = await make_world(seed=len(found) + 1)
        async with world.gateway(source=OwnRegistry().source(), quirks=quirks) as gateway:
            lamp, _ = await joined(world, gateway, on_off(IDENTITY), server(0x0402, {}))
            if found:
                odd = await ZclDevice(0x000D6F0000000023, server(OWN, {})).attach(world.socket)
                world.devices.append(odd)
                await gateway.join(odd)
                await gateway.until(lambda eui64=odd.eui64: gateway.record(eui64).quirk)
                await settled(gateway, odd)
            frames = [
                came(1, cluster, number, bytes.fromhex(octets.format(number)))
                for cluster, octets in REPORTS[:2]
                for number in range(3)
            ]
            found.append([calls(gateway, lamp.eui64, frame) for frame in frames])
    assert found[0] == found[1] and 0 < found[0][-1] < 40


def calls(gateway: Any, eui64: str, frame: Any) -> int:
    """Python calls from the frame of the radio to the envelope."""
    count = 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        assert gateway.takes(eui64, frame)
    finally:
        sys.setprofile(None)
    return count
