"""Clients between their requests: HTTP has no association, so one counts as connected while a request of it is under
way, and ``absence`` seconds longer. What waits for them is in the mailboxes of ``gateway.kit``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from carriage.http import atls
from carriage.http.atls import HttpResponse
from carriage.http.atls_format import Kind
from gateway.api.model import Peer, Reason, SessionId, Unit
from gateway.kit.fixed_timeout import FixedTimeout
from gateway.kit.mailbox import Mailboxes
from gateway.kit.mailbox_state import Downlink, Mailbox, MailboxConnection


@dataclass(slots=True, eq=False)
class HttpClient(MailboxConnection):
    """A client, by what it proved and by the protection of its link. ``presented``: its certificates
    (DER), if it is known by them.

    ``gone``: it was shut out, or had to make room; it is answered nothing more.
    """

    presented: tuple[bytes, ...] = field(default=(), repr=False)
    at_work: int = 0
    """Its requests under way."""


@dataclass(slots=True, eq=False)
class WaitingRequest:
    """A request that is answered when the next hop has answered, or when a unit comes for its sender."""

    connection: HttpClient
    answered: asyncio.Future[HttpResponse]
    n: int = 0
    """The unit that it brought."""
    location: SessionId | None = None
    """The session that it opened: the answer names it."""
    alias: str | None = None
    """What it opened, if the client is to get a cookie for it."""
    reads: bool = False
    """It brought no unit."""
    draft: bool = False
    """The answer has the media type of draft-friel-tls-atls-00."""
    downlink: ClientDownlink | None = None
    """Of the session of its unit."""

    def answer(self, unit: Unit | None) -> bool:
        if self.answered.done():
            return False
        shown = None if unit is None else unit_response(unit, self.draft)
        if self.location is None:
            response = atls.taken(shown)
        else:
            response = atls.opened(self.location, shown)
            if self.alias is not None:
                response = atls.with_cookie(response, self.alias, self.location)
        self.answered.set_result(response)
        return True

    def refuse(self, reason: Reason, retry_after: float | None = None) -> None:
        if not self.answered.done():
            self.answered.set_result(atls.refusal(reason.value, retry_after))


ClientMailbox = Mailbox[HttpClient]
ClientDownlink = Downlink[HttpClient, WaitingRequest]
ClientMailboxes = Mailboxes[HttpClient, WaitingRequest]


def unit_response(unit: Unit, draft: bool) -> HttpResponse:
    return atls.unit(unit.n, cast(Kind, unit.content.value), unit.payload.octets, draft)


class Clients:
    """All of them. A full table forgets the one that has been silent for longest."""

    def __init__(self, mailboxes: ClientMailboxes, absence: float, most: int) -> None:
        self._mailboxes = mailboxes
        self._most = most
        self._clients: dict[Peer, HttpClient] = {}
        self._silent: FixedTimeout[HttpClient] = FixedTimeout(absence, self.forget)

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[HttpClient]:
        """As they are now."""
        return iter(tuple(self._clients.values()))

    def begin(self, peer: Peer, presented: tuple[bytes, ...]) -> HttpClient:
        """A request of it begins. What was opened towards it is taken now."""
        client = self._clients.get(peer)
        if client is None:
            self._make_room()
            client = self._clients[peer] = HttpClient(peer, presented=presented)
            client.at_work = 1
            self._mailboxes.connect(client)
            return client
        client.presented = presented
        client.at_work += 1
        self._silent.end(client)
        return client

    def end(self, client: HttpClient) -> None:
        client.at_work -= 1
        if not client.at_work and not client.gone:
            self._silent.begin(client)

    def _make_room(self) -> None:
        if len(self._clients) >= self._most:
            idle = next((each for each in self._clients.values() if not each.at_work), None)
            if idle is not None:
                self.forget(idle)

    def forget(self, client: HttpClient) -> None:
        """Nothing of it is kept but what its mailboxes have."""
        self._silent.end(client)
        if self._clients.get(client.identity) is client:
            del self._clients[client.identity]
        if not client.gone:
            self._mailboxes.disconnect(client)

    def close(self) -> None:
        self._silent.close()
