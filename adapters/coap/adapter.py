"""The CoAP adapter: requests of ``carriage.coap.atls`` turned into envelopes, envelopes into answers and notifications.

It decides nothing: who may do what is the engine's verdict. Here is what comes from clients; what goes to them is in
``delivery``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from adapters.coap.client_credentials import ClientCredentials
from adapters.coap.client_log import ClientLog
from adapters.coap.client_state import (
    ClientConnection,
    ClientMailboxes,
    InboxView,
    PendingRequest,
    UnitObserver,
    refuse,
)
from adapters.coap.devices import DeviceResources
from adapters.coap.doubts import doubts
from adapters.coap.identity import SCHEME, peer_of, psk_claim
from adapters.coap.inboxes import Inboxes
from adapters.coap.links import FORMATS, descriptions, directory, root
from adapters.coap.links import devices as device_links
from adapters.coap.things import CoapDescriptions
from adapters.coap.timeouts import Timeouts
from carriage.coap import atls, device_resources
from carriage.coap.atls_format import KINDS
from carriage.coap.connection import Answer
from carriage.coap.exchange import FailureReason as CoapReason
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link, matching
from carriage.coap.server import CoapsServer
from carriage.coap.server_peer import ServerPeer as CoapPeer
from common.within import within
from gateway.api.errors import NoCommandError, TransportError
from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Address,
    Close,
    ContentKind,
    DeviceView,
    EnvelopeId,
    Forms,
    Open,
    Reason,
    Receipt,
    Refused,
    SessionId,
    Transmit,
    Update,
)
from gateway.api.ports import Adapter, AdapterContext
from gateway.kit.mailbox_state import MailboxLimits
from gateway.kit.sent_units import SentUnits

_LOG = logging.getLogger(__name__)

_KINDS: Final[dict[str, ContentKind]] = {kind: ContentKind(kind) for kind in KINDS}

WINDOW: Final = 2

Serve = Callable[["CoapAdapter", AdapterContext], AbstractAsyncContextManager[CoapsServer]]
"""Runs the listener for a handler, which has its turns by the second. TransportError: the port can't be had."""


