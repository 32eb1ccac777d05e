"""Tests of carriage.coap.connection: requests and answers between two real ends, on a good and on a bad network."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carriage.coap import atls_client, codes
from carriage.coap import options as opt
from carriage.coap.connection import (
    Answer,
    CoapConfig,
    CoapConnection,
    ConnectionEnded,
    Event,
    ExchangeFailed,
    FailureReason,
    PingAnswered,
    PingFailed,
    Request,
    RequestReceived,
    Response,
    ResponseDelivered,
    ResponseFailed,
    ResponseReceived,
    TransmissionParameters,
)
from carriage.coap.message import CON, NON, Message, decode
from layer.errors import TransportError, UsageError

PATH = ((opt.URI_PATH, b"x"),)
BOTH = pytest.mark.parametrize("datagrams", [True, False])


def answer_reversed(node, event: Event) -> None:
    if isinstance(event, RequestReceived):
        response = Response(codes.CONTENT, ((opt.CONTENT_FORMAT, b"\x2a"),), event.request.payload[::-1])
        node.connection.respond(event.exchange, response, node.now)


def body(size: int, seed: int = 5) -> bytes:
    return random.Random(seed).randbytes(size)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 16, 1023, 1024, 1025, 2048, 5000, 65536, 131_072])
def test_bodies_of_all_sizes_both_ways(world, datagrams: bool, size: int) -> None:
    pair = world(datagrams=datagrams)
    pair.b.react = answer_reversed
    exchange = pair.a.connection.request(Request(codes.POST, PATH, body(size)), pair.now)
    pair.run(30.0)
    (received,) = pair.a.of(ResponseReceived)
    assert received.exchange == exchange
    assert received.response.payload == body(size)[::-1]
    assert received.response.code == codes.CONTENT
    numbers = {number for number, _ in received.response.options}
    assert numbers <= {opt.CONTENT_FORMAT, opt.ETAG}
    (asked,) = pair.b.of(RequestReceived)
    assert asked.request.payload == body(size) and asked.request.options == PATH


@pytest.mark.parametrize("seed", range(6))
def test_64_kib_both_ways_over_a_bad_network(world, seed: int) -> None:
    pair = world(seed=seed, loss=0.15, double=0.1, jitter=0.4)
    pair.b.react = answer_reversed
    pair.a.connection.request(Request(codes.POST, PATH, body(65536)), pair.now)
    assert pair.run_until(lambda: bool(pair.a.events), 3000.0)
    (received,) = pair.a.events
    assert isinstance(received, ResponseReceived) and received.response.payload == body(65536)[::-1]
    assert len(pair.b.of(RequestReceived)) == 1  # nothing was handled twice


@pytest.mark.parametrize("seed", range(4))
def test_many_requests_over_a_bad_network_are_each_answered_once(world, seed: int) -> None:
    pair = world(seed=seed + 50, loss=0.2, double=0.2, jitter=1.0)
    pair.b.react = answer_reversed
    wanted = {}
    for number in range(40):
        payload = b"%03d" % number
        wanted[pair.a.connection.request(Request(codes.POST, PATH, payload), pair.now)] = payload[::-1]
    assert pair.run_until(lambda: len(pair.a.events) == 40)
    pair.run(100.0)
    assert {event.exchange: event.response.payload for event in pair.a.of(ResponseReceived)} == wanted
    assert len(pair.b.of(RequestReceived)) == 40


@example(382, 3569, 0)
@given(st.integers(0, 10_000), st.integers(0, 6000), st.integers(0, 6))
@settings(max_examples=15, deadline=None)
def test_any_size_and_block_size_under_any_seed(world, seed: int, size: int, szx: int) -> None:
    # Of 750 blocks that cross with the RFC's four repetitions one in 150 would be lost for good.
    often = TransmissionParameters(ack_timeout=0.3, max_retransmit=6)
    ours, theirs = CoapConfig(transmission=often, block_szx=szx), CoapConfig(transmission=often)
    pair = world(seed=seed, loss=0.05, double=0.05, jitter=0.2, config=ours, other=theirs)
    pair.b.react = answer_reversed
    pair.a.connection.request(Request(codes.POST, PATH, body(size)), pair.now)
    assert pair.run_until(lambda: bool(pair.a.events), 20_000.0)
    (received,) = pair.a.events
    assert isinstance(received, ResponseReceived) and received.response.payload == body(size)[::-1]


def test_a_slow_answer_is_separate_and_reported_delivered(world) -> None:
    pair = world()
    exchange = pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(5.0)
    (asked,) = pair.b.of(RequestReceived)
    assert pair.b.connection.respond(asked.exchange, Response(codes.CONTENT, (), b"late"), pair.now) is Answer.SENT
    pair.run(1.0)
    assert pair.a.events == [ResponseReceived(exchange, Response(codes.CONTENT, (), b"late"))]
    assert pair.b.of(ResponseDelivered) == [ResponseDelivered(asked.exchange)]
    assert len(pair.passed) == 4  # CON, empty ACK, CON, ACK


def test_a_separate_answer_overtakes_a_lost_acknowledgement(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(0.1)
    pair.b.connection.tick(pair.now + 0.5)
    assert len(pair.b.connection.to_send()) == 1  # the empty acknowledgement is lost
    (asked,) = pair.b.of(RequestReceived)
    pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now)
    pair.run(60.0)
    assert len(pair.a.of(ResponseReceived)) == 1
    assert len([octets for name, octets in pair.passed if name == "a"]) == 2  # no retransmission of the request


def test_an_unacknowledged_answer_has_failed(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(2.0)
    pair.cut = True
    (asked,) = pair.b.of(RequestReceived)
    pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now)
    pair.run(200.0)
    assert pair.b.of(ResponseFailed) == [ResponseFailed(asked.exchange, FailureReason.TIMED_OUT)]
    assert pair.a.events == [ExchangeFailed(1, FailureReason.TIMED_OUT)]


def test_silence_fails_a_request_after_the_last_retransmission(world) -> None:
    pair = world()
    pair.cut = True
    start = pair.now
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    assert pair.run_until(lambda: bool(pair.a.events))
    assert pair.a.events == [ExchangeFailed(1, FailureReason.TIMED_OUT)]
    assert 62.0 <= pair.now - start <= 93.0
    assert len(pair.passed) == 5


def test_an_acknowledged_request_without_answer_fails_in_the_end(world) -> None:
    pair = world(config=CoapConfig(response_timeout=20.0))
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(100.0)
    assert pair.a.events == [ExchangeFailed(1, FailureReason.TIMED_OUT)]


def test_non_confirmable_requests(world) -> None:
    pair = world()
    pair.b.react = answer_reversed
    pair.a.connection.request(Request(codes.POST, PATH, b"abc", confirmable=False), pair.now)
    pair.run(1.0)
    assert [event.response.payload for event in pair.a.of(ResponseReceived)] == [b"cba"]
    assert [decode(octets).type for _, octets in pair.passed] == [NON, NON]
    assert pair.b.of(RequestReceived)[0].request.confirmable is False


def test_a_lost_non_confirmable_request_fails_after_the_response_timeout(world) -> None:
    pair = world(config=CoapConfig(response_timeout=9.0))
    pair.cut = True
    pair.a.connection.request(Request(codes.POST, PATH, b"abc", confirmable=False), pair.now)
    pair.run(8.9)
    assert pair.a.events == []
    pair.run(0.2)
    assert pair.a.events == [ExchangeFailed(1, FailureReason.TIMED_OUT)]


def test_a_reset_fails_the_request(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    (octets,) = pair.a.connection.to_send()
    pair.a.connection.receive(b"\x70\x00" + octets[2:4], pair.now)
    assert pair.a.connection.next_event() == ExchangeFailed(1, FailureReason.RESET)


def test_cancelling_stops_retransmission_and_a_late_answer_is_reset(world) -> None:
    pair = world()
    exchange = pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    pair.a.connection.cancel(exchange, pair.now)
    (asked,) = pair.b.of(RequestReceived)
    pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now)
    pair.run(100.0)
    assert pair.a.events == []
    assert pair.b.of(ResponseFailed) == [ResponseFailed(asked.exchange, FailureReason.RESET)]
    pair.a.connection.cancel(99, pair.now)  # unknown: nothing happens


@BOTH
def test_ping(world, datagrams: bool) -> None:
    pair = world(datagrams=datagrams)
    assert pair.a.connection.ping(pair.now)
    pair.run(1.0)
    assert pair.a.events == [PingAnswered()]
    assert pair.b.events == []
    pair.cut = True
    pair.a.connection.ping(pair.now)
    pair.run(100.0)
    assert pair.a.events[1:] == [PingFailed()]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (((opt.PROXY_URI, b"coap://h/"),), codes.PROXYING_NOT_SUPPORTED),
        (((opt.PROXY_SCHEME, b"coap"), (opt.URI_HOST, b"h")), codes.PROXYING_NOT_SUPPORTED),
        (((opt.OSCORE, b"\x09"),), codes.BAD_OPTION),
        (((65001, b""),), codes.BAD_OPTION),
        (((opt.IF_MATCH, b"\x01"),), codes.BAD_OPTION),
        (((opt.ACCEPT, b"\x01"), (opt.ACCEPT, b"\x02")), codes.BAD_OPTION),
        (((opt.BLOCK2, b"\x07"),), codes.BAD_REQUEST),
        (((opt.BLOCK1, b"\x07"),), codes.BAD_REQUEST),
    ],
)
def test_requests_that_the_application_never_sees(world, options: opt.Options, code: int) -> None:
    pair = world()
    pair.b.react = answer_reversed
    pair.a.connection.request(Request(codes.GET, options), pair.now)
    pair.run(1.0)
    assert [event.response.code for event in pair.a.of(ResponseReceived)] == [code]
    assert pair.b.events == []


def test_a_non_confirmable_request_with_an_unknown_critical_option_is_reset(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, ((65001, b""),), confirmable=False), pair.now)
    pair.run(1.0)
    assert pair.b.events == []
    assert pair.passed[1][1][0] >> 4 == 0x7


def test_critical_options_that_the_application_declares_reach_it(world) -> None:
    pair = world(config=CoapConfig(understood=opt.UNDERSTOOD | {opt.PROXY_URI, 65001}))
    pair.b.react = answer_reversed
    options = ((opt.PROXY_URI, b"coap://h/"), (65001, b"z"))
    pair.a.connection.request(Request(codes.GET, options), pair.now)
    pair.run(1.0)
    assert pair.b.of(RequestReceived)[0].request.options == options


def test_elective_options_pass_and_misused_ones_are_ignored(world) -> None:
    pair = world()
    pair.b.react = answer_reversed
    options = (*PATH, (opt.CONTENT_FORMAT, b"\x00\x00\x01"), (opt.REQUEST_TAG, b"a"), (65000, b"e"))
    pair.a.connection.request(Request(codes.POST, options, b"p"), pair.now)
    pair.run(1.0)
    assert pair.b.of(RequestReceived)[0].request.options == (*PATH, (opt.REQUEST_TAG, b"a"), (65000, b"e"))


def test_a_response_with_an_unknown_critical_option_fails(world) -> None:
    pair = world()

    def answer(node, event: Event) -> None:
        if isinstance(event, RequestReceived):
            node.connection.respond(event.exchange, Response(codes.CONTENT, ((65001, b""),)), node.now)

    pair.b.react = answer
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    assert pair.a.events == [ExchangeFailed(1, FailureReason.UNSUPPORTED)]


def test_too_many_own_requests_are_refused(world) -> None:
    pair = world(config=CoapConfig(max_requests=3))
    for _ in range(3):
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    with pytest.raises(TransportError) as raised:
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    assert raised.value.transient


def test_a_full_backlog_refuses_and_forgets_the_request(world) -> None:
    parameters = TransmissionParameters(nstart=1, max_backlog=1)
    pair = world(config=CoapConfig(transmission=parameters))
    pair.b.react = answer_reversed
    for _ in range(2):
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    with pytest.raises(TransportError):
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    assert len(pair.a.of(ResponseReceived)) == 2


def test_too_many_unanswered_requests_of_the_peer_get_5_03(world) -> None:
    pair = world(config=CoapConfig(transmission=TransmissionParameters(nstart=10)), other=CoapConfig(max_exchanges=2))
    for _ in range(3):
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(1.0)
    (refused,) = pair.a.of(ResponseReceived)
    assert refused.response.code == codes.SERVICE_UNAVAILABLE
    assert opt.first_uint(refused.response.options, opt.MAX_AGE) == 1
    assert len(pair.b.of(RequestReceived)) == 2


def test_an_unanswered_request_of_the_peer_is_forgotten(world) -> None:
    pair = world(other=CoapConfig(answer_lifetime=10.0))
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(11.0)
    (asked,) = pair.b.of(RequestReceived)
    assert pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now) is Answer.GONE


def test_an_exchange_is_answered_once(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(0.1)
    (asked,) = pair.b.of(RequestReceived)
    assert pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now) is Answer.SENT
    assert pair.b.connection.respond(asked.exchange, Response(codes.CONTENT), pair.now) is Answer.GONE


@BOTH
def test_closing_fails_everything(world, datagrams: bool) -> None:
    pair = world(datagrams=datagrams)
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.a.connection.close(pair.now)
    pair.run(1.0)
    assert pair.a.events == [ExchangeFailed(1, FailureReason.CLOSED), ConnectionEnded("closed")]
    with pytest.raises(TransportError) as raised:
        pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    assert not raised.value.transient
    if not datagrams:
        assert pair.b.events[-1] == ConnectionEnded("released by the peer")


def test_a_code_that_is_no_request_or_response_is_our_fault(world) -> None:
    pair = world()
    with pytest.raises(UsageError):
        pair.a.connection.request(Request(codes.CONTENT), pair.now)
    with pytest.raises(UsageError):
        pair.a.connection.observe(Request(codes.POST, PATH), pair.now)
    pair.a.connection.request(Request(codes.GET, PATH), pair.now)
    pair.run(0.1)
    with pytest.raises(UsageError):
        pair.b.connection.respond(pair.b.events[0].exchange, Response(codes.GET), pair.now)


def test_options_that_burst_a_datagram_fail_the_request(world) -> None:
    pair = world()
    pair.a.connection.request(Request(codes.GET, ((opt.URI_QUERY, bytes(255)),) * 5), pair.now)
    pair.run(1.0)
    assert pair.a.events == [ExchangeFailed(1, FailureReason.TOO_LARGE)]
    assert pair.passed == []


def test_long_options_make_the_blocks_smaller(world) -> None:
    pair = world()
    pair.b.react = answer_reversed
    options = ((opt.URI_PATH, bytes(200)), (opt.URI_QUERY, bytes(200)))
    pair.a.connection.request(Request(codes.POST, options, body(1000)), pair.now)
    pair.run(5.0)
    (received,) = pair.a.of(ResponseReceived)
    assert received.response.payload == body(1000)[::-1]
    assert max(len(octets) for _, octets in pair.passed) <= 1100


@pytest.mark.parametrize(("size", "blocks"), [(1023, 1), (1024, 1), (1025, 2), (1152, 2)])
def test_a_unit_goes_up_in_as_few_blocks_as_the_sizes_allow(world, size: int, blocks: int) -> None:
    """With the options that our endpoints send; 1152 octets is the longest datagram of DTLS."""
    pair = world()
    pair.b.react = answer_reversed
    request = atls_client.send_request("0" * 32, 123_456, "adtls", body(size))
    pair.a.connection.request(request, pair.now)
    pair.run(5.0)
    (received,) = pair.a.of(ResponseReceived)
    assert received.response.payload == body(size)[::-1]
    passed = [decode(octets) for _, octets in pair.passed]
    assert sum(message.code == codes.POST and message.payload != b"" for message in passed) == blocks
    assert max(len(octets) for _, octets in pair.passed) <= 1100


def test_the_server_asks_for_echo_and_the_client_repeats_once(world) -> None:
    pair = world()

    def challenge(node, event: Event) -> None:
        assert isinstance(event, RequestReceived)
        echo = opt.first(event.request.options, opt.ECHO)
        code = codes.CHANGED if echo == b"fresh" else codes.UNAUTHORIZED
        node.connection.respond(event.exchange, Response(code, ((opt.ECHO, b"fresh"),)), node.now)

    pair.b.react = challenge
    pair.a.connection.request(Request(codes.POST, PATH, b"p" * 3000), pair.now)
    pair.run(3.0)
    assert [event.response.code for event in pair.a.of(ResponseReceived)] == [codes.CHANGED]
    assert pair.b.of(RequestReceived)[1].request.payload == b"p" * 3000


def test_a_server_that_is_never_content_with_echo_is_not_asked_for_ever(world) -> None:
    pair = world()

    def challenge(node, event: Event) -> None:
        assert isinstance(event, RequestReceived)
        node.connection.respond(event.exchange, Response(codes.UNAUTHORIZED, ((opt.ECHO, b"e"),)), node.now)

    pair.b.react = challenge
    pair.a.connection.request(Request(codes.POST, PATH), pair.now)
    pair.run(3.0)
    assert [event.response.code for event in pair.a.of(ResponseReceived)] == [codes.UNAUTHORIZED]
    assert len(pair.b.events) == 2


# Whatever comes, nothing is raised and nothing grows without bound.


def hostile() -> st.SearchStrategy[bytes]:
    header = st.builds(
        lambda head, code, message_id: bytes((head, code, 0, message_id)),
        st.sampled_from((0x40, 0x41, 0x50, 0x51, 0x60, 0x61, 0x70, 0x44, 0x54, 0x64)),
        st.sampled_from((0, 1, 2, 4, 5, 0x41, 0x44, 0x45, 0x5F, 0x80, 0x81, 0x84, 0x88, 0x8D, 0xA3)),
        st.integers(0, 5),
    )
    part = st.sampled_from(
        [
            b"\x60",
            b"\x61\x01",
            b"\xb1x",
            b"\xc1\x28",
            b"\xd1\x0a\x08",
            b"\xd1\x0a\x0e",
            b"\xd1\x0a\x16",
            b"\xd1\x0e\x08",
            b"\xd1\x0e\x18",
            b"\xd1\x0e\x06",
            b"\x41e",
            b"\xff" + b"y" * 16,
            b"\xff" + b"z" * 1024,
            b"\xff",
        ]
    )
    formed = st.builds(
        lambda head, token, parts: head + token + b"".join(parts),
        header,
        st.binary(max_size=4),
        st.lists(part, max_size=4),
    )
    return st.one_of(st.binary(max_size=40), formed)


@given(st.lists(st.one_of(hostile(), st.integers(0, 200)), max_size=60), st.booleans())
@settings(max_examples=80, deadline=None)
def test_arbitrary_datagrams_never_raise(steps: list[bytes | int], respond: bool) -> None:
    """Against a connection in use: it asks, observes and answers while nonsense arrives with its own tokens and ids."""
    config = CoapConfig(max_requests=4, max_exchanges=4, max_transfers=2, max_body=4096, max_observations=2)
    connection = CoapConnection(random=random.Random(3).random, config=config)
    now = 0.0
    sent: list[bytes] = []
    for step in steps:
        if isinstance(step, int):
            now += step
            connection.tick(now)
            try:
                if step % 3 == 0:
                    connection.request(Request(codes.POST, PATH, bytes(step * 20)), now)
                elif step % 3 == 1:
                    connection.observe(Request(codes.GET, PATH), now)
            except TransportError as error:
                assert error.transient
        else:
            octets = step
            if sent and len(step) > 8 and octets[0] in (0x44, 0x64):  # aim: our own id and token
                aimed = sent[-1]
                octets = step[:2] + aimed[2:4] + aimed[4:8] + step[8:]
            connection.receive(octets, now)
        sent += connection.to_send()
        while (event := connection.next_event()) is not None:
            if respond and isinstance(event, RequestReceived):
                answer = connection.respond(event.exchange, Response(codes.CONTENT, (), bytes(3000)), now, observe=True)
                if answer is Answer.OBSERVED:
                    connection.notify(event.exchange, Response(codes.CONTENT, (), bytes(2000)), now)
        sent += connection.to_send()
        assert connection.next_deadline() is None or connection.next_deadline() > now - 1e-9


@given(st.lists(st.binary(max_size=50), max_size=20))
@settings(max_examples=40, deadline=None)
def test_an_arbitrary_stream_never_raises(pieces: list[bytes]) -> None:
    connection = CoapConnection(datagrams=False, random=random.Random(3).random)
    connection.start(0.0)
    connection.receive(bytes.fromhex("00e1"), 0.0)
    connection.request(Request(codes.POST, PATH, b"x"), 0.0)
    for piece in pieces:
        connection.receive(piece, 0.0)
        connection.to_send()
        while connection.next_event() is not None:
            pass


def test_a_flood_of_requests_is_bounded_in_every_table() -> None:
    config = CoapConfig(max_exchanges=8, transmission=TransmissionParameters(max_remembered=64))
    connection = CoapConnection(random=random.Random(3).random, config=config)
    seen = 0
    for number in range(5000):
        connection.receive(Message(CON, codes.POST, number, number.to_bytes(4, "big"), PATH, b"p").encode(), 0.0)
        while connection.next_event() is not None:
            seen += 1
        assert len(connection.to_send()) <= 2
    assert seen == 8
    for number in range(5000):  # bodies that are never finished
        options = (*PATH, (opt.REQUEST_TAG, number.to_bytes(2, "big")), (opt.BLOCK1, b"\x0e"))
        message = Message(CON, codes.PUT, number, b"t", options, bytes(1024))
        connection.receive(message.encode(), 400.0)
        connection.to_send()
        while connection.next_event() is not None:
            seen += 1
    assert seen == 8
