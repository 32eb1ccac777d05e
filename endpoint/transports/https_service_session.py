"""One session of a service over HTTP: the client's units come in requests, ours go out in the answers to them.

States: *live* from its open on; our ``close`` moves it to *closing*, in which the client can still read what waits;
once it has all, or after ``linger`` seconds, it is *gone* (``forget``). The client's DELETE (``closed_by_client``) and
the service's table (``end``: idle, or room is needed) move it to *gone* at once.

Our unit is kept until the client has shown that it came: by asking for a later one, or by its own next unit,
which it sends only once it has the answer to the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from carriage.http import atls
from carriage.http.atls import HttpResponse
from carriage.unit_sequence import Arrival
from endpoint.transports.gateway_link import MAX_QUEUED_UNITS, Kind
from endpoint.transports.receiving_end import ReceivingEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """Seconds."""

    reply_window: float = 2.0
    """For our unit to be there for the answer to a client's."""
    longest_wait: int = 30
    """For a long poll; proxies cut requests that take a minute."""
    linger: float = 15.0
    """For the client to read the last units of a session that we closed."""


class ServiceSessions(Protocol):
    """The table of sessions, as one of them sees it."""

    def forget(self, session: ServiceSession) -> None: ...


class ServiceSession(ReceivingEnd):
    """``owner``: who may use it, as the web service knows its clients; ``host``: from there it was opened.
    ``draft``: its client speaks draft-friel-tls-atls-00's media type. ``used``: when a request came last, in seconds of
    the loop."""

    def __init__(
        self,
        table: ServiceSessions,
        name: str,
        kind: Kind,
        peer: str,
        *,
        owner: str,
        host: object,
        draft: bool = False,
        times: SessionTimes = SessionTimes(),
    ) -> None:
        super().__init__(kind, peer)
        self.name = name
        self.owner = owner
        self.host = host
        self._draft = draft
        self.is_proven = False
        self.closing = False
        self._table = table
        self._times = times
        self._loop = asyncio.get_running_loop()
        self.used = self._loop.time()
        self._down: deque[bytes] = deque()
        self._lowest = 0
        """The number of the first unit in ``_down``."""
        self._answered: int | None = None
        """The client's last unit, and what it was answered; None while that is not known yet."""
        self._answer: HttpResponse | None = None
        self._brought = 0
        """The number behind the units that the last answer brought."""
        self._is_whole = False
        """The client can't ask for what waits."""
        self._news = asyncio.Event()
        self._poll = 0
        self._polls = 0
        self._linger: asyncio.TimerHandle | None = None

    # The application's side

    def proven(self) -> None:
        self.is_proven = True

    def send(self, units: Iterable[bytes]) -> None:
        if self.closing:
            return
        self._down.extend(units)
        if len(self._down) > MAX_QUEUED_UNITS:
            self.end("the client does not read")
        self._tell()

    def close(self) -> None:
        if self.closing:
            return
        self.closing = self.over = True
        if self._down and not self._is_whole:
            self._linger = self._loop.call_later(self._times.linger, self._forget)
        else:
            self._forget()
        self._tell()

    def end(self, reason: str) -> None:
        """It can't go on."""
        self._forget()
        self.report_end(reason)

    def _forget(self) -> None:
        self.closing = True
        self._down.clear()
        if self._linger is not None:
            self._linger.cancel()
        self._table.forget(self)
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # The client's side

    @property
    def next(self) -> int:
        """The number of our next unit."""
        return self._lowest + len(self._down)

    @property
    def is_polled(self) -> bool:
        """Whether a request waits for our units."""
        return self._polls > 0

    async def take(self, n: int | None, unit: bytes, draft: bool, *, whole: bool) -> HttpResponse:
        """Take unit ``n`` (None: the next one, of a client without numbers) and answer with our lowest unit.

        ``whole``: a client of draft-friel-tls-atls-00 expects all that waits in one answer (section 9.1), since it
        can't ask for the rest. What waits of a TLS stream becomes one unit for it. Of DTLS it gets one datagram: it
        couldn't tell two from one, and the handshake's retransmission brings the others.
        """
        self.used = self._loop.time()
        expected = self._order.expected
        number = expected if n is None else n
        if number == self._answered:
            return await self._settled(number, draft, whole)
        if number != expected:
            arrival = self._order.judge(number)
            return atls.taken() if arrival is Arrival.DUPLICATE else atls.refusal("order", expected=expected)
        self._acknowledge(self._brought)
        self._is_whole = whole
        self._answered, self._answer = number, None
        if self.over:  # we have closed: the client is to read what is left
            self._order.take(number)
        elif (fault := self.arrived(number, unit)) is not None:
            self.end(fault)
            return atls.refusal("broken", detail=fault)
        return await self._settled(number, draft, whole)

    async def _settled(self, number: int, draft: bool, whole: bool) -> HttpResponse:
        """The answer to the client's unit ``number``, which stays the same however often it is asked for."""
        await self._wait(self._times.reply_window, lambda: bool(self._down) or self.is_polled)
        if self._answered != number:
            return atls.taken()
        if self._answer is None:
            self._answer = self._first(draft, whole)
        return self._answer

    def _first(self, draft: bool, whole: bool) -> HttpResponse:
        if not self._down:
            return atls.refusal("closed") if self.closing else atls.taken()
        if whole and self._kind == "atls":
            self._down = deque((b"".join(self._down),))
        self._brought = self._lowest + 1
        return atls.unit(self._lowest, self._kind, self._down[0], draft)

    async def read(self, n: int, wait: int | None) -> HttpResponse:
        """Our unit ``n``, if it comes within ``wait`` seconds. Of several polls the last one waits."""
        self._acknowledge(n)
        held = None if wait is None else min(wait, self._times.longest_wait)
        if self._lowest <= n <= self.next:
            self._poll += 1
            mine = self._poll
            self._polls += 1
            self._tell()
            try:
                await self._wait(held or 0, lambda: n < self.next or self._poll != mine)
            finally:
                self._polls -= 1
                self.used = self._loop.time()
        if not self._lowest <= n <= self.next:
            answer = atls.refusal("order", expected=self._lowest)
        elif n < self.next:
            answer = atls.unit(n, self._kind, self._down[n - self._lowest], self._draft)
        else:
            answer = atls.refusal("closed") if self.closing else atls.taken()
        return (
            answer if held is None else replace(answer, fields=(*answer.fields, ("preference-applied", f"wait={held}")))
        )

    async def news(self, last: int | None, seconds: float) -> int | None:
        """The number of the newest unit above ``last``, once there is one; None: there was none for ``seconds``."""
        known = -1 if last is None else last
        self._polls += 1
        try:
            await self._wait(seconds, lambda: bool(self._down) and self.next - 1 > known)
        finally:
            self._polls -= 1
            self.used = self._loop.time()
        return self.next - 1 if self._down and self.next - 1 > known else None

    def closed_by_client(self) -> None:
        self.end("closed")

    def _acknowledge(self, n: int) -> None:
        """The client has all units below ``n``."""
        while self._down and self._lowest < n:
            self._down.popleft()
            self._lowest += 1
        if self.closing and not self._down:
            self._forget()

    async def _wait(self, seconds: float, there: Callable[[], bool]) -> None:
        """Until ``there`` holds, the session closes, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (there() or self.closing):
                    await self._news.wait()
