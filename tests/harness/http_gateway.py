"""The HTTP adapter over real TLS in a real gateway, and what its clients need."""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509

from adapters.http.adapter import HttpAdapter
from adapters.http.config import HttpTable
from adapters.http.plugin import HttpPlugin
from adapters.http.south import South
from carriage.http.atls_format import MEDIA_TYPES
from gateway.engine.limits import EngineLimits
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import Gateway
from tests.harness.layer_pair import Authority, Identity

TOKENS = {name: f"token-of-{name}" for name in ("phone", "tablet", "stranger")}
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: http, bearer: phone}
  tablet: {link: http, bearer: tablet}
  keeper: {link: http, spki_sha256: "KEEPER"}
  porch: {link: http, san: "dns:porch.example"}
groups:
  known: [lamp, phone, tablet, keeper, porch]
rules:
  - id: all
    effect: permit
    subject: "group:known"
    resource: "group:known"
    content: [atls, adtls, atls-data, oscore, edhoc]
"""


def token_lines(*names: str, **tokens: str) -> bytes:
    """A file of tokens: those of ``TOKENS``, and others."""
    known = {name: TOKENS[name] for name in names} | tokens
    return "".join(f"{name}:{hashlib.sha256(token.encode()).hexdigest()}\n" for name, token in known.items()).encode()


def media_type(kind: str) -> str:
    """``kind``: of a unit, or what follows ``application/``."""
    return dict[str, str](MEDIA_TYPES).get(kind, f"application/{kind}")


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def seq(self) -> int | None:
        found = self.headers.get("ATLS-Seq")
        return None if found is None else int(found)

    @property
    def session(self) -> str:
        place = self.headers["Location"]
        assert place.startswith("/atls/")
        return place.removeprefix("/atls/")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        assert self.headers["Content-Type"] == "application/problem+json"
        assert self.headers["Cache-Control"] == "no-store"
        assert self.json["status"] == self.status
        return str(self.json["reason"])


class Client:
    """An aiohttp client that is known by a token, a certificate, or nothing."""

    def __init__(self, home: Home, token: str | None, tls: ssl.SSLContext | None, port: int | None = None) -> None:
        port = port or (home.plain_port if tls is None else home.port)
        self.base = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self.streams: list[Events] = []
        connector = aiohttp.TCPConnector(ssl=tls or False)
        self.http = aiohttp.ClientSession(
            self.base, connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, target, data=body, headers=names) as found:
            return Answer(found.status, found.headers, await found.read())

    async def opened(self, to: str, kind: str = "adtls", nonce: str | None = None, body: bytes = b"") -> Answer:
        target = f"/atls?to={to}&nonce={nonce or secrets.token_hex(8)}"
        return await self.ask("POST", target, body, Content_Type=media_type(kind))

    async def sent(self, session: str, n: int, body: bytes, kind: str = "adtls") -> Answer:
        return await self.ask("POST", f"/atls/{session}", body, Content_Type=media_type(kind), ATLS_Seq=str(n))

    async def read(self, session: str, n: int, wait: int | None = None) -> Answer:
        more = {} if wait is None else {"Prefer": f"wait={wait}"}
        return await self.ask("POST", f"/atls/{session}", ATLS_Seq=str(n), **more)

    async def closed(self, session: str) -> Answer:
        return await self.ask("DELETE", f"/atls/{session}")

    async def inbox(self, **headers: str) -> Answer:
        return await self.ask("GET", "/atls/inbox", **headers)

    async def events(self, target: str, **headers: str) -> Events:
        names = {"Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
        found = await self.http.get(target, headers=names, timeout=aiohttp.ClientTimeout(total=None))
        self.streams.append(Events(found))
        return self.streams[-1]

    async def close(self) -> None:
        for stream in self.streams:
            stream.close()
        await self.http.close()


class Events:
    """A stream of events, as its client reads it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.status = response.status

    async def next(self) -> dict[str, Any]:
        """The next event: ``id``, ``event`` and ``data`` (read as JSON). StopAsyncIteration: it is over."""
        found: dict[str, Any] = {}
        while True:
            line = await self.response.content.readline()
            if not line:
                raise StopAsyncIteration
            text = line.decode().rstrip("\n")
            if not text and found:
                return found
            name, _, value = text.partition(": ")
            if name in ("id", "event", "data"):
                found[name] = json.loads(value) if name == "data" else value

    async def over(self) -> bool:
        return not await self.response.content.readline()

    def close(self) -> None:
        self.response.close()


