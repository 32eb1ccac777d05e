"""The CoAP adapter: requests of ``carriage.coap.atls`` turned into envelopes, envelopes into answers and notifications.

It decides nothing: who may do what is the engine's verdict. What it does keep is the CoAP side of delivery: which
client is connected, what it observes, and the one unit of each session that it hasn't acknowledged yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, cast

from adapters.coap.downlink import Client, Clients, Downlink, Pending
from carriage.coap import atls
from carriage.coap.atls_format import Kind
from carriage.coap.exchange import Reason as CoapReason
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link
from carriage.coap.server import CoapsServer
from carriage.coap.server import Peer as CoapPeer
from gateway.api.errors import PeerError
from gateway.api.link import meets
from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext
from layer.events import AssociationInfo

_LOG = logging.getLogger(__name__)

SCHEME: Final = "coap"
_KINDS: Final[dict[str, ContentKind]] = {kind.value: kind for kind in ContentKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long things wait, in seconds."""

    reply_window: float = 2.0
    """An answer to POST waits this long for a unit of the other side, where the client doesn't observe."""
    absence: float = 25.0
    """A unit or an open waits this long for its client to come and read; then the other end is told."""


Serve = Callable[["CoapAdapter"], AbstractAsyncContextManager[CoapsServer]]
"""Runs the listener for a handler."""


