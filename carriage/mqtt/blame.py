"""Finds the message over which a broker ends connections, and which would be sent again on each of them. Pure.

Some do so over a topic that they don't bear or don't permit, or over a packet that is too long. ``Blame`` is *at ease*;
after ``IN_A_ROW`` connections that ended soon it is *careful*: one message at a time, so that the one under way is the
one. When as many connections end over the same message, its topic is given up. One that lasts puts it at ease again.

A broker that crashes whenever it was started looks the same for a while. So what is given up gets another chance
(``chance``), later each time.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

IN_A_ROW: Final = 2
MAX_GIVEN_UP: Final = 256
"""Topics that are remembered as such."""
FIRST_PAUSE: Final = 60.0
LAST_PAUSE: Final = 86_400.0
"""Seconds until topics that were given up get another chance: twice as many each time, from the first on again after
two days in which none was given up."""


class Verdict(Enum):
    """What to do after a connection ended."""

    NOTHING = "nothing"
    CARE = "care"
    """From now on send one message at a time."""
    GIVE_UP = "give up"
    """Do not send again what was under way."""


class Blame:
    """``stable``: seconds from which on the end of a connection has nothing to do with its messages.

    ``pause``: those of the first chance. Time enters as ``now``, in seconds.
    """

    def __init__(self, stable: float, *, pause: float = FIRST_PAUSE) -> None:
        self._stable = stable
        self._first_pause = self._pause = pause
        self._latest = 0.0
        """When a topic was given up last."""
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

    def chance(self, now: float) -> bool:
        """Whether it is time to try on a new connection what was given up; if so, it is no longer given up."""
        if not self.given_up or now - self._latest < self._pause:
            return False
        self.given_up.clear()
        self._pause = min(2 * self._pause, LAST_PAUSE)
        return True

    def ended(self, lasted: float, under_way: str, now: float, *, sent: bool = True) -> Verdict:
        """A connection ended, while a message to this topic had no acknowledgement (empty: none).

        ``sent``: a message was sent that the broker may or may not have taken; else no message is to blame.
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
        if now - self._latest > 2 * LAST_PAUSE:
            self._pause = self._first_pause
        self._latest = now
        return Verdict.GIVE_UP
