"""Messages that a broker sends again, distinguished from new ones: no command is carried out twice.

A broker that doesn't know whether a message with QoS 1 arrived sends it again with DUP set and the same packet id (MQTT
5 section 4.4), in the same session. The packet id and a digest of the content together show it; neither does alone.

A broker that crashed and went back to a snapshot has forgotten that it sent the message at all, and sets no DUP. So
while a connection that resumes a session delivers what the broker kept, a message that came over an earlier connection
too is a repetition also without DUP: until the gateway's own message has come back after all that, and for
``AGAIN_WITHIN`` seconds at most. Not for longer, since many a broker begins with its first packet ids again when it is
started, or with each connection, so that an equal message is new there. For the same reason a message that came longer
ago than a snapshot can be old (``SNAPSHOT_AGE``) is not compared.
"""

from __future__ import annotations

from typing import Final

from carriage.mqtt.options import Message

MAX_REMEMBERED: Final = 1024
"""No less than what a broker may have under way (receive maximum)."""
AGAIN_WITHIN: Final = 10.0
SNAPSHOT_AGE: Final = 2100.0
"""Seconds: Mosquitto writes a snapshot each 1800 s (autosave_interval, mosquitto.conf(5)), and keeps our session for
300 s after it crashed."""


class RedeliveryFilter:
    """Time enters as ``now``, in seconds."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], float] = {}
        """When each came."""
        self._earlier: set[tuple[int, int]] = set()
        """Those that came over an earlier connection and not over this one."""
        self._until = 0.0

    def connected(self, session_present: bool, now: float) -> None:
        """Without its session a broker's packet ids begin again at 1, and nothing comes a second time."""
        if not session_present:
            self._seen.clear()
        self._earlier = {key for key, came in self._seen.items() if now - came < SNAPSHOT_AGE}
        self._until = now + AGAIN_WITHIN

    def caught_up(self) -> None:
        """All that the broker kept has come."""
        self._earlier.clear()

    def had(self, message: Message, now: float) -> bool:
        """Whether this message was here before; it has been now."""
        if not message.qos:
            return False
        key = (message.receipt[1], hash((message.topic, message.payload)))
        earlier = key in self._earlier and now < self._until
        self._earlier.discard(key)
        if key in self._seen:
            if message.again or earlier:
                return True
            del self._seen[key]  # the packet id is used again, for the same content
        elif len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now
        return False
