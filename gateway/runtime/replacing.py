"""Writing a file as a whole: whoever reads it, or a crash, sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.api.errors import TransportError

PATIENCE = 30.0
"""Seconds that another run may hold a folder for."""


def replace(path: Path, content: bytes, mode: int, *, like: os.stat_result | None = None) -> None:
    """Write ``content`` beside ``path`` and rename it there, on the disk before this returns. OSError: nothing changed.

    ``like``: the file before, whose owner and group the new one gets. A link is followed: what it leads to is replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():  # a device such as /dev/null would be gone for the whole machine
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def alone_in(folder: Path, *, patience: float = PATIENCE) -> Iterator[None]:
    """Hold ``folder`` against other runs of these commands. TransportError: another one doesn't end."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        limit = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= limit:
                    raise TransportError(f"{folder}: another run is at work here", transient=True) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)  # which ends the lock
