"""Tests of carriage.coap.stream and stream_layer: RFC 8323 framing, its bounds, and the signalling of a connection."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import codes
from carriage.coap.connection import (
    CoapConfig,
    CoapConnection,
    ConnectionEnded,
    NotificationReceived,
    PingAnswered,
    PingFailed,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
)
from carriage.coap.message import CON, Message
from carriage.coap.stream import FrameDecoder, capabilities, encode_frame
from layer.errors import PeerError, TransportError, UsageError

# RFC 8323 figure 6, and section 3.2 by hand.
VECTORS = [
    ("01 43 7f", Message(CON, codes.VALID, 0, b"\x7f")),
    ("00 e1", Message(CON, codes.CSM, 0)),
    ("30 01 b2 6162", Message(CON, codes.GET, 0, b"", ((11, b"ab"),))),
    ("d0 00 02 ff" + "61" * 12, Message(CON, codes.POST, 0, b"", (), b"a" * 12)),
    ("e0 0000 02 ff" + "61" * 268, Message(CON, codes.POST, 0, b"", (), b"a" * 268)),
    ("f0 00000000 02 ff" + "61" * 65804, Message(CON, codes.POST, 0, b"", (), b"a" * 65804)),
]


@pytest.mark.parametrize(("octets", "message"), VECTORS)
def test_vectors_both_ways(octets: str, message: Message) -> None:
    frame = bytes.fromhex(octets.replace(" ", ""))
    assert encode_frame(message) == frame
    assert FrameDecoder(1 << 20).feed(frame) == [message]


def test_the_csm() -> None:
    # Max-Message-Size 1152 = 0x0480 (option 2), Block-Wise-Transfer (option 4, delta 2)
    assert encode_frame(capabilities(1152)).hex() == "40e122048020"


def test_an_empty_message_is_skipped() -> None:
    assert FrameDecoder(2000).feed(bytes.fromhex("0000" + "01437f")) == [Message(CON, codes.VALID, 0, b"\x7f")]


@pytest.mark.parametrize("octets", ["09", "0f", "0020", "00c1", "10 01 ff", "10 01 f0", "e0 0374 01"])
def test_refusals(octets: str) -> None:
    with pytest.raises(PeerError):
        FrameDecoder(1152).feed(bytes.fromhex(octets.replace(" ", "")))


def test_a_frame_may_be_as_large_as_announced_and_no_larger() -> None:
    whole = encode_frame(Message(CON, codes.POST, 0, b"", (), bytes(1147)))
    assert len(whole) == 1152
    assert len(FrameDecoder(1152).feed(whole)) == 1
    with pytest.raises(PeerError, match="larger"):
        FrameDecoder(1152).feed(encode_frame(Message(CON, codes.POST, 0, b"", (), bytes(1148)))[:8])


def test_a_frame_refused_by_its_length_is_never_kept() -> None:
    decoder = FrameDecoder(1152)
    with pytest.raises(PeerError):
        decoder.feed(bytes.fromhex("f0ffffffff") + b"\x02")
    assert decoder.buffered < 10


def test_a_limit_below_the_base_is_our_fault() -> None:
    with pytest.raises(UsageError):
        FrameDecoder(1151)


@given(st.lists(st.binary(max_size=300), max_size=5), st.data())
@settings(max_examples=30, deadline=None)
def test_pieces_cut_anywhere_give_the_same_messages(payloads: list[bytes], data: st.DataObject) -> None:
    messages = [Message(CON, codes.POST, 0, b"t", ((11, b"x"),), payload) for payload in payloads]
    octets = b"".join(map(encode_frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    decoder = FrameDecoder(1152)
    found: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        found += decoder.feed(octets[start:end])
    assert found == messages
    assert decoder.buffered == 0


@given(st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=80, deadline=None)
def test_arbitrary_octets_give_messages_or_a_peer_error(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(1152)
    for piece in pieces:
        try:
            decoder.feed(piece)
        except PeerError:
            return
        assert decoder.buffered <= 1152


# The layer, through a connection.


def connection(**parameters: float) -> CoapConnection:
    made = CoapConnection(datagrams=False, random=random.Random(7).random, config=CoapConfig(**parameters))
    made.start(0.0)
    return made


def test_the_csm_comes_first_and_must_come_first() -> None:
    ours = connection(max_message_size=1152)
    assert ours.to_send() == [bytes.fromhex("40e122048020")]
    ours.receive(bytes.fromhex("01437f"), 0.0)
    assert ours.next_event() == ConnectionEnded("the first message is not a CSM")
    assert FrameDecoder(1152).feed(b"".join(ours.to_send()))[0].code == codes.ABORT
    with pytest.raises(TransportError):
        ours.request(Request(codes.GET), 0.0)


def test_ping_and_pong_carry_the_token() -> None:
    ours = connection()
    ours.to_send()
    ours.receive(bytes.fromhex("00e1" + "02e2abcd"), 0.0)
    assert ours.to_send() == [bytes.fromhex("02e3abcd")]
    assert ours.ping(1.0)
    (ping,) = FrameDecoder(1152).feed(b"".join(ours.to_send()))
    assert ping.code == codes.PING
    ours.receive(encode_frame(Message(CON, codes.PONG, 0, ping.token)), 1.0)
    assert ours.next_event() == PingAnswered()


def test_a_ping_without_pong_fails() -> None:
    ours = connection(ping_timeout=5.0)
    assert ours.ping(1.0)
    assert ours.next_deadline() == 6.0
    ours.tick(6.0)
    assert ours.next_event() == PingFailed()


@pytest.mark.parametrize(("signal", "reason"), [("00e4", "released by the peer"), ("00e5", "aborted by the peer")])
def test_release_and_abort_end_it(signal: str, reason: str) -> None:
    ours = connection()
    ours.receive(bytes.fromhex("00e1" + signal + "3001b26162"), 0.0)
    assert ours.next_event() == ConnectionEnded(reason)
    assert ours.next_event() is None


@pytest.mark.parametrize("signal", ["10e1 10", "10e1 30", "00e1 10e2 10"])
def test_unknown_critical_options_of_signals(signal: str) -> None:
    ours = connection()
    ours.receive(bytes.fromhex(signal.replace(" ", "")), 0.0)
    event = ours.next_event()
    assert isinstance(event, ConnectionEnded) and "critical" in event.reason


def test_closing_says_release() -> None:
    ours = connection()
    ours.to_send()
    ours.close(0.0)
    assert ours.to_send() == [bytes.fromhex("00e4")]
    assert ours.next_event() == ConnectionEnded("closed")


def test_a_large_body_goes_in_one_message_where_the_peer_takes_it() -> None:
    ours, theirs = connection(), connection()
    for one, other in ((ours, theirs), (theirs, ours)):
        for octets in one.to_send():
            other.receive(octets, 0.0)
    body = bytes(65536)
    ours.request(Request(codes.POST, ((11, b"x"),), body), 0.0)
    sent = b"".join(ours.to_send())
    assert len(sent) > 65536
    theirs.receive(sent, 0.0)
    event = theirs.next_event()
    assert isinstance(event, RequestReceived) and event.request.payload == body
    theirs.respond(event.exchange, Response(codes.CONTENT, (), body), 0.0)
    ours.receive(b"".join(theirs.to_send()), 0.0)
    answer = ours.next_event()
    assert isinstance(answer, ResponseReceived) and answer.response.payload == body


def test_notifications_over_a_stream_need_no_rising_numbers() -> None:
    """RFC 8323 section 7.1: the Observe value may be the same each time."""
    ours = connection()
    ours.receive(bytes.fromhex("00e1"), 0.0)
    exchange = ours.observe(Request(codes.GET, ((11, b"x"),)), 0.0)
    request = FrameDecoder(1152).feed(b"".join(ours.to_send()))[-1]
    for payload in (b"first", b"second", b"third"):
        ours.receive(encode_frame(Message(CON, codes.CONTENT, 0, request.token, ((6, b""),), payload)), 0.0)
    response = [Response(codes.CONTENT, ((6, b""),), payload) for payload in (b"first", b"second", b"third")]
    assert ours.next_event() == ResponseReceived(exchange, response[0])
    assert ours.next_event() == NotificationReceived(exchange, response[1])
    assert ours.next_event() == NotificationReceived(exchange, response[2])


def test_before_the_peers_csm_only_the_base_size_is_assumed() -> None:
    ours = connection()
    ours.to_send()
    ours.request(Request(codes.POST, ((11, b"x"),), bytes(5000)), 0.0)
    (message,) = FrameDecoder(1152).feed(b"".join(ours.to_send()))
    assert len(message.payload) == 1024
    assert 27 in dict(message.options)
