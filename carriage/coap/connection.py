"""One CoAP peer as an object: octets in, events out; requests, answers and notifications in, octets out. No I/O.

The same interface over datagrams (the message layer of RFC 7252) and over a stream (RFC 8323). It is client and server
at once. After each call that takes ``now``: take ``to_send()``, then ``next_event()`` until ``None``, then arm a timer
for ``next_deadline()``.
"""

from __future__ import annotations

from collections import deque
from itertools import count

from carriage.coap.client_side import ClientSide
from carriage.coap.config import CoapConfig
from carriage.coap.exchange import (
    ConnectionEnded,
    Event,
    ExchangeFailed,
    FailureReason,
    NotificationAcknowledged,
    NotificationFailed,
    NotificationReceived,
    ObservationEnded,
    PingAnswered,
    PingFailed,
    Request,
    RequestReceived,
    Response,
    ResponseDelivered,
    ResponseFailed,
    ResponseReceived,
)
from carriage.coap.lower_layer import LowerLayer, MessageOutcome, RandomSource, random_bits
from carriage.coap.message_layer import MessageLayer, TransmissionParameters
from carriage.coap.server_side import Answer, ServerSide
from carriage.coap.stream_layer import StreamLayer
from layer.errors import TransportError

# The whole vocabulary of a connection, for its users.
__all__ = [
    "Answer",
    "CoapConfig",
    "CoapConnection",
    "ConnectionEnded",
    "Event",
    "ExchangeFailed",
    "FailureReason",
    "NotificationAcknowledged",
    "NotificationFailed",
    "NotificationReceived",
    "ObservationEnded",
    "PingAnswered",
    "PingFailed",
    "Request",
    "RequestReceived",
    "Response",
    "ResponseDelivered",
    "ResponseFailed",
    "ResponseReceived",
    "TransmissionParameters",
]


