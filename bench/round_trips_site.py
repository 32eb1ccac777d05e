"""Where ``bench.round_trips`` measures: real sockets, our gateway and our endpoint's links, a delay on each hop.

All of it runs in one ``SkippingLoop``: a message is ``HALF`` seconds of its clock on the way, and nothing else takes
any time. So what passes between two events is a number of round trips, and exact.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from adapters.coap.plugin import CoapPlugin, CoapTable
from adapters.http.config import HttpTable
from adapters.http.plugin import HttpPlugin
from bench.round_trips_ends import Stack
from carriage.http.atls import HttpRequest
from carriage.http.atls_format import WELL_KNOWN
from demo.credentials import Authority, make_psk_file, write_secret
from demo.stack import free_port
from endpoint.runner import Runner
from endpoint.session import Ended, Established, RawReceived, SessionEvent
from endpoint.transports.coaps import CoapsLink
from endpoint.transports.gateway_link import CarriageSession, GatewayLink, Kind
from endpoint.transports.https import HttpsLink
from endpoint.transports.https_hop import Layer1
from endpoint.transports.https_service import ListeningService
from gateway.api.model import EnvelopeId, SessionId
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits
from gateway.runtime import policy_file
from gateway.runtime.audit import AuditLog
from gateway.runtime.hub import Hub
from layer.credentials import Credentials, Psk

HALF: Final = 0.05
"""Seconds for a message to cross a hop with a delay: less than the shortest time that anything here waits."""
GRACE: Final = 0.001
"""Seconds that the loop really waits for octets that are on their way, before it puts its clock forward."""
TOKEN: Final = "a-token-for-the-page"  # noqa: S105 - good for this site only
MESSAGE: Final = b"hello, door"
POLICY: Final = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: coap, psk_identity: phone}}
  tablet: {{link: coap, psk_identity: tablet}}
  page: {{link: http, bearer: page}}
  service: {{link: http, url: "{url}"}}
rules:
  - {{id: all, effect: permit, subject: "*", resource: "*", content: [atls, adtls]}}
"""


class Relay:
    """A hop: what it takes it hands on ``half`` seconds later, both ways. TCP, or UDP for one client."""

    def __init__(self, to: int) -> None:
        self.half = 0.0
        self._to = to
        self._closers: list[Callable[[], object]] = []
        self.port = 0

    def _later(self, hand_on: Callable[[bytes], object], octets: bytes) -> None:
        def now() -> None:
            with contextlib.suppress(OSError):  # that end is gone
                hand_on(octets)

        asyncio.get_running_loop().call_later(self.half, now)

    def close(self) -> None:
        for close in self._closers:
            close()

    async def tcp(self) -> Relay:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._closers.append(server.close)
        return self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._closers += [writer.transport.abort, back.transport.abort]
        await asyncio.gather(self._pipe(reader, back), self._pipe(onward, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while octets := await reader.read(65_536):
                self._later(writer.write, octets)
        except OSError:
            pass
        asyncio.get_running_loop().call_later(self.half, writer.close)

    async def udp(self) -> Relay:
        loop = asyncio.get_running_loop()
        front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (front, back):
            each.setblocking(False)
        front.bind(("127.0.0.1", 0))
        back.connect(("127.0.0.1", self._to))
        self.port = front.getsockname()[1]
        client: list[Any] = []

        def up() -> None:
            octets, address = front.recvfrom(65_536)
            client[:] = [address]
            self._later(back.send, octets)

        def down() -> None:
            with contextlib.suppress(OSError):
                self._later(lambda octets: front.sendto(octets, client[0]), back.recv(65_536))

        loop.add_reader(front, up)
        loop.add_reader(back, down)
        for each in (front, back):
            self._closers += [partial(loop.remove_reader, each), each.close]
        return self


@dataclass
class Trips:
    """Round trips from the moment at which the client wants a session, to: the client may send; both ends are sure of
    each other; the answer to the first message is there. ``units``: of each flight until then, the client's first."""

    client: float
    both: float
    answer: float
    units: tuple[int, ...]


@dataclass
class _Run:
    """One session between two ends, and when what happened."""

    at: dict[str, float] = field(default_factory=dict)
    flights: list[tuple[str, int]] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, what: str) -> None:
        self.at.setdefault(what, asyncio.get_running_loop().time())

    def sent(self, who: str, units: int) -> None:
        if self.flights and self.flights[-1][0] == who:
            self.flights[-1] = (who, self.flights[-1][1] + units)
        else:
            self.flights.append((who, units))


class _Counted:
    """A session of a carriage, whose units are counted until the answer is there."""

    def __init__(self, carriage: CarriageSession, run: _Run, who: str) -> None:
        self._carriage, self._run, self._who = carriage, run, who

    def send(self, units: Any) -> None:
        units = list(units)
        if units and not self._run.done.is_set():
            self._run.sent(self._who, len(units))
        self._carriage.send(units)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._carriage, name)


