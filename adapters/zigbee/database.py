"""zigpy's database as a file: which version it is of, and which network a backup of it is of."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import zigpy.appdb

from adapters.zigbee import backups
from gateway.api.errors import ConfigError

NAME: Final = "zigbee.db"


def refuse_newer(path: Path) -> None:
    """ConfigError where a newer zigpy wrote the file: this one would go on with it, and lose what it doesn't know."""
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > zigpy.appdb.DB_VERSION:
        raise ConfigError(
            "",
            f"expected a ZigBee database of form {zigpy.appdb.DB_VERSION} or older, and {path} has form {version}, of "
            "a newer zigpy: install the newer version of atls-gateway again, or put back the backup that was made "
            "before the upgrade (atls-gateway restore FILE)",
        )


def facts(folder: Path) -> dict[str, str]:
    """The network of the last backup in a state folder's database, without its key; nothing if there is none."""
    try:
        backup = backups.in_database(folder / NAME)
    except (sqlite3.Error, json.JSONDecodeError, KeyError):
        return {}
    if backup is None:
        return {}
    return {name: str(value) for name, value in backups.network_of(backup).shown().items()}
