"""Messages that a broker sends again, told apart from new ones: what was carried out is not carried out twice.

A broker that doesn't know whether a message with QoS 1 arrived sends it again with DUP set and the same packet id (MQTT
5 section 4.4), in the same session. So the packet id and a digest of the content tell it; neither does alone. One that
crashed and went back to a snapshot has forgotten that it sent the message at all, and sets no DUP. So while a
connection that takes up a session brings what the broker kept, what came over an earlier one is a repetition anyhow:
until the gateway's own message came back behind all that, and for ``AGAIN_WITHIN`` seconds at most. Not for longer,
since many a broker begins again with its first packet ids when it is started, or with each connection: there an equal
message that comes in that time is new. So what came longer ago than a snapshot is old (``SNAPSHOT_AGE``) isn't held
against it.
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