class CoapConnection:
    """See the module. ``receive`` and ``tick`` never raise, whatever the peer sends.

    With ``datagrams`` each octet string is one datagram, such as the content of one DTLS record; else they are pieces
    of a TCP or TLS stream, cut anywhere. ``random`` gives numbers in [0, 1).
    """

    __slots__ = ("_client", "_closed", "_datagrams", "_lower", "_new_exchange", "_now", "_server", "events")

    def __init__(self, *, datagrams: bool = True, random: RandomSource, config: CoapConfig | None = None) -> None:
        if config is None:
            config = CoapConfig()
        lower: LowerLayer
        if datagrams:
            lower = MessageLayer(
                config.transmission, random, body_limit=config.body_limit, message_limit=config.message_limit
            )
        else:
            lower = StreamLayer(random, max_message_size=config.max_message_size, ping_timeout=config.ping_timeout)
        self._lower = lower
        self.events: deque[Event] = deque()
        """The events that ``next_event`` takes, for an owner of many connections that looks here first."""
        self._new_exchange = count(1).__next__
        self._now = 0.0
        self._closed = False
        self._datagrams = datagrams
        emit = self.events.append
        self._client = ClientSide(lower, config, random, emit)
        self._server = ServerSide(lower, config, emit, self._new_exchange, random_bits(random, 32))

    def start(self, now: float) -> None:
        """Call once, before anything else: over a stream it sends the CSM."""
        self._now = now
        self._lower.start(now)

    # The client's side

    def request(self, request: Request, now: float) -> int:
        """Send a request; returns its exchange id.

        ``ResponseReceived`` or ``ExchangeFailed`` follows. Raises ``TransportError``, transient where too much is
        under way, and ``UsageError`` for what is no request.
        """
        return self._ask(request, now, observe=False)

    def observe(self, request: Request, now: float) -> int:
        """Register with GET or FETCH; the exchange lives until ``ObservationEnded``, ``ExchangeFailed`` or ``cancel``.

        ``ResponseReceived`` comes first; without an Observe option in it there is no observation.
        """
        return self._ask(request, now, observe=True)

    def _ask(self, request: Request, now: float, *, observe: bool) -> int:
        if self._closed:
            raise TransportError("the connection has ended", transient=False)
        self._now = now
        exchange = self._new_exchange()
        self._client.request(exchange, request, now, observe=observe)
        return exchange

    def cancel(self, exchange: int, now: float) -> None:
        """Give up a request, or deregister an observation. No event follows; unknown ids are ignored."""
        self._now = now
        self._client.cancel(exchange, now)

    def ping(self, now: float) -> bool:
        """Ask whether the peer lives; ``PingAnswered`` or ``PingFailed`` follows. False if it can't be sent."""
        self._now = now
        return not self._closed and self._lower.ping(self, now)

    def settled(self, outcome: MessageOutcome, now: float) -> None:
        """The outcome of a ping (called by the layer beneath)."""
        self.events.append(PingAnswered() if outcome is MessageOutcome.ACKNOWLEDGED else PingFailed())

    # The server's side

    def respond(
        self, exchange: int, response: Response, now: float, *, observe: bool = False, states: bool = False
    ) -> Answer:
        """Answer a received request.

        With ``observe``, a success code and a request to register, the answer says ``OBSERVED`` and ``notify`` goes
        on. An answer that was piggy-backed can get lost unseen before the first notification: units that must not
        get lost belong into notifications. With ``states`` what is notified are states, of which the newest counts.
        """
        self._now = now
        return self._server.respond(exchange, response, now, observe=observe, states=states)

    def notify(
        self, exchange: int, response: Response, now: float, *, confirmable: bool = True
    ) -> int | FailureReason | None:
        """Send to an observer, behind what is on its way. An error code ends the observation once it is delivered.

        Returns the notification's id, which ``NotificationAcknowledged`` or ``NotificationFailed`` repeats, unless a
        newer state takes its place while it waits. None: it is not confirmable, and no event about it follows; what
        goes in blocks is always confirmable. Refusals are values: ``QUEUE_FULL``, or ``COMPLETED`` if the observation
        is over.
        """
        self._now = now
        return self._server.observations.notify(exchange, response, now, confirmable=confirmable)

    # The shell's side

    def receive(self, octets: bytes, now: float) -> None:
        """One datagram, or a piece of the stream."""
        if self._closed:
            return
        self._now = now
        lower = self._lower
        for message in lower.receive(octets, now):
            if lower.outcomes:
                self._settle(now)
            if message.code < 0x20:
                self._server.receive(message, now)
            else:
                self._client.receive(message, now)
        if lower.outcomes:
            self._settle(now)
        if lower.ended is not None:
            self._end(lower.ended, now)

    def _settle(self, now: float) -> None:
        lower = self._lower
        outcomes, lower.outcomes = lower.outcomes, []
        for sender, outcome in outcomes:
            sender.settled(outcome, now)

    def to_send(self) -> list[bytes]:
        """Datagrams, or octets of the stream in order. Over a stream, taking them counts as their acknowledgement."""
        lower = self._lower
        if lower.outcomes:
            self._settle(self._now)
        if not lower.out:
            return []
        out = lower.to_send()
        if not self._datagrams:
            self._settle(self._now)
            while more := lower.to_send():  # over a stream what was taken makes way for the next
                out += more
                self._settle(self._now)
        return out

    def next_event(self) -> Event | None:
        """The next event, or ``None``."""
        return self.events.popleft() if self.events else None

    def next_deadline(self) -> float | None:
        """When ``tick`` is due, in the time of ``now``; ``None`` if nothing waits."""
        nearest: float | None = None
        for deadline in (
            self._lower.next_deadline(),
            self._client.next_deadline(),
            self._server.next_deadline(),
        ):
            if deadline is not None and (nearest is None or deadline < nearest):
                nearest = deadline
        return nearest

    def tick(self, now: float) -> None:
        """Let timers act."""
        self._now = now
        self._lower.tick(now)
        self._settle(now)
        self._client.tick(now)
        self._server.tick(now)

    def close(self, now: float, reason: str = "closed") -> None:
        """End every exchange, with its event; over a stream say Release."""
        if not self._closed:
            self._lower.close(now)
            self._end(reason, now)

    def _end(self, reason: str, now: float) -> None:
        self._closed = True
        self._client.close(now)
        self._server.close(now)
        self.events.append(ConnectionEnded(reason))
