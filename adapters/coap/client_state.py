"""The state of CoAP clients: a mailbox for each claim by which a client is reached, in it a downlink for each session.

The engine addresses a session's end by one claim. A client may prove several claims and have several associations at
once; it may read what the engine says that it owns. Nothing ever moves from one mailbox to another, not even if two
clients share a claim, such as a name that all certificates of a fleet have.

The engine keeps the queue of units; a downlink holds at most the one unit that the engine has handed out (the adapter's
window is 1), so what a client reads, re-reads and acknowledges is always the lowest one that it hasn't acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from adapters.coap.identity import holder_of, peer_of
from carriage.coap.server_peer import ServerPeer as CoapPeer
from gateway.api.model import ContentKind, Peer, Reason, SessionId, Transmit


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request that is answered when the next hop has answered, or when a unit comes for its sender."""

    connection: ClientConnection
    exchange: int
    n: int = 0
    """The unit that it brought."""
    location: SessionId | None = None
    """The session that it opened: the answer is 2.01 and names it."""
    read: bool = False
    """A GET: the answer is 2.05."""
    downlink: ClientSession | None = None
    repeated: PendingRequest | None = None
    """The same unit once more, over another association: it is answered like this one, and with it."""


@dataclass(slots=True, eq=False)
class ClientSession:
    """One end of a session as its CoAP side stands."""

    session: SessionId
    content: ContentKind
    box: ClientMailbox
    sender: str | None = None
    """Who opened the session towards the client; None if the client opened it, and no inbox lists it."""
    offer: Transmit | None = None
    """The open, if no client was there to take it."""
    observer: ClientConnection | None = None
    exchange: int = 0
    """The observation, of the observer's exchanges."""
    notification: int | None = None
    """The notification under way with ``transmit``."""
    transmit: Transmit | None = None
    """The unit that the client hasn't acknowledged yet."""
    shown: bool = False
    """The unit went out in an answer: the client's next unit acknowledges it."""
    waiting: list[PendingRequest] = field(default_factory=list)
    """Settled requests that would take a unit with their answer."""
    sending: dict[int, PendingRequest] = field(default_factory=dict)
    """The client's units that are on their way to the other end, by number."""
    failed: tuple[int, Reason] | None = None
    """The last of the client's units that got lost."""
    over: bool = False


@dataclass(slots=True, eq=False)
class InboxView:
    """One observation of the inbox. What counts is the newest list, so one notification at a time will do."""

    connection: ClientConnection
    exchange: int
    notification: int | None = None
    """The one under way."""
    stale: bool = False
    """The inbox has changed since that was sent."""


@dataclass(slots=True, eq=False)
class ClientMailbox:
    """What is kept for the clients that hold ``claim``, and those of them that are connected."""

    claim: str
    holder: Peer
    downlinks: dict[SessionId, ClientSession] = field(default_factory=dict)
    connections: list[ClientConnection] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ClientConnection:
    """One association of a client. ``boxes``: those of its claims, in their order."""

    peer: CoapPeer
    identity: Peer
    boxes: tuple[ClientMailbox, ...]
    observed: dict[int, ClientSession | InboxView] = field(default_factory=dict)
    """By exchange. An observation that another one has taken the place of is not in it."""
    gone: bool = False

    def inboxes(self) -> Iterator[InboxView]:
        return (view for view in self.observed.values() if isinstance(view, InboxView))


class ClientMailboxes:
    """All mailboxes by claim: one exists while a client holds its claim or something is kept in it.

    ``owns``: whether the engine says that a session is a peer's (``AdapterContext.owns``).
    """

    def __init__(self, owns: Callable[[Peer, SessionId], bool]) -> None:
        self._owns = owns
        self._by_claim: dict[str, ClientMailbox] = {}

    def __len__(self) -> int:
        return len(self._by_claim)

    def __iter__(self) -> Iterator[ClientMailbox]:
        return iter(tuple(self._by_claim.values()))

    def get(self, claim: str) -> ClientMailbox | None:
        return self._by_claim.get(claim)

    def of(self, claim: str) -> ClientMailbox:
        box = self._by_claim.get(claim)
        if box is None:
            box = self._by_claim[claim] = ClientMailbox(claim, holder_of(claim))
        return box

    def owned(self, connection: ClientConnection, session: SessionId) -> ClientMailbox | None:
        """The mailbox that this client has the session's units in; None: the session isn't its own.

        A client is the one subject that its first known claim names, also if it proves those of others.
        """
        if not self._owns(connection.identity, session):
            return None
        return next((box for box in connection.boxes if self._owns(box.holder, session)), None)

    def find(self, connection: ClientConnection, session: SessionId) -> ClientSession | None:
        """What is kept of a session that the engine has just said to be this client's."""
        boxes = connection.boxes
        box = boxes[0] if len(boxes) == 1 else self.owned(connection, session)
        return None if box is None else box.downlinks.get(session)

    def connect(self, peer: CoapPeer) -> ClientConnection:
        identity = peer_of(peer.info)
        connection = ClientConnection(peer, identity, tuple(map(self.of, identity.claims)))
        for box in connection.boxes:
            box.connections.append(connection)
        return connection

    def disconnect(self, connection: ClientConnection) -> None:
        connection.gone = True
        connection.observed.clear()
        for box in connection.boxes:
            box.connections.remove(connection)
            self.forget(box)

    def forget(self, box: ClientMailbox) -> None:
        """Drop a mailbox that is empty and whose claim no client holds."""
        if not box.downlinks and not box.connections:
            self._by_claim.pop(box.claim, None)
