"""Ids, sealed octets, the kinds of content, reasons, links, peers and addresses. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from gateway.api.vocabulary import ContentKind as ContentKind

SessionId = NewType("SessionId", str)
"""128 random bits as 32 lower-case hex digits. Names a session; never authority over it."""

EnvelopeId = NewType("EnvelopeId", int)
"""Counts the envelopes of one gateway process; ties an envelope to its receipt and its log lines."""


class Sealed:
    """Octets that the gateway can't read and must not look into: only ``layer`` reads the headers of their records.

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


class Reason(Enum):
    """Why something was refused, dropped or closed. Each carriage maps it to its own codes."""

    DENIED = "denied"
    TOO_LARGE = "too-large"
    OVER_RATE = "over-rate"
    CONTENT = "content"
    BUSY = "busy"
    UNKNOWN = "unknown"
    """No such session, or not yours: the answer doesn't say which."""
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    LINK = "link"
    """The live link doesn't meet the route's requirement."""
    BROKEN = "broken"
    """A gap or a loss that the session can't survive."""
    CLOSED = "closed"
    """An endpoint closed it in good order."""
    RESTARTED = "restarted"
    REJECTED = "rejected"
    """The device itself said no; the receipt's ``detail`` has its word for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSecurity:
    """The protection of a hop, as the adapter that terminates it knows it.

    ``protocol``: ``none``, ``zigbee-network-key``, ``zigbee-link-key``, ``tls1.2``, ``tls1.3``, ``dtls1.2`` ...
    ``suite``: OpenSSL's name of the suite, empty if there is none. ``authenticated``: it proves the claims.
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
    """A destination: the adapter's scheme and the claim that the peer there must hold (``psk:phone``)."""

    scheme: str
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequirement:
    """The required egress link, which the egress adapter compares with the live link just before it writes.

    ``min_version``: least protocol version by name (``dtls1.2``), empty for any. ``suites``: allowed suites, empty
    for any. ``link_key``: ZigBee frames must be under the APS link key. An adapter that can't know refuses (``LINK``).
    ``other_versions``: least versions for hops of other families; in a policy only, since a transmit has one hop.
    """

    min_version: str = ""
    suites: frozenset[str] = frozenset()
    link_key: bool = False
    other_versions: tuple[str, ...] = ()


ANY_LINK = LinkRequirement()
