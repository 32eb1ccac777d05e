"""The store's file: SQLite with a write-ahead log, durable at every commit, used by one thread at a time.

What can't be read (not SQLite, damaged, another version, rows that make no sense) is moved aside, never deleted, and a
fresh file takes its place. All methods block; ``store_keeper`` calls them from a separate thread.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.engine.stored import Changes, StoredRow
from gateway.runtime import snapshots
from gateway.runtime.store_clock import Timebase, after_restart
from gateway.runtime.store_rows import FORMS

_LOG = logging.getLogger(__name__)

VERSION = 1
"""Of the tables; a file of another version is moved aside."""
_APPLICATION = 0x41544C53
"""In the header of the file, so that another program's database isn't taken for ours: ``ATLS``."""
_ASIDE = 3
"""Files moved aside that are kept; the oldest go."""
_PAGE = 4096
PATIENCE = 2.0
"""Seconds to wait for another process that looks into the file."""
_LOG_LIMIT = 4 * 1024 * 1024
"""Octets that the write-ahead log keeps when it is empty."""


RUNS_AHEAD = 10_000
"""The runs that a restored copy counts as, so that no id of an envelope is given out a second time."""

_NOT_OURS = (PermissionError, IsADirectoryError)
_COPIED = "copied"
"""In ``meta`` of a copy that a backup holds: when it was made, in seconds since 1970. The first transaction takes it
out."""


class StoreError(Exception):
    """The store can't be used now; the text says why, for the log and ``status``."""


