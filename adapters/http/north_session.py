"""One session with a service: its units go out by POST, one at a time and in order, the service's come in the answers.

States, and who moves them. *new*: nothing was sent; the first unit opens it at the service's url. *open*: the service
answered that one; what follows goes to its Location, or to the same url with the session's cookies. *over*: the gateway
closed it (``Close``), the service did (404, 410), or either broke the rules.

While it is open, a question waits at the service for its next unit (``north_questions``). Our own unit doesn't wait for
the answer to that: it goes beside it on another connection, since giving the question up would cost a TLS handshake for
each unit. Only if the service doesn't number its units the question is given up first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from adapters.http.north_arrivals import Arrivals
from adapters.http.north_client import Failed, ServiceClient
from adapters.http.north_ports import GONE, KIND_OF, Home
from adapters.http.north_questions import Questions
from adapters.http.north_tls import NO_TLS
from carriage.http.atls import HttpResponse
from carriage.http.atls_client import (
    ReceivedUnit,
    SessionRefused,
    close_request,
    read_opened,
    read_unit,
    send_request,
)
from carriage.http.cookies import SessionCookies
from gateway.api.errors import PeerError
from gateway.api.model import (
    Close,
    ContentKind,
    EnvelopeId,
    Outcome,
    Reason,
    Receipt,
    SessionId,
    Transmit,
    Unit,
)

_LOG = logging.getLogger(__name__)

REASONS: Final[dict[str, Reason]] = {
    "timeout": Reason.UNREACHABLE,
    "order": Reason.BROKEN,
    "unauthenticated": Reason.DENIED,
    **{reason.value: reason for reason in Reason},
}
"""The gateway's reason for one of HTTP; what is not here is REJECTED, with the status as the service's own word."""
_WAITS: Final = frozenset({Reason.BUSY, Reason.OVER_RATE, Reason.UNREACHABLE})
"""Reasons after which the endpoint's next unit may still open the session."""
_NO_DELETE: Final = frozenset({404, 405, 410})
"""A service without such a request, or without such a session: it is closed as well as can be."""


