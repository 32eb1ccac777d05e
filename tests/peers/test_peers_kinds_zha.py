"""zha, the ZigBee of Home Assistant, pairs a virtual device of each kind, shows what it reports and sets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.hubs import Device, MeasuredHub, devices
from bench.scenario import Site
from demo.stack import running
from tests.peers.hub_kinds import AT_ONCE, EVENT, HOSTED, ROWS, TRIPPED, Row, gets, holds, trip, until
from tests.peers.zha_python import command

PROGRAM = Path(__file__).parent / "zha_hub.py"

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # a Debian root may have to be made


@dataclass(slots=True)
class Zha(MeasuredHub):
    """zha's gateway as ``zha_hub`` runs it."""

    answered: int = 0

    async def start(self) -> None:
        argv = await asyncio.to_thread(command, PROGRAM, self.stack.dongle)
        self.process = await self.stack.start("zha", argv)
        await self.process.expect_event("started", seconds=60)

    async def order(self, do: str, **arguments: object) -> dict[str, Any]:
        assert self.process is not None
        self.answered += 1
        self.process.tell(do=do, **arguments)
        answer = await self.process.expect_event("done", count=self.answered, seconds=60)
        assert "failed" not in answer, f"{do} {arguments}: {answer['failed']}"
        return answer

    async def entities(self, device: Device) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.order("entities", eui64=device.eui64))["entities"]
        return found

    async def all_ready(self, group: list[Device]) -> bool:
        return {each.eui64 for each in group} <= {each["eui64"] for each in self.heard("ready")}

    def heard(self, event: str) -> list[dict[str, Any]]:
        assert self.process is not None
        return [each for each in self.process.events if each.get("event") == event]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Zha]:
    async with running(tmp_path / "home") as stack:
        hub = Zha(stack, Site(tmp_path), 0, 0, devices(**dict.fromkeys(HOSTED, 1)), "zha")
        await hub.start_dongle("manual")
        await hub.start()
        yield hub
        await hub.close()


async def test_it_pairs_each_kind_shows_its_reports_and_sets_it(hub: Zha) -> None:
    await hub.order("permit")
    for first in range(0, len(hub.home), AT_ONCE):
        group = hub.home[first : first + AT_ONCE]
        for each in group:
            await hub.ask("join", device=each.name)
        await until(f"{', '.join(each.kind for each in group)} are ready", partial(hub.all_ready, group), 120)
    for device in hub.home:
        if device.kind in TRIPPED:
            await enrol(hub, device)
        await report_and_set(hub, device)


async def enrol(hub: Zha, device: Device) -> None:
    async def enrolled() -> bool:
        await trip(hub, device)
        (now,) = await hub.ask("devices", device=device.name)
        return bool(now["values"]["enrolled"])

    await until(f"{device.kind} enrols", enrolled)


async def report_and_set(hub: Zha, device: Device) -> None:
    row = ROWS[device.kind]
    if row.shows is not None:
        await shows(hub, device, row, row.shows)
    if row.call is None:
        return
    platform, method, arguments = row.call

    async def send() -> None:
        await hub.order("call", eui64=device.eui64, platform=platform, method=method, arguments=arguments)

    await gets(hub, device, send)


async def shows(hub: Zha, device: Device, row: Row, wanted: Mapping[str, Any]) -> None:
    await hub.ask(**row.happens, device=device.name)

    async def shown() -> bool:
        found: list[Mapping[str, Any]] = hub.heard(EVENT)
        if row.entity != EVENT:
            found = [each for each in await hub.entities(device) if each["platform"] == row.entity]
        return any(holds(each, wanted) for each in found if each.get("eui64", device.eui64) == device.eui64)

    await until(f"{device.kind}: {wanted}", shown)
