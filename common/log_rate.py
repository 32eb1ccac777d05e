"""The rate of log lines about what any peer can cause. Nothing else belongs here."""

from __future__ import annotations

from typing import Final

LINES: Final = 10
INTERVAL: Final = 10.0
"""Seconds in which so many lines are written."""


class LogRate:
    """One kind of line. The caller counts what is not logged, and brings the time in seconds."""

    __slots__ = ("_lines", "_since")

    def __init__(self) -> None:
        self._since = float("-inf")
        self._lines = 0

    def permits(self, now: float) -> bool:
        """Whether one more line may be written; call it once for each."""
        if now - self._since >= INTERVAL:
            self._since, self._lines = now, 0
        self._lines += 1
        return self._lines <= LINES
