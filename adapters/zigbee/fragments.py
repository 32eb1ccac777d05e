"""Messages that came in APS fragments, put together again (ZigBee specification r21, 2.2.8.4.5). Pure, and bounded.

The dongle hands each fragment to its host; the host acknowledges and reassembles them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MESSAGES: Final = 16
"""Messages under way at once, of all devices; a new one pushes out the oldest."""
FRAGMENTS: Final = 16
"""Fragments of one message; a longer one is given up."""
PATIENCE: Final = 10.0
"""Seconds from one fragment of a message to the next."""

Key = tuple[int, int, int, int]
"""Sender's network address, APS counter, profile, cluster."""


@dataclass(slots=True, eq=False)
class _Message:
    heard: float
    count: int = 0
    """How many there are; only the first fragment says it."""
    parts: dict[int, bytes] = field(default_factory=dict)


class Reassembly:
    """The unfinished messages. The stack behind the dongle has sorted out repeated fragments of finished ones."""

    def __init__(self) -> None:
        self._messages: dict[Key, _Message] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, key: Key, group: int, part: bytes, now: float) -> bytes | None:
        """Take fragment ``group & 0xFF`` of ``group >> 8``, as EZSP uses the field; the whole message with its last."""
        count, index = group >> 8, group & 0xFF
        messages = self._messages
        message = messages.pop(key, None)
        if message is None or now - message.heard > PATIENCE:
            message = _Message(now)
        if index >= FRAGMENTS or count > FRAGMENTS:
            return None
        message.heard = now
        message.parts.setdefault(index, part)
        if index == 0:
            message.count = count
        if message.count and all(number in message.parts for number in range(message.count)):
            return b"".join(message.parts[number] for number in range(message.count))
        while len(messages) >= MESSAGES:
            del messages[next(iter(messages))]
        messages[key] = message
        return None
