"""Tests of the coaps server and client shells over real sockets and real DTLS."""

from __future__ import annotations

import asyncio
import socket

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.connection import Answer, CoapConfig, FailureReason, Request, Response
from carriage.coap.server import LAYER_1, CoapsServer, serve_coaps
from carriage.coap.udp import Datagrams, bind
from layer.config import AssociationConfig
from layer.credentials import Credentials, Psk
from layer.errors import TransportError, UsageError
from layer.listener import DtlsListener
from tests.carriage.coap.server_recorder import Recorder, plant_fault

QUICK = AssociationConfig(retransmit_initial=0.2, handshake_timeout=1.0)


def path(name: str) -> opt.Options:
    return opt.uri((name,))


@pytest.fixture
async def client(served, pki):
    server, _ = served
    made = CoapsClient("127.0.0.1", server.port, pki.psk)
    await made.connect()
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["psk", "client"])
async def test_the_identity_of_the_peer_comes_from_the_handshake(served, pki, kind: str, eventually) -> None:
    server, recorder = served
    client = CoapsClient("127.0.0.1", server.port, getattr(pki, kind))
    info = await client.connect()
    assert info.protocol == "dtls1.2" and client.info is info
    await eventually(lambda: recorder.of("connected"))
    ((peer,),) = recorder.of("connected")
    if kind == "psk":
        assert peer.info.peer.psk_identity == b"dev"
    else:
        assert peer.info.peer.subject_alt_names == ("dns:client",)
    client.close()
    await eventually(lambda: recorder.of("gone"))
    assert recorder.of("gone") == [(peer, "closed by the peer")]
    assert server.peers == () and client.info is None


