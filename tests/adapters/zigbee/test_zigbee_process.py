"""The adapter against the simulator as a process of its own, and through the suite that every adapter has to pass."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from adapters.zigbee.plugin import ZigbeePlugin
from carriage.zigbee.events import TunnelOpened, UnitReceived, UnitSent
from gateway.api.model import Address, Open, Outcome, Sealed, Transmit, Unit
from gateway.testing.check_adapter import check_adapter

LAMP = 0x000D6F000B5DE3B6
LAMP_CLAIM = "eui64:00:0d:6f:00:0b:5d:e3:b6"


@asynccontextmanager
async def simulator(folder: Path, *options: str) -> AsyncIterator[dict[str, str]]:
    """``atls-simulator run`` with a bad radio; what its first line tells: pty, attach, seed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from simulator.cli import main; main()", "run", "--pty", str(folder / "port")),
        *("--attach-socket", str(folder / "air"), "--state", str(folder / "simulator"), "--seed", "11"),
        *("--loss", "0.1", "--duplicate", "0.05", "--reorder", "0.05", "--delay", "1-3"),
        *options,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().split()
        assert line[0] == "ready"
        yield dict(word.split("=", 1) for word in line[1:])
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.process
@pytest.mark.parametrize(("ezsp", "options"), [(13, ()), (18, ("--ezsp", "18"))])
async def test_against_the_simulator_process(
    make_world: Any, tmp_path: Path, ezsp: int, options: tuple[str, ...]
) -> None:
    """Form, join, tunnel, units both ways; then a new gateway finds all that again."""
    world = await make_world(blank=True)  # only for its gateways and devices
    async with simulator(tmp_path, *options) as started:
        world.path, world.socket = started["pty"], Path(started["attach"])
        device = await world.device(LAMP)
        async with world.gateway(wait=False) as gateway:
            await gateway.until(lambda: gateway.context.states == ["ready"], 60)
            await gateway.join(device, 60)
            network = gateway.adapter.status()["network"]
            assert network["ezsp"] == ezsp
        async with world.gateway(wait=False, form="never") as gateway:
            await gateway.until(lambda: gateway.context.states == ["ready"], 60)
            assert gateway.adapter.status()["network"] == network
            handle = device.open(201)
            await device.wait(TunnelOpened)
            unit = Random(3).randbytes(4096)
            device.send(handle, 0, unit)
            await device.wait(UnitSent, 1, 60)
            await gateway.until(lambda: gateway.context.of(Unit))
            assert gateway.context.of(Unit)[0].payload.octets == unit
            (envelope,) = gateway.context.of(Open)
            (session,) = gateway.context.sessions_by_nonce.values()
            answer = Unit(
                id=gateway.context.next_id(),
                source=envelope.source,
                session=session,
                content=envelope.content,
                n=0,
                payload=Sealed(unit[::-1]),
                received_at=0.0,
            )
            gateway.adapter.send(Transmit(answer, Address(scheme="zigbee", claim=LAMP_CLAIM)))
            assert (await device.wait(UnitReceived, 1, 60)).data == unit[::-1]
            await gateway.until(lambda: gateway.context.receipts)
            assert [(each.id, each.outcome) for each in gateway.context.receipts] == [(answer.id, Outcome.DELIVERED)]


async def test_conforms_without_a_dongle(tmp_path: Path) -> None:
    table = {"path": "tty-that-is-not", "protocols": {200: {"to": "alias"}}}
    assert await check_adapter(ZigbeePlugin(), table, tmp_path, claim=LAMP_CLAIM, proxies=False) == []


async def test_conforms_with_a_dongle(world: Any) -> None:
    table = {"path": world.path, "form": "if-blank", "protocols": {200: {"to": "alias"}}}
    assert await check_adapter(ZigbeePlugin(), table, world.tmp_path, claim=LAMP_CLAIM, proxies=False) == []
