"""Messages on their way to the broker: a bounded queue before the connection takes them, and what is in flight after.

A message *waits*, is *in flight* (it has a packet id, and the broker owes an acknowledgement), waits to be sent *again*
under the same packet id (its connection ended; MQTT 5 section 4.4), or has ended. ``launch`` and ``fly`` put it in
flight, ``rewind`` at the end of a connection has all that was in flight sent again, ``land``, ``settle``, ``expire``
and ``give_up`` end it. This is the one table of what is in flight on a connection. Pure: time enters as ``now``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from carriage.mqtt.options import DropReason, Token
from layer.errors import TransportError

_LAST_ID = 0xFFFF


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message. ``expires``: when it is no longer of use, None for never. ``packet_id``: 0 before it is sent."""

    token: Token
    topic: str
    payload: bytes = field(repr=False)
    qos: int
    retain: bool
    content_type: str | None
    correlation: bytes | None
    response_topic: str | None
    expires: float | None
    packet_id: int = 0


class OutgoingQueue:
    """Counts messages and payload octets over queue and flight together.

    ``published(token, code)`` and ``dropped(token, reason)`` are called once per message, at its end.
    """

    __slots__ = (
        "_dropped",
        "_expiring",
        "_last_id",
        "_max_count",
        "_max_octets",
        "_octets",
        "_published",
        "again",
        "in_flight",
        "queued",
    )

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
        self._expiring = 0
        self._last_id = 0
        self.queued: deque[Outgoing] = deque()
        self.in_flight: dict[int, Outgoing] = {}
        """Packet id to message, by age."""
        self.again: dict[int, Outgoing] = {}
        """The same of those that were in flight on an earlier connection; they go before all else."""

    def __len__(self) -> int:
        """Messages that have not ended."""
        return len(self.queued) + len(self.in_flight) + len(self.again)

    @property
    def waiting(self) -> int:
        return len(self.queued) + len(self.again)

    def add(self, message: Outgoing) -> None:
        """Queue a message. TransportError(transient) if there is no room."""
        self._count(message)
        self._expiring += message.expires is not None
        self.queued.append(message)

    def launch(self, message: Outgoing) -> None:
        """Put a message in flight that never waited. TransportError(transient) if there is no room."""
        self._count(message)
        message.packet_id = number = self.free_id()
        self.in_flight[number] = message

    def _count(self, message: Outgoing) -> None:
        octets = self._octets + len(message.payload)
        count = len(self.queued) + len(self.in_flight) + len(self.again)
        if count >= self._max_count or octets > self._max_octets:
            raise TransportError("too many messages wait for the broker", transient=True)
        self._octets = octets

    def take(self, now: float) -> Outgoing | None:
        """The next message that hasn't expired; the caller says what becomes of it: ``fly`` or ``settle``.

        One that was in flight does not expire: the broker may have it.
        """
        if self.again:
            return self.again.pop(next(iter(self.again)))
        while self.queued:
            message = self.queued.popleft()
            if message.expires is None:
                return message
            self._expiring -= 1
            if message.expires > now:
                return message
            self._drop(message, DropReason.EXPIRED)
        return None

    def fly(self, message: Outgoing) -> None:
        """It is in flight from now on, with a packet id."""
        if not message.packet_id:
            message.packet_id = self.free_id()
        self.in_flight[message.packet_id] = message

    def free_id(self) -> int:
        """A packet id that no message has."""
        while True:
            self._last_id = number = self._last_id % _LAST_ID + 1
            if number not in self.in_flight and number not in self.again:
                return number

    def land(self, packet_id: int, code: int) -> None:
        """The broker's answer to a message in flight."""
        message = self.in_flight.pop(packet_id, None)
        if message is not None:
            self._octets -= len(message.payload)
            self._published(message.token, code)

    def rewind(self) -> None:
        """The connection ended: what was in flight goes again on the next, before all else."""
        self.again = self.in_flight | self.again
        self.in_flight.clear()

    def settle(self, message: Outgoing, code: int) -> None:
        self._octets -= len(message.payload)
        self._published(message.token, code)

    def expire(self, now: float) -> None:
        """Drop what has expired while it waited."""
        if not self._expiring:
            return
        late = [each for each in self.queued if each.expires is not None and each.expires <= now]
        if not late:
            return
        self.queued = deque(each for each in self.queued if each.expires is None or each.expires > now)
        self._expiring -= len(late)
        for message in late:
            self._drop(message, DropReason.EXPIRED)

    def give_up(self) -> None:
        """Drop everything."""
        left = [*self.in_flight.values(), *self.again.values(), *self.queued]
        for table in (self.in_flight, self.again, self.queued):
            table.clear()
        self._expiring = 0
        for message in left:
            self._drop(message, DropReason.STOPPED)

    def _drop(self, message: Outgoing, reason: DropReason) -> None:
        self._octets -= len(message.payload)
        self._dropped(message.token, reason)
