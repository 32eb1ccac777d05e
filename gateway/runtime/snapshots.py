"""Consistent copies of SQLite databases, even while they are written to: by SQLite's own backup, which sees the log.

A copy of the file alone would lack what is still in its write-ahead log.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

DatabaseError = sqlite3.Error
_SIGNATURE: Final = b"SQLite format 3\0"
BESIDE: Final = ("-wal", "-shm", "-journal")
"""The files that SQLite keeps beside a database; a copy includes their content."""


def is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def taken(path: Path, change: Callable[[sqlite3.Connection], None] = lambda copy: None) -> bytes:
    """The whole database as octets of a file that needs no log; ``change`` may do something to the copy first.

    sqlite3.Error: it can't be read, or is in use.
    """
    with closing(sqlite3.connect(path, timeout=10.0)) as source, closing(sqlite3.connect(":memory:")) as copy:
        source.backup(copy)
        change(copy)
        copy.commit()
        return copy.serialize()


def write(source: sqlite3.Connection, path: Path) -> None:
    """The same from a connection that is open, into a file of mode 0600 that takes the place of an older one."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
