"""Numbers of units, as every carriage's receiver keeps them: the expected one is new, a lower one a duplicate."""

from __future__ import annotations

from enum import Enum


class Arrival(Enum):
    NEW = "new"
    """The expected number: deliver."""
    DUPLICATE = "duplicate"
    """A lower number: acknowledge, don't deliver again."""
    GAP = "gap"
    """A higher number: units are missing. DTLS goes on with it; a TLS session is broken unless they can be re-read."""


class UnitSequence:
    """The receiving end of one direction of one session. ``expected`` is the next number."""

    __slots__ = ("expected",)

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected

    def judge(self, n: int) -> Arrival:
        """Say what ``n`` is, without taking it."""
        if n == self.expected:
            return Arrival.NEW
        return Arrival.DUPLICATE if n < self.expected else Arrival.GAP

    def take(self, n: int) -> None:
        """``n`` is delivered (or skipped to): the next expected number follows it."""
        self.expected = n + 1
