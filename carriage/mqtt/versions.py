"""Which version of MQTT a client speaks with its broker: 5, and 3.1.1 with a broker that knows no other. Pure.

Each connection is *begun*, then answered: *accepted*, or *refused* for its version; or it ends without an answer, or is
left *waiting* in vain. ``next`` says with what the following one begins. A broker that ends connections of MQTT 5
without a word may be one that is just starting, so MQTT 5 is tried again each time; if the broker has taken MQTT 3.1.1
before, that follows at once.
"""

from __future__ import annotations

from typing import Final, Literal

Version = Literal[4, 5]
UNANSWERED: Final = 2
"""Connections that the broker ends without an answer before another version of MQTT is tried."""


class Versions:
    """``wanted``: protocol level to begin with; without ``fallback`` it stays with that."""

    def __init__(self, wanted: Version, *, fallback: bool) -> None:
        self.current: Version = wanted
        self._falls_back = fallback and wanted == 5
        self._unanswered = 0
        """Connections in a row that the broker ended without an answer."""
        self._spoke_311 = False
        """It ended MQTT 5 without an answer and took MQTT 3.1.1: no need to ask it twice each time."""
        self._refused_5 = False
        """The broker said itself that it doesn't speak MQTT 5, or that seems certain."""
        self._mute_5 = False
        """It let MQTT 5 wait in vain."""

    def begun(self) -> None:
        self._unanswered += 1

    def waited(self) -> None:
        """The broker let us wait in vain: not to wait as long another time."""
        self._unanswered = UNANSWERED
        self._mute_5 = self._mute_5 or self.current == 5

    def not_asked(self) -> None:
        """The connection ended before the version mattered (TLS)."""
        self._unanswered = 0

    def refused(self) -> bool:
        """The broker doesn't speak this version. Whether another one is to be tried."""
        self._unanswered = 0
        if self.current == 5 and self._falls_back:
            self._refused_5 = True
        return self._refused_5 and self.current == 5

    def accepted(self) -> None:
        self._unanswered = 0
        self._refused_5 = self._refused_5 or (self._mute_5 and self.current == 4)
        self._spoke_311 = self.current == 4

    def next(self) -> Version:
        """The version of the next connection."""
        if not self._falls_back:
            return self.current
        enough = 1 if self._spoke_311 else UNANSWERED
        if self.current == 5:
            wanted: Version = 4 if self._refused_5 or self._unanswered >= enough else 5
        else:  # what closes without a word may have been a broker that was just starting
            wanted = 4 if self._refused_5 else 5
        if wanted != self.current:
            self._unanswered = 0
        return wanted