class Home(Gateway):
    """See the module. At its end nothing may be left of what its sessions and clients needed."""

    def __init__(self, folder: Path, policy: str, limits: EngineLimits, table: dict[str, Any]) -> None:
        self.authority = Authority("home")
        self.keeper = self.authority.issue("keeper", x509.DNSName("fleet.example"))
        self.porch = self.authority.issue("porch", x509.DNSName("porch.example"))
        super().__init__(folder, "http", policy.replace("KEEPER", self.keeper.pin), limits)
        names = (x509.DNSName("gateway.example"), x509.IPAddress(ip_address("127.0.0.1")))
        server = self.authority.issue("gateway", *names)
        self.write("ca.pem", self.authority.pem)
        self.write("gateway.pem", server.chain)
        self.write("gateway.key", server.key_pem, 0o600)
        self.write("tokens", token_lines(*TOKENS), 0o600)
        self.port, self.plain_port = free_port(), free_port()
        self.table = {
            "listen": f"127.0.0.1:{self.port}",
            "http_listen": f"127.0.0.1:{self.plain_port}",
            "certificate_file": "gateway.pem",
            "key_file": "gateway.key",
            "trust_file": "ca.pem",
            "tokens_file": "tokens",
            "reply_window": 0.3,
            "absence": 1.0,
        } | table
        self.adapter = self.configure()
        self.clients: list[Client] = []

    @property
    def south(self) -> South:
        assert self.adapter.south is not None
        return self.adapter.south

    def configure(self, **changed: Any) -> HttpAdapter:
        adapter = HttpPlugin().configure(HttpTable.model_validate({**self.table, **changed}), self.folder)
        assert isinstance(adapter, HttpAdapter)
        return adapter

    def adopted(self, **changed: Any) -> bool:
        return self.adapter.adopt(self.configure(**changed))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Home]:
        async with self.running(self.adapter):
            try:
                yield self
            finally:
                for client in self.clients:
                    await client.close()

    def check_books(self) -> None:
        super().check_books()
        assert self.adapter.status()["handler_errors"] == 0

    def check_empty(self) -> None:
        """Nothing is left of any session."""
        sessions = self.south._sessions
        mailboxes = sessions.mailboxes
        assert not self.hub.engine.all_sessions() and not self.hub.engine.in_flight("http")
        assert not sessions._submitted and not len(sessions.polls) and not len(sessions.watches)
        assert not mailboxes._unsettled and mailboxes.table.sessions == 0
        assert not len(mailboxes._absence) and not len(mailboxes._windows)
        assert not mailboxes.octets and not mailboxes._holding and not mailboxes._waits

    # Clients

    def tls(self, identity: Identity | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if identity is not None:
            self.write("client.pem", identity.chain)
            self.write("client.key", identity.key_pem, 0o600)
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context

    def client(
        self, who: str | Identity | None, *, plain: bool = False, token: str | None = None, port: int | None = None
    ) -> Client:
        """``who``: a name of ``TOKENS``, a certificate, or None: neither; over http if ``plain``. ``port``: another."""
        token = TOKENS.get(who, token) if isinstance(who, str) else token
        client = Client(self, token, None if plain else self.tls(who if isinstance(who, Identity) else None), port)
        self.clients.append(client)
        return client


Start = Callable[..., Awaitable[Home]]
