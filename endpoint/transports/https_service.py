"""The HTTP side of a service: its table of sessions, and the request handlers that a web application mounts.

``/.well-known/atls`` opens and takes the units of clients that know their session by its cookie alone
(draft-friel-tls-atls-00); ``/atls/{session}`` is a session's. Any client that knows a session's 128 random bits may
send in it: who it is, layer 0 says. A web service that knows its clients gives ``owner_of``, and a session is its
owner's.

The table is bounded. A full one puts out the session that was idle for longest of those whose peer is not proven yet;
if all are proven, an open is answered 503. One host opens at most half of it.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web

from carriage.http import atls
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import COOKIE_PREFIX, WELL_KNOWN, cookie_field, field_values, lower
from common.latest import LatestValues
from endpoint.transports.gateway_link import CarriageSession, Kind
from endpoint.transports.https_listener import ServiceListener
from endpoint.transports.https_service_session import ServedSession, SessionTimes
from layer.errors import TransportError
from layer.hosts import host_of

COOKIE: Final = f"{COOKIE_PREFIX}service"
RETRY_AFTER: Final = 5
"""Seconds after which a client that found the table full may try again."""
SWEEP: Final = 5.0
"""Seconds between looks for idle sessions."""
KEEP_ALIVE: Final = 20.0
"""Seconds between comments in an event stream, which keep a proxy from cutting it."""

READ_WITHIN: Final = 30.0
"""Seconds for a client to read an event, until its connection is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Times in seconds, sizes in octets."""

    max_sessions: int = 1000
    idle: float = 300.0
    """A session without a request for so long ends. Our clients poll; those of draft-friel-tls-atls-00 can't."""
    max_body: int = 65_536
    body_for: float = 15.0
    """For a request's body to arrive."""
    times: SessionTimes = field(default_factory=SessionTimes)


Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What a route of a web application calls."""


def no_owner(request: web.BaseRequest) -> str:
    """The web service doesn't know its clients."""
    return ""


