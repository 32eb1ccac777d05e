"""One layer-0 session, sans I/O: an association between the two endpoints and what they say inside it.

Inside layer 0 application messages are CoAP: RFC 7252 datagrams with CON and block-wise inside DTLS, the RFC 8323
stream inside TLS. If the policy says ``raw``, single octet strings are sent as they are, one record each.

Fed with units from a carriage, asked for units to send and for events. ``now`` is monotonic seconds.

States: *handshake* from ``start`` on; *open* when the association reports ``HandshakeCompleted``; *ended*, for good,
when the association is over, the carriage has ended (``carriage_ended``) or the first datagram shows that the other end
talks to an earlier process. Only these move it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from carriage.coap import exchange as coap
from carriage.coap.config import CoapConfig
from carriage.coap.connection import CoapConnection
from carriage.coap.lower_layer import RandomSource
from carriage.coap.message_layer import TransmissionParameters
from endpoint.policy import Layer0Policy
from layer.association import Association
from layer.config import Role
from layer.credentials import Credentials
from layer.errors import TransportError, UsageError
from layer.events import AssociationInfo, DataReceived, Failed, HandshakeCompleted, PeerClosed, Truncated

MAX_RAW_STREAM: Final = 16_384
"""Octets of a raw message in TLS: what one record holds (RFC 8446 section 5.1)."""

_EPOCH = slice(3, 5)  # of a DTLS 1.2 record header (RFC 6347 section 4.1)


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is done and the peer is who the policy wants."""

    info: AssociationInfo


@dataclass(frozen=True, slots=True)
class RawReceived:
    """A raw message of the peer."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over. ``clean``: one side said so inside layer 0 (close_notify); else it was cut off or failed."""

    reason: str
    clean: bool


SessionEvent = Established | RawReceived | Ended | coap.Event


class EndpointSession:
    """A layer-0 session under one policy."""

    def __init__(
        self,
        role: Role,
        policy: Layer0Policy,
        *,
        random: RandomSource,
    ) -> None:
        self._credentials: Credentials = policy.credentials
        self._association = Association(role, policy.credentials, policy.config)
        self._application: Literal["coap", "raw"] = policy.application
        self._datagrams = policy.kind == "adtls"
        self._random = random
        # The path leads through a gateway and over a slow radio: the same timeouts as the handshake's.
        self._coap_config = CoapConfig(
            transmission=TransmissionParameters(ack_timeout=policy.config.retransmit_initial, nstart=1),
            ping_timeout=policy.config.handshake_timeout,
        )
        self._coap: CoapConnection | None = None
        self._events: deque[SessionEvent] = deque()
        self._unheard = self._datagrams
        self._why: str | None = None
        self._ended = False
        self.started = False

    @property
    def info(self) -> AssociationInfo | None:
        """The association's facts once the handshake is done."""
        return self._association.info

    @property
    def ended(self) -> bool:
        return self._ended

    def start(self, now: float) -> None:
        self.started = True
        self._association.start(now)
        self._pump(now)

    def receive(self, unit: bytes, now: float) -> None:
        """A unit came from the carriage."""
        if self._ended:
            return
        if self._unheard:
            self._unheard = False
            if unit[_EPOCH] != b"\0\0":
                # The other end is past its handshake, which was with an earlier process on this side.
                self._end("the session began without us", clean=False)
                return
        self._association.receive(unit, now)
        self._pump(now)

    def carriage_ended(self, reason: str, now: float) -> None:
        """The carriage's session is closed; without a close_notify before it that is truncation."""
        if not self._ended:
            self._why = reason
            self._association.receive_eof(now)
            self._pump(now)
            self._end(reason, clean=False)

    def request(self, request: coap.Request, now: float) -> int:
        """Send a CoAP request inside the session; its answer is an event with the returned exchange id.

        TransportError: the session has ended, or (transient) too much is under way. UsageError: not established, or
        not with ``application: coap``.
        """
        if self._ended:
            raise TransportError("the session has ended", transient=False)
        exchange = self._channel().request(request, now)
        self._pump(now)
        return exchange

    def respond(self, exchange: int, response: coap.Response, now: float) -> None:
        """Answer a request; without effect once the session has ended."""
        if self._ended:
            return
        self._channel().respond(exchange, response, now)
        self._pump(now)

    def send_raw(self, data: bytes, now: float) -> None:
        """Send one raw message of 1 to ``max_raw`` octets. Errors as ``request``, UsageError for other sizes too."""
        if self._ended:
            raise TransportError("the session has ended", transient=False)
        if self._application != "raw" or self.info is None:
            raise UsageError("raw messages need an established session with application: raw")
        if not 1 <= len(data) <= self.max_raw:
            raise UsageError(f"a raw message here has 1 to {self.max_raw} octets, not {len(data)}")
        self._association.send(data, now)
        self._pump(now)

    @property
    def max_raw(self) -> int:
        """Octets of the longest raw message: one record."""
        return (self.info.max_data if self.info is not None else None) or MAX_RAW_STREAM

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Keying material of this association (RFC 5705, RFC 8446 section 7.5)."""
        return self._association.export(label, context, length)

    def close(self, now: float) -> None:
        """Say close_notify; units_to_send then holds it, and the carriage session can be closed behind it."""
        if not self._ended:
            self._association.close(now)
            self._end("closed", clean=self.info is not None)

    def units_to_send(self) -> list[bytes]:
        return self._association.records_to_send()

    def next_event(self) -> SessionEvent | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        deadlines = [self._association.next_deadline(), self._coap.next_deadline() if self._coap else None]
        known = [deadline for deadline in deadlines if deadline is not None]
        return min(known) if known and not self._ended else None

    def tick(self, now: float) -> None:
        if self._ended:
            return
        self._association.tick(now)
        if self._coap is not None:
            self._coap.tick(now)
        self._pump(now)

    def _channel(self) -> CoapConnection:
        if self._coap is None:
            raise UsageError("requests need an established session with application: coap")
        return self._coap

    def _pump(self, now: float) -> None:
        """Carry octets between the association and the CoAP connection above it until both are quiet."""
        while True:
            moved = False
            while (event := self._association.next_event()) is not None:
                moved = True
                self._on_association(event, now)
            channel = self._coap
            if channel is not None and not self._ended:
                self._take_messages()
                for octets in channel.to_send():
                    moved = True
                    self._association.send(octets, now)
            if not moved:
                return

    def _take_messages(self) -> None:
        if self._coap is not None:
            while (message := self._coap.next_event()) is not None:
                self._events.append(message)

    def _on_association(self, event: object, now: float) -> None:
        match event:
            case HandshakeCompleted(info=info):
                if self._application == "coap":
                    config = self._coap_config
                    if info.max_data is not None and info.max_data < config.message_limit:
                        config = replace(config, message_limit=info.max_data)
                    self._coap = CoapConnection(datagrams=self._datagrams, random=self._random, config=config)
                    self._coap.start(now)
                self._events.append(Established(info))
            case DataReceived(data=data):
                if self._coap is not None:
                    self._coap.receive(data, now)
                else:
                    self._events.append(RawReceived(data))
            case PeerClosed():
                self._end("closed by peer", clean=True)
            case Truncated():
                self._end(f"truncated: {self._why}", clean=False)
            case Failed(reason=reason):
                self._end(reason if self._why is None else f"{reason}: {self._why}", clean=False)

    def _end(self, reason: str, *, clean: bool) -> None:
        if not self._ended:
            self._ended = True
            self._take_messages()  # messages that came before the end are reported before it
            self._events.append(Ended(reason, clean))
