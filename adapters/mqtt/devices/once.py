"""Messages that a broker sends again, told apart from new ones: what was carried out is not carried out twice.

A broker that doesn't know whether a message with QoS 1 arrived sends it again with DUP set and the same packet id
(MQTT 5 section 4.4), in the same session. So the packet id and a digest of the content tell it; neither does alone.
"""

from __future__ import annotations

from typing import Final

from carriage.mqtt.options import Message

MAX_REMEMBERED: Final = 1024
"""No less than what a broker may have under way (receive maximum)."""


class Once:
    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], None] = {}

    def forget(self) -> None:
        """The broker's session is another: its packet ids begin anew, and nothing of the old one comes again."""
        self._seen.clear()

    def had(self, message: Message) -> bool:
        """Whether this message was here before; it has been now."""
        if not message.qos:
            return False
        key = (message.receipt[1], hash((message.topic, message.payload)))
        if key in self._seen:
            if message.again:
                return True
            del self._seen[key]  # the packet id is used again, for the same content
        elif len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return False
