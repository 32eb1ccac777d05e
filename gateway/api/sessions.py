"""Sessions between endpoints as envelopes, and as their owners may see them. Only values; times are monotonic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.api.identity import ContentKind, EnvelopeId, Peer, Reason, Sealed, SessionId


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


@dataclass(init=False, slots=True)
class Unit:
    """One unit: a DTLS datagram or a chunk of a TLS flight. ``n`` counts from 0 per session and direction."""

    id: Final[EnvelopeId]
    source: Final[Peer]
    session: Final[SessionId]
    content: Final[ContentKind]
    n: Final[int]
    payload: Final[Sealed]
    received_at: Final[float]
    expires_at: Final[float | None]

    def __init__(
        self,
        *,
        id: EnvelopeId,
        source: Peer,
        session: SessionId,
        content: ContentKind,
        n: int,
        payload: Sealed,
        received_at: float,
        expires_at: float | None = None,
    ) -> None:
        self.id = id
        self.source = source
        self.session = session
        self.content = content
        self.n = n
        self.payload = payload
        self.received_at = received_at
        self.expires_at = expires_at


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivingEnd:
    """One end of a session that outlived a restart of the daemon, as the adapter that reaches this end must know it.

    ``opened``: this end opened it. ``next_in``: the lowest n that the gateway has not settled of what this end sends;
    ``next_out``: one above the highest n that was ever given to the adapter towards this end. After a crash both may
    be too low, and neither is ever too high: the peer knows better.
    """

    session: SessionId
    content: ContentKind
    claim: str
    opened: bool
    to: str
    sender: str
    nonce: bytes
    next_in: int
    next_out: int
