"""Sessions of clients: requests of ``carriage.http.atls`` turned into envelopes, and envelopes into answers and events.

A unit of a client *waits for its receipt*, then *for a unit* of the other side within the reply window; a read by
``Prefer: wait`` waits for a unit as long as was granted. What the client has not acknowledged is in its mailbox.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import Any, Final

from adapters.http.config import HttpTable
from adapters.http.identity import SCHEME
from adapters.http.south_clients import (
    ClientDownlink,
    ClientMailbox,
    ClientMailboxes,
    HttpClient,
    WaitingRequest,
)
from adapters.http.south_events import EventStream
from adapters.http.south_standing import Places, Poll, Watch
from carriage.http import atls
from carriage.http.atls import HttpResponse
from carriage.http.atls_format import KINDS, Kind
from common.within import within
from gateway.api.model import (
    Close,
    ContentKind,
    Open,
    Reason,
    Receipt,
    Refused,
    SessionId,
    Verdict,
)
from gateway.api.ports import AdapterContext
from gateway.kit.mailbox_state import MailboxLimits
from gateway.kit.sent_units import SentUnits

_KINDS: Final[dict[str, ContentKind]] = {kind: ContentKind(kind) for kind in KINDS}

_UNKNOWN: Final = atls.refusal("unknown")

INBOX_KEY: Final = "inbox"


class ClientSessions:
    """All of one adapter. ``context`` is set before anything else is called."""

    context: AdapterContext

    def __init__(self, table: HttpTable, window: int, watches: Places[Watch]) -> None:
        self._longest_wait = table.longest_wait
        limits = MailboxLimits(window=window, reply_window=table.reply_window, absence=table.absence, named_reads=True)
        self.mailboxes: ClientMailboxes = ClientMailboxes(SCHEME, _KINDS.values(), limits, self._inbox_changed)
        self.polls: Places[Poll] = Places(table.max_polls_per_client, table.max_polls)
        self.watches = watches
        self._submitted: SentUnits[HttpClient, WaitingRequest] = SentUnits(self.mailboxes, self._wait)
        self._counted = False
        """The run before this one ended in order, so ``Downlink.next_in`` is not too low."""

    @property
    def waiting(self) -> int:
        """Units whose receipt is not there yet."""
        return len(self._submitted)

    # Requests

    async def answer(self, client: HttpClient, operation: atls.Operation) -> HttpResponse | Watch:
        """A stream is returned as its watch, to be run and then given to ``watched``."""
        match operation:
            case atls.SendUnit():
                return await self._send(client, operation)
            case atls.ReadUnit():
                return await self._read(client, operation)
            case atls.OpenSession():
                return await self._open(client, operation)
            case atls.CloseSession(session=session):
                return self._close(client, SessionId(session))
            case atls.WatchSession():
                return self._watch(client, operation)
            case atls.Inbox():
                return await self._inbox(client, operation)

    async def _open(self, client: HttpClient, operation: atls.OpenSession) -> HttpResponse:
        if operation.to is None:  # no service stands behind the gateway itself: the implied target is none
            return _UNKNOWN
        context = self.context
        identifier = context.next_id()
        # A client without a nonce can't repeat its open.
        nonce = secrets.token_bytes(16) if operation.nonce is None else bytes.fromhex(operation.nonce)
        verdict = context.submit(
            Open(
                id=identifier,
                source=client.identity,
                to=operation.to,
                content=_KINDS[operation.kind],
                nonce=nonce,
                received_at=context.now(),
            )
        )
        if isinstance(verdict, Refused):
            return atls.refusal(verdict.reason.value, verdict.retry_after)
        session = verdict.session
        assert session is not None
        pending = _pending(client)
        pending.location, pending.draft = session, operation.draft
        pending.alias = operation.to if operation.draft and client.identity.link.protocol != "none" else None
        if operation.payload:
            return await self._submit(pending, session, operation.kind, operation.payload)
        pending.answer(None)
        return await pending.answered

    async def _send(self, client: HttpClient, operation: atls.SendUnit) -> HttpResponse:
        if operation.session is None:
            return _UNKNOWN
        session = SessionId(operation.session)
        downlink = self._kept(client, session)
        expected = 0 if downlink is None else downlink.next_in
        n = operation.n
        if n is None:
            if downlink is not None and downlink.resumed and not self._counted:
                return self._uncounted(client, session)
            n = expected
        elif n > expected and (downlink is None or not downlink.resumed):
            # The engine would end a session of TLS: over HTTP the unit that is missing can still come.
            if not self.context.owns(client.identity, session):
                return _UNKNOWN
            return atls.refusal("order", expected=expected)
        pending = _pending(client)
        pending.n, pending.draft = n, operation.draft
        return await self._submit(pending, session, operation.kind, operation.payload)

    def take_count(self, found: Any) -> None:
        self._counted = bool(found["counted"])

    def _uncounted(self, client: HttpClient, session: SessionId) -> HttpResponse:
        """After a crash the number of a unit that has none is not known: the other end might drop it as a repeated one,
        and acknowledge it. So the session is over, and the client may open another one."""
        self._close(client, session, Reason.RESTARTED)
        return _UNKNOWN

    def _kept(self, client: HttpClient, session: SessionId) -> ClientDownlink | None:
        """What is kept of a session in the client's mailboxes, owned by it or not."""
        for box in client.boxes:
            found = self.mailboxes.table.kept(box.claim).get(session)
            if found is not None:
                return found
        return None

    async def _submit(self, pending: WaitingRequest, session: SessionId, kind: Kind, payload: bytes) -> HttpResponse:
        client, content = pending.connection, _KINDS[kind]
        if self._submitted.submit(client, pending, session, content, payload):
            _count(pending.downlink, pending.n)
        elif content is not ContentKind.ATLS:  # it is lost, as a datagram may be; a stream needs it
            _count(self._owned(client, session), pending.n)
        return await self._answered(pending)

    async def _answered(self, pending: WaitingRequest) -> HttpResponse:
        try:
            return await pending.answered
        finally:
            self.mailboxes.cancel(pending)

    def _wait(self, pending: WaitingRequest, downlink: ClientDownlink) -> None:
        """With a unit that comes within the reply window, unless another request stands for it."""
        if not downlink.units and any(each.reads and not each.answered.done() for each in downlink.waiting):
            pending.answer(None)
        else:
            self.mailboxes.wait(pending, downlink)

    async def _read(self, client: HttpClient, operation: atls.ReadUnit) -> HttpResponse:
        mailboxes, session = self.mailboxes, SessionId(operation.session)
        downlink = self._owned(client, session)
        if downlink is None:
            return _UNKNOWN
        mailboxes.acknowledge_below(downlink, operation.n)
        pending = _pending(client)
        pending.reads = True
        granted = None if operation.wait is None else min(operation.wait, int(self._longest_wait))
        mailboxes.wait(pending, downlink, timed=False)
        if granted and not pending.answered.done():
            poll = Poll(client, pending)
            self.polls.enter(poll)
            try:
                await asyncio.wait({pending.answered}, timeout=granted)
            finally:
                self.polls.leave(poll)
                mailboxes.cancel(pending)
        mailboxes.cancel(pending)
        pending.answer(None)  # without effect if it has its answer
        return atls.applied(pending.answered.result(), granted)

    def _owned(self, client: HttpClient, session: SessionId) -> ClientDownlink | None:
        """What is kept of a session of this client, made if there is nothing yet. None: it has no side of it."""
        table = self.mailboxes.table
        box = table.owned(client, session)
        if box is None:
            return None
        found = table.kept(box.claim).get(session)
        if found is not None:
            return found
        views = self.context.sessions(client.identity)
        content = next((view.content for view in views if view.session == session), None)
        return None if content is None else table.downlink(box, session, content)

    def _close(self, client: HttpClient, session: SessionId, reason: Reason = Reason.CLOSED) -> HttpResponse:
        context = self.context
        downlink = self.mailboxes.table.find(client, session)  # afterwards the session may have no owner
        close = Close(
            id=context.next_id(),
            source=client.identity,
            session=session,
            reason=reason,
            received_at=context.now(),
        )
        verdict: Verdict = context.submit(close)
        if isinstance(verdict, Refused):
            return atls.refusal(verdict.reason.value, verdict.retry_after)
        if downlink is not None:
            self.mailboxes.leave(downlink, reason)
        return atls.closed()

    # Events

    def _watch(self, client: HttpClient, operation: atls.WatchSession) -> HttpResponse | Watch:
        downlink = self._owned(client, SessionId(operation.session))
        if downlink is None:
            return _UNKNOWN
        watch = Watch(client, EventStream(), downlink, operation.last)
        self.watches.enter(watch)
        self.mailboxes.observe(downlink, watch)
        return watch

    def watched(self, watch: Watch) -> None:
        """The stream is over, or its client gone."""
        watch.stream.over = True
        self.watches.leave(watch)
        if watch.downlink is not None:
            self.mailboxes.observation_ended(watch.downlink, watch)

    async def _inbox(self, client: HttpClient, operation: atls.Inbox) -> HttpResponse | Watch:
        if operation.watch:
            watch = Watch(client, EventStream(), inbox=True)
            self.watches.enter(watch)
            watch.stream.put(atls.listed(self._entries(client)), key=INBOX_KEY)
            return watch
        granted = None if operation.wait is None else min(operation.wait, int(self._longest_wait))
        if granted and self._has(operation, atls.inbox(self._entries(client))):
            poll = Poll(client)
            self.polls.enter(poll)
            try:
                await within(asyncio.timeout(granted), lambda _: self._news(operation, poll))
            except TimeoutError:
                pass
            finally:
                self.polls.leave(poll)
        answer = atls.inbox(self._entries(client))
        known = atls.is_known(answer, operation.known)
        return atls.applied(atls.not_modified(answer) if known else answer, granted)

    async def _news(self, operation: atls.Inbox, poll: Poll) -> None:
        """Wait until the list is another one than the client has, or another poll needs the place."""
        while self._has(operation, atls.inbox(self._entries(poll.client))) and not poll.evicted:
            await poll.changed.wait()
            poll.changed.clear()

    def _has(self, operation: atls.Inbox, answer: HttpResponse) -> bool:
        """Whether the list is no news: it is the client's own, or, if it has none, empty."""
        return atls.is_known(answer, operation.known) if operation.known else answer.body == b"[]"

    def _entries(self, client: HttpClient) -> list[atls.InboxEntry]:
        offered = self.mailboxes.table.offered(client)
        return [atls.InboxEntry(each.session, each.content.value, each.sender or "") for each in offered]

    def _inbox_changed(self, box: ClientMailbox) -> None:
        there = set(box.connections)
        for poll in self.polls:
            if poll.pending is None and poll.client in there:
                poll.changed.set()
        for watch in self.watches:
            if watch.inbox and watch.client in there:
                watch.stream.put(atls.listed(self._entries(watch.client)), key=INBOX_KEY)

    # From the engine

    def receipt(self, receipt: Receipt) -> bool:
        """Whether it is about a unit of a client."""
        return self._submitted.receipt(receipt)

    def shut_out(self, clients: Iterable[HttpClient]) -> None:
        """What stands for these clients ends."""
        gone = set(clients)
        for poll in self.polls:
            if poll.client in gone:
                poll.give_way()
        for watch in self.watches:
            if watch.client in gone:
                watch.end(Reason.DENIED)
        for pending in self._submitted:
            if pending.connection in gone:
                pending.refuse(Reason.DENIED)

    def close(self) -> None:
        """The adapter ends: what stands is answered, so that clients ask again at once."""
        for poll in self.polls:
            poll.give_way()
        for watch in self.watches:
            watch.end(Reason.RESTARTED)
        for pending in self._submitted:
            pending.refuse(Reason.BUSY, 1.0)
        self._submitted.clear()
        self.mailboxes.close()


def _count(downlink: ClientDownlink | None, n: int) -> None:
    """The engine has judged unit ``n``: the next one is no gap."""
    if downlink is not None:
        downlink.next_in, downlink.resumed = max(downlink.next_in, n + 1), False


def _pending(client: HttpClient) -> WaitingRequest:
    return WaitingRequest(client, asyncio.get_running_loop().create_future())
