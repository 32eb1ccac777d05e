"""What an MQTT client takes and gives: options, messages, the handler's protocol. Values and protocols only."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, NewType, Protocol

Token = NewType("Token", object)
"""Names one published message of one client until its end is reported: a number, or what its publisher gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """TLS to the broker. ``ca_file`` None: the system's authorities. The certificate is that of ``server_name``."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    """Name that the broker's certificate must have; None: the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes when the connection breaks."""

    topic: str
    payload: bytes = field(default=b"", repr=False)
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    delay: int = 0
    """Seconds that the broker waits for the client to come back first (MQTT 5; in 3.1.1 it doesn't wait)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """One client of one broker. Times are seconds; limits bound memory."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsOptions | None = None
    version: Literal[4, 5] = 5
    """Protocol level: 5 is MQTT 5, 4 is MQTT 3.1.1 (no properties, no receive maximum)."""
    fallback: bool = False
    """Go on with MQTT 3.1.1 if the broker doesn't speak MQTT 5."""
    will: Will | None = None
    keepalive: int = 60
    clean_start: bool = True
    """The session at the broker is one run's: it begins without that of an earlier one, reconnects go on with it. In
    MQTT 3.1.1 it would stay for ever, so the client removes it when it stops; an earlier one is taken up.
    """
    session_expiry: int = 300
    """How long the broker keeps the session while we are away (in MQTT 3.1.1 its own setting counts); 0: not at all."""
    connect_timeout: float = 10.0
    """From the first SYN to CONNACK."""
    backoff_first: float = 0.5
    backoff_limit: float = 60.0
    say_again: float = 600.0
    """After so long a fault that lasts has another line in the log."""
    max_queued: int = 1024
    """Messages published and not yet acknowledged; of more, only what the window has a place for is taken."""
    max_queued_octets: int = 4 * 1024 * 1024
    """Payload octets of those that wait."""
    max_in_flight: int = 64
    """QoS 1 messages sent and not yet acknowledged; the broker may allow fewer."""
    receive_maximum: int = 256
    """QoS 1 messages that the broker may send before we acknowledge (MQTT 5)."""
    max_packet: int = 64 * 1024
    """Longest packet taken from the broker. In MQTT 5 it sends none that is longer; such a one is read past."""
    manual_ack: bool = False
    """Acknowledge a message when ``acknowledge`` is called, not when the handler returns."""


@dataclass(init=False, slots=True)
class Message:
    """A message from the broker. ``retained``: published to be kept.

    ``receipt`` is for ``acknowledge``: the count of the connection and the packet id (0 with QoS 0). ``again``: the
    broker says that it may have sent this one before (DUP).
    """

    topic: Final[str]
    payload: bytes = field(repr=False)
    retained: Final[bool]
    qos: Final[int]
    content_type: Final[str | None]
    correlation: Final[bytes | None]
    expiry: Final[int | None]
    response_topic: Final[str | None]
    receipt: Final[tuple[int, int]]
    again: Final[bool]

    def __init__(
        self,
        topic: str,
        payload: bytes,
        retained: bool,
        qos: int,
        content_type: str | None,
        correlation: bytes | None,
        expiry: int | None,
        response_topic: str | None,
        receipt: tuple[int, int],
        again: bool = False,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.retained = retained
        self.qos = qos
        self.content_type = content_type
        self.correlation = correlation
        self.expiry = expiry
        self.response_topic = response_topic
        self.receipt = receipt
        self.again = again


class DropReason(Enum):
    """Why a published message was given up."""

    EXPIRED = "expired"
    """Its message expiry passed before it could be sent."""
    STOPPED = "stopped"
    """The client was stopped first."""


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """The live TLS connection: protocol (``TLSv1.3``), cipher suite name, the broker's certificate in DER."""

    protocol: str
    cipher: str
    certificate: bytes = field(repr=False)


class MqttHandler(Protocol):
    """Called in the event loop, one call at a time; must return quickly. What it raises is logged and stops there."""

    def connected(self, session_present: bool) -> None:
        """The broker accepted us. The client subscribes again if the session is new."""

    def refused(self, code: int, reason: str) -> None:
        """The broker refused the connection, e.g. 134 bad user name or password. The client goes on trying."""

    def disconnected(self, reason: str) -> None:
        """The connection ended, or could not be made. The client goes on trying."""

    def subscribed(self, topic_filter: str, code: int) -> None:
        """The broker's answer to a subscription: granted QoS, or 128 and above for a refusal."""

    def message(self, message: Message) -> None:
        """A message came. With ``manual_ack``, QoS 1 messages are to be acknowledged."""

    def published(self, token: Token, code: int) -> None:
        """The broker took a message (QoS 0: the connection took it); 128 and above: it refused it."""

    def dropped(self, token: Token, reason: DropReason) -> None:
        """A message was given up."""