class ServiceLink:
    """The sessions that clients open over HTTP; a ``GatewayLink`` that opens none itself.

    ``secure``: clients come by https, whatever we see of it; None: as each request says.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        limits: ServiceLimits = ServiceLimits(),
        secure: bool | None = None,
        owner_of: Callable[[web.BaseRequest], str] = no_owner,
    ) -> None:
        self._kind = kind
        self._limits = limits
        self._secure = secure
        self._owner_of = owner_of
        self._sessions: dict[str, ServedSession] = {}
        self._hosts: Counter[object] = Counter()
        self._opened: LatestValues[tuple[str, str, Kind], str] = LatestValues(2 * limits.max_sessions)
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._progress = asyncio.Event()

    @staticmethod
    def routes(on_open: Handle, on_session: Handle) -> list[web.RouteDef]:
        """The routes of a service, with handlers such as ``open_request`` and ``session_request``."""
        return [web.route("*", WELL_KNOWN, on_open), web.route("*", "/atls/{session}", on_session)]

    # GatewayLink

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._incoming = incoming
        ready()
        try:
            while True:
                await asyncio.sleep(min(SWEEP, self._limits.idle / 4))
                self._sweep()
        finally:
            self._incoming = None
            for session in list(self._sessions.values()):
                session.end("the service leaves")

    async def open(self, to: str, kind: Kind) -> CarriageSession:
        raise TransportError("a service opens no sessions", transient=False)

    async def drain(self) -> None:
        while any(session.closing for session in self._sessions.values()):
            self._progress.clear()
            await self._progress.wait()

    # Sessions

    def forget(self, session: ServedSession) -> None:
        if self._sessions.pop(session.name, None) is not None:
            self._hosts[session.host] -= 1
            self._hosts += Counter()  # drops what is zero
            self._progress.set()

    def _sweep(self) -> None:
        before = asyncio.get_running_loop().time() - self._limits.idle
        for session in list(self._sessions.values()):
            if session.used < before and not session.is_polled:
                session.end(f"no request for {self._limits.idle:g} s")

    def _has_room(self, host: object) -> bool:
        """Whether a session may open from ``host``; makes room if need be."""
        if self._hosts[host] >= max(1, self._limits.max_sessions // 2):
            candidates = [each for each in self._sessions.values() if each.host == host]
        elif len(self._sessions) >= self._limits.max_sessions:
            candidates = list(self._sessions.values())
        else:
            return True
        unproven = [each for each in candidates if not each.is_proven]
        if not unproven:
            return False
        min(unproven, key=lambda each: each.used).end("room was needed for another session")
        return True

    async def _open(self, asked: atls.OpenSession, owner: str, host: object, peer: str) -> HttpResponse:
        if asked.kind != self._kind:
            return atls.refusal("content", detail=f"sessions here are of kind {self._kind}")
        key = None if asked.nonce is None else (owner, asked.nonce, asked.kind)
        known = self._opened.get(key) if key is not None else None
        session = self._sessions.get(known) if known is not None else None
        if known is not None and session is None:
            return atls.refusal("closed")
        if session is None:
            if self._incoming is None or not self._has_room(host):
                return atls.refusal("busy", RETRY_AFTER)
            name = secrets.token_hex(16)
            session = self._sessions[name] = ServedSession(
                self, name, asked.kind, peer, owner=owner, host=host, draft=asked.draft, times=self._limits.times
            )
            self._hosts[host] += 1
            if key is not None:
                self._opened.put(key, name)
            self._incoming(session)
            if session.over and not session.closing:
                return atls.refusal("busy", RETRY_AFTER)
        answer = atls.taken()
        if asked.payload:
            answer = await session.take(0, asked.payload, asked.draft, whole=asked.draft and asked.nonce is None)
        return atls.opened(session.name, answer) if answer.status == 200 else answer

    def _find(self, name: str, owner: str) -> ServedSession | None:
        """Another owner's session is no other case than none at all."""
        session = self._sessions.get(name)
        return session if session is not None and session.owner == owner else None

    # Requests

    async def open_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """``/.well-known/atls``."""
        cookie = request.cookies.get(COOKIE) if "nonce=" not in request.rel_url.raw_query_string else None
        return await self._answer(request, WELL_KNOWN, cookie)

    async def session_request(self, request: web.BaseRequest) -> web.StreamResponse:
        """``/atls/{session}``."""
        place = request.rel_url.raw_path
        at = place.rfind("/atls/")  # a route also matches what is percent-encoded, which no session's place is
        return await self._answer(request, place[at:] if at >= 0 else place, None)

    async def _answer(self, request: web.BaseRequest, path: str, cookie: str | None) -> web.StreamResponse:
        if "early-data" in request.headers:  # a replay could open a session, or be the next unit of one (RFC 8470 5.1)
            return _sent(atls.refusal("too-early"))
        try:
            body = await self._body(request)
        except TimeoutError:
            return _sent(atls.refusal("bad-request", detail="the body did not come in time"), close=True)
        except (ConnectionError, web.PayloadAccessError, web.RequestPayloadError):  # the client may be gone
            refused = atls.refusal("bad-request", detail="the body is not what its header fields say")
            return _sent(refused, close=True)
        if body is None:
            refused = atls.refusal("too-large", detail=f"a body has at most {self._limits.max_body} octets")
            return _sent(refused, close=True)
        query = request.rel_url.raw_query_string
        target = f"{path}?{query}" if query else path
        operation = atls.parse(HttpRequest(request.method, target, lower(request.headers.items()), body), cookie)
        if isinstance(operation, HttpResponse):
            return _sent(operation)
        owner = self._owner_of(request)
        if isinstance(operation, atls.OpenSession):
            host = request.remote or ""
            answer = await self._open(operation, owner, host_of(host), host)
            return _sent(self._placed(request, path, answer))
        if isinstance(operation, atls.Inbox):
            return _sent(atls.refusal("unknown"))
        session = self._find(operation.session or "", owner)
        if isinstance(operation, atls.CloseSession):
            if session is not None:
                session.closed_by_client()
            return _sent(atls.closed())
        if session is None:
            refused = atls.refusal("unknown")
            return _sent(refused if cookie is None else replace(refused, fields=(*refused.fields, _cookie(""))))
        if isinstance(operation, atls.WatchSession):
            return await _stream(request, session, operation.last)
        if isinstance(operation, atls.ReadUnit):
            return _sent(await session.read(operation.n, operation.wait))
        if operation.kind != session.kind:
            return _sent(atls.refusal("content", detail="a unit of another kind than its session"))
        return _sent(await session.take(operation.n, operation.payload, operation.draft, whole=operation.n is None))

    async def _body(self, request: web.BaseRequest) -> bytes | None:
        """The body; None: too long. TimeoutError: too slow."""
        most = self._limits.max_body
        if request.content_length is not None and request.content_length > most:
            return None
        body = bytearray()
        async with asyncio.timeout(self._limits.body_for):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    return None
        return bytes(body)

    def _placed(self, request: web.BaseRequest, path: str, answer: HttpResponse) -> HttpResponse:
        """The answer to an open, with its place below the prefix that we are mounted at, and its cookie over https: one
        without Secure could be read on the way, and a name with ``__Host-`` must have it (RFC 6265bis 4.1.3.2)."""
        places = field_values(answer.fields, "location")
        if not places:
            return answer
        prefix = request.rel_url.raw_path.removesuffix(path)
        fields = [(name, prefix + value if name == "location" else value) for name, value in answer.fields]
        if self._secure if self._secure is not None else request.secure:
            session = places[0].rpartition("/")[2]
            fields.append(_cookie(session))
        return replace(answer, fields=tuple(fields))


