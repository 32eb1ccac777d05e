"""The half of the HTTP adapter that calls services, in a real gateway, and services of several habits to call."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509

from adapters.http.adapter import HttpAdapter
from adapters.http.north_config import NorthTimes, configured
from adapters.http.north_tables import ServiceTable
from adapters.http.services import Services
from carriage.http import atls
from carriage.http.atls_format import Fields, lower
from gateway.engine.limits import EngineLimits
from tests.harness.gateway_in_loop import Gateway
from tests.harness.layer_pair import Authority, Identity

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: far, user: lamp}}
  cloud: {{link: http, url: "{url}"}}
rules:
  - id: all
    effect: permit
    subject: "*"
    resource: "*"
    content: [atls, adtls, atls-data, oscore, edhoc]
"""

QUICK = NorthTimes(
    patience=0.7, pause=0.02, longest_pause=0.1, poll_pause=0.05, longest_poll_pause=0.4, farewell=0.5, save=0.01
)


@dataclass
class Seen:
    """A request as a service saw it. ``connection``: the same for those that came on one connection."""

    method: str
    target: str
    fields: Fields
    body: bytes
    connection: int
    client: str | None = None
    cut: Callable[[], None] = lambda: None
    """End the connection without an answer."""

    def get(self, name: str) -> str | None:
        return next((value for each, value in self.fields if each == name), None)


@dataclass
class Place:
    """A session at a service."""

    kind: str
    came: list[bytes] = field(default_factory=list)
    answers: list[atls.HttpResponse] = field(default_factory=list)
    out: dict[int, bytes] = field(default_factory=dict)
    sent: int = 0
    answered: int | None = None
    """The unit that the answer to the client's last unit had: its next one says that this has arrived."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, payload: bytes) -> None:
        self.out[self.sent] = payload
        self.sent += 1
        self.changed.set()


class NumberingService:
    """A service that speaks as docs/carriage.md says: places, numbers, questions that wait.

    ``replies``: what it answers to a unit, none if it gives none; ``wrap`` may answer in place of it.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.places: dict[str, Place] = {}
        self.replies: Callable[[bytes], bytes | None] = lambda payload: b"re:" + payload
        self.wrap: Callable[[Seen], Awaitable[web.StreamResponse | None]] | None = None
        self.waits = True
        self.waiting = 0
        self._connections: dict[int, int] = {}
        self._nonces: dict[str, atls.HttpResponse] = {}

    @property
    def place(self) -> Place:
        (place,) = self.places.values()
        return place

    def posts(self) -> list[Seen]:
        return [each for each in self.seen if each.method == "POST" and each.body]

    def questions(self) -> list[Seen]:
        return [each for each in self.seen if each.method == "POST" and not each.body]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        proven = tls.getpeercert() if tls is not None else None
        name = None if not proven else proven["subject"][0][0][1]
        connection = self._connections.setdefault(id(request.protocol), len(self._connections))
        seen = Seen(request.method, request.path_qs, lower(request.headers.items()), body, connection, name)
        seen.cut = lambda: request.transport and request.transport.abort()
        self.seen.append(seen)
        if self.wrap is not None and (answer := await self.wrap(seen)) is not None:
            return answer
        operation = atls.parse(atls.HttpRequest(seen.method, seen.target, seen.fields, body))
        if isinstance(operation, atls.HttpResponse):
            return self.web(operation)
        return self.web(await self.answer(operation))

    async def answer(self, operation: atls.Operation) -> atls.HttpResponse:
        if isinstance(operation, atls.OpenSession):
            known = None if operation.nonce is None else self._nonces.get(operation.nonce)
            if known is not None:
                return known
            session = secrets.token_hex(16)
            place = self.places[session] = Place(operation.kind)
            answer = atls.opened(session, self._take(place, operation.payload))
            if operation.nonce is not None:
                self._nonces[operation.nonce] = answer
            return answer
        place_or_none = self.places.get(getattr(operation, "session", ""))
        if place_or_none is None:
            return atls.refusal("unknown")
        place = place_or_none
        if isinstance(operation, atls.CloseSession):
            del self.places[operation.session]
            place.changed.set()
            return atls.closed()
        if isinstance(operation, atls.SendUnit):
            assert operation.n is not None
            if operation.n < len(place.came):
                return place.answers[operation.n]
            if operation.n > len(place.came):
                return atls.refusal("order", expected=len(place.came))
            return atls.taken(self._take(place, operation.payload))
        assert isinstance(operation, atls.ReadUnit)
        for n in [n for n in place.out if n < operation.n]:
            del place.out[n]
        if operation.wait and self.waits:
            self.waiting += 1
            try:
                async with asyncio.timeout(operation.wait):
                    while not place.out and operation.session in self.places:
                        place.changed.clear()
                        await place.changed.wait()
            except TimeoutError:
                pass
            finally:
                self.waiting -= 1
            if operation.session not in self.places:
                return atls.refusal("closed")
            answer = atls.taken(self._lowest(place))
            return atls.HttpResponse(
                200, (*answer.fields, ("preference-applied", f"wait={operation.wait}")), answer.body
            )
        return atls.taken(self._lowest(place))

    def _take(self, place: Place, payload: bytes) -> atls.HttpResponse | None:
        place.came.append(payload)
        if place.answered is not None:
            place.out.pop(place.answered, None)
        reply = self.replies(payload)
        if reply is not None:
            place.push(reply)
        answer, place.answered = self._lowest(place), min(place.out, default=None)
        place.answers.append(atls.taken(answer))
        return answer

    @staticmethod
    def _lowest(place: Place) -> atls.HttpResponse | None:
        if not place.out:
            return None
        n = min(place.out)
        return atls.unit(n, place.kind, place.out[n])  # type: ignore[arg-type]

    @staticmethod
    def web(response: atls.HttpResponse) -> web.Response:
        return web.Response(status=response.status, headers=list(response.fields), body=response.body)


