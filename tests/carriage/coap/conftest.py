"""Two connections and a network between them that loses, doubles and reorders under a seed, in simulated time; and real
servers with real credentials."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carriage.coap.connection import CoapConfig, CoapConnection, Event
from carriage.coap.server import CoapsServer, serve_coaps
from demo.credentials import Authority
from layer.credentials import Credentials, Psk, load_private_key
from tests.carriage.coap.server_recorder import Recorder

PSK = b"0123456789abcdef"

React = Callable[["Node", Event], None]


@dataclass
class Node:
    """One end: its connection, the events of it, and its reaction to each."""

    world: World
    connection: CoapConnection
    react: React | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.world.now

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


class World:
    """``a`` and ``b`` joined. ``loss`` and ``double`` are probabilities, ``jitter`` seconds of random delay."""

    def __init__(
        self,
        *,
        datagrams: bool = True,
        config: CoapConfig | None = None,
        other: CoapConfig | None = None,
        seed: int = 1,
        loss: float = 0.0,
        double: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        self.now = 1000.0
        self.datagrams = datagrams
        self.random = random.Random(seed)
        self.loss, self.double, self.jitter = loss, double, jitter
        self.flying: list[tuple[float, int, Node, bytes]] = []
        self.count = 0
        self.passed: list[tuple[str, bytes]] = []  # every datagram that was sent, with its sender's name
        self.a = Node(self, CoapConnection(datagrams=datagrams, random=random.Random(seed + 1).random, config=config))
        self.b = Node(
            self, CoapConnection(datagrams=datagrams, random=random.Random(seed + 2).random, config=other or config)
        )
        self.cut = False  # nothing arrives any more
        for node in (self.a, self.b):
            node.connection.start(self.now)
        self.settle()

    def peer_of(self, node: Node) -> Node:
        return self.b if node is self.a else self.a

    def _carry(self, node: Node, octets: bytes) -> None:
        self.passed.append(("a" if node is self.a else "b", octets))
        copies = 1
        if self.datagrams:
            copies = 0 if self.random.random() < self.loss else 1
            copies += self.random.random() < self.double
        if self.cut:
            copies = 0
        for _ in range(copies):
            self.count += 1
            delay = 0.01 + self.random.random() * self.jitter
            heapq.heappush(self.flying, (self.now + delay, self.count, self.peer_of(node), octets))

    def settle(self) -> None:
        """Take what both have to say at this moment."""
        moved = True
        while moved:
            moved = False
            for node in (self.a, self.b):
                for octets in node.connection.to_send():
                    moved = True
                    self._carry(node, octets)
                while (event := node.connection.next_event()) is not None:
                    moved = True
                    node.events.append(event)
                    if node.react is not None:
                        node.react(node, event)

    def step(self, until: float) -> bool:
        """The next arrival or timer before ``until``; false where there is none."""
        self.settle()
        times = [node.connection.next_deadline() for node in (self.a, self.b)]
        times.append(self.flying[0][0] if self.flying else None)
        due = [at for at in times if at is not None]
        if not due or min(due) > until:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, min(due))
        if self.flying and self.flying[0][0] <= self.now:
            _, _, node, octets = heapq.heappop(self.flying)
            node.connection.receive(octets, self.now)
        for node in (self.a, self.b):
            deadline = node.connection.next_deadline()
            if deadline is not None and deadline <= self.now:
                node.connection.tick(self.now)
        self.settle()
        return True

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.step(until):
            pass

    def run_until(self, done: Callable[[], bool], seconds: float = 1000.0) -> bool:
        until = self.now + seconds
        self.settle()
        while not done():
            if not self.step(until):
                return done()
        return True


@pytest.fixture(scope="session")
def world() -> type[World]:
    return World


@dataclass(frozen=True)
class Pki:
    directory: Path
    server: Credentials
    client: Credentials
    psk: Credentials


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A certificate authority with a server ("gateway") and a client, as files and as credentials; and a PSK."""
    directory = tmp_path_factory.mktemp("pki")
    authority = Authority.make(directory)
    for name in ("gateway", "client"):
        authority.issue(name)

    def credentials(name: str, **more: object) -> Credentials:
        return Credentials(
            certificate_chain=directory / f"{name}.pem",
            private_key=load_private_key(directory / f"{name}.key"),
            trust_anchors=directory / "ca.pem",
            **more,
        )

    return Pki(
        directory,
        credentials("gateway", psk_lookup={b"dev": PSK}),
        credentials("client"),
        Credentials(psk=Psk("dev", PSK)),
    )


@pytest.fixture
async def served(pki: Pki) -> AsyncIterator[tuple[CoapsServer, Recorder]]:
    """A server on a free port of the loopback and its application."""
    recorder = Recorder()
    server = serve_coaps("127.0.0.1", 0, pki.server, recorder)
    yield server, recorder
    server.close()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait until something holds, 10 s at most."""

    async def wait(holds: Callable[[], object], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 (what is waited for has no event)
                await asyncio.sleep(0.01)

    return wait
