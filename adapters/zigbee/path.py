"""Paths of dongles: which are valid, and what is known of one without opening it. Pure, but for ``misplaced``."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

SCHEMES: Final = ("socket", "tcp", "rfc2217")
"""Of a dongle in the network. ``tcp`` is ``socket`` by another name; ``rfc2217`` is that of a terminal server."""
EXPECTED: Final = "expected a serial device such as /dev/serial/by-id/NAME, or socket://HOST:PORT (or tcp://HOST:PORT)"

_URL: Final = re.compile(r"([a-z0-9+.-]+)://(?:\[[^\[\]/\s]+\]|[^\[\]:/?#@\s]+):([0-9]{1,5})/?", re.IGNORECASE)


def checked(path: str) -> str:
    """The same path. ValueError: it has the form of a URL, and can't be one of a dongle."""
    if "://" in path:
        url = _URL.fullmatch(path)
        if url is None or url[1].lower() not in SCHEMES or not 0 < int(url[2]) < 65536:
            raise ValueError(EXPECTED)
    return path


def misplaced(path: str) -> str:
    """The kind of file at the path if it can't be a dongle's; empty if it can, or if the path doesn't exist yet.

    The device itself is not opened: that alone resets some dongles.
    """
    if "://" in path:
        return ""
    try:
        found = Path(path).stat()
    except OSError:
        return ""  # it may be plugged in later
    if stat.S_ISCHR(found.st_mode):
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        kind = Path("/sys/dev/char", number, "subsystem")
        return "" if not kind.exists() or kind.resolve().name == "tty" else "a device that is no serial port"
    if stat.S_ISREG(found.st_mode):
        return "a file"
    return "a folder" if stat.S_ISDIR(found.st_mode) else "no serial port"
