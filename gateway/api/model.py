"""What crosses the seams between adapters and the engine: the closed unions ``Envelope`` and ``Verdict``, ``Receipt``.

Only values live here: no behaviour, no I/O, no clock. Times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

SessionId = NewType("SessionId", str)
"""128 random bits as 32 lower-case hex digits. Names a session; never authority over it."""

EnvelopeId = NewType("EnvelopeId", int)
"""Counts the envelopes of one gateway process; ties an envelope to its receipt and its log lines."""


class Sealed:
    """Octets that the gateway can't read and must not look into: only ``layer.records`` may read their headers.

    ``repr`` shows the length only, so that a log line or a traceback can't leak them.
    """

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __len__(self) -> int:
        return len(self.octets)

    def __repr__(self) -> str:
        return f"<Sealed {len(self.octets)} octets>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.octets == other.octets

    def __hash__(self) -> int:
        return hash(self.octets)


class ContentKind(Enum):
    """What a session carries; explicit and fixed when it opens, never guessed from the first octet."""

    ATLS = "atls"
    """TLS records (draft-friel-tls-atls)."""
    ADTLS = "adtls"
    """DTLS records, one datagram a unit."""
    ATLS_DATA = "atls-data"
    """Data under keys that the endpoints exported from their session."""
    OSCORE = "oscore"
    """RFC 8613."""
    EDHOC = "edhoc"
    """RFC 9528."""


class Reason(Enum):
    """Why something was refused, dropped or closed. Each carriage maps it to its own codes."""

    DENIED = "denied"
    TOO_LARGE = "too-large"
    OVER_RATE = "over-rate"
    CONTENT = "content"
    BUSY = "busy"
    UNKNOWN = "unknown"
    """No such session, or not yours: the two can't be told apart."""
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    LINK = "link"
    """The live link doesn't meet the route's requirement."""
    BROKEN = "broken"
    """A gap or a loss that the session can't survive."""
    CLOSED = "closed"
    """An endpoint closed it in good order."""
    RESTARTED = "restarted"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSecurity:
    """What protects a hop, as the adapter that terminates it knows it.

    ``protocol``: ``none``, ``zigbee-network-key``, ``zigbee-link-key``, ``tls1.2``, ``tls1.3``, ``dtls1.2`` ...
    ``suite``: OpenSSL's name of the suite where there is one. ``authenticated``: the peer's claims are proven by it.
    """

    protocol: str
    suite: str = ""
    authenticated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A layer-1 party as one adapter knows it.

    ``claims`` are the identities that its link proved, most specific first, as ``kind:value``:
    ``eui64:00:0d:6f:...``, ``psk:phone``, ``spki:<sha256 hex>``, ``san:dns:host``, ``user:app`` (guaranteed by the
    broker's ACL), ``broker:name``. Never a self-asserted name. Made once a peer, not once a message.
    """

    scheme: str
    claims: tuple[str, ...]
    link: LinkSecurity


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to: the adapter's scheme and the claim that the peer there must hold (``psk:phone``)."""

    scheme: str
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequirement:
    """What the egress link must be, checked by the egress adapter against the live link just before it writes.

    ``min_version``: least protocol version by name (``dtls1.2``), empty for any. ``suites``: allowed suites, empty
    for any. ``link_key``: ZigBee frames must be under the APS link key. An adapter that can't know refuses (``LINK``).
    """

    min_version: str = ""
    suites: frozenset[str] = frozenset()
    link_key: bool = False


ANY_LINK = LinkRequirement()


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A peer asks for a session with the resource ``to`` (an alias of the policy, never a URL of a client).

    The same peer, ``to``, ``content`` and ``nonce`` give the same session. Towards the target, ``session`` is set and
    ``sender`` is the policy's name of the opener.
    """

    id: EnvelopeId
    source: Peer
    to: str
    content: ContentKind
    nonce: bytes
    received_at: float
    session: SessionId | None = None
    sender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit: a DTLS datagram or a chunk of a TLS flight. ``n`` counts from 0 per session and direction."""

    id: EnvelopeId
    source: Peer
    session: SessionId
    content: ContentKind
    n: int
    payload: Sealed
    received_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A session ends: asked for by an endpoint, or decided by the gateway (then ``source`` is None)."""

    id: EnvelopeId
    source: Peer | None
    session: SessionId
    reason: Reason
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A peer lost all its sessions at once (a device left the network, a client is gone for good)."""

    id: EnvelopeId
    source: Peer
    reason: Reason
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A device came into an adapter's network, or came back; ``facts`` are what its interview told (model, ...)."""

    id: EnvelopeId
    source: Peer
    received_at: float
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A device left an adapter's network for good."""

    id: EnvelopeId
    source: Peer
    received_at: float


Envelope = Open | Unit | Close | Reset | Join | Leave


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken on: a final ``Receipt`` follows for units, opens and closes. It is not delivery.

    ``duplicate``: the engine has had this one before; nothing is forwarded and no receipt follows.
    """

    session: SessionId | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Not taken on. ``retry_after`` in seconds where trying again then can help. No receipt follows."""

    reason: Reason
    retry_after: float | None = None


Verdict = Accepted | Refused


class Outcome(Enum):
    DELIVERED = "delivered"
    """The next hop took it: CoAP ACK or read, MQTT PUBACK, ZigBee APS ACK of every slice."""
    DROPPED = "dropped"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The one final word on an envelope; ``reason`` only where it was dropped."""

    id: EnvelopeId
    outcome: Outcome
    reason: Reason | None = None
    session: SessionId | None = None


@dataclass(frozen=True, slots=True)
class Transmit:
    """The engine's order to an egress adapter: exactly one ``Receipt`` for ``envelope.id`` must be settled for it."""

    envelope: Open | Unit | Close
    to: Address
    require: LinkRequirement = field(default=ANY_LINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as one of its two owners, or the administrator, may see it: sizes and counts, never content."""

    session: SessionId
    content: ContentKind
    opener: str
    target: str
    state: str
    opened_at: float
    units: tuple[int, int]
    octets: tuple[int, int]
    queued: tuple[int, int]
