"""Tests of coap without DTLS: nothing is kept before Echo, and libcoap's client gets through with it."""

from __future__ import annotations

import asyncio

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.message import ACK, CON, NON, RST, Message, decode
from carriage.coap.plain import UNPROTECTED, PlainListener
from carriage.coap.server import CoapsServer
from carriage.coap.udp import bind
from layer.credentials import Credentials
from layer.errors import UsageError
from layer.listener import HandshakeRefused, PeerConnected, PeerData, PeerGone

HERE = ("192.0.2.1", 4000)


def listener(**limits) -> PlainListener:
    return PlainListener(b"k" * 16, **limits)


def request(message_id: int, echo: bytes | None = None, type: int = CON) -> bytes:
    options = () if echo is None else ((opt.ECHO, echo),)
    return Message(type, codes.GET, message_id, b"tok", options).encode()


def admitted(ours: PlainListener, address=HERE, now: float = 0.0) -> int:
    ours.receive_datagram(request(1), address, now)
    ((datagram, _),) = ours.datagrams_to_send()
    echo = opt.first(decode(datagram).options, opt.ECHO)
    ours.receive_datagram(request(2, echo), address, now)
    event = ours.next_event()
    assert isinstance(event, PeerConnected)
    assert (event.addr, event.info) == (address, UNPROTECTED)
    assert ours.next_event() == PeerData(event.peer_id, request(2, echo))
    return event.peer_id


@pytest.mark.parametrize(("type", "answer"), [(CON, ACK), (NON, NON)])
def test_a_stranger_is_challenged_and_nothing_is_kept(type: int, answer: int) -> None:
    ours = listener()
    for _ in range(100):
        ours.receive_datagram(request(7, type=type), HERE, 0.0)
    challenges = [decode(datagram) for datagram, _ in ours.datagrams_to_send()]
    assert len(challenges) == 100 and ours.next_event() is None and ours.next_deadline() is None
    first = challenges[0]
    assert (first.type, first.code, first.token) == (answer, codes.UNAUTHORIZED, b"tok")
    assert (first.message_id == 7) == (type == CON) or type == NON
    assert len(first.encode()) < 50


def test_who_repeats_the_value_is_a_peer() -> None:
    ours = listener()
    peer = admitted(ours)
    ours.receive_datagram(b"whatever", HERE, 1.0)
    assert ours.next_event() == PeerData(peer, b"whatever")
    assert ours.send(peer, b"answer", 1.0)
    assert ours.datagrams_to_send() == [(b"answer", HERE)]
    ours.close(peer, 2.0)
    assert not ours.send(peer, b"late", 2.0)
    assert ours.next_event() is None


def test_the_value_of_another_address_is_no_good() -> None:
    ours = listener()
    ours.receive_datagram(request(1), HERE, 0.0)
    ((datagram, _),) = ours.datagrams_to_send()
    echo = opt.first(decode(datagram).options, opt.ECHO)
    ours.receive_datagram(request(2, echo), ("192.0.2.1", 4001), 0.0)
    assert ours.next_event() is None


def test_pings_are_answered_and_nonsense_is_not() -> None:
    ours = listener()
    ours.receive_datagram(Message(CON, codes.EMPTY, 9).encode(), HERE, 0.0)
    assert ours.datagrams_to_send() == [(Message(RST, codes.EMPTY, 9).encode(), HERE)]
    for datagram in (b"", b"\xff" * 20, Message(ACK, codes.CONTENT, 1).encode(), Message(RST, 0, 1).encode()):
        ours.receive_datagram(datagram, HERE, 0.0)
    assert ours.datagrams_to_send() == [] and ours.next_event() is None
    assert ours.counters["malformed"] == 2


def test_silent_peers_go() -> None:
    ours = listener(idle_timeout=10.0)
    first = admitted(ours)
    second = admitted(ours, ("192.0.2.2", 1), 5.0)
    assert ours.next_deadline() == 10.0
    ours.receive_datagram(b"alive", HERE, 9.0)
    ours.next_event()
    ours.tick(15.0)
    assert ours.next_event() == PeerGone(second, "idle")
    ours.tick(19.0)
    assert ours.next_event() == PeerGone(first, "idle")
    assert ours.next_deadline() is None


@pytest.mark.parametrize(
    ("limits", "host"), [({"max_peers": 1}, "192.0.2.2"), ({"max_peers_per_host": 1}, "192.0.2.1")]
)
def test_the_number_of_peers_is_bounded(limits: dict[str, int], host: str) -> None:
    ours = listener(**limits)
    admitted(ours)
    other = (host, 5000)
    ours.receive_datagram(request(1), other, 0.0)
    ((datagram, _),) = ours.datagrams_to_send()
    ours.receive_datagram(request(2, opt.first(decode(datagram).options, opt.ECHO)), other, 0.0)
    assert ours.next_event() == HandshakeRefused(other, "too many peers")
    ours.close_all(0.0)
    admitted(ours, other)


def test_what_is_our_fault() -> None:
    with pytest.raises(UsageError):
        PlainListener(b"short")
    with pytest.raises(UsageError):
        listener().replace_credentials(Credentials(psk_lookup={b"dev": b"0123456789abcdef"}))


async def test_libcoaps_client_without_dtls(served) -> None:
    _, recorder = served
    recorder.stored[("x",)] = b"plainly"
    server = CoapsServer(bind("127.0.0.1", 0), listener(), recorder)
    server.start()
    process = await asyncio.create_subprocess_exec(
        "coap-client-notls", "-m", "get", f"coap://127.0.0.1:{server.port}/x", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert out.strip() == b"plainly"
    ((peer,),) = recorder.of("connected")
    assert peer.info.peer.kind == "none"
    assert server.counters["challenges"] == 1
    server.close()