@dataclass
class TripPath:
    """A path from a client to a server: two links, and the hops on it that can have a delay."""

    client: GatewayLink
    to: str
    server: AnsweringEnd
    relay: Relay


class AnsweringEnd:
    """The serving side of a link: each session gets an end of ``stack``, which answers each message."""

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.run: _Run | None = None

    def incoming(self, carriage: CarriageSession) -> None:
        run, stack = self.run, self.stack
        assert run is not None and stack is not None
        end = stack.of(True)

        def on_event(event: SessionEvent) -> None:
            if isinstance(event, Established):
                run.note("server")
            elif isinstance(event, RawReceived):
                end.send_raw(event.data.upper(), asyncio.get_running_loop().time())

        Runner(end, _Counted(carriage, run, "server"), on_event).start()  # type: ignore[arg-type]


async def trips(hop: TripPath, stack: Stack) -> Trips:
    """One session: from its open to the answer to its first message."""
    loop = asyncio.get_running_loop()
    run = hop.server.run = _Run()
    hop.server.stack = stack
    began = loop.time()
    end = stack.of(False)
    end.start(began)
    first, *more = end.units_to_send()
    run.sent("client", 1 + len(more))
    carriage = await hop.client.open(hop.to, stack.kind, first)
    carriage.send(more)

    def on_event(event: SessionEvent) -> None:
        if isinstance(event, Established):
            run.note("client")
            carriage.proven()
            end.send_raw(MESSAGE, loop.time())
        elif isinstance(event, RawReceived):
            assert event.data == MESSAGE.upper()
            run.note("answer")
            run.done.set()
        elif isinstance(event, Ended):
            run.over.set()
            if not run.done.is_set():
                raise RuntimeError(event.reason)

    runner = Runner(end, _Counted(carriage, run, "client"), on_event)  # type: ignore[arg-type]
    runner.start()
    async with asyncio.timeout(120):
        await run.done.wait()
    found = {what: (at - began) / (2 * HALF) for what, at in run.at.items()}
    await asyncio.sleep(1)
    runner.close()
    await hop.client.drain()
    await asyncio.sleep(1)
    return Trips(
        halves(found["client"]),
        halves(max(found["client"], found["server"])),
        halves(found["answer"]),
        tuple(units for _, units in run.flights),
    )


def halves(trips: float) -> float:
    """RuntimeError: something waited for a timer, and not for a message."""
    found = round(2 * trips) / 2
    if abs(found - trips) > 0.1:
        raise RuntimeError(f"{trips:.2f} round trips: something waited for a timer")
    return found


