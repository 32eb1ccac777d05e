"""One session with a service: its units go out by POST, one at a time and in order, the service's come in the answers.

States, and who moves them. *new*: nothing was sent; the first unit opens it at the service's url. *open*: the service
answered that one; what follows goes to its Location, or to the same url with the session's cookies. *over*: the gateway
closed it (``Close``), the service did (404, 410), or either broke the rules.

While it is open, a question (a POST without body) waits at the service for its next unit. It says that all units before
it have arrived, so it is asked only when the gateway has delivered or stored these. Our own unit doesn't wait for the
answer to the question: it goes beside it on another connection, since giving the question up would cost a TLS handshake
for each unit. A service that doesn't number its units could answer both at once, and nobody would know in which order:
there the question is given up first.

Numbers: a lower one came before, and is dropped. A higher one is thrown away, and the one that is missing asked for; a
service still has what we never said that we have. If it has not, a TLS session is broken, and another goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from adapters.http.north_client import Answered, Failed, ServiceClient
from adapters.http.north_config import NorthTimes
from adapters.http.north_tls import NO_TLS
from carriage.http.atls import HttpResponse
from carriage.http.atls_client import (
    Opened,
    ReceivedUnit,
    SessionRefused,
    applied_wait,
    close_request,
    read_opened,
    read_request,
    read_unit,
    send_request,
)
from carriage.http.atls_format import KINDS, Kind
from carriage.http.cookies import SessionCookies
from gateway.api.errors import PeerError
from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

MOST_HELD: Final = 16
"""Units of a service that the gateway has asked us to bring again later."""

REASONS: Final[dict[str, Reason]] = {
    "timeout": Reason.UNREACHABLE,
    "order": Reason.BROKEN,
    "unauthenticated": Reason.DENIED,
    **{reason.value: reason for reason in Reason},
}
"""The gateway's reason for one of HTTP; what is not here is REJECTED, with the status as the device's own word."""
_WAITS: Final = frozenset({Reason.BUSY, Reason.OVER_RATE, Reason.UNREACHABLE})
"""Reasons for which an open may be tried again by the endpoint's next unit."""
_NO_POLLS: Final = frozenset({400, 405, 411, 415})
"""What a service answers to a question that knows none."""
_GONE: Final = frozenset({404, 410})

KIND_OF: Final[dict[ContentKind, Kind]] = {ContentKind(kind): kind for kind in KINDS}


class Home(Protocol):
    """What a session needs of ``services.Services``."""

    @property
    def context(self) -> AdapterContext: ...

    @property
    def times(self) -> NorthTimes: ...

    def client(self, url: str) -> ServiceClient: ...

    def peer(self, url: str, link: LinkSecurity) -> Peer: ...

    def submitted(self, unit: EnvelopeId, session: ServiceSession) -> None:
        """The gateway took a unit on, so a receipt for it follows."""

    def settle(self, receipt: Receipt) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    def changed(self) -> None:
        """What is stored of a session is another now."""

    def forget(self, session: ServiceSession) -> None: ...


def longer(pause: float, times: NorthTimes) -> float:
    """The pause after one between questions that a service didn't let wait."""
    return min(max(2 * pause, times.poll_pause), times.longest_poll_pause)


