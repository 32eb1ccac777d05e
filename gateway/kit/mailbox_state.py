"""What a pull mailbox keeps, and what it needs of a carriage. What happens to it: ``mailbox``.

The engine addresses a session's end by one claim. A peer may prove several claims and come by several connections at
once; what it may have of a mailbox is what the engine says that it owns. Nothing ever moves from one mailbox to
another, not even if two peers share a claim, such as a name that all certificates of a fleet have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from gateway.api.model import ContentKind, Peer, Reason, SessionId, Transmit, Unit
from gateway.kit.repeated_requests import RepeatedRequests


@dataclass(slots=True, eq=False)
class MailboxConnection:
    """One connection of a peer: an association, or a client that is known by its bearer token. Adapters derive theirs.

    ``boxes``: those of its claims, in their order, from ``Mailboxes.connect`` on.
    """

    identity: Peer
    boxes: tuple[Mailbox[Any], ...] = field(default=(), kw_only=True)
    gone: bool = field(default=False, kw_only=True)


class Reader(Protocol):
    """A request that is answered with a unit, or without one. It is answered or refused once, unless its connection is
    gone before."""

    def __hash__(self) -> int: ...

    @property
    def connection(self) -> MailboxConnection: ...

    @property
    def reads(self) -> bool:
        """It asks for a unit and nothing else: such a one may read again what an observer is being sent."""

    def answer(self, unit: Unit | None) -> bool:
        """Answer with a unit, or with none. Whether that went out: a unit that did not waits for the next reader."""

    def refuse(self, reason: Reason) -> None:
        """Answer that the session is over, and why."""


class UnitRequest(Reader, Protocol):
    """A request that brings a unit of the peer's."""

    n: int
    """The unit's number."""
    downlink: Any
    """The ``Downlink`` of the unit's session, once that is known."""

    def refuse(self, reason: Reason, retry_after: float | None = None) -> None:
        """Answer that the unit isn't taken, and after how many seconds it may be."""


class StandingReader(Protocol):
    """A peer's standing request for the units of one session: an observation, a stream of events."""

    @property
    def connection(self) -> MailboxConnection: ...

    def push(self, unit: Unit) -> bool:
        """Send a unit, to be acknowledged. False: the observation can't go on; the unit waits for the next one."""

    def end(self, reason: Reason) -> None:
        """The session is over; what was pushed before is not taken back."""

    def replaced(self) -> None:
        """Another observer has taken the place of this one."""


C = TypeVar("C", bound=MailboxConnection)
R = TypeVar("R", bound=Reader)
U = TypeVar("U", bound=UnitRequest)


@dataclass(slots=True, eq=False)
class Mailbox(Generic[C]):
    """What is kept for the peers that hold ``claim``, and those of them that are connected."""

    claim: str
    holder: Peer
    """The peer with this one claim, connected or not."""
    connections: list[C] = field(default_factory=list)


FAILURES = 16
"""Units of a session that got lost, of which a repeat is answered like the first."""


@dataclass(slots=True, eq=False)
class Downlink(Generic[C, R]):
    """One end of a session, as its peer fetches it."""

    session: SessionId
    content: ContentKind
    box: Mailbox[C]
    sender: str | None = None
    """Who opened the session towards the peer; None if the peer opened it, and no inbox lists it."""
    offer: Transmit | None = None
    """The open, if no peer was there to take it."""
    observer: StandingReader | None = None
    units: list[Transmit] = field(default_factory=list)
    """What the peer hasn't acknowledged yet, the lowest first."""
    shown: bool = False
    """The lowest unit went out in an answer: the peer's next unit acknowledges it."""
    read: bool = False
    """That was the answer to a read alone, which a unit may cross, and reads name what they want."""
    waiting: list[R] = field(default_factory=list)
    """Requests that would take a unit with their answer."""
    sent: RepeatedRequests[int, R, Reason] = field(default_factory=lambda: RepeatedRequests(FAILURES))
    """The peer's units that are on their way to the other end, by number, and why the last ones got lost."""
    next_in: int = 0
    """The number of the peer's next unit, for adapters that look for gaps themselves."""
    resumed: bool = False
    """It outlived a restart and nothing came since: ``next_in`` may be too low, and the peer knows better."""
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxLimits:
    """``window``: units of one session (the adapter's ``window``); the engine keeps to it, and more are dropped.

    ``octets``: of all units; beyond it the session goes whose unit has waited longest. ``readers``: requests that wait
    in one session; beyond it the one that came first is answered without a unit. Seconds: ``reply_window``, how long
    they wait; ``absence``: until a unit or an open that no peer fetched is dropped. ``named_reads``: a read names the
    unit that it wants, so that only a later one acknowledges what it was answered.
    """

    window: int = 1
    octets: int = 64 * 1024 * 1024
    readers: int = 8
    reply_window: float = 2.0
    absence: float = 25.0
    named_reads: bool = False
