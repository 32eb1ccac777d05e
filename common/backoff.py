"""The pauses between attempts to reach what is away: each twice as long as the one before, up to a bound.

Chance takes up to half of a pause away, so that those who lost the same thing don't all come back at once. Pure.
"""

from __future__ import annotations

from collections.abc import Callable


def no_chance() -> float:
    """For a single client: every pause at its full length."""
    return 0.0


class Backoff:
    """``first`` and ``longest`` in seconds; ``chance`` gives a number in [0, 1)."""

    __slots__ = ("_chance", "_first", "_full", "_longest")

    def __init__(self, first: float, longest: float, chance: Callable[[], float] = no_chance) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._full = first

    def next(self) -> float:
        """Seconds until the next attempt."""
        full = min(self._full, self._longest)
        self._full = 2 * full
        return full * (1.0 - self._chance() / 2)

    def reset(self) -> None:
        """What was away has been there for long enough: start over with the first pause."""
        self._full = self._first
