"""The exit codes of ``atls-gateway`` and how a command ends with one of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NoReturn

FAILED, UNREACHABLE, RESTART, NOT_ALLOWED, BAD_CONFIG = 1, 69, 75, 77, 78  # all but the first as in sysexits.h

MEANINGS: Mapping[int, str] = {
    0: "done",
    FAILED: "the gateway could not do it, or ended on a fault",
    2: "the command was not understood",
    UNREACHABLE: "the daemon is not reachable",
    RESTART: "the daemon was asked to restart: its service manager starts it again",
    NOT_ALLOWED: "not allowed for this user",
    BAD_CONFIG: "the configuration can't be used",
}

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:<3} {meaning}" for code, meaning in MEANINGS.items())
"""The end of every command's help."""


def fail(code: int, *lines: object) -> NoReturn:
    """End with ``code`` after these lines on standard error."""
    for line in lines:
        sys.stderr.write(f"{line}\n")
    sys.exit(code)