def _cookie(session: str) -> tuple[str, str]:
    """The header field that sets our cookie, or takes it back if ``session`` is empty."""
    return cookie_field(COOKIE.removeprefix(COOKIE_PREFIX), session)


def _sent(answer: HttpResponse, *, close: bool = False) -> web.Response:
    response = web.Response(status=answer.status, headers=list(answer.fields), body=answer.body or None)
    if close:
        response.force_close()
    return response


async def _stream(request: web.BaseRequest, session: ServedSession, last: int | None) -> web.StreamResponse:
    """Events: the number of each unit that waits; ``end`` when the session is over."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
    transport = request.transport
    try:
        await response.prepare(request)
        while (n := await session.news(last, KEEP_ALIVE)) is not None or not session.closing:
            last = last if n is None else n
            async with asyncio.timeout(READ_WITHIN):
                await response.write(b":\n\n" if n is None else f'id: {n}\ndata: {{"n": {n}}}\n\n'.encode())
        async with asyncio.timeout(READ_WITHIN):
            await response.write(b'event: end\ndata: {"reason": "closed"}\n\n')
            await response.write_eof()
    except (ConnectionError, TimeoutError):  # it is gone, or reads nothing
        if transport is not None:
            transport.abort()
    return response


class ListeningService(ServiceLink):
    """A service with a listener, for a process that is nothing else.

    ``context``: None: plain http. ``most_connections``: None: as many as the sessions can use.
    """

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        kind: Kind,
        *,
        limits: ServiceLimits = ServiceLimits(),
        most_connections: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(kind, limits=limits, **settings)
        self._where = (host, port)
        self._context = context
        self._most = most_connections or 3 * limits.max_sessions + 64  # a poll, a unit, and a close

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        connections = ServiceListener(self._on_request, most=self._most)
        await connections.listen(*self._where, self._context)
        try:
            await super().run(ready, incoming)
        finally:
            await connections.end()

    async def _on_request(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path == WELL_KNOWN:
            return await self.open_request(request)
        if request.rel_url.raw_path.startswith("/atls/"):
            return await self.session_request(request)
        return _sent(atls.refusal("unknown"))
