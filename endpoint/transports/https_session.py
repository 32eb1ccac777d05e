"""One session over HTTP, as its client: units go up by POST, one at a time, and come down in answers.

States: *new* until the first unit has opened it at a service (at a gateway it is open from the start); then *open*;
``close`` moves it to *closing*, in which the queued units still go; when they are through, the close goes to the server
and moves it to *over*. The server's word that it has no such session (``ended``), and a fault after which the session
can't go on (``broken``, which closes it at the server), move it to *over* at once, with one ``Callbacks.ended``. A lost
connection moves nothing: requests are repeated, since each may be (units carry their number, an open its nonce).

In a handshake the other side's units come in the answers to ours. From the first pause on, or once our units queue, a
long poll waits for them, and the answers come at once. A service of draft-friel-tls-atls-00, which
names no place for the session, knows it by its cookies: it has no numbers and no polls, and its units come in answers
to ours only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Coroutine, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Protocol

from carriage.http import atls_client as atls
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import field_values
from endpoint.transports.gateway_link import GONE, LATER, LOST, MAX_QUEUED_UNITS, RETRY_PAUSE, Kind
from endpoint.transports.receiving_end import ReceivingEnd
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

SOON: Final = 1.0
"""Seconds: a poll that brings nothing new within them was not held by the server, and the next one pauses."""
MAX_COOKIES: Final = 4096
"""Octets of a session's cookies."""


