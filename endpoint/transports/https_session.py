"""One session over HTTP, as its client: units go up by POST, one at a time, and come down in answers.

States: those of ``sending_end``; *live* is *new* until the first unit has opened the session at a service (at a gateway
it is open from the start), then *open*. A lost connection moves nothing: requests are repeated, since each may be
(units carry their number, an open its nonce).

In a handshake the other side's units come in the answers to ours. From the first pause on, or once our units queue, a
long poll waits for them, and the answers come at once. A service of draft-friel-tls-atls-00, which
names no place for the session, knows it by its cookies: it has no numbers and no polls, and its units come in answers
to ours only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, Protocol

from carriage.http import atls_client as atls
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import field_values
from endpoint.transports.gateway_link import LATER, LOST, RETRY_PAUSE, Kind
from endpoint.transports.sending_end import SendingEnd
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


class HttpsSession(SendingEnd):
    """``place``: where units go: the session's own if ``is_open``, else the service's. ``ours``: we opened it, and
    speak first. ``trusted``: how the first hop was judged when it began. ``retry_for``: seconds after its first refusal
    in which a unit is still offered again, and the longest pause between polls, whatever the server asks for."""

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
    ) -> None:
        super().__init__(kind, peer, "server", retry_for)
        self.place = place
        self.trusted = trusted
        self._link = link
        self._is_open = is_open
        self._ours = ours
        self._has_place = is_open
        self._nonce = secrets.token_hex(16)
        self._cookie: str | None = None
        self._polling = asyncio.Event()
        self._posting = False

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
        super().send(units)
        if self._posting and self._waiting:
            self._polling.set()

    def _will_send(self) -> None:
        # The answer to our first unit is to bring their first.
        if len(self._waiting) > 1 or (not self._waiting and (self._n or not self._ours)):
            self._polling.set()

    def _leave(self) -> None:
        self._link.close_soon(self)

    def _forget(self) -> None:
        self._link.forget(self)

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
                self._received(answer)
            if n == self._order.expected and loop.time() < began + SOON:
                await asyncio.sleep(RETRY_PAUSE)

    def _received(self, unit: atls.ReceivedUnit) -> None:
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

    async def _send_unit(self, unit: bytes) -> None:
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
                    self._received(answer)
                return
            if answer.reason in LATER:
                deadline = await self._later(deadline, answer.retry_after)
                if deadline is not None:
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
