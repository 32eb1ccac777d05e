"""A gateway's coaps side as a script: a real CoAP server over real DTLS, whose answers a test decides."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from carriage.coap import atls
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link
from carriage.coap.server import CoapsServer, serve_coaps
from carriage.coap.server_peer import ServerPeer
from layer.credentials import Credentials, Psk

KEY = bytes(range(32))
CLIENT = Credentials(psk=Psk("phone", KEY))
SERVER = Credentials(psk_lookup={b"phone": KEY})
FORMATS = {"atls": "65000", "adtls": "65001"}

Answer = Response | None
"""What a script answers; None leaves the request without an answer."""


def _fine(operation: Any) -> Answer:
    raise LookupError  # no opinion


@dataclass
class Gateway:
    """``on_open``, ``on_unit``, ``on_read``, ``on_inbox`` and ``on_close`` may answer; LookupError: as usual."""

    port: int = 0
    host: str = "127.0.0.1"
    credentials: Credentials = SERVER
    server: CoapsServer | None = None
    scripts: dict[type, Callable[[Any], Answer]] = field(default_factory=dict)
    seen: list[Any] = field(default_factory=list)
    connected_peers: list[ServerPeer] = field(default_factory=list)
    observers: dict[str, tuple[ServerPeer, int]] = field(default_factory=dict)
    inbox_observer: tuple[ServerPeer, int] | None = None
    inbox: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    names: int = 0

    def start(self) -> None:
        if not self.port:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", 0))
                self.port = probe.getsockname()[1]
        self.server = serve_coaps(self.host, self.port, self.credentials, self)

    def stop(self) -> None:
        """Clients learn of it, unless their relay is broken."""
        if self.server is not None:
            self.server.close()
            self.server = None

    def forget(self) -> None:
        """What a restart forgets."""
        self.observers.clear()
        self.inbox.clear()
        self.kinds.clear()
        self.inbox_observer = None

    # What a test asks

    def of(self, kind: type) -> list[Any]:
        return [operation for operation in self.seen if isinstance(operation, kind)]

    def units(self, session: str) -> list[tuple[int, bytes]]:
        return [(each.n, each.payload) for each in self.of(atls.SendUnit) if each.session == session]

    # What a test does

    def offer(self, name: str, kind: str) -> None:
        self.kinds[name] = kind
        self.inbox[name] = kind
        if self.inbox_observer is not None:
            peer, exchange = self.inbox_observer
            peer.notify(exchange, self._inbox())

    def down(self, session: str, n: int, payload: bytes) -> None:
        peer, exchange = self.observers[session]
        peer.notify(exchange, atls.unit(n, self.kinds[session], payload))  # type: ignore[arg-type]

    def end(self, session: str, reason: str) -> None:
        self.kinds.pop(session, None)
        if session in self.observers:
            peer, exchange = self.observers.pop(session)
            peer.notify(exchange, atls.refusal(reason))

    # carriage.coap.server.Handler

    def connected(self, peer: ServerPeer) -> None:
        self.connected_peers.append(peer)

    def gone(self, peer: ServerPeer, reason: str) -> None:
        self.observers = {name: found for name, found in self.observers.items() if found[0] is not peer}

    def refused(self, address: object, reason: str) -> None:
        pass

    def acknowledged(self, peer: ServerPeer, exchange: int, notification: int) -> None:
        pass

    def observation_ended(self, peer: ServerPeer, exchange: int, reason: object) -> None:
        pass

    def request(self, peer: ServerPeer, exchange: int, request: Request) -> None:
        operation = atls.parse(request)
        self.seen.append(operation)
        script = self.scripts.get(type(operation), _fine)
        try:
            answer = script(operation)
        except LookupError:
            answer = self._usual(peer, exchange, operation)
        if answer is not None:
            peer.respond(exchange, answer)

    def _usual(self, peer: ServerPeer, exchange: int, operation: Any) -> Answer:
        if isinstance(operation, atls.OpenSession):
            self.names += 1
            name = f"{self.names:032x}"
            self.kinds[name] = operation.kind
            return atls.opened(name)
        if isinstance(operation, atls.Inbox):
            self.inbox_observer = (peer, exchange)
            peer.respond(exchange, self._inbox(), observe=operation.observe)
            return None
        session = operation.session
        if session not in self.kinds:
            return atls.refusal("unknown")
        if isinstance(operation, atls.ReadUnit):
            peer.respond(exchange, atls.no_unit(), observe=True)
            self.observers[session] = (peer, exchange)
            return None
        if isinstance(operation, atls.CloseSession):
            self.end(session, "closed")
            self.inbox.pop(session, None)
            return atls.closed()
        return atls.taken()

    def _inbox(self) -> Response:
        links = [
            Link(f"/atls/{name}", (("ct", FORMATS[kind]), ("title", "lamp7"))) for name, kind in self.inbox.items()
        ]
        return atls.links(links)


class Relay(asyncio.DatagramProtocol):
    """A UDP hop between one client and the gateway. ``broken``: it swallows everything."""

    def __init__(self, target: int) -> None:
        self.broken = False
        self._target = ("127.0.0.1", target)
        self._client: Any = None
        self._transport: Any = None

    @classmethod
    async def start(cls, target: int) -> Relay:
        relay = cls(target)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0))
        return relay

    @property
    def port(self) -> int:
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr != self._target:
            self._client = addr
        if not self.broken:
            self._transport.sendto(data, self._client if addr == self._target else self._target)

    def close(self) -> None:
        self._transport.close()