class Server(Protocol):
    """The link's interface for a session."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""

    @property
    def wait(self) -> int:
        """Seconds of a long poll."""

    async def request(
        self, request: HttpRequest, *, trusted: bool | None, cookie: str | None = None, repeat: bool = True
    ) -> HttpResponse: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    def close_soon(self, session: HttpsSession) -> None: ...

    def forget(self, session: HttpsSession) -> None: ...


class HttpsSession(ReceivingEnd):
    """``place``: where units go: the session's own if ``is_open``, else the service's. ``ours``: we opened it, and
    speak first. ``trusted``: how the first hop was judged when it began. ``retry_for``: seconds after its first refusal
    in which a unit is still offered again, and the longest pause between polls, whatever the server asks for.
    ``first``: the number of our first unit here; 1 if the gateway took unit 0 along with the open."""

    def __init__(
        self,
        link: Server,
        place: str,
        kind: Kind,
        peer: str,
        *,
        is_open: bool,
        ours: bool,
        trusted: bool,
        retry_for: float,
        first: int = 0,
    ) -> None:
        super().__init__(kind, peer)
        self.place = place
        self.trusted = trusted
        self.closing = False
        self._link = link
        self._retry_for = retry_for
        self._is_open = is_open
        self._ours = ours
        self._n = first
        self._has_place = is_open
        self._nonce = secrets.token_hex(16)
        self._cookie: str | None = None
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._polling = asyncio.Event()
        self._posting = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def has_place(self) -> bool:
        """Whether the server has named a place for the session, which can be closed."""
        return self._has_place

    def start(self) -> None:
        """Begin to send and to poll."""
        self._tasks.append(self._link.spawn(self._work()))
        if self._has_place:
            self._tasks.append(self._link.spawn(self._poll()))

    def send(self, units: Iterable[bytes]) -> None:
        if self.over or self.closing:
            return
        self._waiting.extend(units)
        if len(self._waiting) > MAX_QUEUED_UNITS:
            self.broken("too many units wait for the server")
        if self._posting:
            self._polling.set()
        self._wake.set()

    def close(self) -> None:
        if not self.over:
            self.closing = True
            self._wake.set()

    # Ends

    def ended(self, reason: str) -> None:
        """The server has no such session any longer."""
        self._stop()
        self.report_end(reason)

    def _refused(self, reason: str) -> None:
        if reason in GONE:
            self.ended(reason)
        else:
            self.broken(reason)

    def broken(self, reason: str) -> None:
        """It can't go on: the server is to know."""
        if not self.over:
            self._link.close_soon(self)
            self.ended(reason)

    def _stop(self) -> None:
        self._link.forget(self)
        self._waiting.clear()
        self.closing = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    # Down

    async def _poll(self) -> None:
        """Ask for the next unit, again and again."""
        loop = asyncio.get_running_loop()
        await self._polling.wait()
        while not self.over:
            began = loop.time()
            n = self._order.expected
            request = atls.read_request(self.place, n, self._link.wait)
            try:
                answer = atls.read_unit(await self._link.request(request, trusted=self.trusted))
            except (TransportError, PeerError) as error:
                self.broken(str(error))
                return
            if isinstance(answer, atls.SessionRefused):
                if answer.reason == "order" and n < self._order.expected:
                    continue  # the unit came meanwhile in the answer to our own
                if answer.reason not in LATER:
                    self._refused(self._why(answer))
                    return
                await asyncio.sleep(min(answer.retry_after or RETRY_PAUSE, self._retry_for))
                continue
            if answer is not None:
                self.received(answer)
                await asyncio.sleep(0)  # what we say to it goes first, on the connection that is free now
            if n == self._order.expected and loop.time() < began + SOON:
                await asyncio.sleep(RETRY_PAUSE)

    def received(self, unit: atls.ReceivedUnit) -> None:
        """A unit of the other side came in an answer."""
        if unit.kind != self._kind:
            self.broken("a unit of another kind than its session")
            return
        expected = self._order.expected
        n = expected if unit.n is None else unit.n
        if n > expected and self._has_place:
            return  # the next poll asks for what is missing
        fault = self.arrived(n, unit.payload)
        if fault is not None:
            self.broken(fault)

    def _why(self, refused: atls.SessionRefused) -> str:
        return "the server no longer has the next unit" if refused.reason == "order" else refused.reason

    # Up

    async def _work(self) -> None:
        """Send what waits, one unit at a time so that order holds, then the close behind it."""
        while not self.over:
            if self._waiting:
                if len(self._waiting) > 1:
                    self._polling.set()
                await self._send_unit(self._waiting.popleft())
                self._n += 1
            elif self.closing:
                self._link.close_soon(self)
                self.over = True
                self._stop()
            else:
                if self._n or not self._ours:  # else the answer to our first unit is to bring their first
                    self._polling.set()
                self._wake.clear()
                await self._wake.wait()

    async def _send_unit(self, unit: bytes) -> None:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        renumbered = False
        while not self.over:
            self._posting = True
            try:
                answer = await self._exchange(self._n, unit)
            except (TransportError, PeerError) as error:
                if self._is_open and not self._has_place:
                    self._lost(str(error))  # sent again it might come twice
                else:
                    self.broken(str(error))
                return
            finally:
                self._posting = False
            if not isinstance(answer, atls.SessionRefused):
                if answer is not None:
                    self.received(answer)
                return
            if answer.reason in LATER:
                deadline = deadline or loop.time() + self._retry_for
                pause = float(answer.retry_after or RETRY_PAUSE)
                if loop.time() + pause <= deadline:
                    await asyncio.sleep(pause)
                    continue
            elif (
                answer.reason == "order"
                and self._kind == "adtls"
                and answer.expected is not None
                and answer.expected < self._n
                and not renumbered
            ):
                renumbered, self._n = True, answer.expected  # the number of a lost unit was not taken
                continue
            elif answer.reason not in LOST:
                self._refused(self._why(answer))
                return
            self._lost(answer.reason)
            return

    async def _exchange(self, n: int, unit: bytes) -> atls.ReceivedUnit | atls.SessionRefused | None:
        """Send a unit; the first one to a service opens the session."""
        if self._is_open:
            request = atls.send_request(self.place, n, self._kind, unit)
            response = await self._link.request(
                request, trusted=self.trusted, cookie=self._cookie, repeat=self._has_place
            )
            self._cookie = _cookies(response) or self._cookie
            return atls.read_unit(response)
        request = atls.send_request(f"{self.place}?nonce={self._nonce}", n, self._kind, unit)
        response = await self._link.request(request, trusted=self.trusted)
        opened = atls.read_opened(self._link.origin + self.place, response)
        if isinstance(opened, atls.SessionRefused):
            return opened
        self._is_open = True
        if opened.location is not None:
            self.place = opened.location
            self._has_place = True
            self._tasks.append(self._link.spawn(self._poll()))
        else:
            self._cookie = _cookies(response)
        return opened.unit

    def _lost(self, reason: str) -> None:
        self.report_loss(self._n, reason)
        if self._kind == "atls" or not self._is_open:
            self.broken(f"unit {self._n} was lost: {reason}")


def _cookies(response: HttpResponse) -> str | None:
    """The Cookie field for what the server set, None if it set nothing that can be read."""
    found: dict[str, str] = {}
    for value in field_values(response.fields, "set-cookie"):
        try:
            parsed = SimpleCookie(value)
        except CookieError:
            continue
        found |= {name: morsel.coded_value for name, morsel in parsed.items()}
    text = "; ".join(f"{name}={value}" for name, value in found.items())
    return text if 0 < len(text) <= MAX_COOKIES else None
