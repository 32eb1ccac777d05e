"""When a device that sleeps polls the gateway: soon after traffic, then less and less often."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.25
"""Seconds from traffic to the first poll; each further one waits twice as long."""


class PollSchedule:
    """``interval``: seconds between polls without traffic. Pure: time enters as ``now``."""

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._wait = interval
        self.due = now + min(FIRST, interval)

    def activity(self, now: float) -> None:
        """Something came or went: an answer may follow."""
        self._wait = min(FIRST, self._interval)
        self.due = min(self.due, now + self._wait)

    def asked(self, now: float) -> None:
        self.due = now + self._wait
        self._wait = min(2 * self._wait, self._interval)
