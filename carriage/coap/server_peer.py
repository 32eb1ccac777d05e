"""One connected client of the coaps server, and the calls by which the server reports to its owner (``Handler``)."""

from __future__ import annotations

from typing import Protocol

from carriage.coap.connection import Answer, CoapConnection, FailureReason, Request, Response
from carriage.coap.udp import Address
from layer.events import AssociationInfo


class PeerKeeper(Protocol):
    """The server's interface for a peer."""

    def now(self) -> float:
        """The loop's clock."""

    def touch(self, peer: ServerPeer) -> None:
        """Something may have to go out to this peer."""

    def drop(self, peer: ServerPeer, reason: str) -> None:
        """See ``ServerPeer.close``."""


class ServerPeer:
    """One connected client. ``info`` says who it proved to be; ``address`` is the present place, never who."""

    __slots__ = ("_server", "address", "connection", "id", "info", "scheduled")

    def __init__(
        self, server: PeerKeeper, id: int, address: Address, info: AssociationInfo, connection: CoapConnection
    ) -> None:
        self._server = server
        self.connection = connection  # the server's; everybody else uses the methods
        self.scheduled: float | None = None  # the server's, too
        self.id = id
        self.address = address
        self.info = info

    def __repr__(self) -> str:
        return f"<ServerPeer {self.id}>"

    def respond(self, exchange: int, response: Response, *, observe: bool = False, states: bool = False) -> Answer:
        """See ``CoapConnection.respond``; ``Answer.GONE`` also for a peer that is gone."""
        answer = self.connection.respond(exchange, response, self._server.now(), observe=observe, states=states)
        self._server.touch(self)
        return answer

    def notify(self, exchange: int, response: Response, *, confirmable: bool = True) -> int | FailureReason | None:
        """See ``CoapConnection.notify``."""
        sent = self.connection.notify(exchange, response, self._server.now(), confirmable=confirmable)
        self._server.touch(self)
        return sent

    def close(self, reason: str) -> None:
        """Say close_notify and forget the peer; ``gone`` follows at once. Without effect on one that is gone."""
        self._server.drop(self, reason)


class Handler(Protocol):
    """The server's reports to its owner. An exception in one is counted, logged at a bounded rate, and the request is
    answered with 5.00, or with 4.00 if it is a ``PeerError``."""

    def connected(self, peer: ServerPeer) -> None:
        """A peer's handshake is done."""

    def request(self, peer: ServerPeer, exchange: int, request: Request) -> None:
        """A whole request; answer with ``peer.respond``, now or later."""

    def acknowledged(self, peer: ServerPeer, exchange: int, notification: int) -> None:
        """The observer has this notification; see ``NotificationAcknowledged``."""

    def observation_ended(self, peer: ServerPeer, exchange: int, reason: FailureReason) -> None:
        """Every notification of it that is not acknowledged by now has failed. Not called for a peer that is gone."""

    def gone(self, peer: ServerPeer, reason: str) -> None:
        """The peer and all its exchanges are over."""

    def refused(self, address: Address, reason: str) -> None:
        """A handshake failed or was turned away."""
