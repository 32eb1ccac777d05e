"""Clients that vanished. A will says so, but a broker that is stopped in good order publishes the will of every client.

A user is *here*, *leaving* or gone. A will makes it leaving; a message of it makes it *here* again. So does the end of
the gateway's connection: then the broker was stopped. After ``hold`` seconds the user is gone, and its sessions are
ended. A will names the run of its client; a broker may deliver an old will late, and the will of an earlier run is
ignored for a later one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from carriage.mqtt.messages import Gone

MAX_RUNS = 4096


class Departures:
    """``gone`` is called with the user. ``stale`` counts the wills of runs that were followed by another."""

    def __init__(self, hold: float, gone: Callable[[str], None]) -> None:
        self._hold = hold
        self._gone = gone
        self._runs: dict[str, str] = {}
        """User to the run that said last that it is there."""
        self.leaving: dict[str, tuple[str, asyncio.TimerHandle]] = {}
        """User to the run in its will."""
        self.stale = 0

    def announced(self, user: str, news: Gone) -> None:
        """A will came, or a client says that it is there."""
        if news.back:
            left = self.leaving.get(user)
            self.returned(user)
            if left is not None and left[0] != news.run:
                self._gone(user)  # it was another run's will: that one does not come back
            self._runs.pop(user, None)
            if len(self._runs) >= MAX_RUNS:
                del self._runs[next(iter(self._runs))]
            self._runs[user] = news.run
        elif news.run and self._runs.get(user, news.run) != news.run:
            self.stale += 1
        else:
            self.returned(user)
            if len(self.leaving) >= MAX_RUNS:
                first = next(iter(self.leaving))
                self.returned(first)
                self._gone(first)
            timer = asyncio.get_running_loop().call_later(self._hold, self._over, user)
            self.leaving[user] = news.run, timer

    def returned(self, user: str) -> None:
        """A message of the user came: it is there after all."""
        found = self.leaving.pop(user, None)
        if found is not None:
            found[1].cancel()

    def forget(self) -> None:
        """Our connection ended: the wills before that may be the broker's own doing, so they are ignored."""
        for user in list(self.leaving):
            self.returned(user)

    def _over(self, user: str) -> None:
        del self.leaving[user]
        self._gone(user)
