"""Finds the message over which a broker ends connections, and which would be sent again on each of them. Pure.

Some do so over a topic that they don't bear or don't permit, or over a packet that is too long. ``Blame`` is *at ease*;
after ``IN_A_ROW`` connections that ended soon it is *careful*: one message at a time, so that the one under way is the
one. When as many connections end over the same message, its topic is given up. One that lasts puts it at ease again.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

IN_A_ROW: Final = 2
MAX_GIVEN_UP: Final = 256
"""Topics that are remembered as such."""


class Verdict(Enum):
    """What to do after a connection ended."""

    NOTHING = "nothing"
    CARE = "care"
    """From now on send one message at a time."""
    GIVE_UP = "give up"
    """Send what was under way no more."""


class Blame:
    """``stable``: seconds from which on the end of a connection has nothing to do with its messages."""

    def __init__(self, stable: float) -> None:
        self._stable = stable
        self._suspect = ""
        self._ends = 0
        self.careful = False
        self.given_up: dict[str, None] = {}
        """Topics, the latest last."""

    def lasts(self, seconds: float) -> bool:
        """A connection has been there for so long. Whether that ends the care."""
        if not self.careful or seconds < self._stable:
            return False
        self.careful = False
        return True

    def ended(self, lasted: float, under_way: str, *, sent: bool = True) -> Verdict:
        """A connection ended, while a message to this topic had no acknowledgement (empty: none).

        ``sent``: something was sent of which nobody knows whether the broker took it; else no message is to blame.
        """
        if lasted >= self._stable or not sent:
            self._ends = 0
            return Verdict.NOTHING
        suspect = under_way if self.careful else ""
        self._ends = self._ends + 1 if suspect == self._suspect else 1
        self._suspect = suspect
        if self._ends < IN_A_ROW:
            return Verdict.NOTHING
        self._ends = 0
        if not self.careful:
            self.careful = True
            return Verdict.CARE
        if not suspect:
            return Verdict.NOTHING
        if len(self.given_up) >= MAX_GIVEN_UP:
            del self.given_up[next(iter(self.given_up))]
        self.given_up[suspect] = None
        return Verdict.GIVE_UP
