"""The daemon's log lines on standard error, in the journal's form or with a time for a terminal.

Only our own packages follow the configured level. Libraries log warnings only: bellows and zigpy write whole frames,
and with them network keys, at their lower levels.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from common.printable import printable

_OURS = ("gateway", "adapters", "carriage", "layer")
_PRIORITIES = ((logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"), (logging.NOTSET, "<7>"))


class _Formatter(logging.Formatter):
    """One line a record, so that text from outside can't forge a second one; tracebacks follow indented."""

    def __init__(self, layout: str, *, priorities: bool) -> None:
        super().__init__(layout)
        self._priorities = priorities

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\n  ")
        if not self._priorities:
            return text
        priority = next(mark for level, mark in _PRIORITIES if record.levelno >= level)
        return "\n".join(priority + line for line in text.split("\n"))


def configure(level: str, environ: Mapping[str, str]) -> None:
    """Set up logging for the process."""
    journal = _is_journal(environ)
    handler = logging.StreamHandler(sys.stderr)
    layout = "%(name)s: %(message)s" if journal else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler.setFormatter(_Formatter(layout, priorities=journal))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """The level of this project's packages; can change at any time."""
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    # Refusals are recorded whatever the level.
    logging.getLogger("gateway.audit").setLevel(logging.WARNING if level == "error" else logging.NOTSET)


def finish() -> None:
    """For the very end: lines that can't be written any longer must not become the exit status (Python's 120)."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stderr.fileno())


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the journal's socket (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))
