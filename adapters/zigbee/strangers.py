"""Senders of which no device is known: how often the network may be asked who they are.

zigpy broadcasts a request for every frame of an unknown sender. Routers keep few broadcasts in their tables, and any
radio can send from any number of addresses; so requests are bounded, for each address and in all.
"""

from __future__ import annotations

from typing import Final

DISCOVERY_INTERVAL: Final = 10.0
"""Seconds between two requests for one address."""
UNKNOWN_SENDERS: Final = 256
"""Addresses that are remembered."""
QUESTIONS: Final = 8
QUESTION_PAUSE: Final = 2.0
"""So many requests at once, and one more in so many seconds."""


class Strangers:
    """All addresses of which no device is known. No clock: ``now`` comes with each call."""

    def __init__(self, now: float) -> None:
        self._asked: dict[int, float] = {}
        """When who has an address was last asked, in that order."""
        self._questions, self._counted_at = float(QUESTIONS), now
        """The requests that are allowed, and when that was computed."""
        self.not_asked = 0

    def may_ask(self, nwk: int, now: float) -> bool:
        """Whether zigpy may ask the network who an unknown sender is: not again and again."""
        if now - self._asked.get(nwk, float("-inf")) < DISCOVERY_INTERVAL:
            return False
        self._questions = min(QUESTIONS, self._questions + (now - self._counted_at) / QUESTION_PAUSE)
        self._counted_at = now
        if self._questions < 1:
            self.not_asked += 1
            return False
        self._questions -= 1
        self._asked.pop(nwk, None)
        if len(self._asked) >= UNKNOWN_SENDERS:
            del self._asked[next(iter(self._asked))]
        self._asked[nwk] = now
        return True

    def expected(self, nwk: int) -> bool:
        """Whether the network was asked who has this address: any radio could announce devices that don't exist."""
        return nwk in self._asked
