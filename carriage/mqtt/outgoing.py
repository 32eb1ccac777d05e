"""Messages on their way to the broker: those that wait for a place in the window, and the table of what is in flight.

A message *waits*, is *in flight* (it has a packet id, and the broker owes an acknowledgement), waits to be sent *again*
under the same packet id (its connection ended; MQTT 5 section 4.4), or has ended. The stage puts it in flight and takes
it out of the table at its acknowledgement; ``rewind`` at the end of a connection has all that was in flight sent again;
``take`` and ``expire`` drop what came too late, and ``give_up`` all. This is the one table of what is in flight on a
connection. Pure: time enters as ``now``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from carriage.mqtt.options import DropReason, Token
from layer.errors import TransportError


class Outgoing:
    """One message. ``expires``: when it is no longer of use, None for never. ``packet_id``: 0 before it is sent.

    ``token``: None if its end is of no interest any longer. ``since``: when it was published.
    """

    __slots__ = (
        "content_type",
        "correlation",
        "expires",
        "packet_id",
        "payload",
        "qos",
        "response_topic",
        "retain",
        "since",
        "token",
        "topic",
    )

    def __init__(
        self,
        token: Token | None,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        content_type: str | None,
        correlation: bytes | None,
        response_topic: str | None,
        since: float,
        expires: float | None,
    ) -> None:
        self.token = token
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.content_type = content_type
        self.correlation = correlation
        self.response_topic = response_topic
        self.since = since
        self.expires = expires
        self.packet_id = 0


class OutgoingQueue:
    """At most ``max_count`` messages that have not ended; those that wait have ``max_octets`` of payload at most.

    ``dropped(token, reason)`` is called for a message that is given up.
    """

    __slots__ = ("_dropped", "_expiring", "_max_count", "_max_octets", "_octets", "again", "in_flight", "queued")

    def __init__(self, max_count: int, max_octets: int, dropped: Callable[[Token, DropReason], None]) -> None:
        self._max_count = max_count
        self._max_octets = max_octets
        self._dropped = dropped
        self._octets = 0
        self._expiring = 0
        self.queued: deque[Outgoing] = deque()
        self.in_flight: dict[int, Outgoing] = {}
        """Packet id to message, by age."""
        self.again: dict[int, Outgoing] = {}
        """The same of those that were in flight on an earlier connection; they go before all else."""

    def __len__(self) -> int:
        """Messages that have not ended."""
        return len(self.queued) + len(self.in_flight) + len(self.again)

    def __iter__(self) -> Iterator[Outgoing]:
        """Those, by age."""
        return chain(self.in_flight.values(), self.again.values(), self.queued)

    def add(self, message: Outgoing) -> None:
        """Queue a message. TransportError(transient) if there is no room."""
        octets = self._octets + len(message.payload)
        if len(self) >= self._max_count or octets > self._max_octets:
            raise TransportError("too many messages wait for the broker", transient=True)
        self._octets = octets
        self._expiring += message.expires is not None
        self.queued.append(message)

    def take(self, now: float) -> Outgoing | None:
        """The next message that hasn't expired; what becomes of it is the caller's to say.

        One that was in flight does not expire: the broker may have it.
        """
        if self.again:
            return self.again.pop(next(iter(self.again)))
        while self.queued:
            message = self.queued.popleft()
            self._octets -= len(message.payload)
            if message.expires is None:
                return message
            self._expiring -= 1
            if message.expires > now:
                return message
            self._drop(message, DropReason.EXPIRED)
        return None

    def rewind(self) -> None:
        """The connection ended: what was in flight goes again on the next, before all else."""
        self.again = self.in_flight | self.again
        self.in_flight.clear()

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
            self._octets -= len(message.payload)
            self._drop(message, DropReason.EXPIRED)

    def give_up(self) -> None:
        """Drop everything."""
        left = list(self)
        for table in (self.in_flight, self.again, self.queued):
            table.clear()
        self._expiring = self._octets = 0
        for message in left:
            self._drop(message, DropReason.STOPPED)

    def _drop(self, message: Outgoing, reason: DropReason) -> None:
        if message.token is not None:
            self._dropped(message.token, reason)
