"""The half of the HTTP adapter that calls services: sessions with them, one client for each service, what survives.

A target of the policy is ``{link: http, url: ...}``; its claim is ``url:`` and the url. Its session is opened at the
service by its first unit (``north_session``). aiohttp is loaded with the first service that is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from adapters.http.identity import OF_SERVICES, SCHEME
from adapters.http.north_config import TIMES, NorthTimes, Service, unlisted
from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Close,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    SessionId,
    SurvivingEnd,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext

if TYPE_CHECKING:
    from adapters.http.north_client import ServiceClient
    from adapters.http.north_ports import ServiceEnd
    from adapters.http.north_session import ServiceSession
    from adapters.http.north_store import SessionStore

_LOG = logging.getLogger(__name__)

_NO_LINK: Final = LinkSecurity(protocol="none")
_RETIRE: Final = 60.0
"""Seconds that requests of an old config may still take."""


class Services:
    """``config``: the services that have an entry, by url (``north_config.configured``). It runs once."""

    def __init__(self, config: Mapping[str, Service], times: NorthTimes = TIMES) -> None:
        self._config = dict(config)
        self.times = times
        self._early: list[Transmit] = []
        self._context: AdapterContext | None = None
        self._store: SessionStore | None = None
        self._clients: dict[str, ServiceClient] = {}
        self._sessions: dict[SessionId, ServiceSession] = {}
        self._orders: dict[EnvelopeId, ServiceSession] = {}
        """Transmits that have no receipt yet."""
        self._submitted: dict[EnvelopeId, ServiceEnd] = {}
        self._peers: dict[tuple[str, LinkSecurity], Peer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals: dict[str, int] = {}

    # What the adapter passes on: see gateway.api.ports.Adapter

    def begin(self, context: AdapterContext) -> None:
        """In a running loop, before anything else but ``send``."""
        from adapters.http.north_store import SessionStore

        self._context = context
        self._store = SessionStore(context.state_dir, self._sessions.values, self.times.save)
        for end in context.surviving():
            if end.claim.startswith(OF_SERVICES):
                self._take_up(end)
        early, self._early = self._early, []
        for transmit in early:
            self.send(transmit)

    def send(self, transmit: Transmit) -> None:
        if self._context is None:
            self._early.append(transmit)
            return
        envelope = transmit.envelope
        if isinstance(envelope, Unit | Close):
            session = self._sessions.get(envelope.session)
            if session is not None:
                self._orders[envelope.id] = session
                session.send(transmit)
            elif isinstance(envelope, Close):  # nothing is left to be closed
                self.context.settle(Receipt(envelope.id, Outcome.DELIVERED, None, envelope.session))
            else:
                self.context.settle(Receipt(envelope.id, Outcome.DROPPED, Reason.RESTARTED, envelope.session))
        elif isinstance(envelope, Open):
            self._open(transmit, envelope)
        else:  # a service has neither devices nor what a request could be passed on to
            self.context.settle(Receipt(envelope.id, Outcome.DROPPED, Reason.CONTENT))

    def withdraw(self, envelope: EnvelopeId) -> None:
        session = self._orders.pop(envelope, None)
        if session is not None:
            session.withdraw(envelope)
        elif self._early:
            self._early = [each for each in self._early if each.envelope.id != envelope]

    def receipt(self, receipt: Receipt) -> bool:
        """Whether we submitted the envelope."""
        session = self._submitted.get(receipt.id)
        if session is None:
            return False
        if receipt.outcome is not Outcome.HELD:
            del self._submitted[receipt.id]
        session.confirmed(receipt.id)
        return True

    def flush(self) -> None:
        """Each request is written as it comes."""

    def status(self) -> Mapping[str, Any]:
        return {
            "sessions": len(self._sessions),
            "polls": sum(session.polling for session in self._sessions.values()),
            "refused_opens": dict(self._refusals),
            "called": {url: dict(client.status()) for url, client in sorted(self._clients.items())},
        }

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        named = facts.who(OF_SERVICES)
        urls = set(named.values())
        for url, service in sorted(self._config.items()):
            place = f"services.{service.index}"
            if url not in urls:
                yield f"{place}.url", "no subject of the policy has this url: the service is never called"
            if service.token is not None and url.startswith("http:"):
                yield f"{place}.token_file", "the url is http: the token crosses the network in clear"
        for name, url in sorted(named.items()):
            if url.startswith("http:") and url not in self._config:
                yield "services", f"{name} can't be called: {url} needs an entry with allow_http: true"

    async def close(self) -> None:
        """End all tasks and connections; the sessions stay, for the next run."""
        if self._store is not None:
            self._store.write()
        for session in self._sessions.values():
            session.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for client in self._clients.values():
            await client.aclose()

    def adopt(self, fresh: object) -> bool:
        """Go on with the config of ``fresh``: sessions stay, changed services are called on new connections.

        Sessions with a service that may no longer be called by http end.
        """
        if not isinstance(fresh, Services):
            return False
        before, self._config = self._config, fresh._config
        for url in list(self._clients):
            if before.get(url) != self._config.get(url):
                self.spawn(self._clients.pop(url).retire(_RETIRE))
        for session in list(self._sessions.values()):
            if self._is_clear(session.url):
                session.end(Reason.LINK)
        return True

    def _is_clear(self, url: str) -> bool:
        """A service to be called by http, which the config doesn't let us do."""
        return url.startswith("http:") and url not in self._config

    # For sessions: see north_session.Home

    @property
    def context(self) -> AdapterContext:
        assert self._context is not None
        return self._context

    def client(self, url: str) -> ServiceClient:
        client = self._clients.get(url)
        if client is None:
            from adapters.http.north_client import ServiceClient

            client = self._clients[url] = ServiceClient(self._config.get(url) or unlisted(url), self.times)
        return client

    def peer(self, url: str, link: LinkSecurity) -> Peer:
        peer = self._peers.get((url, link))
        if peer is None:
            if len(self._peers) >= 1024:
                self._peers.clear()
            peer = self._peers[url, link] = Peer(scheme=SCHEME, claims=(OF_SERVICES + url,), link=link)
        return peer

    def submitted(self, unit: EnvelopeId, session: ServiceEnd) -> None:
        self._submitted[unit] = session

    def settle(self, receipt: Receipt) -> None:
        if self._orders.pop(receipt.id, None) is not None:
            self.context.settle(receipt)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def changed(self) -> None:
        if self._store is not None:
            self._store.changed()

    def forget(self, session: ServiceEnd) -> None:
        if self._sessions.pop(session.id, None) is not None and session.location is not None:
            self.changed()

    # Small things

    def _open(self, transmit: Transmit, asked: Open) -> None:
        """A session is there from now on; its first unit opens it at the service."""
        from adapters.http.north_ports import KIND_OF
        from adapters.http.north_session import ServiceSession
        from gateway.api.link import meets

        url = transmit.to.claim.removeprefix(OF_SERVICES)
        reason = None
        if asked.content not in KIND_OF or asked.session is None:
            reason = Reason.CONTENT
        elif self._is_clear(url) or (url.startswith("http:") and not meets(_NO_LINK, transmit.require)):
            reason = Reason.LINK
        elif not url.startswith(("https:", "http:")):
            reason = Reason.UNREACHABLE
        if reason is not None:
            self._refusals[reason.value] = self._refusals.get(reason.value, 0) + 1
            self.context.settle(Receipt(asked.id, Outcome.DROPPED, reason, asked.session))
            return
        assert asked.session is not None
        self._sessions[asked.session] = ServiceSession(self, asked.session, asked.content, url, asked.nonce)
        self.context.settle(Receipt(asked.id, Outcome.DELIVERED, None, asked.session))

    def _take_up(self, end: SurvivingEnd) -> None:
        """Go on with a session of an earlier run, or have both ends learn that it can't."""
        from adapters.http.north_ports import KIND_OF
        from adapters.http.north_session import ServiceSession

        assert self._store is not None
        url, context = end.claim.removeprefix(OF_SERVICES), self.context
        if end.content in KIND_OF and not self._is_clear(url):
            session = ServiceSession(self, end.session, end.content, url, end.nonce)
            session.arrivals.next_in, session.arrivals.resumed = end.next_in, True
            location = self._store.take_up(session)
            if location is not None or not end.next_out:
                self._sessions[end.session] = session
                if location is not None:
                    session.resume(location)
                return
        context.submit(
            Close(
                id=context.next_id(), source=self.peer(url, _NO_LINK), session=end.session, reason=Reason.RESTARTED,
                received_at=context.now(),
            )
        )  # fmt: skip

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a task of the services failed", exc_info=error)
