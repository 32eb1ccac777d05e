"""zigpy's database as a file: of which network it is, and whose it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
import zigpy.appdb

from adapters.zigbee.plugin import ZigbeePlugin
from gateway.api.errors import ConfigError

Make = Callable[..., Awaitable[Any]]


async def test_facts_of_the_network_are_read_beside_a_running_radio_without_its_key(make_world: Make) -> None:
    world = await make_world()
    async with world.gateway() as gateway:
        held = gateway.adapter.status()["network"]
        facts = ZigbeePlugin().facts(world.state_dir)
        for name in ("pan_id", "extended_pan_id"):
            assert facts[name] == held[name]
        assert facts["coordinator"] == held["eui64"]
        assert facts.keys() <= {"pan_id", "extended_pan_id", "coordinator", "channel", "saved"}


def test_a_folder_without_a_database_has_no_facts(tmp_path: Any) -> None:
    assert ZigbeePlugin().facts(tmp_path) == {}
    (tmp_path / "zigbee.db").write_bytes(b"not a database" * 40)
    assert ZigbeePlugin().facts(tmp_path) == {}


async def test_a_database_of_a_newer_zigpy_is_refused_and_left_as_it_is(make_world: Make) -> None:
    world = await make_world()
    async with world.gateway():
        pass
    path = world.state_dir / "zigbee.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {zigpy.appdb.DB_VERSION + 1}")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(ConfigError) as refused:  # the supervisor ends the daemon over it
        async with world.gateway(wait=False) as gateway:
            await gateway.task
    assert "of a newer zigpy: install the newer version of atls-gateway again, or put back the backup" in str(
        refused.value
    )
    assert path.read_bytes() == before