class Site:
    """Our gateway, two services and two clients of CoAP, and what lies between them. ``async with``.

    ``kind``: of all sessions.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder, self._kind = folder, kind
        self._relays: list[Relay] = []
        self._running: list[asyncio.Task[None]] = []
        self.hops: dict[str, TripPath] = {}
        """By name."""

    async def __aenter__(self) -> Site:
        Authority.make(self._folder).issue("gateway")
        write_secret(self._folder / "tokens", b"page:" + hashlib.sha256(TOKEN.encode()).hexdigest().encode())
        keys = make_psk_file(self._folder / "clients.psk", "phone", "tablet").keys
        called, behind = AnsweringEnd(), AnsweringEnd()
        direct = await self._relay("tcp", await self._serve(called))
        north = await self._relay("tcp", await self._serve(behind))
        http, coaps = await self._gateway(f"https://127.0.0.1:{north.port}{WELL_KNOWN}")
        south = await self._relay("tcp", http)
        phone, tablet = await self._relay("udp", coaps), await self._relay("udp", coaps)
        to_service = await self._page(f"https://127.0.0.1:{direct.port}{WELL_KNOWN}", None)
        to_gateway = await self._page(f"https://127.0.0.1:{south.port}", TOKEN)
        served = AnsweringEnd()
        await self._start(self._coaps("tablet", keys, tablet.port), served)
        await self._start(caller := self._coaps("phone", keys, phone.port), None)
        self.hops = {
            "HTTP": TripPath(to_service, "service", called, direct),
            "HTTP to the gateway": TripPath(to_gateway, "service", behind, south),
            "HTTP from the gateway": TripPath(to_gateway, "service", behind, north),
            "CoAP to the gateway": TripPath(caller, "tablet", served, phone),
            "CoAP from the gateway": TripPath(caller, "tablet", served, tablet),
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for relay in self._relays:
            relay.close()
        await asyncio.sleep(1)

    async def trips(self, name: str, stack: Stack) -> Trips:
        """Of one session whose messages take their time on the hop ``name`` and on no other."""
        hop = self.hops[name]
        for each in self.hops.values():
            each.relay.half = 0.0
        if isinstance(hop.client, HttpsLink):  # a poll beside a unit needs a second connection
            anything = HttpRequest("GET", "/", ())
            await asyncio.gather(*(hop.client.request(anything, trusted=None) for _ in range(3)))
        hop.relay.half = HALF
        return await trips(hop, stack)

    # What runs

    async def _relay(self, transport: str, to: int) -> Relay:
        relay = Relay(to)
        self._relays.append(relay)
        await (relay.tcp() if transport == "tcp" else relay.udp())
        return relay

    async def _start(self, link: GatewayLink, server: AnsweringEnd | None) -> None:
        ready = asyncio.Event()
        incoming = server.incoming if server is not None else CarriageSession.close
        running = asyncio.create_task(link.run(ready.set, incoming))
        self._running.append(running)
        running.add_done_callback(lambda _: ready.set())
        await ready.wait()
        if running.done():
            await running

    async def _serve(self, server: AnsweringEnd) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "gateway.pem", self._folder / "gateway.key")
        await self._start(ListeningService("127.0.0.1", port := free_port(), context, self._kind), server)
        return port

    async def _page(self, url: str, token: str | None) -> GatewayLink:
        layer1 = Layer1(ca_file=self._folder / "ca.pem", token=token)
        link = HttpsLink(url, layer1, ignores=False, report=lambda event, **facts: None)
        await self._start(link, None)
        return link

    def _coaps(self, name: str, keys: Mapping[str, bytes], port: int) -> GatewayLink:
        return CoapsLink("127.0.0.1", port, Credentials(psk=Psk(name.encode(), keys[name])))

    async def _gateway(self, url: str) -> tuple[int, int]:
        """Its ports of https and coaps."""
        http, coaps = free_port(), free_port(socket.SOCK_DGRAM)
        (self._folder / "policy.yaml").write_text(POLICY.format(url=url))
        ids = itertools.count(1)
        next_id: Callable[[], EnvelopeId] = lambda: EnvelopeId(next(ids))  # noqa: E731 - typed
        policy = policy_file.load(self._folder / "policy.yaml", ("coap", "http"))
        engine = Engine(policy, EngineLimits(), lambda: SessionId(secrets.token_hex(16)), next_id)
        hub = Hub(
            engine,
            AuditLog(),
            loop=asyncio.get_running_loop(),
            next_id=next_id,
            state_dir=self._folder,
            epoch=secrets.token_hex(8),
            schemes=("coap", "http"),
        )
        files = {"certificate_file": "gateway.pem", "key_file": "gateway.key"}
        tables: dict[str, dict[str, Any]] = {
            "coap": {"listen": f"127.0.0.1:{coaps}", "psk_file": "clients.psk"},
            "http": {"listen": f"127.0.0.1:{http}", "tokens_file": "tokens", **files},
        }
        tables["http"]["services"] = [{"url": url, "ca_file": "ca.pem"}]
        adapters = {
            "coap": CoapPlugin().configure(CoapTable.model_validate(tables["coap"]), self._folder),
            "http": HttpPlugin().configure(HttpTable.model_validate(tables["http"]), self._folder),
        }
        for scheme, adapter in adapters.items():
            self._running.append(asyncio.create_task(adapter.run(hub.attach(scheme, adapter))))
        while not hub.all_tried:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        return http, coaps
