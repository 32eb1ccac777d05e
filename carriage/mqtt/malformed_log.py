"""Log lines about messages that make no sense: bounded, since anybody at the broker can send them."""

from __future__ import annotations

import asyncio
import logging
import traceback

from common.log_rate import LogRate
from common.printable import printable
from layer.errors import PeerError

_LOG = logging.getLogger(__name__)


class MalformedLog:
    """``count`` says how many there were, logged or not; ``last`` is the latest. ``what`` begins each line."""

    def __init__(self, what: str = "malformed message") -> None:
        self.count = 0
        self.last = ""
        self._what = what
        self._rate = LogRate()

    def add(self, text: str) -> None:
        """``text`` says what is wrong, and nothing of what the message holds."""
        self.count += 1
        self.last = text
        if self._rate.permits(asyncio.get_running_loop().time()):
            _LOG.warning("%s: %s (%d so far)", self._what, text, self.count)

    def over(self, failure: Exception, topic: str = "") -> None:
        """A PeerError says itself what is wrong; of any other its class and place, since its text may quote content.

        ``topic``: the message's topic, if the log line is to name it.
        """
        at = f" on {clean(topic)}" if topic else ""
        if isinstance(failure, PeerError):
            self.add(f"{failure}{at}")
            return
        frames = traceback.extract_tb(failure.__traceback__, -1)  # the innermost
        place = f" at {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
        self.add(f"{type(failure).__name__}{place}{at}")


def clean(text: str) -> str:
    """Text from outside, fit for a log line."""
    return printable(text, 120)
