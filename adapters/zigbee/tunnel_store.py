"""The open tunnels in a file, so that a restarted gateway goes on with those whose sessions survived.

A small SQLite database beside zigpy's, mode 0600. It is written when a tunnel opens or ends, never for a unit. Writes
reach the system at once and the disk soon: the end of the process loses nothing, and a tunnel that the end of the power
made us forget is closed as one whose session is gone. No keys and no payloads are kept.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carriage.zigbee.events import DeliveryMode, TunnelRecord
from gateway.api.model import SessionId

_LOG = logging.getLogger(__name__)

FILE: Final = "tunnels.db"
_COLUMNS: Final = (
    "session TEXT, eui64 TEXT, endpoint INTEGER, link_key INTEGER, id INTEGER, server INTEGER, protocol INTEGER, "
    "manufacturer INTEGER, flow_control INTEGER, max_incoming INTEGER, post TEXT, PRIMARY KEY (session, eui64)"
)
_CREATE: Final = f"CREATE TABLE IF NOT EXISTS tunnels ({_COLUMNS}) WITHOUT ROWID"
_RENEW: Final = (
    "BEGIN",
    "ALTER TABLE tunnels RENAME TO before",
    _CREATE,
    "INSERT INTO tunnels SELECT * FROM before",
    "DROP TABLE before",
    "COMMIT",
)
"""Up to version 0.3 a session had one row, though both its ends may be devices."""


@dataclass(frozen=True, slots=True)
class StoredTunnel:
    """A tunnel and the session that it carries. ``endpoint`` is the device's."""

    session: SessionId
    eui64: str
    endpoint: int
    link_key: bool
    record: TunnelRecord


class TunnelStore:
    """At most ``most`` tunnels. What can't be read or written costs tunnels at the next start, and a log line."""

    def __init__(self, folder: Path, most: int) -> None:
        self._path = folder / FILE
        self._most = most
        self._database: sqlite3.Connection | None = None
        self._known: set[tuple[SessionId, str]] = set()

    def load(self) -> list[StoredTunnel]:
        """Open the file, and what it holds. One that isn't sound is replaced by an empty one; one that can't be opened
        is left.
        """
        for _ in range(2):
            try:
                return self._load()
            except (sqlite3.OperationalError, OSError) as failure:  # no space, no right: nothing is wrong with it
                _LOG.error("%s can't be used: %s; open tunnels are lost", self._path, type(failure).__name__)
                self.close()
                return []
            except (sqlite3.Error, ValueError, TypeError) as failure:
                _LOG.error("%s: %s; it begins empty, open tunnels are lost", self._path, type(failure).__name__)
                self.close()
                for path in (self._path, *_beside(self._path)):
                    with suppress(OSError):
                        path.unlink()
        return []

    def _load(self) -> list[StoredTunnel]:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)
        database = self._database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(_CREATE)
        if sum(bool(column[5]) for column in database.execute("PRAGMA table_info(tunnels)")) == 1:
            for statement in _RENEW:
                database.execute(statement)
        rows = database.execute("SELECT * FROM tunnels LIMIT ?", (self._most,)).fetchall()
        found = [_remembered(row) for row in rows]
        self._known = {(known.session, known.eui64) for known in found}
        return found

    def put(self, known: StoredTunnel) -> None:
        record, end = known.record, (known.session, known.eui64)
        if len(self._known) >= self._most and end not in self._known:
            _LOG.warning("%d tunnels are kept already; one more is not", self._most)
            return
        self._known.add(end)
        self._write(
            "INSERT OR REPLACE INTO tunnels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                known.session, known.eui64, known.endpoint, known.link_key, record.id, record.server,
                record.protocol, record.manufacturer, record.flow_control, record.max_incoming, record.mode.value,
            ),
        )  # fmt: skip

    def drop(self, session: SessionId, eui64: str) -> None:
        if (session, eui64) in self._known:
            self._known.discard((session, eui64))
            self._write("DELETE FROM tunnels WHERE session = ? AND eui64 = ?", (session, eui64))

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if self._database is None:
            return
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as failure:
            _LOG.error("%s: a tunnel could not be written: %s", self._path, type(failure).__name__)


def _beside(path: Path) -> Iterator[Path]:
    return (path.with_name(path.name + tail) for tail in ("-wal", "-shm"))


def _remembered(row: tuple[object, ...]) -> StoredTunnel:
    """ValueError or TypeError for a row that this version did not write."""
    session, eui64, endpoint, link_key, number, server, protocol, manufacturer, flow_control, most, mode = row
    numbers = (endpoint, link_key, number, server, protocol, manufacturer, flow_control, most)
    if not isinstance(session, str) or not isinstance(eui64, str):
        raise TypeError("not a text")
    values = [value for value in numbers if isinstance(value, int) and 0 <= value <= 0xFFFF]
    if len(values) != len(numbers):
        raise ValueError("not a number of 16 bits")
    return StoredTunnel(
        SessionId(session),
        eui64,
        values[0],
        bool(values[1]),
        TunnelRecord(
            id=values[2],
            server=bool(values[3]),
            protocol=values[4],
            manufacturer=values[5],
            flow_control=bool(values[6]),
            max_incoming=values[7],
            mode=DeliveryMode(mode),
        ),
    )
