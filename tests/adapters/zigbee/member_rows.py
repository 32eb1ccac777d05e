"""Rows of the databases that say which devices are members."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any


def rows(world: Any) -> list[str]:
    """The devices of zigpy's database."""
    with closing(sqlite3.connect(world.state_dir / "zigbee.db")) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name GLOB 'devices_v*'")]
        return [row[0] for row in database.execute(f"SELECT ieee FROM {max(tables)}")]  # noqa: S608 - the name is zigpy's