class CoapAdapter:
    """All coaps clients of one listener. ``serve`` is the listener's life; it calls back into this handler.

    ``origin``: where all clients reach it, if the config says that. ``window``: units of one session that wait here.
    With 2 the next one goes out in the turn in which the client acknowledges the one before. A third would go no
    sooner: an observer is sent one at a time.
    """

    _context: AdapterContext
    """Set before anything else is called."""

    def __init__(
        self,
        serve: Serve,
        timeouts: Timeouts,
        client_credentials: ClientCredentials,
        window: int = WINDOW,
        origin: str = "",
    ) -> None:
        self.window = window
        self._serve = serve
        self._listen_again = timeouts.listen_again
        self._client_credentials = client_credentials
        limits = MailboxLimits(window=window, reply_window=timeouts.reply_window, absence=timeouts.absence)
        self._mailboxes = ClientMailboxes(SCHEME, FORMATS, limits, lambda box: self._inboxes.changed(box))
        self._inboxes = Inboxes(self._mailboxes.table)
        self._devices = DeviceResources(timeouts.answer_within, timeouts.pacing)
        self._descriptions = CoapDescriptions(origin, client_credentials.credentials.psk_lookup is not None)
        self._connections: dict[CoapPeer, ClientConnection] = {}
        self._submitted: SentUnits[ClientConnection, PendingRequest] = SentUnits(self._mailboxes, self._mailboxes.wait)
        self._server: CoapsServer | None = None
        self._log = ClientLog(lambda: self._context.now())

    # gateway.api.ports.Adapter

    async def run(self, context: AdapterContext) -> None:
        self._context = self._devices.context = self._descriptions.context = context
        surviving = context.surviving()
        self._mailboxes.begin(context, surviving)
        known = {end.claim for end in surviving if end.claim.startswith("psk:")}
        for claim in known - self._client_credentials.claims():
            self._mailboxes.end_all(claim)  # its key was revoked while no adapter ran
        try:
            while True:
                try:
                    await within(self._serve(self, context), self._served)
                except TransportError as error:
                    context.fault(str(error))
                await asyncio.sleep(self._listen_again)  # not in the handler: see docs/decisions, "Hot values"
        finally:
            self._devices.close()
            self._mailboxes.close()

    async def _served(self, server: CoapsServer) -> None:
        self._server = server
        self._context.ready()
        await asyncio.get_running_loop().create_future()

    def adopt(self, fresh: Adapter) -> bool:
        """Take over the clients' keys of ``fresh`` if nothing else differs.

        The associations, observations and sessions of a client whose key is gone or was replaced end; all others stay.
        If more differs, it answers False, and a fresh instance takes its place. That can't know the earlier keys, so
        the sessions of a key that is no longer valid end here in this case too.
        """
        if not isinstance(fresh, CoapAdapter):
            return False
        before, after = self._client_credentials, fresh._client_credentials
        shut_out, in_place = before.shut_out_by(after), after.fixed == before.fixed
        if in_place:
            self._serve, self._client_credentials = fresh._serve, after
            if self._server is not None:
                self._server.replace_credentials(after.credentials, shut_out=shut_out)
        for identity in sorted(shut_out):
            self._mailboxes.end_all(psk_claim(identity))
        return in_place

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        return doubts(facts, self._client_credentials.claims(), self._client_credentials.credentials.key is not None)

    def send(self, transmit: Transmit) -> None:
        self._mailboxes.send(transmit)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self._mailboxes.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        if not self._submitted.receipt(receipt):
            self._devices.receipt(receipt)

    def update(self, update: Update) -> None:
        self._devices.update(update)

    def refresh(self, device: Address) -> None:
        """No device of this carriage reports values."""

    def forms(self, device: DeviceView) -> Forms | None:
        return self._descriptions.forms(device)

    def flush(self) -> None:
        if self._server is not None:
            self._server.flush()

    def status(self) -> Mapping[str, Any]:
        return {
            "clients": len(self._connections),
            "sessions": self._mailboxes.table.sessions,
            "waiting": len(self._submitted),
            "refused_handshakes": self._log.refused_handshakes,
            "malformed_requests": self._log.malformed,
            **self._mailboxes.counters,
            **self._devices.status(),
            **(self._server.counters if self._server is not None else {}),
        }

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``clients``: how many connections each claim has, by claim, and the claims of all whose keys are in force."""
        if name != "clients":
            raise NoCommandError(f"coap has no command {name}")
        connected = Counter(connection.identity.claims[0] for connection in self._connections.values())
        return {"connected": dict(connected), "let_in": sorted(self._client_credentials.claims())}

    # carriage.coap.server.Handler

    def connected(self, peer: CoapPeer) -> None:
        connection = self._connections[peer] = ClientConnection(peer_of(peer.info), peer)
        self._log.came(connection.identity)
        self._mailboxes.connect(connection)

    def gone(self, peer: CoapPeer, reason: str) -> None:
        connection = self._connections.pop(peer, None)
        if connection is not None:
            self._log.went(connection.identity, reason)
            self._devices.disconnect(connection)
            self._mailboxes.disconnect(connection)
            connection.observed.clear()

    def refused(self, address: object, reason: str) -> None:
        self._log.refused_handshake(address, reason)

    def request(self, peer: CoapPeer, exchange: int, request: Request) -> None:
        connection = self._connections[peer]
        operation = atls.parse(request)
        if operation is None:
            wanted = device_resources.parse(request)
            if isinstance(wanted, device_resources.Describe):
                assert self._server is not None
                peer.respond(exchange, self._descriptions.answer(connection, wanted, self._server.port))
            else:
                self._devices.request(connection, exchange, wanted)
            return
        match operation:
            case atls.SendUnit(session=session, n=n, kind=kind, payload=payload):
                pending = PendingRequest(connection, exchange, n)
                self._submitted.submit(connection, pending, SessionId(session), _KINDS[kind], payload)
            case atls.ReadUnit():
                self._on_read(connection, exchange, operation)
            case atls.OpenSession():
                self._on_open(connection, exchange, operation)
            case atls.CloseSession(session=session):
                self._on_close(connection, exchange, SessionId(session))
            case atls.Inbox():
                listed = self._inboxes.show(connection)
                answer = peer.respond(exchange, listed, observe=operation.observe, states=True)
                if answer is Answer.OBSERVED:
                    connection.observed[exchange] = InboxView(connection, exchange)
            case atls.WellKnownCore(query=query):
                peer.respond(exchange, atls.links(matching(self._directory(connection), query)))
            case Response(payload=reason):
                self._log.malformed_request(connection.identity, reason)
                peer.respond(exchange, operation)

    def acknowledged(self, peer: CoapPeer, exchange: int, notification: int) -> None:
        connection = self._connections.get(peer)
        if connection is not None:
            match connection.observed.get(exchange):
                case UnitObserver(downlink=downlink, notification=pushed) if pushed == notification:
                    self._mailboxes.acknowledge(downlink)
                case InboxView() as view:
                    self._inboxes.acknowledged(view, notification)
            self._devices.acknowledged(connection, exchange, notification)

    def observation_ended(self, peer: CoapPeer, exchange: int, reason: CoapReason) -> None:
        connection = self._connections.get(peer)
        if connection is not None:
            _LOG.debug("observation ended: %s", reason.value)
            ended = connection.observed.pop(exchange, None)
            if isinstance(ended, UnitObserver):
                self._mailboxes.observation_ended(ended.downlink, ended)
            self._devices.observation_ended(connection, exchange)

    # From clients

    def _directory(self, connection: ClientConnection) -> Iterator[Link]:
        """All that this client may use."""
        context, identity = self._context, connection.identity
        yield from directory(context.targets(identity))
        if views := context.devices(identity):
            yield root()
            yield from device_links(views)
            yield from descriptions(views)

    def _on_open(self, connection: ClientConnection, exchange: int, operation: atls.OpenSession) -> None:
        if operation.to is None or operation.nonce is None:
            # No service stands behind the gateway itself: the implied target is none.
            refuse(connection, exchange, Reason.UNKNOWN)
            return
        context = self._context
        verdict = context.submit(
            Open(
                id=context.next_id(),
                source=connection.identity,
                to=operation.to,
                content=_KINDS[operation.kind],
                nonce=bytes.fromhex(operation.nonce),
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            refuse(connection, exchange, verdict.reason, verdict.retry_after)
            return
        assert verdict.session is not None
        if operation.payload:
            pending = PendingRequest(connection, exchange, location=verdict.session)
            self._submitted.submit(connection, pending, verdict.session, _KINDS[operation.kind], operation.payload)
        else:
            connection.peer.respond(exchange, atls.opened(verdict.session))

    def _on_read(self, connection: ClientConnection, exchange: int, operation: atls.ReadUnit) -> None:
        mailboxes = self._mailboxes
        session = SessionId(operation.session)
        box = mailboxes.table.owned(connection, session)
        content = None if box is None else self._content(connection, box.claim, session)
        if box is None or content is None:
            refuse(connection, exchange, Reason.UNKNOWN)
            return
        if operation.accept is not None and operation.accept != content.value:
            connection.peer.respond(exchange, atls.refusal("not-acceptable"))
            return
        if operation.deregister:
            connection.peer.respond(exchange, atls.no_unit())
            return
        downlink = mailboxes.table.downlink(box, session, content)
        if operation.observe:
            # The first answer may be piggy-backed and so lost unseen: units go in confirmable notifications only.
            if connection.peer.respond(exchange, atls.no_unit(), observe=True) is Answer.OBSERVED:
                observer = connection.observed[exchange] = UnitObserver(connection, exchange, downlink)
                mailboxes.observe(downlink, observer)
            return
        if operation.n is not None:
            mailboxes.acknowledge_below(downlink, operation.n)
        mailboxes.wait(PendingRequest(connection, exchange, reads=True), downlink)

    def _content(self, connection: ClientConnection, claim: str, session: SessionId) -> ContentKind | None:
        """The content kind of a session of this client."""
        downlink = self._mailboxes.table.kept(claim).get(session)
        if downlink is not None:
            return downlink.content
        views = self._context.sessions(connection.identity)
        return next((view.content for view in views if view.session == session), None)

    def _on_close(self, connection: ClientConnection, exchange: int, session: SessionId) -> None:
        context = self._context
        downlink = self._mailboxes.table.find(connection, session)  # afterwards the session may have no owner
        verdict = context.submit(
            Close(
                id=context.next_id(),
                source=connection.identity,
                session=session,
                reason=Reason.CLOSED,
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            refuse(connection, exchange, verdict.reason, verdict.retry_after)
            return
        if downlink is not None:
            self._mailboxes.leave(downlink, Reason.CLOSED)
        connection.peer.respond(exchange, atls.closed())