class ServiceSession:
    """See ``north_ports.ServiceEnd``. ``nonce``: of the open."""

    def __init__(self, home: Home, session: SessionId, content: ContentKind, url: str, nonce: bytes) -> None:
        self.id = session
        self.url = url
        self.content = content
        self.is_stream = content is ContentKind.ATLS
        self.location: str | None = None
        self.opened = self.numbers = self.over = False
        service = home.client(url).service
        self.cookies = SessionCookies(service.host, service.url.startswith("https:"))
        self.link = NO_TLS
        self.arrivals = Arrivals(home, self)
        self._questions = Questions(home, self, self.arrivals)
        self._home = home
        self._kind = KIND_OF[content]
        self._nonce = nonce
        self._hop: int | None = None
        """The number of our next unit on this hop, which counts what the service took; None: that of the unit."""
        self._brought: int | None = None
        """The unit of the service that the last answer to ours had: our next one says that it has arrived."""
        self._queue: deque[Transmit] = deque()
        self._now: EnvelopeId | None = None
        """The transmit that is being sent; None as well if it was withdrawn."""
        self._worker: asyncio.Task[None] | None = None
        """Sends what is in the queue; from the first transmit until the session is over."""
        self._more: asyncio.Future[None] | None = None
        """The worker waits by this for the queue to have something."""

    @property
    def polling(self) -> bool:
        return self._questions.going_on

    # From the gateway

    def send(self, transmit: Transmit) -> None:
        """A unit or a close."""
        self._queue.append(transmit)
        if self._worker is None:
            self._worker = self._home.spawn(self._work())
        else:
            self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    def withdraw(self, envelope: EnvelopeId) -> None:
        if self._now == envelope:
            self._now = None
        for transmit in self._queue:
            if transmit.envelope.id == envelope:
                self._queue.remove(transmit)
                return

    def confirmed(self, unit: EnvelopeId) -> None:
        self.arrivals.confirmed(unit)

    def resume(self, location: str) -> None:
        """Go on with what an earlier run had open."""
        self.location = location
        self.opened = self.numbers = True
        self._questions.begin()

    def stop(self) -> None:
        """The adapter ends: whatever is under way is dropped with its connection."""
        self.over = True
        self.arrivals.stop()
        self._questions.stop()
        if self._worker is not None:
            self._worker.cancel()

    # Out

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self.over or self._queue:
                if not self._queue:
                    more = self._more = loop.create_future()
                    await more
                    continue
                transmit = self._queue.popleft()
                self._now = transmit.envelope.id
                if isinstance(transmit.envelope, Unit):
                    await self._send_unit(transmit, transmit.envelope)
                else:
                    await self._send_close()
        except Exception:  # whatever it is, it must harm no other session
            _LOG.exception("session %s with %s", self.id[:8], self.url)
            self._settle(Outcome.DROPPED, Reason.BROKEN)
            self.give_up(Reason.BROKEN, "a mistake of the gateway")
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
        if self._brought is not None and not await self.arrivals.settled(self._brought):
            self._settle(Outcome.DROPPED, Reason.CLOSED)
            return
        if not self.opened:
            if unit.n and (self.is_stream or self.arrivals.resumed):  # its beginning went with an earlier run
                self._settle(Outcome.DROPPED, Reason.RESTARTED)
                return
            self._hop = 0
        client = self._home.client(self.url)
        self._questions.yield_to_unit()
        for resynchronised in (False, True):
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
            self.link = result.link
            try:
                found = self._read(client, result.response)
            except PeerError as error:
                self._settle(Outcome.DELIVERED)
                self.give_up(Reason.BROKEN, str(error))
                return
            if not isinstance(found, SessionRefused):
                self._taken(client, number, found)
                return
            wanted = number if found.expected is None else found.expected
            if resynchronised or found.reason != "order" or wanted >= number or self.is_stream:
                self._refused(client, found)
                return
            self._hop = wanted  # the service didn't take it, and says which number is the next on this hop

    def _target(self, client: ServiceClient) -> str:
        if self.location is not None:
            return self.location
        path = client.service.path
        return path if self.opened or not client.numbers else f"{path}?nonce={self._nonce.hex()}"

    def _read(self, client: ServiceClient, response: HttpResponse) -> ReceivedUnit | SessionRefused | None:
        before = (self.opened, self.numbers, self.cookies.version)
        if self.opened:
            found = read_unit(response)
        else:
            answer = read_opened(self.url, response)
            if isinstance(answer, SessionRefused):
                return answer
            self.opened = True
            self.location, found = answer.location, answer.unit
            self.numbers = client.numbers and self.location is not None
        if isinstance(found, ReceivedUnit) and found.n is not None:
            self.numbers = True
        if before != (self.opened, self.numbers, self.cookies.version):
            self._home.changed()
        return found

    def _taken(self, client: ServiceClient, number: int, found: ReceivedUnit | None) -> None:
        client.counters["units_out"] += 1
        self._hop = number + 1
        self._settle(Outcome.DELIVERED)
        self._brought = None if found is None else found.n
        if found is not None:
            self.arrivals.take(found)
        self._questions.begin()
        self.arrivals.changed.set()

    def _unsent(self, number: int, failed: Failed) -> None:
        """There is no answer to a unit. If the service may have had it, another number is next; if it had not, it says
        so then (409)."""
        if self.opened:
            self._hop = number + 1 if failed.sent else number
        if failed.reason is None:
            return
        self._settle(Outcome.DROPPED, failed.reason, failed.detail)
        if failed.reason not in _WAITS and (not self.opened or failed.sent):
            self.give_up(failed.reason, failed.detail)

    def _refused(self, client: ServiceClient, found: SessionRefused) -> None:
        reason = REASONS.get(found.reason, Reason.REJECTED)
        client.refusals[found.reason] += 1
        detail = str(found.status) if found.retry_after is None else f"{found.status}, again in {found.retry_after} s"
        self._settle(Outcome.DROPPED, reason, detail)
        if self.opened and found.status in GONE:
            self.end(Reason.CLOSED if found.reason == "closed" else Reason.UNKNOWN)
        elif not self.opened and reason not in _WAITS:
            self.end(reason)

    async def _send_close(self) -> None:
        """DELETE where the session has a place; a service that names none has no close."""
        gone, self.over = self.over, True
        self._home.forget(self)
        self.arrivals.stop()
        outcome, reason = Outcome.DELIVERED, None
        if self.location is not None and not gone:
            result = await self._home.client(self.url).ask(
                close_request(self.location), self.cookies, again=True, wanted=lambda: self._now is not None
            )
            if isinstance(result, Failed):
                outcome, reason = Outcome.DROPPED, result.reason
            elif result.response.status >= 300 and result.response.status not in _NO_DELETE:
                outcome, reason = Outcome.DROPPED, Reason.REJECTED
        self._settle(outcome, reason)
        await self._questions.farewell(self._home.times.farewell)

    # Ends

    def give_up(self, reason: Reason, why: str) -> None:
        if self.over:
            return
        _LOG.info("session %s with %s is over: %s", self.id[:8], self.url, why)
        self.end(reason)
        self._delete()

    def leave(self) -> None:
        self._finish()
        self._delete()

    def _delete(self) -> None:
        if self.location is not None:
            self._home.spawn(self._notify(self.location))

    async def _notify(self, place: str) -> None:
        await self._home.client(self.url).ask(close_request(place), self.cookies, again=True)

    def end(self, reason: Reason) -> None:
        if self.over:
            return
        self._finish()
        context = self._home.context
        context.submit(
            Close(
                id=context.next_id(), source=self._home.peer(self.url, self.link), session=self.id, reason=reason,
                received_at=context.now(),
            )
        )  # fmt: skip

    def _finish(self) -> None:
        self.over = True
        self._home.forget(self)
        self.arrivals.stop()
        self._questions.stop()
        self._wake()
