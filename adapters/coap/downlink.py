"""What waits for CoAP clients: for each client the inbox of sessions opened towards it, for each session its downlink.

The engine keeps the queue of units; a downlink holds at most the one unit that the engine has handed out (the adapter's
window is 1), so what a client reads, re-reads and acknowledges is always the lowest one that it hasn't acknowledged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from carriage.coap.server import Peer as CoapPeer
from gateway.api.model import ContentKind, Peer, SessionId, Transmit, Unit


@dataclass(slots=True, eq=False)
class Pending:
    """A request that will be answered when the next hop has spoken, or a unit comes for its sender."""

    peer: CoapPeer
    exchange: int
    location: SessionId | None = None
    """The session that this request opened: the answer is 2.01 and names it."""
    read: bool = False
    """A GET: the answer is 2.05."""
    timer: asyncio.TimerHandle | None = None
    """The reply window."""


@dataclass(slots=True, eq=False)
class Downlink:
    """One session as its CoAP side stands."""

    session: SessionId
    content: ContentKind
    client: Client
    observer: tuple[CoapPeer, int] | None = None
    notification: int | None = None
    """The notification under way with ``transmit``."""
    transmit: Transmit | None = None
    """The unit that the client hasn't acknowledged yet."""
    shown: bool = False
    """The unit went out in a response: the client's next request acknowledges it."""
    waiting: list[Pending] = field(default_factory=list)
    """Settled requests that would take a unit with their answer."""
    timer: asyncio.TimerHandle | None = None
    """When an unread unit makes the client unreachable."""

    @property
    def unit(self) -> Unit | None:
        transmit = self.transmit
        return transmit.envelope if transmit is not None and isinstance(transmit.envelope, Unit) else None


@dataclass(slots=True, eq=False)
class Client:
    """One layer-1 party, connected or awaited. It keeps its state over a new handshake."""

    claims: set[str]
    live: CoapPeer | None = None
    peer: Peer | None = None
    """As the engine knows it, while it is connected."""
    downlinks: dict[SessionId, Downlink] = field(default_factory=dict)
    inbox: dict[SessionId, tuple[ContentKind, str]] = field(default_factory=dict)
    inbox_observers: list[tuple[CoapPeer, int]] = field(default_factory=list)
    offers: dict[SessionId, tuple[Transmit, asyncio.TimerHandle]] = field(default_factory=dict)
    """Opens towards a client that isn't connected: settled when it comes, or dropped when it doesn't."""

    @property
    def idle(self) -> bool:
        return self.live is None and not (self.downlinks or self.inbox or self.offers)


class Clients:
    """All clients by claim. At most one client holds a claim; a client that proves several is one client."""

    def __init__(self) -> None:
        self._by_claim: dict[str, Client] = {}

    def __len__(self) -> int:
        return len(set(map(id, self._by_claim.values())))

    def awaited(self, claim: str) -> Client:
        """The client that holds ``claim``, connected or not."""
        client = self._by_claim.get(claim)
        if client is None:
            client = self._by_claim[claim] = Client({claim})
        return client

    def connected(self, claims: tuple[str, ...]) -> Client:
        """The one client behind these proven claims; what was kept under any of them comes together here."""
        found = [client for claim in claims if (client := self._by_claim.get(claim)) is not None]
        client = found[0] if found else Client(set())
        for other in found[1:]:
            if other is not client:
                client.downlinks.update(other.downlinks)
                client.inbox.update(other.inbox)
                client.offers.update(other.offers)
                for downlink in other.downlinks.values():
                    downlink.client = client
        client.claims.update(claims)
        for claim in client.claims:
            self._by_claim[claim] = client
        return client

    def forget(self, client: Client) -> None:
        """Drop a client that nothing is kept for."""
        if client.idle:
            for claim in client.claims:
                if self._by_claim.get(claim) is client:
                    del self._by_claim[claim]

    def all(self) -> list[Client]:
        return list(dict.fromkeys(self._by_claim.values()))
