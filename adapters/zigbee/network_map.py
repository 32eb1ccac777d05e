"""Which router receives whom in the network: each router is asked for the list of its neighbours (ZDO Mgmt_Lqi).

A few routers at a time, one question after another; one that doesn't answer is left out and said so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from adapters.zigbee.device_view import Device, timestamp
from adapters.zigbee.network_port import Radio
from adapters.zigbee.times import ZigbeeTimes
from adapters.zigbee.transaction import Reply
from adapters.zigbee.zcl_devices import ZclDevices
from carriage.zigbee import zdo
from carriage.zigbee.zdo import NeighbourEntry
from gateway.api.errors import PeerError

AT_ONCE: Final = 4
"""Routers that are asked at the same time."""
MAX_NEIGHBOURS: Final = 128
_ROUTER, _END_DEVICE = "Router", "EndDevice"


async def network_map(
    radio: Radio, devices: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> dict[str, Any]:
    """``coordinator``: its EUI64; ``nodes``: all devices, ``asked`` None for those that are no routers, else whether
    they answered; ``links``: ``target`` receives ``source``, with ``lqi``, ``depth`` and ``relationship``."""
    if arguments:
        raise PeerError("network-map takes no arguments")
    found = list(radio.devices())
    routers = [each for each in found if not each.sleepy and devices.model(each.eui64) is not None]
    tables: dict[str, list[NeighbourEntry]] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(router: Device) -> None:
        async with turns:
            with contextlib.suppress(PeerError):
                tables[router.eui64] = await _neighbours(devices, router.eui64)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(times.look_around), asyncio.TaskGroup() as tasks:
            for each in routers:
                tasks.create_task(ask(each))
    asked = {each.eui64: each.eui64 in tables for each in routers}
    return {
        "coordinator": _text(radio.eui64),
        "nodes": [
            {
                "eui64": each.eui64,
                "nwk": each.nwk,
                "type": _END_DEVICE if each.sleepy else _ROUTER,
                "manufacturer": each.manufacturer,
                "model": each.model,
                "last_seen": timestamp(each.last_seen),
                "asked": asked.get(each.eui64),
            }
            for each in found
        ],
        "links": [
            {
                "source": _text(each.eui64),
                "source_nwk": each.nwk,
                "target": eui64,
                "lqi": each.lqi,
                "depth": each.depth,
                "relationship": each.relation,
            }
            for eui64, table in tables.items()
            for each in table
        ],
    }


async def _neighbours(devices: ZclDevices, eui64: str) -> list[NeighbourEntry]:
    """PeerError: it refuses, or doesn't answer."""
    found: list[NeighbourEntry] = []
    while True:
        answer = await devices.neighbours(eui64, len(found))
        if not isinstance(answer, Reply):
            raise PeerError("it doesn't answer")
        total, page = zdo.neighbours_response(answer.payload)
        found += page
        if not page or len(found) >= min(total, MAX_NEIGHBOURS):
            return found[:MAX_NEIGHBOURS]


def _text(eui64: int) -> str:
    return ":".join(f"{octet:02x}" for octet in eui64.to_bytes(8, "big"))