class ServiceSession:
    """``url``: of the service. ``nonce``: of the open."""

    def __init__(self, home: Home, session: SessionId, content: ContentKind, url: str, nonce: bytes) -> None:
        self.id = session
        self.url = url
        self.content = content
        self.location: str | None = None
        """Where the session's requests go; None: to the url."""
        self.opened = False
        self.numbers = False
        """The service numbers its units, and so knows a repeated one of ours."""
        service = home.client(url).service
        self.cookies = SessionCookies(service.host, service.url.startswith("https:"))
        self.over = False
        self.next_in = 0
        self.resumed = False
        """Taken up from an earlier run: the service may be further on than the gateway knows."""
        self._home = home
        self._kind = KIND_OF[content]
        self._stream = content is ContentKind.ATLS
        self._nonce = nonce
        self._link = NO_TLS
        self._hop: int | None = None
        """The number of our next unit on this hop, which counts what the service took; None: that of the unit."""
        self._saved = 0
        self._queue: deque[Transmit] = deque()
        self._now: EnvelopeId | None = None
        """The transmit that is being sent; None as well if it was withdrawn."""
        self._worker: asyncio.Task[None] | None = None
        self._poll: asyncio.Task[None] | None = None
        self._asking = False
        self._ahead = 0
        """How often in a row a unit came that is not the next one."""
        self._unconfirmed: set[EnvelopeId] = set()
        self._held: deque[ReceivedUnit] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stir = asyncio.Event()
        """Something happened that a pause between questions should not outlast."""

    @property
    def polling(self) -> bool:
        return self._poll is not None

    # From the gateway

    def send(self, transmit: Transmit) -> None:
        """A unit or a close."""
        self._queue.append(transmit)
        if self._worker is None:
            self._worker = self._home.spawn(self._work())

    def withdraw(self, envelope: EnvelopeId) -> bool:
        if self._now == envelope:
            self._now = None
            return True
        for transmit in self._queue:
            if transmit.envelope.id == envelope:
                self._queue.remove(transmit)
                return True
        return False

    def confirmed(self, unit: EnvelopeId) -> None:
        """The gateway delivered or stored a unit of the service, or gave it up."""
        self._unconfirmed.discard(unit)
        if not self._unconfirmed:
            self._stir.set()

    def resume(self) -> None:
        """Go on with what an earlier run had open."""
        self.opened = self.numbers = self.resumed = True
        self._begin_polls()

    def stop(self) -> None:
        """The adapter ends: whatever is under way is dropped with its connection."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._worker, self._poll):
            if task is not None:
                task.cancel()

    # Out

    async def _work(self) -> None:
        try:
            while self._queue:
                transmit = self._queue.popleft()
                self._now = transmit.envelope.id
                if isinstance(transmit.envelope, Unit):
                    await self._send_unit(transmit, transmit.envelope)
                else:
                    await self._send_close()
        except Exception:  # whatever it is, it must harm no other session
            _LOG.exception("session %s with %s", self.id[:8], self.url)
            self._settle(Outcome.DROPPED, Reason.BROKEN)
            self._break(Reason.BROKEN, "a mistake of the gateway")
        finally:
            self._worker = None

    def _settle(self, outcome: Outcome, reason: Reason | None = None, detail: str = "") -> None:
        if self._now is not None:
            self._home.settle(Receipt(self._now, outcome, reason, self.id, detail[:64]))
            self._now = None

    async def _send_unit(self, transmit: Transmit, unit: Unit) -> None:
        if self.over:
            self._settle(Outcome.DROPPED, Reason.CLOSED)
            return
        if not self.opened:
            if unit.n and (self._stream or self.resumed):  # its beginning went with an earlier run
                self._settle(Outcome.DROPPED, Reason.RESTARTED)
                return
            self._hop = 0
        client = self._home.client(self.url)
        if self._poll is not None and not self.numbers and self._asking:
            self._end_polls()
        for attempt in range(2):
            number = unit.n if self._hop is None else self._hop
            request = send_request(self._target(client), number, self._kind, unit.payload.octets)
            # A nonce lets a service that numbers units know a repeated open, too.
            again = self.numbers or (client.numbers and not self.opened)
            result = await client.ask(
                request, self.cookies, require=transmit.require, again=again, wanted=lambda: self._now is not None
            )
            if isinstance(result, Failed):
                self._unsent(number, result)
                return
            self._link = result.link
            try:
                found = self._read(client, result.response)
            except PeerError as error:
                self._settle(Outcome.DELIVERED)
                self._break(Reason.BROKEN, str(error))
                return
            if not isinstance(found, SessionRefused):
                client.counters["units_out"] += 1
                self._hop = number + 1
                self._settle(Outcome.DELIVERED)
                if found is not None:
                    self._take(found)
                self._begin_polls()
                self._stir.set()
                return
            if attempt or found.reason != "order" or found.expected is None or self._stream or not self.opened:
                self._refused(client, found)
                return
            # The service didn't take this unit, and says which number is the next on this hop.
            self._hop = found.expected

    def _target(self, client: ServiceClient) -> str:
        if self.location is not None:
            return self.location
        path = client.service.path
        return path if self.opened or not client.numbers else f"{path}?nonce={self._nonce.hex()}"

    def _read(self, client: ServiceClient, response: HttpResponse) -> ReceivedUnit | SessionRefused | None:
        if self.opened:
            found = read_unit(response)
        else:
            answer = read_opened(self.url, response)
            if isinstance(answer, SessionRefused):
                return answer
            assert isinstance(answer, Opened)
            self.opened = True
            self.location, found = answer.location, answer.unit
            self.numbers = client.numbers and self.location is not None
            self._home.changed()
        if isinstance(found, ReceivedUnit) and found.n is not None and not self.numbers:
            self.numbers = True
            self._home.changed()
        if self.cookies.version != self._saved:
            self._saved = self.cookies.version
            self._home.changed()
        return found

    def _unsent(self, number: int, failed: Failed) -> None:
        """There is no answer to a unit. If the service may have had it, another number is next; if it had not, it says
        so then (409)."""
        if self.opened:
            self._hop = number + 1 if failed.sent else number
        if failed.reason is None:
            return
        self._settle(Outcome.DROPPED, failed.reason, failed.detail)
        if failed.reason not in _WAITS and (not self.opened or failed.sent):
            self._break(failed.reason, failed.detail)

    def _refused(self, client: ServiceClient, found: SessionRefused) -> None:
        reason = REASONS.get(found.reason, Reason.REJECTED)
        client.refusals[found.reason] += 1
        detail = str(found.status) if found.retry_after is None else f"{found.status}, again in {found.retry_after} s"
        self._settle(Outcome.DROPPED, reason, detail)
        if found.status in _GONE and self.opened:
            self._end(Reason.CLOSED if found.reason == "closed" else Reason.UNKNOWN)
        elif not self.opened and reason not in _WAITS:
            self._end(reason)

    async def _send_close(self) -> None:
        """DELETE where the session has a place; a service that names none has no close."""
        over, self.over = self.over, True
        self._home.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        outcome, reason = Outcome.DELIVERED, None
        if self.location is not None and not over:
            result = await self._home.client(self.url).ask(
                close_request(self.location), self.cookies, again=True, wanted=lambda: self._now is not None
            )
            if isinstance(result, Failed):
                outcome, reason = Outcome.DROPPED, result.reason
            elif result.response.status >= 400 and result.response.status not in (404, 405, 410):
                outcome, reason = Outcome.DROPPED, Reason.REJECTED
        self._settle(outcome, reason)
        if self._poll is not None:  # the service answers it as well now, which saves the connection
            await asyncio.wait({self._poll}, timeout=self._home.times.farewell)
        self._end_polls()

    # In

    def _take(self, unit: ReceivedUnit) -> None:
        if self.over:
            return
        if unit.kind != self._kind:
            self._break(Reason.CONTENT, f"a unit of another kind ({unit.kind})")
            return
        n = self.next_in + len(self._held) if unit.n is None else unit.n
        expected = self.next_in + len(self._held)
        if n < expected:
            return
        if n > expected and not self.resumed:
            self._ahead += 1
            if self._ahead == 1:
                self._stir.set()
                self._begin_polls()
                return
            if self._stream:
                self._break(Reason.BROKEN, "a unit of the service is missing")
                return
        self._ahead, self.resumed = 0, False
        self._home.client(self.url).counters["units_in"] += 1
        received = ReceivedUnit(n, unit.kind, unit.payload)
        if self._held:
            self._hold(received)
        else:
            self._submit(received)

    def _submit(self, received: ReceivedUnit) -> bool:
        """Hand a unit to the gateway; False: it is to come again later."""
        context = self._home.context
        n, identifier = received.n, context.next_id()
        assert n is not None
        unit = Unit(
            id=identifier, source=self._home.peer(self.url, self._link), session=self.id, content=self.content, n=n,
            payload=Sealed(received.payload), received_at=context.now(),
        )  # fmt: skip
        verdict = context.submit(unit)
        if isinstance(verdict, Accepted):
            self.next_in = n + 1
            if not verdict.duplicate:
                self._unconfirmed.add(identifier)
                self._home.submitted(identifier, self)
            return True
        if verdict.retry_after is not None:
            self._hold(received, first=True)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(verdict.retry_after, self._again)
            return False
        self.next_in = n + 1
        if verdict.reason in (Reason.UNKNOWN, Reason.CLOSED, Reason.BROKEN):  # the gateway has ended it
            self._leave()
        elif self._stream:
            self._break(verdict.reason, "the gateway refuses a unit of the service")
        return True

    def _hold(self, received: ReceivedUnit, first: bool = False) -> None:
        if len(self._held) >= MOST_HELD:
            self._break(Reason.OVER_RATE, "more units than the policy lets pass")
        elif first:
            self._held.appendleft(received)
        else:
            self._held.append(received)

    def _again(self) -> None:
        self._timer = None
        while self._held and not self.over:
            if not self._submit(self._held.popleft()):
                return
        self._stir.set()

    # Questions

    def _begin_polls(self) -> None:
        client = self._home.client(self.url)
        wanted = client.service.table.poll or (self._ahead and self.numbers)
        if wanted and self._poll is None and self.opened and not self.over:
            self._poll = self._home.spawn(self._ask_on())

    def _end_polls(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    async def _ask_on(self) -> None:
        try:
            await self._questions()
        finally:
            if self._poll is asyncio.current_task():
                self._poll = None

    async def _questions(self) -> None:
        times, pause = self._home.times, 0.0
        while not self.over:
            pause = await self._rest(pause)
            if not await self._settled():
                return
            client = self._home.client(self.url)
            most = client.service.table.poll
            if not most and not self._ahead:
                return
            if client.polls.locked():
                most = min(most, 5)  # others wait for their turn
            async with client.polls:
                asked_at = asyncio.get_running_loop().time()
                result = await self._question(client, most)
            lasted = asyncio.get_running_loop().time() - asked_at
            honoured = self._heard(client, result, lasted >= max(1.0, most / 2))
            if honoured is None:
                return
            pause = 0.0 if honoured else longer(pause, times)

    async def _question(self, client: ServiceClient, most: int) -> Answered | Failed:
        target = self.location if self.location is not None else client.service.path
        wait = None if self._ahead or not most else most
        self._asking = True
        try:
            return await client.ask(
                read_request(target, self.next_in, wait),
                self.cookies,
                again=self.numbers,
                wait=wait or 0,
                wanted=lambda: not self.over,
            )
        finally:
            self._asking = False

    def _heard(self, client: ServiceClient, result: Answered | Failed, waited: bool) -> bool | None:
        """What becomes of an answer to a question. True: ask again at once, False: after a pause, None: never."""
        if self.over:
            return None
        if isinstance(result, Failed):
            if result.reason is Reason.TOO_LARGE or (result.reason is Reason.BROKEN and result.sent):
                self._break(result.reason, result.detail)
            return False
        self._link = result.link
        try:
            found = read_unit(result.response)
        except PeerError as error:
            self._break(Reason.BROKEN, str(error))
            return None
        if isinstance(found, SessionRefused):
            if found.status in _GONE:
                self._end(Reason.CLOSED if found.reason == "closed" else Reason.UNKNOWN)
            elif self._ahead and self._stream:
                self._break(Reason.BROKEN, "a unit of the service is missing")
            return None if found.status in _NO_POLLS else False
        if found is not None:
            if found.n is not None:
                self.numbers = True
            self._take(found)
            return True
        if self._ahead and self._stream:
            self._break(Reason.BROKEN, "a unit of the service is missing")
        self._ahead = 0
        return waited or applied_wait(result.response) is not None

    async def _rest(self, pause: float) -> float:
        """Pause between questions; if something comes meanwhile, the short pause counts from then on."""
        while pause and not self._ahead and not self.over:
            self._stir.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._stir.wait()
            except TimeoutError:
                break
            pause = self._home.times.poll_pause
        return pause

    async def _settled(self) -> bool:
        """Wait until the gateway has what came so far for good."""
        while (self._unconfirmed or self._held) and not self.over:
            self._stir.clear()
            await self._stir.wait()
        return not self.over

    # Ends

    def _break(self, reason: Reason, why: str) -> None:
        """The session can't go on, by our judgement: the service is told, too."""
        if self.over:
            return
        _LOG.info("session %s with %s is over: %s", self.id[:8], self.url, why)
        place = self.location
        self._end(reason)
        if place is not None:
            self._home.spawn(self._tell_end(place))

    async def _tell_end(self, place: str) -> None:
        await self._home.client(self.url).ask(close_request(place), self.cookies, again=True)

    def _end(self, reason: Reason) -> None:
        """The service's end of the session is no more; the gateway has the other end hear it."""
        if self.over:
            return
        self._leave()
        context = self._home.context
        context.submit(
            Close(
                id=context.next_id(), source=self._home.peer(self.url, self._link), session=self.id, reason=reason,
                received_at=context.now(),
            )
        )  # fmt: skip

    def _leave(self) -> None:
        self.over = True
        self._home.forget(self)
        self._stir.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._poll is not None and self._poll is not asyncio.current_task():
            self._end_polls()
