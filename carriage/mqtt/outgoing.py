"""Messages on their way to the broker: a bounded queue before the connection takes them, and what is in flight after.

Pure: time enters as ``now``. Whoever is told of a message's end is called here, once per message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from carriage.mqtt.options import DropReason, Token
from layer.errors import TransportError


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message. ``expires``: when it is of no use any more, None for never."""

    token: Token
    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    content_type: str | None
    correlation: bytes | None
    response_topic: str | None
    expires: float | None


class OutgoingQueue:
    """Counts messages and payload octets over queue and flight together.

    ``published(token, code)`` and ``dropped(token, reason)`` tell the end of a message.
    """

    __slots__ = ("_dropped", "_expiring", "_max_count", "_max_octets", "_octets", "_published", "_queue", "in_flight")

    def __init__(
        self,
        max_count: int,
        max_octets: int,
        published: Callable[[Token, int], None],
        dropped: Callable[[Token, DropReason], None],
    ) -> None:
        self._max_count = max_count
        self._max_octets = max_octets
        self._published = published
        self._dropped = dropped
        self._octets = 0
        self._queue: deque[Outgoing] = deque()
        self._expiring = 0
        self.in_flight: dict[int, Outgoing] = {}
        """Packet id to message."""

    def __len__(self) -> int:
        """Messages whose end wasn't told yet."""
        return len(self._queue) + len(self.in_flight)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def add(self, message: Outgoing) -> None:
        """Queue a message. TransportError(transient) where there is no room."""
        if len(self) >= self._max_count or self._octets + len(message.payload) > self._max_octets:
            raise TransportError("too many messages wait for the broker", transient=True)
        self._octets += len(message.payload)
        self._expiring += message.expires is not None
        self._queue.append(message)

    def take(self, now: float) -> Outgoing | None:
        """The next message that hasn't expired; the caller says what becomes of it: ``fly`` or ``settle``."""
        while self._queue:
            message = self._queue.popleft()
            if message.expires is None:
                return message
            self._expiring -= 1
            if message.expires > now:
                return message
            self._drop(message, DropReason.EXPIRED)
        return None

    def fly(self, packet_id: int, message: Outgoing) -> None:
        self.in_flight[packet_id] = message

    def land(self, packet_id: int, code: int) -> None:
        """The broker's answer to a message in flight."""
        message = self.in_flight.pop(packet_id, None)
        if message is not None:
            self.settle(message, code)

    def rewind(self) -> None:
        """What was in flight waits again, before all else: the connection that it was on is not taken up."""
        again = list(self.in_flight.values())
        self.in_flight.clear()
        self._queue.extendleft(reversed(again))
        self._expiring += sum(each.expires is not None for each in again)

    def settle(self, message: Outgoing, code: int) -> None:
        self._octets -= len(message.payload)
        self._published(message.token, code)

    def expire(self, now: float) -> None:
        """Drop what has expired while it waited."""
        if not self._expiring:
            return
        late = [each for each in self._queue if each.expires is not None and each.expires <= now]
        if not late:
            return
        self._queue = deque(each for each in self._queue if each.expires is None or each.expires > now)
        self._expiring -= len(late)
        for message in late:
            self._drop(message, DropReason.EXPIRED)

    def give_up(self) -> None:
        """Drop everything."""
        left = [*self.in_flight.values(), *self._queue]
        self.in_flight.clear()
        self._queue.clear()
        self._expiring = 0
        for message in left:
            self._drop(message, DropReason.STOPPED)

    def _drop(self, message: Outgoing, reason: DropReason) -> None:
        self._octets -= len(message.payload)
        self._dropped(message.token, reason)
