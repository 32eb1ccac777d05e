"""How often a device that sleeps asks the gateway: soon after something came or went, ever more seldom after that."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.25
"""Seconds after something happened until the first question; each further one waits twice as long."""


class Pace:
    """``interval``: seconds between questions when nothing happens. Pure: time enters as ``now``."""

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._wait = interval
        self.due = now + min(FIRST, interval)

    def stir(self, now: float) -> None:
        """Something came or went: an answer may follow."""
        self._wait = min(FIRST, self._interval)
        self.due = min(self.due, now + self._wait)

    def asked(self, now: float) -> None:
        self.due = now + self._wait
        self._wait = min(2 * self._wait, self._interval)