class DraftService:
    """A service after draft-friel-tls-atls-00: one url, a cookie, no numbers, no questions."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.sessions: dict[str, list[bytes]] = {}
        self.question = 400
        """What it answers to a request without body."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.path_qs, lower(request.headers.items()), body, 0))
        if not body:
            return web.Response(status=self.question)
        cookie = request.cookies.get("service")
        headers = {"Content-Type": request.content_type}
        if cookie is None:
            cookie = secrets.token_hex(8)
            headers["Set-Cookie"] = f"service={cookie}; Path=/; Secure; HttpOnly"
        self.sessions.setdefault(cookie, []).append(body)
        return web.Response(body=b"re:" + body, headers=headers)


class RawService:
    """A service that answers each request with octets of a test's choice, over TLS. ``answer`` gets the request's
    target and its body, and writes."""

    def __init__(self, answer: Callable[[str, bytes, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.targets: list[str] = []
        self._answer = answer
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.sleep(0.05)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.lower().split(": ", 1) for line in head.strip().split("\r\n")[1:])
                length = int(fields.get("content-length", "0"))
                body = await reader.readexactly(length)
                self.targets.append(head.split(" ")[1])
                await self._answer(self.targets[-1], body, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()


def server_context(folder: Path, identity: Identity, trust: Authority | None = None) -> ssl.SSLContext:
    """``trust``: clients must have a certificate of this authority."""
    (folder / "server.pem").write_bytes(identity.chain)
    (folder / "server.key").write_bytes(identity.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if trust is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=trust.pem.decode())
    return context


def localhost(authority: Authority) -> Identity:
    return authority.issue("service", x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))


@asynccontextmanager
async def serving(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], context: ssl.SSLContext | None, port: int = 0
) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class NorthHome(Gateway):
    """``tables``: entries of ``adapters.http.services``; the policy's service is ``cloud``, at ``url``."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *tables: Mapping[str, Any],
        times: NorthTimes = QUICK,
        limits: EngineLimits | None = None,
        policy: str = POLICY,
    ) -> None:
        super().__init__(folder, "http", policy.format(url=url), limits or EngineLimits())
        self.url = url
        self.times = times
        self.services = self.make(*tables)
        self.adapter = HttpAdapter(None, self.services)

    def make(self, *tables: Mapping[str, Any]) -> Services:
        found = configured([ServiceTable.model_validate(dict(table)) for table in tables], self.folder)
        return Services(found, self.times)

    @property
    def called(self) -> Mapping[str, Any]:
        """``status`` of the policy's service."""
        return self.services.status()["called"].get(self.url, {})
