"""aiocoap observes our state in blocks while it changes; over UDP, since its DTLS is another library."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

import aiocoap
import pytest

from carriage.coap import codes
from carriage.coap.connection import Answer, CoapConfig, FailureReason, Request, Response
from carriage.coap.server import CoapsServer
from carriage.coap.server_peer import ServerPeer
from carriage.coap.udp import Address, bind
from layer.config import AssociationConfig
from layer.credentials import Credentials
from layer.events import AssociationInfo, PeerIdentity
from layer.listener import ListenerEvent, PeerConnected, PeerData

NOBODY = AssociationInfo(protocol="none", suite="none", peer=PeerIdentity(kind="none"))


class Everybody:
    """A listener without any protection: each address is a peer."""

    def __init__(self) -> None:
        self._peers: list[Address] = []
        self.events: deque[ListenerEvent] = deque()
        self._out: list[tuple[bytes, Address]] = []
        self.counters: Mapping[str, int] = {}

    def replace_credentials(self, credentials: Credentials, config: AssociationConfig | None = None) -> None: ...

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        if addr not in self._peers:
            self._peers.append(addr)
            self.events.append(PeerConnected(self._peers.index(addr), addr, NOBODY))
        self.events.append(PeerData(self._peers.index(addr), data))

    def send(self, peer_id: int, data: bytes, now: float) -> bool:
        self._out.append((data, self._peers[peer_id]))
        return True

    def close(self, peer_id: int, now: float) -> None: ...

    def close_all(self, now: float) -> None: ...

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        out, self._out = self._out, []
        return out

    def next_deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> None: ...


class State:
    """The application: one state of ``size`` octets that begins with its version."""

    def __init__(self, size: int) -> None:
        self.size, self.version = size, 0
        self.observers: list[tuple[ServerPeer, int]] = []
        self.ended: list[FailureReason] = []

    def now(self) -> Response:
        return Response(codes.CONTENT, (), (b"%d " % self.version).ljust(self.size, b"."))

    def change(self) -> None:
        self.version += 1
        for peer, exchange in self.observers:
            peer.notify(exchange, self.now(), confirmable=self.version % 2 == 0)

    def request(self, peer: ServerPeer, exchange: int, request: Request) -> None:
        if peer.respond(exchange, self.now(), observe=True, states=True) is Answer.OBSERVED:
            self.observers.append((peer, exchange))

    def observation_ended(self, peer: ServerPeer, exchange: int, reason: FailureReason) -> None:
        self.ended.append(reason)

    def connected(self, peer: ServerPeer) -> None: ...

    def acknowledged(self, peer: ServerPeer, exchange: int, notification: int) -> None: ...

    def gone(self, peer: ServerPeer, reason: str) -> None: ...

    def refused(self, address: object, reason: str) -> None: ...


@pytest.fixture
async def client() -> AsyncIterator[aiocoap.Context]:
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    yield context
    await context.shutdown()


@pytest.mark.parametrize(("size", "szx"), [(40, 6), (200, 0), (700, 2), (3000, 6)])
async def test_an_observer_ends_with_the_newest_state(client: aiocoap.Context, size: int, szx: int) -> None:
    state = State(size)
    server = CoapsServer(bind("::1", 0), Everybody(), state, CoapConfig(block_szx=szx, fetch_patience=1.0))
    server.start()
    request = client.request(aiocoap.Message(code=aiocoap.GET, uri=f"coap://[::1]:{server.port}/state", observe=0))
    first = await request.response
    assert first.payload.split()[0] == b"0" and len(first.payload) == size
    versions: list[int] = []

    async def watch() -> None:
        async for response in request.observation:
            assert len(response.payload) == size
            versions.append(int(response.payload.split()[0]))
            if versions[-1] == 100:
                return

    watching = asyncio.get_running_loop().create_task(watch())
    for n in range(100):
        state.change()
        await asyncio.sleep(0.05 if n % 10 == 0 else 0)
    async with asyncio.timeout(10):
        await watching
    assert versions == sorted(set(versions)) and state.ended == []
    request.observation.cancel()
    server.close()