@pytest.mark.parametrize("size", [0, 64, 1024, 5000, 65536])
async def test_requests_of_all_sizes(client, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    response = await client.request(Request(codes.POST, path("x"), body))
    assert response.code == codes.CHANGED and response.payload == body[::-1]


async def test_many_requests_at_once(client, served) -> None:
    answers = await asyncio.gather(
        *(client.request(Request(codes.POST, path("x"), b"%d" % number)) for number in range(50))
    )
    assert [answer.payload for answer in answers] == [(b"%d" % number)[::-1] for number in range(50)]
    assert served[0].counters["requests"] == 50


async def test_observation(client, served, eventually) -> None:
    _, recorder = served
    heard: list[bytes] = []
    observation = await client.observe(Request(codes.GET, path("o")), lambda response: heard.append(response.payload))
    assert observation.established and heard == [b""]
    ((peer, exchange),) = recorder.observers
    sent = [bytes((number,)) * (3000 if number % 2 else 30) for number in range(8)]
    ids = [peer.notify(exchange, Response(codes.CONTENT, (), payload)) for payload in sent]
    await eventually(lambda: len(recorder.of("acknowledged")) == 8)
    assert heard[1:] == sent
    assert recorder.of("acknowledged") == [(exchange, one) for one in ids]
    observation.cancel()
    await eventually(lambda: recorder.of("ended"))
    assert recorder.of("ended") == [(exchange, FailureReason.DEREGISTERED)]


async def test_the_client_learns_of_the_end_of_an_observation(client, served, eventually) -> None:
    _, recorder = served
    ends: list[FailureReason] = []
    await client.observe(Request(codes.GET, path("o")), lambda response: None, ends.append)
    ((peer, exchange),) = recorder.observers
    peer.notify(exchange, Response(codes.NOT_FOUND))
    await eventually(lambda: ends)
    assert ends == [FailureReason.COMPLETED]
    await eventually(lambda: recorder.of("ended"))
    assert recorder.of("ended") == [(exchange, FailureReason.COMPLETED)]


async def test_the_handlers_fault_costs_only_one_request(client, served, caplog) -> None:
    response = await client.request(Request(codes.GET, path("raise")))
    assert response.code == codes.INTERNAL_SERVER_ERROR
    assert served[0].counters["handler_errors"] == 1
    assert "RuntimeError: a fault of the application" in caplog.text
    assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"


async def test_a_request_that_the_handler_can_not_read_is_the_peers_fault(client, served) -> None:
    response = await client.request(Request(codes.GET, path("malformed")))
    assert (response.code, response.payload) == (codes.BAD_REQUEST, b"no sense in it")
    assert (served[0].counters["requests_refused"], served[0].counters["handler_errors"]) == (1, 0)


async def test_a_fault_that_can_be_caused_again_and_again_is_logged_now_and_then(client, served, caplog) -> None:
    for _ in range(50):
        await client.request(Request(codes.GET, path("raise")))
    assert served[0].counters["handler_errors"] == 50
    assert caplog.text.count("Traceback") == 10


async def test_a_message_that_raises_costs_that_message_only(client, served, pki) -> None:
    """A planted fault: one message of one peer, while another peer's is read in the same moment."""
    server, _ = served
    other = CoapsClient("127.0.0.1", server.port, pki.psk)
    (mine,) = server.peers
    await other.connect()
    plant_fault(mine.connection)
    poisoned = asyncio.get_running_loop().create_task(client.request(Request(codes.GET, path("lost"))))
    for n in range(5):
        assert (await other.request(Request(codes.POST, path("x"), b"%d" % n))).payload == b"%d" % n
        assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"
    assert server.counters["message_errors"] == 1 and len(server.peers) == 2
    assert not poisoned.done()
    poisoned.cancel()
    other.close()


async def test_an_answer_that_can_not_be_written_costs_that_answer_only(client, served, pki) -> None:
    """A planted fault: one peer's answer raises when it is taken, another's are in the same flush."""
    server, _ = served
    other = CoapsClient("127.0.0.1", server.port, pki.psk)
    await other.connect()
    asked = asyncio.get_running_loop().create_task(client.request(Request(codes.POST, path("poison"), b"ab")))
    for n in range(5):
        assert (await other.request(Request(codes.POST, path("x"), b"%d" % n))).payload == b"%d" % n
    assert server.counters["message_errors"] == 1 and len(server.peers) == 2
    assert not asked.done()
    assert (await client.request(Request(codes.POST, path("x"), b"cd"))).payload == b"dc"
    assert (await asked).payload == b"ba"
    other.close()


async def test_a_late_answer_from_outside_of_a_callback(pki, eventually) -> None:
    class Late:
        def __init__(self) -> None:
            self.waiting: list[tuple[object, int]] = []

        def request(self, peer, exchange, request) -> None:
            self.waiting.append((peer, exchange))

        def __getattr__(self, name):
            return lambda *arguments: None

    late = Late()
    server = serve_coaps("127.0.0.1", 0, pki.server, late)
    client = CoapsClient("127.0.0.1", server.port, pki.psk)
    await client.connect()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(client.request(Request(codes.GET, path("x"))))
        await eventually(lambda: late.waiting)
        await asyncio.sleep(0.7)  # past the empty acknowledgement
        ((peer, exchange),) = late.waiting
        assert peer.respond(exchange, Response(codes.CONTENT, (), b"late")) is Answer.SENT
    assert asked.result().payload == b"late"
    client.close()
    server.close()


async def test_what_is_left_to_be_written_asks_its_owner_for_one_flush(pki, eventually) -> None:
    wakes: list[None] = []
    recorder = Recorder()
    listener = DtlsListener(pki.server, LAYER_1)
    server = CoapsServer(bind("127.0.0.1", 0), listener, recorder, wake=lambda: wakes.append(None))
    server.start()
    client = CoapsClient("127.0.0.1", server.port, pki.psk)
    await client.connect()
    heard: list[bytes] = []
    for number in range(3):
        await client.observe(Request(codes.GET, path(f"o{number}")), lambda response: heard.append(response.payload))
    assert wakes == [], "what is read and answered in one go needs no asking"
    before = server.counters["datagrams_out"]
    for peer, exchange in recorder.observers:
        peer.notify(exchange, Response(codes.CONTENT, (), b"news"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(wakes), server.counters["datagrams_out"]) == (1, before)
    server.flush()
    server.flush()
    assert server.counters["datagrams_out"] == before + 3
    await eventually(lambda: heard[3:] == [b"news"] * 3)
    assert len(wakes) == 1
    client.close()
    server.close()


async def test_closing_a_peer(client, served, eventually) -> None:
    server, recorder = served
    lost: list[str] = []
    client._on_lost = lost.append
    (peer,) = server.peers
    peer.close("no longer welcome")
    assert recorder.of("gone") == [(peer, "no longer welcome")]
    await eventually(lambda: lost)
    assert lost == ["closed by the server"]
    assert peer.respond(1, Response(codes.CONTENT)) is Answer.GONE
    assert peer.notify(1, Response(codes.CONTENT)) is FailureReason.COMPLETED
    peer.close("again")
    assert len(recorder.of("gone")) == 1
    with pytest.raises(TransportError):
        await client.request(Request(codes.GET, path("x")))


async def test_open_requests_fail_with_the_association(client, served, eventually) -> None:
    server, _ = served
    ends: list[FailureReason] = []
    await client.observe(Request(codes.GET, path("o")), lambda response: None, ends.append)
    with pytest.raises(TransportError, match="closed by the server") as raised:
        async with asyncio.timeout(10):
            asked = client.request(Request(codes.GET, path("silent")))
            asyncio.get_running_loop().call_later(0.1, server.peers[0].close, "over")
            await asked
    assert raised.value.transient
    assert ends == [FailureReason.CLOSED]


async def test_cancelling_a_request(client, served) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.request(Request(codes.GET, path("silent")))
    assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"


async def test_reconnecting(client, served, eventually) -> None:
    server, recorder = served
    await client.reconnect()
    assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"
    await eventually(lambda: len(server.peers) == 1)
    assert len(recorder.of("connected")) == 2
    with pytest.raises(UsageError):
        await client.connect()


async def test_a_wrong_key_fails_the_connect(served, eventually) -> None:
    server, recorder = served
    client = CoapsClient("127.0.0.1", server.port, Credentials(psk=Psk("dev", b"another key 0123")), QUICK)
    with pytest.raises(TransportError, match="no association"):
        await client.connect()
    assert client.info is None
    assert recorder.of("connected") == []


async def test_a_connect_without_a_server_fails() -> None:
    free = bind("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    client = CoapsClient("127.0.0.1", port, Credentials(psk=Psk("dev", b"0123456789abcdef")))
    with pytest.raises(TransportError, match="no answer at") as raised:
        async with asyncio.timeout(5):
            await client.connect()
    assert raised.value.transient


async def test_cancelling_the_connect(served) -> None:
    silent = bind("127.0.0.1", 0)
    client = CoapsClient("127.0.0.1", silent.getsockname()[1], Credentials(psk=Psk("dev", b"0123456789abcdef")))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.connect()
    silent.close()
    assert client.info is None


async def test_new_credentials_are_for_new_handshakes(client, served, pki) -> None:
    server, _ = served
    server.replace_credentials(Credentials(psk_lookup={b"new": b"fedcba9876543210"}))
    assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"
    other = CoapsClient("127.0.0.1", server.port, Credentials(psk=Psk("new", b"fedcba9876543210")))
    await other.connect()
    other.close()
    with pytest.raises(TransportError):
        await CoapsClient("127.0.0.1", server.port, pki.psk, QUICK).connect()


class Relay:
    """A UDP relay on the loopback that can lose everything."""

    def __init__(self, port: int) -> None:
        self.deaf = False
        self._client = None
        self._front = bind("127.0.0.1", 0)
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.connect(("127.0.0.1", port))
        self.port = self._front.getsockname()[1]
        self._ends = [
            Datagrams(self._front, received=self._forth, woken=lambda: None, failed=lambda error: None),
            Datagrams(self._back, received=self._return, woken=lambda: None, failed=lambda error: None),
        ]

    def _forth(self, data: bytes, address: object) -> None:
        self._client = address
        if not self.deaf:
            self._ends[1].send(data, None)

    def _return(self, data: bytes, address: object) -> None:
        if not self.deaf:
            self._ends[0].send(data, self._client)

    def close(self) -> None:
        for end in self._ends:
            end.close()


async def test_a_silent_server_is_noticed_while_observing(served, pki, eventually) -> None:
    server, _ = served
    relay = Relay(server.port)
    lost: list[str] = []
    ends: list[FailureReason] = []
    client = CoapsClient("127.0.0.1", relay.port, pki.psk, keepalive=0.1, ping_timeout=0.3, on_lost=lost.append)
    await client.connect()
    await client.observe(Request(codes.GET, path("o")), lambda response: None, ends.append)
    await asyncio.sleep(0.6)  # pings are answered
    assert lost == []
    relay.deaf = True
    await eventually(lambda: lost)
    assert lost == ["the server does not answer"] and ends == [FailureReason.CLOSED]
    relay.close()


async def test_nothing_is_pinged_while_nothing_is_observed(served, pki) -> None:
    server, _ = served
    client = CoapsClient("127.0.0.1", server.port, pki.psk, keepalive=0.05, ping_timeout=0.1)
    await client.connect()
    before = server.counters["datagrams_in"]
    await asyncio.sleep(0.3)
    assert server.counters["datagrams_in"] <= before + 1
    client.close()


async def test_if_the_host_refuses_the_port_a_ping_fails_soon(served, pki) -> None:
    """A server that was killed is noticed long before anybody would have asked."""
    server, _ = served
    lost: list[str] = []
    client = CoapsClient("127.0.0.1", server.port, pki.psk, keepalive=3600, ping_timeout=0.3, on_lost=lost.append)
    await client.connect()
    server._datagrams.close()  # without a word
    async with asyncio.timeout(10):
        with pytest.raises(TransportError, match="does not answer"):
            await client.request(Request(codes.POST, path("x"), b"ab"))
    assert lost == ["the server does not answer"]


async def test_lost_datagrams_are_repeated(served, pki, eventually) -> None:
    server, _ = served
    relay = Relay(server.port)
    client = CoapsClient("127.0.0.1", relay.port, pki.psk)
    await client.connect()
    relay.deaf = True
    asyncio.get_running_loop().call_later(1.0, setattr, relay, "deaf", False)
    async with asyncio.timeout(10):
        assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"
    client.close()
    relay.close()


async def test_a_listener_whose_timers_raise_stops_no_other_timer(pki, eventually, caplog) -> None:
    """A planted fault at each tick: a notification that got lost is repeated all the same, and the log stays short."""

    recorder, listener = Recorder(), DtlsListener(pki.server, LAYER_1, idle_timeout=0.2)
    del listener._count["idle"]  # of which its tick is to make one more
    server = CoapsServer(bind("127.0.0.1", 0), listener, recorder)
    server.start()
    idle = CoapsClient("127.0.0.1", server.port, pki.psk, keepalive=None)
    await idle.connect()
    await eventually(lambda: server.counters["message_errors"])
    relay = Relay(server.port)
    client = CoapsClient("127.0.0.1", relay.port, pki.psk)
    await client.connect()
    heard: list[bytes] = []
    await client.observe(Request(codes.GET, path("o")), lambda response: heard.append(response.payload))
    ((peer, exchange),) = recorder.observers
    relay.deaf = True
    peer.notify(exchange, Response(codes.CONTENT, (), b"news"))
    await asyncio.sleep(0.1)
    relay.deaf = False
    await eventually(lambda: heard == [b"", b"news"])
    await eventually(lambda: recorder.of("acknowledged"))
    assert 0 < server.counters["message_errors"] <= 10, "it is not asked without a pause"
    client.close()
    idle.close()
    server.close()
    relay.close()


async def test_a_client_whose_timers_raise_is_lost_and_says_so(served, pki, eventually) -> None:
    server, _ = served
    ends: list[str] = []
    client = CoapsClient("127.0.0.1", server.port, pki.psk, on_lost=ends.append)
    await client.connect()
    assert client._connection is not None
    asked = asyncio.get_running_loop().create_task(client.request(Request(codes.GET, path("silent"))))
    await asyncio.sleep(0.1)
    plant_fault(client._connection)
    client._tick()
    with pytest.raises(TransportError, match="a fault in this client"):
        await asked
    assert ends == ["a fault in this client"]


async def test_noise_does_not_disturb(client, served) -> None:
    server, _ = served
    noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(200):
        noise.sendto(bytes((number % 256,)) * (number % 100), ("127.0.0.1", server.port))
    noise.close()
    assert (await client.request(Request(codes.POST, path("x"), b"ab"))).payload == b"ba"
    assert server.counters["datagrams_in"] > 200


async def test_many_peers(served, pki, eventually) -> None:
    server, _ = served
    clients = [CoapsClient("127.0.0.1", server.port, pki.psk) for _ in range(8)]
    await asyncio.gather(*(one.connect() for one in clients))
    answers = await asyncio.gather(*(one.request(Request(codes.POST, path("x"), b"ab")) for one in clients))
    assert [answer.payload for answer in answers] == [b"ba"] * 8
    await eventually(lambda: server.counters["peers"] == 8)
    for one in clients:
        one.close()
    await eventually(lambda: server.counters["peers"] == 0)


async def test_closing_the_server_tells_everybody(pki, eventually) -> None:
    from collections import deque

    reasons: deque[str] = deque()

    class Quiet:
        def gone(self, peer, reason: str) -> None:
            reasons.append(reason)

        def __getattr__(self, name):
            return lambda *arguments: None

    server = serve_coaps("127.0.0.1", 0, pki.server, Quiet())
    lost: list[str] = []
    client = CoapsClient("127.0.0.1", server.port, pki.psk, on_lost=lost.append)
    await client.connect()
    await eventually(lambda: server.peers)
    server.close()
    assert list(reasons) == ["the server is closing"]
    await eventually(lambda: lost)


async def test_a_peer_that_can_not_be_written_to_keeps_the_server_from_nothing_when_it_closes(
    served, pki, eventually
) -> None:
    """A planted fault: it must not keep the others from hearing, nor the port."""
    server, _ = served
    lost: list[str] = []
    clients = [CoapsClient("127.0.0.1", server.port, pki.psk, on_lost=lost.append) for _ in range(2)]
    for each in clients:
        await each.connect()
    plant_fault(server.peers[0].connection)
    port = server.port
    server.close()
    assert server.peers == () and server.counters["message_errors"] == 1
    await eventually(lambda: len(lost) == 2)
    bind("127.0.0.1", port).close()


async def test_a_port_in_use(served, pki) -> None:
    server, recorder = served
    with pytest.raises(TransportError, match=r"can't bind UDP 127\.0\.0\.1 port [0-9]+: another program has it"):
        serve_coaps("127.0.0.1", server.port, pki.server, recorder)


def test_a_client_needs_a_datagram_protocol(pki) -> None:
    with pytest.raises(UsageError):
        CoapsClient("127.0.0.1", 1, pki.psk, AssociationConfig(protocol="tls1.3"))
    assert LAYER_1.retransmit_initial == 1.0


async def test_the_message_limit_follows_the_association(pki) -> None:
    """A small MTU makes smaller blocks, not oversized records."""
    from types import SimpleNamespace

    small = AssociationConfig(mtu=512, retransmit_initial=1.0)
    handler = SimpleNamespace(
        connected=lambda peer: None,
        request=lambda peer, exchange, request: peer.respond(exchange, Response(codes.CONTENT, (), request.payload)),
        gone=lambda peer, reason: None,
        refused=lambda address, reason: None,
    )
    server = serve_coaps("127.0.0.1", 0, pki.server, handler, association=small)
    client = CoapsClient("127.0.0.1", server.port, pki.psk, small, CoapConfig())
    info = await client.connect()
    assert info.max_data is not None and info.max_data < 512
    assert (await client.request(Request(codes.POST, path("x"), bytes(3000)))).payload == bytes(3000)
    client.close()
    server.close()


async def test_the_outbox_is_bounded_and_drains() -> None:
    """A stream socket pair stands in for a full UDP buffer, which can't be filled on purpose."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    right.setblocking(False)
    datagrams = Datagrams(
        left, received=lambda *found: None, woken=lambda: None, failed=lambda error: None, max_unsent=5
    )
    for number in range(2000):
        datagrams.send(b"%04d" % number + bytes(1000), None)
    assert datagrams.dropped > 0
    got = []
    for _ in range(200):
        await asyncio.sleep(0)
        try:
            while True:
                got.append(int(right.recv(2000)[:4]))
        except BlockingIOError:
            pass
    assert got == list(range(len(got))) and len(got) + datagrams.dropped == 2000
    datagrams.close()
    right.close()