class CoapAdapter:
    """All coaps clients of one listener. ``serve`` is the listener's life; it calls back into this handler."""

    window = 1

    def __init__(self, serve: Serve, waits: Waits) -> None:
        self._serve = serve
        self._waits = waits
        self._clients = Clients()
        self._connected: dict[CoapPeer, Client] = {}
        self._observed: dict[tuple[CoapPeer, int], Downlink | Client] = {}
        self._submitted: dict[EnvelopeId, Pending] = {}
        self._context: AdapterContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: CoapsServer | None = None
        self._counters = {"refused_handshakes": 0, "notifications": 0}

    # gateway.api.ports.Adapter

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        async with self._serve(self) as server:
            self._server = server
            context.ready()
            await self._loop.create_future()

    def send(self, transmit: Transmit) -> None:
        client = self._clients.awaited(transmit.to.claim)
        if client.peer is not None and not meets(client.peer.link, transmit.require):
            self._settle(transmit, Outcome.DROPPED, Reason.LINK)
            return
        match transmit.envelope:
            case Open():
                self._offer(client, transmit, transmit.envelope)
            case Unit():
                self._deliver(client, transmit, transmit.envelope)
            case Close():
                self._end(client, transmit, transmit.envelope)

    def withdraw(self, envelope: EnvelopeId) -> None:
        for client in self._clients.all():
            for downlink in client.downlinks.values():
                if downlink.transmit is not None and downlink.transmit.envelope.id == envelope:
                    self._clear(downlink)
                    return

    def receipt(self, receipt: Receipt) -> None:
        pending = self._submitted.pop(receipt.id, None)
        if pending is None:
            return
        if receipt.outcome is Outcome.DELIVERED:
            self._settled(pending, receipt.session)
        else:
            reason = receipt.reason or Reason.EXPIRED
            self._respond(pending, atls.refusal(reason.value))

    def status(self) -> Mapping[str, Any]:
        return {
            "clients": len(self._connected),
            "sessions": sum(len(client.downlinks) for client in self._clients.all()),
            "waiting": len(self._submitted),
            **self._counters,
            **(self._server.counters if self._server is not None else {}),
        }

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        del arguments
        raise PeerError(f"coap has no command {name}")

    # carriage.coap.server.Handler

    def connected(self, peer: CoapPeer) -> None:
        claims = _claims(peer.info)
        client = self._clients.connected(claims)
        client.live = peer
        client.peer = Peer(scheme=SCHEME, claims=claims, link=_link(peer.info))
        self._connected[peer] = client
        for session, (transmit, timer) in list(client.offers.items()):
            timer.cancel()
            del client.offers[session]
            self._settle(transmit, Outcome.DELIVERED)
        _LOG.info("client %s connected, %s", claims[0], client.peer.link.suite)

    def gone(self, peer: CoapPeer, reason: str) -> None:
        client = self._connected.pop(peer, None)
        if client is None:
            return
        _LOG.info("client %s is gone: %s", next(iter(client.claims), "?"), reason)
        client.inbox_observers = [entry for entry in client.inbox_observers if entry[0] is not peer]
        for downlink in client.downlinks.values():
            downlink.waiting = [pending for pending in downlink.waiting if pending.peer is not peer]
            if downlink.observer is not None and downlink.observer[0] is peer:
                downlink.observer = downlink.notification = None
                self._await_reader(downlink)
        if client.live is peer:
            client.live = client.peer = None
        self._clients.forget(client)

    def refused(self, address: object, reason: str) -> None:
        self._counters["refused_handshakes"] += 1
        _LOG.warning("handshake refused: %s", reason)

    def request(self, peer: CoapPeer, exchange: int, request: Request) -> None:
        client = self._connected[peer]
        operation = atls.parse(request)
        match operation:
            case atls.SendUnit():
                self._on_unit(client, peer, exchange, operation)
            case atls.ReadUnit():
                self._on_read(client, peer, exchange, operation)
            case atls.OpenSession():
                self._on_open(client, peer, exchange, operation)
            case atls.CloseSession():
                self._on_close(client, peer, exchange, operation)
            case atls.Inbox():
                self._on_inbox(client, peer, exchange, operation)
            case atls.WellKnownCore():
                peer.respond(exchange, atls.links(self._directory(client)))
            case Response():
                peer.respond(exchange, operation)

    def acknowledged(self, peer: CoapPeer, exchange: int, notification: int) -> None:
        downlink = self._observed.get((peer, exchange))
        if isinstance(downlink, Downlink) and downlink.notification == notification:
            self._acknowledge(downlink)

    def observation_ended(self, peer: CoapPeer, exchange: int, reason: CoapReason) -> None:
        found = self._observed.pop((peer, exchange), None)
        if isinstance(found, Client):
            found.inbox_observers = [entry for entry in found.inbox_observers if entry != (peer, exchange)]
        elif found is not None and found.observer == (peer, exchange):
            found.observer = found.notification = None
            if reason is CoapReason.TIMED_OUT:
                # Nobody acknowledged: whatever was on its way is as lost as the client is.
                self._unreachable(found)
            elif found.transmit is not None:
                self._await_reader(found)

    # Towards clients

    def _offer(self, client: Client, transmit: Transmit, envelope: Open) -> None:
        """A session that somebody opens towards the client: into its inbox."""
        assert envelope.session is not None and self._loop is not None
        session = envelope.session
        client.inbox[session] = (envelope.content, envelope.sender)
        self._downlink(client, session, envelope.content)
        if client.live is not None:
            self._settle(transmit, Outcome.DELIVERED)
        else:
            timer = self._loop.call_later(self._waits.absence, self._not_taken, client, session)
            client.offers[session] = (transmit, timer)
        self._tell_inbox(client)

    def _not_taken(self, client: Client, session: SessionId) -> None:
        transmit, _ = client.offers.pop(session)
        self._forget(client, session)
        self._settle(transmit, Outcome.DROPPED, Reason.UNREACHABLE)

    def _deliver(self, client: Client, transmit: Transmit, unit: Unit) -> None:
        downlink = self._downlink(client, unit.session, unit.content)
        if downlink.transmit is not None:  # the engine keeps to our window; a second one would be lost silently
            self._settle(transmit, Outcome.DROPPED, Reason.BUSY)
            return
        downlink.transmit = transmit
        downlink.shown = False
        if downlink.observer is not None:
            self._notify(downlink, unit)
        elif downlink.waiting:
            pending = downlink.waiting.pop(0)
            self._respond(pending, self._answer(pending, downlink))
        else:
            self._await_reader(downlink)

    def _notify(self, downlink: Downlink, unit: Unit) -> None:
        assert downlink.observer is not None
        peer, exchange = downlink.observer
        sent = peer.notify(exchange, atls.unit(unit.n, _kind(unit.content), unit.payload.octets))
        if isinstance(sent, int):
            downlink.notification = sent
            self._counters["notifications"] += 1
        else:
            downlink.observer = None
            self._await_reader(downlink)

    def _end(self, client: Client, transmit: Transmit, close: Close) -> None:
        """The session is over: whoever waits or observes hears it."""
        self._drop(client, close.session, close.reason)
        self._settle(transmit, Outcome.DELIVERED)

    def _drop(self, client: Client, session: SessionId, reason: Reason) -> None:
        """The session is over on the CoAP side: whoever waits or observes hears why."""
        downlink = client.downlinks.get(session)
        if downlink is not None:
            over = atls.refusal(reason.value)
            for pending in downlink.waiting:
                self._respond(pending, over)
            downlink.waiting.clear()
            if downlink.observer is not None:
                peer, exchange = downlink.observer
                peer.notify(exchange, over)
        offered = client.offers.pop(session, None)
        if offered is not None:
            transmit, timer = offered
            timer.cancel()
            self._settle(transmit, Outcome.DROPPED, reason)
        listed = session in client.inbox
        self._forget(client, session)
        if listed:
            self._tell_inbox(client)

    def _await_reader(self, downlink: Downlink) -> None:
        """A unit lies here and nobody observes: the client has a while to come for it."""
        assert self._loop is not None
        if downlink.transmit is not None and downlink.timer is None:
            downlink.timer = self._loop.call_later(self._waits.absence, self._unreachable, downlink)

    def _unreachable(self, downlink: Downlink) -> None:
        """The client doesn't read: the unit is dropped and the session closed in its name, so the other end hears."""
        assert self._context is not None
        downlink.timer = None
        transmit = downlink.transmit
        self._clear(downlink)
        if transmit is not None:
            self._settle(transmit, Outcome.DROPPED, Reason.UNREACHABLE)
        peer = downlink.client.peer or Peer(
            scheme=SCHEME, claims=tuple(downlink.client.claims), link=LinkSecurity(protocol="none")
        )
        self._context.submit(
            Close(
                id=self._context.next_id(),
                source=peer,
                session=downlink.session,
                reason=Reason.UNREACHABLE,
                received_at=self._context.now(),
            )
        )
        self._drop(downlink.client, downlink.session, Reason.UNREACHABLE)

    def _acknowledge(self, downlink: Downlink) -> None:
        transmit = downlink.transmit
        self._clear(downlink)
        if transmit is not None:
            self._settle(transmit, Outcome.DELIVERED)

    def _clear(self, downlink: Downlink) -> None:
        downlink.transmit = downlink.notification = None
        downlink.shown = False
        if downlink.timer is not None:
            downlink.timer.cancel()
            downlink.timer = None

    # From clients

    def _on_open(self, client: Client, peer: CoapPeer, exchange: int, operation: atls.OpenSession) -> None:
        assert self._context is not None and client.peer is not None
        if operation.to is None or operation.nonce is None:
            # No service stands behind the gateway itself: the implied target is none.
            peer.respond(exchange, atls.refusal("unknown"))
            return
        context = self._context
        content = _KINDS[operation.kind]
        verdict = context.submit(
            Open(
                id=context.next_id(),
                source=client.peer,
                to=operation.to,
                content=content,
                nonce=bytes.fromhex(operation.nonce),
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            peer.respond(exchange, atls.refusal(verdict.reason.value, verdict.retry_after))
            return
        assert verdict.session is not None
        downlink = self._downlink(client, verdict.session, content)
        pending = Pending(peer, exchange, location=verdict.session)
        if operation.payload:
            self._submit_unit(client, pending, downlink, 0, operation.kind, operation.payload)
        else:
            self._respond(pending, atls.opened(verdict.session))

    def _on_unit(self, client: Client, peer: CoapPeer, exchange: int, operation: atls.SendUnit) -> None:
        assert self._context is not None and client.peer is not None
        session = SessionId(operation.session)
        downlink = client.downlinks.get(session)
        pending = Pending(peer, exchange)
        if downlink is not None and downlink.shown:
            self._acknowledge(downlink)
        self._submit_unit(client, pending, downlink, operation.n, operation.kind, operation.payload, session)

    def _submit_unit(
        self,
        client: Client,
        pending: Pending,
        downlink: Downlink | None,
        n: int,
        kind: Kind,
        payload: bytes,
        session: SessionId | None = None,
    ) -> None:
        assert self._context is not None and client.peer is not None
        context = self._context
        identifier = context.next_id()
        target = session if session is not None else pending.location
        assert target is not None
        verdict = context.submit(
            Unit(
                id=identifier,
                source=client.peer,
                session=target,
                content=_KINDS[kind],
                n=n,
                payload=Sealed(payload),
                received_at=context.now(),
            )
        )
        match verdict:
            case Refused(reason=reason, retry_after=after):
                pending.peer.respond(pending.exchange, atls.refusal(reason.value, after))
            case Accepted(duplicate=True):
                self._settled(pending, target)
            case Accepted():
                if downlink is None:
                    self._downlink(client, target, _KINDS[kind])
                self._submitted[identifier] = pending

    def _settled(self, pending: Pending, session: SessionId | None) -> None:
        """The next hop has the request's unit: answer now, or wait a moment for a unit that goes back with it."""
        assert self._loop is not None
        client = self._connected.get(pending.peer)
        if client is None:
            return
        name = session if session is not None else pending.location
        downlink = client.downlinks.get(name) if name is not None else None
        if downlink is None or downlink.observer is not None or downlink.unit is not None:
            self._respond(pending, self._answer(pending, downlink))
            return
        pending.timer = self._loop.call_later(self._waits.reply_window, self._window_over, pending, downlink)
        downlink.waiting.append(pending)

    def _window_over(self, pending: Pending, downlink: Downlink) -> None:
        pending.timer = None
        if pending in downlink.waiting:
            downlink.waiting.remove(pending)
            self._respond(pending, self._answer(pending, None))

    def _answer(self, pending: Pending, downlink: Downlink | None) -> Response:
        """2.01 or 2.04 (2.05 for a read), with the lowest unit that the client hasn't acknowledged."""
        unit = downlink.unit if downlink is not None and downlink.observer is None else None
        shown: Response | None = None
        if unit is not None and downlink is not None:
            downlink.shown = True
            shown = atls.unit(unit.n, _kind(unit.content), unit.payload.octets)
            self._await_reader(downlink)
        if pending.location is not None:
            return atls.opened(pending.location, shown)
        if pending.read:
            return shown if shown is not None else atls.no_unit()
        return atls.taken(shown)

    def _respond(self, pending: Pending, response: Response) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None
        pending.peer.respond(pending.exchange, response)

    def _on_read(self, client: Client, peer: CoapPeer, exchange: int, operation: atls.ReadUnit) -> None:
        assert self._context is not None and client.peer is not None
        session = SessionId(operation.session)
        content = self._content(client.peer, session)
        if content is None:
            peer.respond(exchange, atls.refusal("unknown"))
            return
        if operation.accept is not None and operation.accept != content.value:
            peer.respond(exchange, atls.refusal("not-acceptable"))
            return
        downlink = self._downlink(client, session, content)
        if operation.observe:
            # The first answer may be piggy-backed and so lost unseen: units go in confirmable notifications only.
            peer.respond(exchange, atls.no_unit(), observe=True)
            self._observed[(peer, exchange)] = downlink
            downlink.observer = (peer, exchange)
            downlink.notification = None
            for pending in downlink.waiting:
                self._respond(pending, self._answer(pending, None))
            downlink.waiting.clear()
            if (unit := downlink.unit) is not None:
                if downlink.timer is not None:
                    downlink.timer.cancel()
                    downlink.timer = None
                self._notify(downlink, unit)
            return
        unit = downlink.unit
        if unit is not None and operation.n is not None and operation.n > unit.n:
            self._acknowledge(downlink)
        if operation.deregister:
            peer.respond(exchange, atls.no_unit())
            return
        self._settled(Pending(peer, exchange, read=True), session)

    def _on_close(self, client: Client, peer: CoapPeer, exchange: int, operation: atls.CloseSession) -> None:
        assert self._context is not None and client.peer is not None
        context = self._context
        session = SessionId(operation.session)
        verdict = context.submit(
            Close(
                id=context.next_id(),
                source=client.peer,
                session=session,
                reason=Reason.CLOSED,
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            peer.respond(exchange, atls.refusal(verdict.reason.value, verdict.retry_after))
            return
        self._drop(client, session, Reason.CLOSED)
        peer.respond(exchange, atls.closed())

    def _on_inbox(self, client: Client, peer: CoapPeer, exchange: int, operation: atls.Inbox) -> None:
        peer.respond(exchange, self._inbox(client), observe=operation.observe)
        if operation.observe:
            client.inbox_observers.append((peer, exchange))
            self._observed[(peer, exchange)] = client

    # Lists

    def _inbox(self, client: Client) -> Response:
        return atls.links(
            Link(f"/atls/{session}", (("ct", str(_FORMATS[content.value])), ("title", sender)))
            for session, (content, sender) in client.inbox.items()
        )

    def _tell_inbox(self, client: Client) -> None:
        for peer, exchange in client.inbox_observers:
            peer.notify(exchange, self._inbox(client))

    def _directory(self, client: Client) -> list[Link]:
        """What this client may use, and nothing else: RFC 6690 for ``/.well-known/core``."""
        assert self._context is not None and client.peer is not None
        formats = " ".join(str(number) for number in _FORMATS.values())
        found = [Link("/atls/inbox", (("rt", "atls.inbox"), ("ct", "40"), ("obs", None)))]
        for alias in self._context.targets(client.peer):
            found.append(Link(f"/atls?to={alias}", (("rt", "atls"), ("ct", formats), ("title", alias))))
        return found

    # Small things

    def _content(self, peer: Peer, session: SessionId) -> ContentKind | None:
        """What the session carries, where this peer owns a side of it."""
        assert self._context is not None
        if not self._context.owns(peer, session):
            return None
        return next((view.content for view in self._context.sessions(peer) if view.session == session), None)

    def _downlink(self, client: Client, session: SessionId, content: ContentKind) -> Downlink:
        downlink = client.downlinks.get(session)
        if downlink is None:
            downlink = client.downlinks[session] = Downlink(session, content, client)
        return downlink

    def _forget(self, client: Client, session: SessionId) -> None:
        client.inbox.pop(session, None)
        downlink = client.downlinks.pop(session, None)
        if downlink is not None:
            self._clear(downlink)
        self._clients.forget(client)

    def _settle(self, transmit: Transmit, outcome: Outcome, reason: Reason | None = None) -> None:
        assert self._context is not None
        self._context.settle(Receipt(transmit.envelope.id, outcome, reason))


_FORMATS: Final = {"atls": 65000, "adtls": 65001}


def _kind(content: ContentKind) -> Kind:
    return cast(Kind, content.value)


def _claims(info: AssociationInfo | None) -> tuple[str, ...]:
    """What the client's link proved, most specific first."""
    if info is None or info.peer.kind == "none":
        return ("none:",)
    peer = info.peer
    if peer.psk_identity is not None:
        return ("psk:" + peer.psk_identity.decode("utf-8", "backslashreplace"),)
    return (f"spki:{peer.spki_sha256}", *(f"san:{name}" for name in peer.subject_alt_names))


def _link(info: AssociationInfo | None) -> LinkSecurity:
    if info is None:
        return LinkSecurity(protocol="none")
    return LinkSecurity(protocol=info.protocol, suite=info.suite, authenticated=info.peer.kind != "none")