class NewerStoreError(Exception):
    """A newer version of the program wrote the store, which this one must leave as it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """The content of a file: its rows (monotonic times), the epoch of its sessions, and how many runs it has served.

    ``copied``: it is a copy of that time (seconds since 1970): what was sent and received since is not in it, so its
    sessions can't go on. It has no epoch then.
    """

    rows: tuple[StoredRow, ...] = ()
    epoch: str = ""
    runs: int = 0
    copied: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """``rows`` and ``octets`` (of the file and its log) after a commit."""

    rows: int
    octets: int


class Store:
    """One file. ``max_octets`` bounds it; ``wall`` and ``monotonic`` are the clocks, in seconds."""

    def __init__(
        self,
        path: Path,
        *,
        max_octets: int,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        self.path = path
        self._patience = patience
        self._max_pages = max(64, max_octets // _PAGE)
        self._wall = wall
        self._monotonic = monotonic
        self._timebase = Timebase(wall() - monotonic())
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def open(self) -> Found:
        """Open the file, or begin a fresh one. StoreError: neither can be done now. NewerStoreError."""
        self.close()
        try:
            try:
                return self._open()
            except (sqlite3.Error, ValueError, KeyError, TypeError, *_NOT_OURS) as error:
                self.close()
                if isinstance(error, sqlite3.Error) and not _is_damage(error):
                    raise
                _LOG.error("the store can't be read (%s): moved aside to %s", error, self._move_aside().name)
                return self._open()
        except NewerStoreError:
            self.close()
            raise
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(_reason(error)) from error

    def write(self, changes: Changes, epoch: str, runs: int) -> Facts:
        """Do all of ``changes`` in one durable transaction. StoreError: nothing of it was done."""
        connection = self._connection
        if connection is None:
            raise StoreError("closed")
        if self._identity() != self._opened:
            raise StoreError("the file was taken away")  # SQLite would go on with the unlinked file
        wall, monotonic = self._wall(), self._monotonic()
        moved = self._timebase.moved(wall, monotonic)
        timebase = Timebase(wall - monotonic) if moved else self._timebase
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if moved and not changes.whole:
                    _move_times(connection, moved)
                _write(connection, changes, timebase)
                meta = {"epoch": epoch, "runs": str(runs), "saved_at": repr(wall)}
                connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(_reason(error)) from error
        if moved:
            _LOG.warning("the clock was set by %+.0f s; stored times were moved along", moved)
        self._timebase = timebase
        return self._facts(connection)

    def snapshot(self, path: Path) -> None:
        """Copy the file as it is now to ``path``, mode 0600. StoreError: it can't be done."""
        if self._connection is None:
            raise StoreError("closed")
        try:
            snapshots.write(self._connection, path)
        except (sqlite3.Error, OSError) as error:
            path.unlink(missing_ok=True)
            raise StoreError(_reason(error)) from error

    @property
    def clock_moved(self) -> bool:
        """Whether the wall clock was set since the last transaction."""
        return self._timebase.moved(self._wall(), self._monotonic()) != 0.0

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                _LOG.warning("the store was not closed in good order: %s", error)

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino)

    def _open(self) -> Found:
        # The mode must be right from the first octet on; SQLite gives its log the same one.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=self._patience)
        self._connection, self._opened = connection, self._identity()
        connection.row_factory = sqlite3.Row
        # No other process reads it, and without the shared index file a full disk has one trap less.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        blank = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not blank:
            _check(connection)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("no write-ahead log there")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        if blank:
            _lay_out(connection)
            return Found()
        return self._read(connection)

    def _read(self, connection: sqlite3.Connection) -> Found:
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if not meta:
            return Found()  # laid out, but never written to
        wall, monotonic = self._wall(), self._monotonic()
        saved_at = float(meta["saved_at"])
        then = after_restart(saved_at, wall, monotonic)
        if then.moved(wall, monotonic):
            _LOG.warning("the clock does not fit the store's times: the time since then counts as none")
        rows = [
            form.decode(dict(found), then.monotonic)
            for table, form in FORMS.items()
            for found in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")  # noqa: S608 - our own name
        ]
        if _COPIED in meta:
            return Found(tuple(rows), "", int(meta["runs"]) + RUNS_AHEAD, float(meta[_COPIED]))
        return Found(tuple(rows), meta["epoch"], int(meta["runs"]))

    def _move_aside(self) -> Path:
        """Returns the file's new path. OSError: it can't be moved."""
        stamp = f"{self._wall():.0f}"
        place = self.path.with_name(f"{self.path.name}.bad-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(place.with_name(place.name + suffix))
        old = sorted(
            path for path in self.path.parent.glob(f"{self.path.name}.bad-*") if path.name[-4:] not in ("-wal", "-shm")
        )
        for path in old[:-_ASIDE]:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return place

    def _facts(self, connection: sqlite3.Connection) -> Facts:
        rows = octets = 0
        for table in FORMS:
            rows += connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our own name
        for suffix in ("", "-wal"):
            path = self.path.with_name(self.path.name + suffix)
            octets += path.stat().st_size if path.exists() else 0
        return Facts(rows, octets)


def _check(connection: sqlite3.Connection) -> None:
    """Raise unless it is a sound store of this program."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION:
        raise ValueError("it is another program's")
    if version > VERSION:
        raise NewerStoreError
    if version != VERSION:
        raise ValueError(f"it has version {version}, not {VERSION}")
    result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        raise ValueError(f"it is damaged: {result}")


def _lay_out(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)")
        for table, form in FORMS.items():
            columns = ", ".join(f"{name} {kind}" for name, kind in form.columns.items())
            key = ", ".join(list(form.columns)[: form.keys])
            connection.execute(f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({key}))")
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _write(connection: sqlite3.Connection, changes: Changes, timebase: Timebase) -> None:
    if changes.whole:
        connection.execute("DELETE FROM meta WHERE name = ?", (_COPIED,))
        for table in FORMS:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own name
    for table, key in changes.gone:
        names = list(FORMS[table].columns)[: len(key)]
        where = " AND ".join(f"{name} = ?" for name in names)
        connection.execute(f"DELETE FROM {table} WHERE {where}", key)  # noqa: S608 - our own names
    for table, form in FORMS.items():
        rows = [form.encode(row, timebase.wall) for (of, _), row in changes.rows.items() if of == table]
        if rows:
            marks = ", ".join("?" * len(form.columns))
            connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608


def _move_times(connection: sqlite3.Connection, by: float) -> None:
    for table, form in FORMS.items():
        moved = ", ".join(f"{name} = {name} + :by" for name in form.times)
        connection.execute(f"UPDATE {table} SET {moved}", {"by": by})  # noqa: S608 - our own names


def mark_copy(connection: sqlite3.Connection, at: float) -> None:
    """Note in a copy of the file that it is one, made ``at`` this time (seconds since 1970). Does nothing to another
    program's database, or to a store that was never written to."""
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION
    if ours and connection.execute("SELECT count(*) FROM meta").fetchone()[0]:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_COPIED, repr(at)))


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the disk or the moment. A missing table or column is an ERROR."""
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in damage


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    name = getattr(error, "sqlite_errorname", "")
    return f"{error} ({name})" if name else str(error)
