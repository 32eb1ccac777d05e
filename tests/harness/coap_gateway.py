"""The CoAP adapter over real DTLS in a real gateway, and its clients, well-behaved and not."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from cryptography import x509

from adapters.coap.adapter import CoapAdapter
from adapters.coap.plugin import CoapPlugin, CoapTable
from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.connection import (
    CoapConfig,
    CoapConnection,
    Event,
    NotificationReceived,
    Request,
    Response,
    ResponseReceived,
)
from carriage.coap.link_format import read_links
from carriage.coap.server import LAYER_1
from gateway.api.model import (
    SessionId,
)
from gateway.engine.limits import EngineLimits
from layer.association import Association
from layer.config import Role
from layer.credentials import Credentials, Psk
from layer.events import DataReceived, HandshakeCompleted
from tests.harness.bare_coap import Bare
from tests.harness.gateway_in_loop import Gateway, until
from tests.harness.layer_pair import Authority, Identity

T = TypeVar("T")

PSKS = {name: name.encode().ljust(16, b".") for name in ("phone", "tablet", "stranger")}
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
  keeper: {link: coap, spki_sha256: "KEEPER"}
  porch: {link: coap, san: "dns:porch.example"}
groups:
  known: [lamp, phone, tablet, keeper, porch]
rules:
  - id: all
    effect: permit
    subject: "group:known"
    resource: "group:known"
    content: [atls, adtls, atls-data, oscore, edhoc]
"""


class Raw:
    """A client made of a socket, an association and a connection, with nothing that helps: it acknowledges while it is
    not ``deaf``, and says nothing any more once it is."""

    def __init__(self, port: int, credentials: Credentials, config: CoapConfig | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))
        self._credentials = credentials
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.socket, self._readable)
        self.deaf = False
        self.holds = False
        """Keep what comes, unread."""
        self._held: list[bytes] = []
        self.events: list[Event] = []
        self.ready = False

    async def connect(self) -> Raw:
        """A new association from the same port; an old one is forgotten without a word."""
        self.ready = False
        self.events = []
        self.association = Association(Role.CLIENT, self._credentials, LAYER_1)
        self.connection = CoapConnection(random=Random().random, config=self._config)
        self.association.start(self._loop.time())
        self.connection.start(self._loop.time())
        self.pump()
        await until(lambda: self.ready)
        return self

    def close(self) -> None:
        self._loop.remove_reader(self.socket)
        self.socket.close()

    def _readable(self) -> None:
        try:
            data = self.socket.recv(16384)
        except OSError:
            return
        if self.holds:
            self._held.append(data)
        elif not self.deaf:
            self.association.receive(data, self._loop.time())
            self.pump()

    def release(self) -> None:
        """Read what was held."""
        self.holds = False
        held, self._held = self._held, []
        for data in held:
            self.association.receive(data, self._loop.time())
        self.pump()

    def pump(self) -> None:
        now = self._loop.time()
        while (event := self.association.next_event()) is not None:
            if isinstance(event, DataReceived):
                self.connection.receive(event.data, now)
            elif isinstance(event, HandshakeCompleted):
                self.ready = True
        if self.ready:
            for octets in self.connection.to_send():
                self.association.send(octets, now)
            while (happened := self.connection.next_event()) is not None:
                self.events.append(happened)
            for octets in self.connection.to_send():
                self.association.send(octets, now)
        for datagram in self.association.records_to_send():
            if not self.deaf:
                self.socket.send(datagram)

    def start(self, request: Request, *, observe: bool = False) -> int:
        now = self._loop.time()
        exchange = (self.connection.observe if observe else self.connection.request)(request, now)
        self.pump()
        return exchange

    def response(self, exchange: int) -> Response | None:
        found = [e.response for e in self.events if isinstance(e, ResponseReceived) and e.exchange == exchange]
        return found[0] if found else None

    async def request(self, request: Request, *, observe: bool = False) -> Response:
        exchange = self.start(request, observe=observe)
        await until(lambda: self.response(exchange) is not None)
        found = self.response(exchange)
        assert found is not None
        return found

    def units(self, exchange: int) -> list[atls_client.ReceivedUnit | atls_client.SessionRefused]:
        """The units in the notifications of the observation."""
        responses = [e.response for e in self.events if isinstance(e, NotificationReceived) and e.exchange == exchange]
        return [unit for response in responses if (unit := atls_client.read_unit(response)) is not None]


class Observed:
    """A session, observed by a well-behaved client."""

    def __init__(self) -> None:
        self.units: list[tuple[int, bytes]] = []
        self.refusal: atls_client.SessionRefused | None = None

    def __call__(self, response: Response) -> None:
        unit = atls_client.read_unit(response)
        if isinstance(unit, atls_client.SessionRefused):
            self.refusal = unit
        elif unit is not None:
            assert self.refusal is None, "a unit behind the end"
            self.units.append((unit.n, unit.payload))


