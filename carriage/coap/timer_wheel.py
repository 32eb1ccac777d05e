"""Which of many peers is due when: one nearest time for one timer. Pure; nothing else belongs here."""

from __future__ import annotations

import heapq
from typing import Final

GRAIN: Final = 0.02  # seconds: how much later than asked for a peer may become due


class TimerWheel:
    """Peers by rough due time. Entries are never moved: whoever comes due is asked anew when it really is due, so a
    peer has at most one entry per slot and setting a time costs little."""

    __slots__ = ("_slots", "_times")

    def __init__(self) -> None:
        self._slots: dict[int, set[int]] = {}
        self._times: list[int] = []

    def add(self, peer: int, deadline: float) -> None:
        """Make ``peer`` due at ``deadline``, up to one grain later."""
        slot = int(deadline / GRAIN) + 1
        peers = self._slots.get(slot)
        if peers is None:
            self._slots[slot] = {peer}
            heapq.heappush(self._times, slot)
        else:
            peers.add(peer)

    def next(self) -> float | None:
        """When ``due`` has something."""
        return self._times[0] * GRAIN if self._times else None

    def due(self, now: float) -> set[int]:
        """Take all peers whose time has come."""
        found: set[int] = set()
        while self._times and self._times[0] * GRAIN <= now:
            found |= self._slots.pop(heapq.heappop(self._times))
        return found
