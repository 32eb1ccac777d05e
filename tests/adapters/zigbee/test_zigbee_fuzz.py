"""Whatever a device sends, whole or in fragments, to any endpoint and cluster: the next good report counts."""

from __future__ import annotations

import asyncio
import gc
import logging
from random import Random
from typing import Any

import pytest

from carriage.zigbee.tunneling import CLUSTER_ID
from gateway.api.model import Join, Leave, Reading
from simulator.air import ApsFrame
from simulator.network import zdo
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_device import ZclDevice, settled

DEVICE = 0x000D6F0000000081
IDENTITY = Identity("ACME", "Z1", mains=True)
FRAMES = 1500
ZDO_CLUSTERS = (0x0000, 0x0013, 0x8001, 0x8002, zdo.SIMPLE_DESC_REQ | zdo.RESPONSE, 0x8005, 0x8021, 0x8034)
ZCL_CLUSTERS = (0x0000, 0x0001, 0x0006, 0x0402, 0xE000, CLUSTER_ID, CLUSTER_ID)


def frame_of(draw: Random, own_nwk: int) -> ApsFrame:
    """Mostly noise behind a head that is right, so that it gets far."""
    to_zdo = draw.random() < 0.3
    noise = draw.randbytes(draw.randrange(0, 40))
    if to_zdo:
        head = bytes((draw.randrange(256), draw.choice((0, 0, 0x82)))) + own_nwk.to_bytes(2, "little")
    else:
        head = bytes((draw.choice((0x08, 0x18, 0x01, 0x11, 0x09, 0x0C)), draw.randrange(256), draw.randrange(0x18)))
    payload = (head + noise)[draw.choice((0, 0, 0, 1)) : draw.choice((80, 80, 80, 3, 1, 0))]
    fragment = (draw.choice((0, 1, 2, 3, 255)), draw.choice((0, 1, 2, 255))) if draw.random() < 0.1 else None
    return ApsFrame(
        profile=0 if to_zdo else draw.choice((0x0104, 0x0104, 0x0104, 0x0109)),
        cluster=draw.choice(ZDO_CLUSTERS if to_zdo else ZCL_CLUSTERS),
        source_endpoint=0 if to_zdo else draw.choice((1, 1, 1, 2, 0, 255)),
        destination_endpoint=0 if to_zdo else 1,
        payload=payload,
        sequence=draw.randrange(256),
        link_key=draw.random() < 0.3,
        fragment=fragment,
    )


@BOTH_EZSP
async def test_the_next_good_report_counts(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    draw = Random(5)
    async with world.gateway() as gateway:
        device = await ZclDevice(DEVICE, on_off(IDENTITY), temperature(IDENTITY)).attach(world.socket)
        world.devices.append(device)
        await gateway.join(device)
        await settled(gateway, device)
        station = world.network.station(DEVICE)
        nwk = station.device.nwk
        caplog.clear()
        for number in range(FRAMES):
            frame = frame_of(draw, nwk)
            if frame.cluster == zdo.DEVICE_ANNCE and not frame.profile:
                continue  # it may announce another device, or itself at an address that it doesn't have
            world.network.arrived(station, frame)
            if number % 16 == 0:
                await asyncio.sleep(0.005)
        await settled(gateway, device)
        before = len(gateway.context.of(Reading))
        device.report(0x0402, "0000 29 5c08")
        await gateway.until(
            lambda: (("temperature", 21.4),) in [r.values for r in gateway.context.of(Reading)[before:]]
        )
        assert gateway.adapter.status()["link"] == "up" and gateway.context.of(Leave) == []
        assert [one.name for one in gateway.context.of(Join)[-1].properties] == ["state", "temperature"]
        gc.collect()  # asyncio logs the untaken exception of a task when the task is collected
        await asyncio.sleep(0)
        ours = [each for each in caplog.records if each.name.startswith("adapters") and each.levelno > logging.WARNING]
        assert [each.getMessage() for each in ours] == []
        assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
