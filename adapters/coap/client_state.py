"""The state of CoAP clients: their associations, and the requests and observations by which they get units.

What waits for them, and for how long, is in the mailboxes of ``gateway.kit``: what a client reads, re-reads and
acknowledges is always the lowest unit that it hasn't acknowledged, however many wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from carriage.coap import atls
from carriage.coap.atls_format import Kind
from carriage.coap.connection import Answer
from carriage.coap.exchange import Response
from carriage.coap.server_peer import ServerPeer as CoapPeer
from gateway.api.model import Reason, SessionId, Unit
from gateway.kit.mailbox import Mailboxes
from gateway.kit.mailbox_state import Downlink, Mailbox, MailboxConnection


@dataclass(slots=True, eq=False)
class ClientConnection(MailboxConnection):
    """One association of a client."""

    peer: CoapPeer
    observed: dict[int, UnitObserver | InboxView] = field(default_factory=dict)
    """By exchange. An observation that another one has taken the place of is not in it."""

    def inboxes(self) -> list[InboxView]:
        return [view for view in self.observed.values() if isinstance(view, InboxView)]


class PendingRequest:
    """A request that is answered when the next hop has answered, or when a unit comes for its sender.

    ``n``: the unit that it brought. ``location``: the session that it opened; the answer is 2.01 and names it.
    ``reads``: a GET; the answer is 2.05.
    """

    __slots__ = ("connection", "downlink", "exchange", "location", "n", "reads")

    def __init__(
        self,
        connection: ClientConnection,
        exchange: int,
        n: int = 0,
        location: SessionId | None = None,
        reads: bool = False,
    ) -> None:
        self.connection = connection
        self.exchange = exchange
        self.n = n
        self.location = location
        self.reads = reads
        self.downlink: ClientDownlink | None = None
        """Of the session of its unit."""

    def answer(self, unit: Unit | None) -> bool:
        """2.01 or 2.04, 2.05 for a read; whether a unit went out with it."""
        shown = None if unit is None else unit_response(unit)
        if self.reads:
            response = shown or atls.no_unit()
        elif self.location is not None:
            response = atls.opened(self.location, shown)
        else:
            response = atls.taken(shown)
        return self.connection.peer.respond(self.exchange, response) is Answer.SENT

    def refuse(self, reason: Reason, retry_after: float | None = None) -> None:
        refuse(self.connection, self.exchange, reason, retry_after)


@dataclass(slots=True, eq=False)
class UnitObserver:
    """One observation of a session's units."""

    connection: ClientConnection
    exchange: int
    downlink: ClientDownlink
    notification: int | None = None
    """The one under way."""

    def push(self, unit: Unit) -> bool:
        sent = self.connection.peer.notify(self.exchange, unit_response(unit))
        if isinstance(sent, int):
            self.notification = sent
            return True
        self.replaced()
        return False

    def end(self, reason: Reason) -> None:
        # Behind a unit that is on its way. The connection reports when the client has that.
        self.connection.peer.notify(self.exchange, atls.refusal(reason.value))

    def replaced(self) -> None:
        if self.connection.observed.get(self.exchange) is self:
            del self.connection.observed[self.exchange]


@dataclass(slots=True, eq=False)
class InboxView:
    """One observation of the inbox. What counts is the newest list, so one notification at a time will do."""

    connection: ClientConnection
    exchange: int
    notification: int | None = None
    """The one under way."""
    stale: bool = False
    """The inbox has changed since that was sent."""


ClientMailbox = Mailbox[ClientConnection]
ClientDownlink = Downlink[ClientConnection, PendingRequest]
ClientMailboxes = Mailboxes[ClientConnection, PendingRequest]


def unit_response(unit: Unit) -> Response:
    return atls.unit(unit.n, cast(Kind, unit.content.value), unit.payload.octets)


def refuse(connection: ClientConnection, exchange: int, reason: Reason, retry_after: float | None = None) -> None:
    connection.peer.respond(exchange, atls.refusal(reason.value, retry_after))
