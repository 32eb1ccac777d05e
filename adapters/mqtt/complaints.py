"""Log lines about messages that make no sense: bounded, since anybody at the broker can send them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

_LOG = logging.getLogger(__name__)

LOG_LINES: Final = 10
LOG_INTERVAL: Final = 10.0
"""Seconds in which so many of them are logged."""


class Complaints:
    """``count`` says how many there were, logged or not."""

    def __init__(self) -> None:
        self.count = 0
        self._since, self._logged = float("-inf"), 0

    def malformed(self, text: str) -> None:
        """``text`` says what is wrong, and nothing of what the message holds."""
        self.count += 1
        now = asyncio.get_running_loop().time()
        if now - self._since >= LOG_INTERVAL:
            self._since, self._logged = now, 0
        self._logged += 1
        if self._logged <= LOG_LINES:
            _LOG.warning("malformed message: %s (%d so far)", text, self.count)
