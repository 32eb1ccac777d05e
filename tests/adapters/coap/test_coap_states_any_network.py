"""Whatever a network does to notifications, blocks and registrations, an observer of states ends with the newest one,
numbers never go back, and no observation is lost but by a reset or by a confirmable message without acknowledgement.

The observers of the adapter over a real connection; the other end is an observer after RFC 7641 and 7959 made for this
test, of single messages. Time is simulated: the loop's clock jumps to its next timer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.coap.client_state import ClientConnection
from adapters.coap.observers import Observer, Observers
from adapters.coap.plugin import CONNECTION
from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import Block, decode_block
from carriage.coap.connection import (
    Answer,
    CoapConnection,
    FailureReason,
    NotificationAcknowledged,
    ObservationEnded,
    RequestReceived,
    Response,
)
from carriage.coap.message import ACK, CON, RST, Message, decode
from carriage.coap.server_peer import ServerPeer
from layer.events import AssociationInfo, PeerIdentity

PATH: Final = ((opt.URI_PATH, b"d"), (opt.URI_PATH, b"lamp"))
TOKEN: Final = b"\x01tok"
DELAY: Final = 0.05


class SimulatedTime(asyncio.SelectorEventLoop):
    """A loop that never waits: its clock jumps instead."""

    def __init__(self) -> None:
        self.clock = 1000.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> list[Any]:
                if timeout is not None and timeout > 0:
                    loop.clock += timeout
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.clock


@dataclass
class Network:
    """``loss`` and ``double`` of 1; ``jitter`` in seconds."""

    random: Random
    loss: float = 0.0
    double: float = 0.0
    jitter: float = 0.0

    def carry(self, octets: bytes, receive: Callable[[bytes], None]) -> None:
        copies = (self.random.random() >= self.loss) + (self.random.random() < self.double)
        loop = asyncio.get_running_loop()
        for _ in range(copies):
            loop.call_later(DELAY + self.random.random() * self.jitter, receive, octets)

    def mend(self) -> None:
        self.loss = self.double = self.jitter = 0.0


class Server:
    """One connection with the adapter's observers, of one resource: the ``version`` and as many octets as it needs."""

    def __init__(self, network: Network, size: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.network, self.size, self.version = network, size, 0
        self.client: Client
        self.connection = CoapConnection(random=Random(7).random, config=CONNECTION)
        self.connection.start(self.loop.time())
        self.now = self.loop.time
        info = AssociationInfo(protocol="dtls1.2", suite="", peer=PeerIdentity(kind="none"))
        peer = ServerPeer(self, 1, ("192.0.2.1", 5684), info, self.connection)
        self.link = ClientConnection(None, peer)  # type: ignore[arg-type]
        self.observers = Observers(self.loop.time)
        self.observer: Observer | None = None
        self.ends: list[FailureReason] = []
        self.said: set[bytes] = set()
        self.numbers: list[int] = []
        """Of what was said, without repetitions."""
        self.transmissions: dict[int, int] = {}
        """Confirmable messages that have no acknowledgement yet, by id."""
        self._timer: asyncio.TimerHandle | None = None

    def state(self) -> Response:
        body = b"%d " % self.version
        return Response(codes.CONTENT, ((opt.MAX_AGE, b"\x3c"),), body.ljust(self.size, b"."))

    def change(self) -> None:
        self.version += 1
        if self.observer is not None:
            self.observers.changed(self.observer)

    # What a peer calls of its server

    def touch(self, peer: ServerPeer) -> None:
        self.loop.call_soon(self.pump)

    def drop(self, peer: ServerPeer, reason: str) -> None:
        raise NotImplementedError

    # The shell

    def receive(self, octets: bytes) -> None:
        message = decode(octets)
        if message.type in (ACK, RST):
            self.transmissions.pop(message.message_id, None)
        self.connection.receive(octets, self.loop.time())
        self.pump()

    def pump(self) -> None:
        now = self.loop.time()
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, RequestReceived):
                answer = self.connection.respond(event.exchange, self.state(), now, observe=True, states=True)
                if answer is Answer.OBSERVED:
                    self.observer = Observer(self.link, event.exchange, self.state, self.forget, now)
                    self.observers.add(self.observer)
            elif isinstance(event, NotificationAcknowledged):
                self.observers.acknowledged(self.link, event.exchange, event.notification)
            elif isinstance(event, ObservationEnded):
                self.ends.append(event.reason)
                self.observers.ended(self.link, event.exchange)
        for octets in self.connection.to_send():
            self.note(octets)
            self.network.carry(octets, self.client.receive)
        deadline = self.connection.next_deadline()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if deadline is None else self.loop.call_at(deadline, self.tick)

    def tick(self) -> None:
        if (deadline := self.connection.next_deadline()) is not None and deadline <= self.loop.time():
            self.connection.tick(self.loop.time())
        self.pump()

    def note(self, octets: bytes) -> None:
        message = decode(octets)
        if message.type == CON:
            self.transmissions[message.message_id] = self.transmissions.get(message.message_id, 0) + 1
        number = opt.first_uint(message.options, opt.OBSERVE)
        if number is not None and octets not in self.said:
            self.said.add(octets)
            self.numbers.append(number)

    def forget(self) -> None:
        self.observer = None

    def close(self) -> None:
        self.observers.close()
        if self._timer is not None:
            self._timer.cancel()


