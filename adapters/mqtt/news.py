"""The gateway's messages to clients beside units, on their way into the queue of the MQTT client.

Events (answers, statuses) go out in order. At most ``MOST`` of them wait: then the oldest is dropped and counted. Of a
retained state only the newest waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from carriage.mqtt.client import MqttClient
from carriage.mqtt.messages import JSON_TYPE
from gateway.api.errors import TransportError

MOST: Final = 1024
EXPIRY: Final = 60
"""Seconds in which an event is of use."""
MAX_CORRELATION: Final = 128
"""Octets of Correlation Data that are sent back; longer ones are left out."""

_Event = tuple[str, bytes, bytes | None, float]


class News:
    """``room``: messages that may wait in the client when an event joins them; units need the rest of its queue."""

    def __init__(self, client: MqttClient, room: int) -> None:
        self._client = client
        self._room = room
        self._events: deque[_Event] = deque()
        self._standing: dict[str, tuple[bytes, int | None]] = {}
        self.lost = 0
        self.waiting = False
        """Whether ``flush`` has anything to do."""

    def tell(self, topic: str, payload: bytes, correlation: bytes | None = None) -> None:
        """An event."""
        if correlation is not None and len(correlation) > MAX_CORRELATION:
            correlation = None
        if len(self._events) >= MOST:
            self._events.popleft()
            self.lost += 1
        self._events.append((topic, payload, correlation, asyncio.get_running_loop().time() + EXPIRY))
        self.flush()

    def stand(self, topic: str, payload: bytes, expiry: int | None = None) -> None:
        """A state, retained. ``expiry``: seconds for which it counts; None: until the next one."""
        self._standing[topic] = payload, expiry
        self.flush()

    def flush(self) -> None:
        """Hand over what the client takes. To be called when it has more room."""
        self.waiting = True
        for topic, (payload, expiry) in list(self._standing.items()):
            if expiry is not None and self._client.outstanding >= self._room:
                continue  # one of many: waiting here, it gives way to a newer one of its topic
            if not self._publish(topic, payload, None, retain=True, expiry=expiry):
                return
            del self._standing[topic]
        while self._events and self._client.outstanding < self._room:
            topic, payload, correlation, due = self._events[0]
            left = due - asyncio.get_running_loop().time()
            if left <= 0:
                self.lost += 1
            elif not self._publish(topic, payload, correlation, retain=False, expiry=max(1, round(left))):
                return
            self._events.popleft()
        self.waiting = bool(self._events or self._standing)

    def _publish(
        self, topic: str, payload: bytes, correlation: bytes | None, *, retain: bool, expiry: int | None
    ) -> bool:
        """False: later."""
        try:
            self._client.publish(
                topic, payload, retain=retain, content_type=JSON_TYPE, correlation=correlation, expiry=expiry
            )
        except TransportError as error:
            if error.transient:
                return False
            self.lost += 1
        return True
