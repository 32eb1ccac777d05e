"""The gateway's log on ``{base}/bridge/logging``, as zigbee2mqtt has it: ``level``, ``message``, ``namespace``.

Only if the config asks for it, and while the policy lets the broker administer, since lines name devices that it may
not observe. Lines go at a bounded rate; those of the MQTT client stay out, since each could make another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final

from common.log_rate import LogRate
from common.printable import printable

LEVELS: Final = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
MAX_LINE: Final = 500
_OWN: Final = ("carriage.mqtt", "adapters.mqtt")


class LogTopic(logging.Handler):
    """``tell`` publishes a line; ``permitted``: whether the broker's clients may read it. Made and closed in the loop;
    lines may come from any thread."""

    def __init__(self, level: int, tell: Callable[[bytes], None], permitted: Callable[[], bool]) -> None:
        super().__init__(level)
        self._tell = tell
        self._permitted = permitted
        self._rate = LogRate()
        self._loop = asyncio.get_running_loop()
        self.left_out = 0
        """Lines beyond the rate."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(_OWN) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._publish, record)

    def _publish(self, record: logging.LogRecord) -> None:
        if not self._permitted():
            return
        if not self._rate.permits(self._loop.time()):
            self.left_out += 1
            return
        message = printable(record.getMessage(), MAX_LINE)
        line = {"level": record.levelname.lower(), "message": message, "namespace": record.name}
        self._tell(json.dumps(line, separators=(",", ":")).encode())
