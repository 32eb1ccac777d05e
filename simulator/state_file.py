"""Writes a file that only its owner may read, whole or not at all: how dongle and devices keep their state."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Put ``text`` at ``path``: written to a neighbour with mode 0600, synced, renamed into place. Raises OSError."""
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.new")
    neighbour.unlink(missing_ok=True)
    descriptor = os.open(neighbour, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except OSError:
        neighbour.unlink(missing_ok=True)
        raise
