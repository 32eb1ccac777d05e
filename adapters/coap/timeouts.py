"""Timeouts of the adapter, as its config table says. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adapters.coap.observers import PACING, Pacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts, in seconds."""

    reply_window: float = 2.0
    """An answer to POST waits this long for a unit of the other side, unless the client observes."""
    absence: float = 25.0
    """A unit or an open waits this long for its client to take it; then the adapter closes the session."""
    answer_within: float = 20.0
    """A request to a device waits this long for it."""
    listen_again: float = 5.0
    """A port that can't be had is tried again after this."""
    pacing: Pacing = PACING


TIMEOUTS: Final = Timeouts()