class Home(Gateway):
    """See the module. At its end nothing may be left of what its sessions and clients needed."""

    def __init__(
        self, folder: Path, policy: str, limits: EngineLimits, table: dict[str, Any], plugin: CoapPlugin
    ) -> None:
        self.plugin = plugin
        self.authority = Authority("home")
        self.keeper = self.authority.issue("keeper", x509.DNSName("fleet.example"))
        super().__init__(folder, "coap", policy.replace("KEEPER", self.keeper.pin), limits)
        server = self.authority.issue("gateway", x509.DNSName("gateway.example"))
        self.write("ca.pem", self.authority.pem)
        self.write("gateway.pem", server.chain)
        self.write("gateway.key", server.key_pem, 0o600)
        self.write("clients.psk", b"".join(b"%s:%s\n" % (n.encode(), k.hex().encode()) for n, k in PSKS.items()), 0o600)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.table = {
            "listen": f"127.0.0.1:{self.port}",
            "psk_file": "clients.psk",
            "certificate_file": "gateway.pem",
            "key_file": "gateway.key",
            "trust_file": "ca.pem",
            "reply_window": 0.3,
            "absence": 1.0,
        } | table
        self.adapter = self.configure()
        self.clients: list[CoapsClient | Raw | Bare] = []

    def configure(self, **changed: Any) -> CoapAdapter:
        adapter = self.plugin.configure(CoapTable.model_validate({**self.table, **changed}), self.folder)
        assert isinstance(adapter, CoapAdapter)
        return adapter

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Home]:
        async with self.running(self.adapter):
            try:
                yield self
            finally:
                for client in self.clients:
                    client.close()

    def check_books(self) -> None:
        super().check_books()
        assert self.adapter.status()["handler_errors"] == 0

    def check_empty(self) -> None:
        """Nothing is left of any session or client."""
        adapter = self.adapter
        delivery = adapter._delivery
        assert not self.hub.engine.all_sessions() and not self.hub.engine.in_flight("coap")
        assert not adapter._submitted and not adapter._connections
        assert not list(delivery.boxes) and not delivery._unsettled and delivery.sessions == 0
        assert not len(delivery._absence) and not len(delivery._windows)

    # Clients

    def psk(self, name: str) -> Credentials:
        return Credentials(psk=Psk(name, PSKS[name]))

    def certified(self, identity: Identity) -> Credentials:
        return Credentials(certificate_chain=identity.chain, private_key=identity.key, trust_anchors=self.authority.pem)

    async def client(self, who: str | Identity, *, suites: tuple[str, ...] = ()) -> CoapsClient:
        credentials = self.psk(who) if isinstance(who, str) else self.certified(who)
        association = dataclasses.replace(LAYER_1, suites=suites)
        client = CoapsClient("127.0.0.1", self.port, credentials, association, keepalive=None)
        self.clients.append(client)
        await client.connect()
        return client

    async def raw(self, who: str, config: CoapConfig | None = None) -> Raw:
        raw = Raw(self.port, self.psk(who), config)
        self.clients.append(raw)
        return await raw.connect()

    async def bare(self, who: str | Identity) -> Bare:
        bare = Bare(self.port, self.psk(who) if isinstance(who, str) else self.certified(who))
        self.clients.append(bare)
        return await bare.connect()


# What clients do


async def opened(client: CoapsClient | Raw, to: str, kind: Any = "adtls", nonce: str | None = None) -> SessionId:
    request = atls_client.open_request(to, nonce or secrets.token_hex(8), kind, b"")
    answer = atls_client.read_opened(await client.request(request))
    assert isinstance(answer, atls_client.Opened), answer
    return SessionId(answer.session)


async def sent(
    client: CoapsClient | Raw, session: str, n: int, payload: bytes, kind: Any = "adtls"
) -> atls_client.ReceivedUnit | atls_client.SessionRefused | None:
    return atls_client.read_unit(await client.request(atls_client.send_request(session, n, kind, payload)))


async def read(
    client: CoapsClient | Raw, session: str, n: int | None = None
) -> atls_client.ReceivedUnit | atls_client.SessionRefused | None:
    return atls_client.read_unit(await client.request(atls_client.read_request(session, n)))


async def closed(client: CoapsClient | Raw, session: str) -> int:
    return (await client.request(atls_client.close_request(session))).code


async def observed(client: CoapsClient, session: str) -> Observed:
    seen = Observed()
    observation = await client.observe(atls_client.read_request(session), seen)
    assert observation.established
    return seen


async def inbox(client: CoapsClient | Raw) -> list[tuple[str, str | None, str | None]]:
    """Session, content format and title of each entry."""
    response = await client.request(atls_client.inbox_request())
    assert response.code == codes.CONTENT
    return entries(response)


def entries(response: Response) -> list[tuple[str, str | None, str | None]]:
    links = read_links(response.payload)
    return [(link.target.rpartition("/")[2], link.get("ct"), link.get("title")) for link in links]


def facts(response: Response) -> tuple[int, object, bytes]:
    return response.code, response.options, response.payload


def observe_established(response: Response) -> bool:
    return opt.first(response.options, opt.OBSERVE) is not None


Start = Callable[..., Awaitable[Home]]


def lines(*names: str) -> bytes:
    return b"".join(b"%s:%s\n" % (name.encode(), PSKS[name].hex().encode()) for name in names)


def adopted(home: Home, content: bytes) -> bool:
    home.write("clients.psk", content, 0o600)
    return home.adapter.adopt(home.configure())
