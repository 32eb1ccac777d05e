"""One run at a time of the commands that change the files of a folder. Nothing else belongs here."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.api.errors import TransportError

PATIENCE = 30.0
"""Seconds that another run may hold a folder for."""


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
