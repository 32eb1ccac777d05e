"""Which network the dongle holds: another one than ours is not served, a blank one gets ours, and what the log says."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.api.model import Join
from simulator.serial_port import serve_pty
from tests.adapters.zigbee.conftest import World

LAMP = 0x000D6F000B5DE3B6
Make = Callable[..., Awaitable[Any]]
_OTHER: dict[str, bytes] = {}


@pytest.fixture
async def other(tmp_path: Path) -> bytes:
    """The memory of a dongle with a network of somebody else's."""
    if not _OTHER:
        folder = tmp_path / "other"
        folder.mkdir()
        world = World(folder, seed=2)
        async with serve_pty(world.ncp, Path(world.path)), world.gateway():
            pass
        world.ncp.close()
        world.driver.close()
        _OTHER["dongle"] = world.state.read_bytes()
    return _OTHER["dongle"]


async def swap(world: Any, make_world: Make, memory: bytes | None, seed: int) -> Any:
    """Another dongle at the same path: with ``memory``, or blank. The state folder stays."""
    world.port.unplug()
    world.ncp.close()
    world.state.unlink()
    if memory is not None:
        world.state.write_bytes(memory)
    return await make_world(seed=seed, blank=True)


def backups(world: Any) -> list[dict[str, Any]]:
    """zigpy's, in the order of their making."""
    with closing(sqlite3.connect(world.state_dir / "zigbee.db")) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        rows = database.execute(f"SELECT backup_json FROM network_backups_v{version} ORDER BY id").fetchall()
    return [json.loads(row) for (row,) in rows]


def store(world: Any) -> dict[str, bytes]:
    with closing(sqlite3.connect(world.state_dir / "zigbee.db")) as database:
        return {"dump": "\n".join(database.iterdump()).encode()}


def network(gateway: Any) -> tuple[str, str, str]:
    found = gateway.adapter.status()["network"]
    return found["pan_id"], found["extended_pan_id"], found["eui64"]


async def test_another_network_is_not_served_and_nothing_of_ours_changes(
    make_world: Make, other: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        await gateway.join(await world.device(LAMP))
        ours = network(gateway)
        await asyncio.sleep(0.2)
    before = store(world)
    foreign = await swap(world, make_world, other, 2)
    device = await foreign.device(LAMP + 1)
    async with foreign.gateway(wait=False) as gateway:
        await gateway.until(lambda: gateway.adapter.status()["counters"]["attempts"] > 2)
        assert "ready" not in gateway.context.states
        fault = gateway.context.states[0]
        assert gateway.context.submitted == []
        assert gateway.adapter.status()["network"] == {}
    pan, extended, coordinator = ours
    assert f"ours is PAN {pan}, extended PAN {extended}, coordinator {coordinator}" in fault
    held = json.loads(other)
    assert f"{held['network']['pan_id']:#06x}" in fault
    for command in ("`atls-gateway network adopt`", "`atls-gateway network restore`"):
        assert command in fault
    assert len(fault) <= 450
    assert store(world) == before
    del device
    # a blank dongle after that gets ours, not the foreign one
    blank = await swap(foreign, make_world, None, 3)
    with caplog.at_level(logging.INFO):
        async with blank.gateway() as gateway:
            assert network(gateway) == ours
            assert [one["eui64"] for one in (await gateway.adapter.command("devices", {}))["devices"]] == [
                "00:0d:6f:00:0b:5d:e3:b6"
            ]
    said = [r.getMessage() for r in caplog.records if r.name.startswith("adapters")]
    assert any(line.startswith(f"the dongle is blank: restoring our network (PAN {pan}, backup of 20") for line in said)
    assert not any("forming" in line or "{" in line for line in said)


async def test_forming_is_called_forming(make_world: Make, caplog: pytest.LogCaptureFixture) -> None:
    world = await make_world(blank=True)
    with caplog.at_level(logging.INFO):
        async with world.gateway(channel=20) as gateway:
            pan, _, _ = network(gateway)
    said = [r.getMessage() for r in caplog.records if r.name.startswith("adapters")]
    assert "the dongle is blank, and there is no backup: forming a new network, which takes some ten seconds" in said
    assert f"a new network is formed: channel 20, PAN {pan}" in said
    assert not any("{" in line for line in said)
    assert "note" not in gateway.adapter.status()
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_lost_state_folder_is_told_and_members_are_learned_when_heard(
    make_world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        device = await world.device(LAMP)
        await gateway.join(device)
        ours = network(gateway)
    for path in world.state_dir.iterdir():
        path.unlink()
    async with world.gateway() as gateway:
        assert network(gateway) == ours
        (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert f"(PAN {ours[0]}) is taken on, and nothing is known of its devices" in said
        assert gateway.adapter.status()["note"] == said
        device.open(200)
        await gateway.until(lambda: gateway.context.of(Join))
        assert ("model", "T1") in gateway.context.of(Join)[0].facts
    caplog.clear()
    async with world.gateway() as gateway:
        assert "note" not in gateway.adapter.status()
        assert len((await gateway.adapter.command("devices", {}))["devices"]) == 1
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]