@dataclass
class Client:
    """An observer with one token. ``fetches``: the share of notifications whose rest it fetches."""

    network: Network
    server: Server
    szx: int | None
    random: Random
    fetches: float
    newest: tuple[int, float] | None = None
    """The number of the newest notification and when it came."""
    version: int = -1
    """Of the newest whole body."""
    registered: bool = False
    _body: bytearray = field(default_factory=bytearray)
    _etag: bytes | None = None
    _fetch: bytes = b""
    _fetch_id: int = 0
    _next: int = 100
    _waiting: dict[int, asyncio.TimerHandle] = field(default_factory=dict)

    def register(self) -> None:
        self._ask(TOKEN, ((opt.OBSERVE, b""), *self._block(0)))

    def deregister_foreign(self) -> None:
        self._ask(b"other", ((opt.OBSERVE, b"\x01"), *self._block(0)))

    def _block(self, number: int) -> opt.Options:
        if self.szx is None and not number:
            return ()
        return ((opt.BLOCK2, Block(number, False, 6 if self.szx is None else self.szx).encode()),)

    def _ask(self, token: bytes, options: opt.Options) -> None:
        self._next += 1
        octets = Message(CON, codes.GET, self._next, token, (*PATH, *options)).encode()
        self._send(self._next, octets, 2.0, 5)

    def _send(self, message_id: int, octets: bytes, timeout: float, left: int) -> None:
        """Again until it is acknowledged (RFC 7252, section 4.2)."""
        self._waiting.pop(message_id, None)
        if left:
            self.network.carry(octets, self.server.receive)
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout, self._send, message_id, octets, 2 * timeout, left - 1)
            self._waiting[message_id] = timer
        else:
            self.register()  # it got no answer, so it begins again

    def receive(self, octets: bytes) -> None:
        message = decode(octets)
        if message.type == ACK:
            timer = self._waiting.pop(message.message_id, None)
            if timer is None:
                return  # a double
            timer.cancel()
        elif message.type == CON:
            self.network.carry(Message(ACK, 0, message.message_id).encode(), self.server.receive)
        if not message.code:
            return
        if message.token == TOKEN:
            self._notified(message)
        elif message.token == self._fetch:
            if (timer := self._waiting.pop(self._fetch_id, None)) is not None:
                timer.cancel()  # a separate response says that the request arrived
            self._fetched(message)

    def _notified(self, message: Message) -> None:
        now = asyncio.get_running_loop().time()
        number = opt.first_uint(message.options, opt.OBSERVE)
        assert message.code == codes.CONTENT and number is not None, message
        if self.newest is not None:
            last, at = self.newest
            if not (0 < (number - last) % (1 << 24) < 1 << 23 or now > at + 128):
                return
        self.newest = number, now
        self.registered = True
        self._body.clear()
        self._take(message, wants_all=self.random.random() < self.fetches)

    def _take(self, message: Message, *, wants_all: bool = True) -> None:
        self._fetch = b""
        block = decode_block(opt.first(message.options, opt.BLOCK2) or b"")
        etag = opt.first(message.options, opt.ETAG)
        if self._body and etag != self._etag:
            self._body.clear()  # another body by now: from its beginning (RFC 7959, section 2.4)
        elif block.offset == len(self._body):
            self._etag = etag
            self._body += message.payload
            if not block.more:
                self.version = int(self._body.split()[0])
                return
        if wants_all:
            number = len(self._body) >> (block.szx + 4)
            self._fetch = b"f%d" % self._next
            self._fetch_id = self._next + 1
            self._ask(self._fetch, ((opt.BLOCK2, Block(number, False, block.szx).encode()),))

    def _fetched(self, message: Message) -> None:
        if message.code == codes.CONTENT:
            self._take(message)


Step = tuple[str, float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["change"] * 6 + ["register", "foreign", "burst"]),
        st.sampled_from([0.0, 0.02, 0.3, 1.0, 3.0, 30.0]),
    ),
    max_size=25,
)


async def play(seed: int, bad: Network, size: int, szx: int | None, fetches: float, script: list[Step]) -> None:
    server = Server(bad, size)
    client = server.client = Client(bad, server, szx, Random(seed), fetches)
    client.register()
    await asyncio.sleep(1)
    for step, pause in script:
        match step:
            case "change":
                server.change()
            case "burst":
                for _ in range(20):
                    server.change()
            case "register":
                client.register()
            case "foreign":
                client.deregister_foreign()
        await asyncio.sleep(pause)
    bad.mend()
    await asyncio.sleep(150)  # all that was on its way has come to its end
    check_ends(server)
    for newest in range(3):
        if server.observer is None:
            client.register()  # as every observer does in the end: the state's Max-Age has run out
        elif not newest and fetches < 1:
            pass  # it did not want all of the newest
        else:
            assert client.version == server.version, (newest, server.ends)
        client.fetches = 1.0
        server.change()
        await asyncio.sleep(30)
    assert client.version == server.version and server.observer is not None
    check_ends(server)
    assert server.numbers == sorted(set(server.numbers)), "numbers go up"
    server.close()


def check_ends(server: Server) -> None:
    """Why observations ended: the observer registered again, or there is a message that it did not acknowledge."""
    lost = server.ends.count(FailureReason.TIMED_OUT)
    assert set(server.ends) <= {FailureReason.REPLACED, FailureReason.TIMED_OUT}, server.ends
    gone = [each for each in server.transmissions.values() if each == 1 + CONNECTION.transmission.max_retransmit]
    assert lost <= len(gone), (server.ends, server.transmissions)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    double=st.sampled_from([0.0, 0.3]),
    jitter=st.sampled_from([0.0, 1.5]),
    size=st.sampled_from([3, 60, 900, 2500]),
    szx=st.sampled_from([None, 0, 2]),
    fetches=st.sampled_from([0.0, 0.5, 1.0]),
    script=steps,
)
def test_the_newest_state_arrives_and_no_observer_is_lost(
    seed: int,
    loss: float,
    double: float,
    jitter: float,
    size: int,
    szx: int | None,
    fetches: float,
    script: list[Step],
) -> None:
    loop = SimulatedTime()
    try:
        loop.run_until_complete(play(seed, Network(Random(seed), loss, double, jitter), size, szx, fetches, script))
    finally:
        loop.close()
