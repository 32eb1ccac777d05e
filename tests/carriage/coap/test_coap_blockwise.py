"""Tests of block-wise transfer: the option, RFC 7959's examples as transcripts, refusals, limits and changed bodies."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.blockwise import Block, Outgoing, cut, decode_block, szx_for
from carriage.coap.connection import (
    CoapConfig,
    CoapConnection,
    Event,
    ExchangeFailed,
    FailureReason,
    Request,
    RequestReceived,
    Response,
    ResponseReceived,
)
from carriage.coap.message import ACK, CON, Message, decode
from layer.errors import PeerError, UsageError

PATH = ((opt.URI_PATH, b"x"),)


@pytest.mark.parametrize(
    ("octets", "block"),
    [
        ("", Block(0, False, 0)),
        ("0e", Block(0, True, 6)),
        ("16", Block(1, False, 6)),
        ("0103", Block(16, False, 3)),
        ("fffffe", Block(0xFFFFF, True, 6)),
    ],
)
def test_the_option(octets: str, block: Block) -> None:
    assert decode_block(bytes.fromhex(octets)) == block
    assert block.encode().hex() == octets


@pytest.mark.parametrize("octets", ["07", "0f", "ffffff", "00000001"])
def test_refused_options(octets: str) -> None:
    with pytest.raises(PeerError):
        decode_block(bytes.fromhex(octets))


def test_a_number_beyond_20_bits_is_our_fault() -> None:
    with pytest.raises(UsageError):
        Block(1 << 20, False, 0).encode()


@pytest.mark.parametrize(("limit", "szx"), [(1, 0), (16, 0), (31, 0), (32, 1), (1023, 5), (1024, 6), (9999, 6)])
def test_the_block_size_that_fits(limit: int, szx: int) -> None:
    assert szx_for(limit) == szx


@given(st.binary(max_size=400), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_cut_blocks_make_the_body(body: bytes, szx: int) -> None:
    out = bytearray()
    number, more = 0, True
    while more:
        block, chunk = cut(body, number, szx)
        assert block.offset == len(out)
        out += chunk
        number, more = number + 1, block.more
    assert out == body


@given(st.binary(min_size=1, max_size=500), st.lists(st.integers(0, 6), max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_body_goes_through_whatever_sizes_the_peer_asks_for(body: bytes, sizes: list[int]) -> None:
    outgoing = Outgoing(body, 3)
    out = bytearray()
    wishes = iter(sizes)
    while not outgoing.complete:
        block, chunk = outgoing.block()
        assert block.offset == len(out)
        out += chunk
        assert outgoing.advance(Block(block.number, True, min(block.szx, next(wishes, 6))))
    assert out == body
    assert not Outgoing(body, 0).advance(Block(7, True, 0))


# The server's side, message by message.


class Server:
    """A connection that is spoken to in messages; ``requests`` are what its application got."""

    def __init__(self, answer: Response | None = None, **parameters: float) -> None:
        self.connection = CoapConnection(random=random.Random(1).random, config=CoapConfig(**parameters))
        self.requests: list[Request] = []
        self.answer = answer
        self.message_id = 0
        self.now = 0.0

    def ask(self, code: int, options: opt.Options = (), payload: bytes = b"") -> Message:
        self.message_id += 1
        message = Message(CON, code, self.message_id, b"t", (*PATH, *options), payload)
        self.connection.receive(message.encode(), self.now)
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, RequestReceived):
                self.requests.append(event.request)
                answer = self.answer or Response(codes.CHANGED, (), b"%d" % len(event.request.payload))
                self.connection.respond(event.exchange, answer, self.now, observe=True)
        (reply,) = (decode(octets) for octets in self.connection.to_send())
        assert reply.type == ACK
        return reply

    def put(self, number: int, more: bool, szx: int, payload: bytes, options: opt.Options = ()) -> Message:
        return self.ask(codes.PUT, (*options, (opt.BLOCK1, Block(number, more, szx).encode())), payload)


def block_of(message: Message, number: int) -> Block | None:
    value = opt.first(message.options, number)
    return None if value is None else decode_block(value)


def test_an_atomic_put() -> None:
    """RFC 7959 figure 7: 2.31 until the last block."""
    server = Server()
    for number in (0, 1):
        reply = server.put(number, True, 3, bytes((number,)) * 128)
        assert (reply.code, block_of(reply, opt.BLOCK1)) == (codes.CONTINUE, Block(number, True, 3))
    reply = server.put(2, False, 3, b"\x02" * 100)
    assert (reply.code, block_of(reply, opt.BLOCK1)) == (codes.CHANGED, Block(2, False, 3))
    (request,) = server.requests
    assert request.payload == bytes(128) + b"\x01" * 128 + b"\x02" * 100
    assert request.options == PATH


def test_the_server_asks_for_smaller_blocks() -> None:
    """RFC 7959 figure 8: the first block counts as it came, the rest is smaller."""
    server = Server(block_szx=1)
    reply = server.put(0, True, 3, bytes(128))
    assert (reply.code, block_of(reply, opt.BLOCK1)) == (codes.CONTINUE, Block(0, True, 1))
    assert server.put(4, True, 1, bytes(32)).code == codes.CONTINUE
    assert server.put(5, False, 1, bytes(1)).code == codes.CHANGED
    assert len(server.requests[0].payload) == 161


@pytest.mark.parametrize(
    ("number", "more", "payload", "code"),
    [
        (2, True, bytes(128), codes.REQUEST_ENTITY_INCOMPLETE),  # a gap
        (1, True, bytes(127), codes.BAD_REQUEST),  # a block that is not full
        (1, False, bytes(129), codes.BAD_REQUEST),
    ],
)
def test_blocks_that_do_not_fit(number: int, more: bool, payload: bytes, code: int) -> None:
    server = Server()
    server.put(0, True, 3, bytes(128))
    assert server.put(number, more, 3, payload).code == code
    assert server.put(1, False, 3, b"").code == codes.REQUEST_ENTITY_INCOMPLETE  # nothing is kept of it
    assert server.requests == []


def test_a_block_without_its_beginning() -> None:
    assert Server().put(3, False, 3, b"x").code == codes.REQUEST_ENTITY_INCOMPLETE


def test_starting_over_replaces() -> None:
    server = Server()
    server.put(0, True, 3, b"a" * 128)
    server.put(0, True, 3, b"b" * 128)
    server.put(1, False, 3, b"c")
    assert server.requests[0].payload == b"b" * 128 + b"c"


def test_request_tags_tell_bodies_apart() -> None:
    server = Server()
    one, two = ((opt.REQUEST_TAG, b"1"),), ((opt.REQUEST_TAG, b"2"),)
    server.put(0, True, 3, b"a" * 128, one)
    server.put(0, True, 3, b"b" * 128, two)
    server.put(1, False, 3, b"a", one)
    server.put(1, False, 3, b"b", two)
    assert [request.payload for request in server.requests] == [b"a" * 129, b"b" * 129]


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_a_body_is_refused_with_the_limit(announced: bool) -> None:
    server = Server(max_body=2000)
    size = ((opt.SIZE1, opt.encode_uint(3000)),) if announced else ()
    reply = server.put(0, True, 6, bytes(1024), size)
    if not announced:
        reply = server.put(1, True, 6, bytes(1024))
    assert reply.code == codes.REQUEST_ENTITY_TOO_LARGE
    assert opt.first_uint(reply.options, opt.SIZE1) == 2000


def test_too_many_bodies_at_once() -> None:
    server = Server(max_transfers=2)
    replies = [server.put(0, True, 3, bytes(128), ((opt.URI_QUERY, b"%d" % number),)) for number in range(3)]
    assert [reply.code for reply in replies] == [codes.CONTINUE, codes.CONTINUE, codes.SERVICE_UNAVAILABLE]
    assert opt.first_uint(replies[2].options, opt.MAX_AGE) == 60


def test_a_half_done_body_expires() -> None:
    server = Server(transfer_lifetime=10.0)
    server.put(0, True, 3, bytes(128))
    assert server.connection.next_deadline() == 10.0
    server.connection.tick(10.0)
    server.now = 10.0
    assert server.put(1, False, 3, b"x").code == codes.REQUEST_ENTITY_INCOMPLETE


def get(server: Server, number: int, szx: int) -> Message:
    return server.ask(codes.GET, ((opt.BLOCK2, Block(number, False, szx).encode()),))


def test_a_large_answer_is_fetched_from_what_is_kept() -> None:
    body = random.Random(2).randbytes(300)
    server = Server(Response(codes.CONTENT, ((opt.CONTENT_FORMAT, b"\x2a"),), body))
    first = get(server, 0, 3)
    assert block_of(first, opt.BLOCK2) == Block(0, True, 3)
    assert opt.first_uint(first.options, opt.SIZE2) == 300
    etag = opt.first(first.options, opt.ETAG)
    assert etag is not None
    second, third = get(server, 1, 3), get(server, 2, 3)
    assert first.payload + second.payload + third.payload == body
    assert opt.first(second.options, opt.ETAG) == opt.first(third.options, opt.ETAG) == etag
    assert opt.first(third.options, opt.CONTENT_FORMAT) == b"\x2a"
    assert block_of(third, opt.BLOCK2) == Block(2, False, 3)
    assert get(server, 3, 3).code == codes.BAD_REQUEST
    assert len(server.requests) == 1


def test_the_client_may_change_to_smaller_blocks() -> None:
    body = random.Random(2).randbytes(300)
    server = Server(Response(codes.CONTENT, (), body))
    get(server, 0, 3)
    assert get(server, 8, 0).payload == body[128:144]


def test_a_later_block_without_anything_kept_asks_the_application() -> None:
    body = random.Random(2).randbytes(300)
    server = Server(Response(codes.CONTENT, (), body))
    assert get(server, 1, 3).payload == body[128:256]
    assert len(server.requests) == 1
    assert get(server, 2, 3).payload == body[256:]
    assert len(server.requests) == 1


def test_a_small_answer_repeats_the_block_option_only_when_asked() -> None:
    server = Server(Response(codes.CONTENT, (), b"small"))
    assert block_of(get(server, 0, 2), opt.BLOCK2) == Block(0, False, 2)
    assert block_of(server.ask(codes.GET), opt.BLOCK2) is None


def test_the_applications_etag_is_kept() -> None:
    server = Server(Response(codes.CONTENT, ((opt.ETAG, b"\x05"),), bytes(2000)))
    assert opt.every(server.ask(codes.GET).options, opt.ETAG) == [b"\x05"]


# The client's side, against a server played by hand.


class Client:
    """A connection whose requests are answered by hand; ``asked`` is the last request it sent."""

    def __init__(self, request: Request, *, observe: bool = False, **parameters: float) -> None:
        self.connection = CoapConnection(random=random.Random(1).random, config=CoapConfig(**parameters))
        self.connection.observe(request, 0.0) if observe else self.connection.request(request, 0.0)
        self.events: list[Event] = []
        self.asked = self._asked()

    def _asked(self) -> Message:
        sent = [decode(octets) for octets in self.connection.to_send()]
        return sent[-1] if sent else Message(CON, 0, 0)

    def answer(self, code: int, options: opt.Options = (), payload: bytes = b"") -> Message:
        message = Message(ACK, code, self.asked.message_id, self.asked.token, options, payload)
        self.connection.receive(message.encode(), 0.0)
        self.asked = self._asked()
        while (event := self.connection.next_event()) is not None:
            self.events.append(event)
        return self.asked

    def block1(self) -> Block | None:
        return block_of(self.asked, opt.BLOCK1)


def b1(number: int, more: bool, szx: int) -> tuple[int, bytes]:
    return opt.BLOCK1, Block(number, more, szx).encode()


def b2(number: int, more: bool, szx: int) -> tuple[int, bytes]:
    return opt.BLOCK2, Block(number, more, szx).encode()


def test_the_client_sends_block_by_block() -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    assert client.block1() == Block(0, True, 6) and opt.first_uint(client.asked.options, opt.SIZE1) == 2500
    client.answer(codes.CONTINUE, (b1(0, True, 6),))
    assert client.block1() == Block(1, True, 6) and opt.first(client.asked.options, opt.SIZE1) is None
    client.answer(codes.CONTINUE, (b1(1, True, 6),))
    assert client.block1() == Block(2, False, 6) and len(client.asked.payload) == 452
    client.answer(codes.CHANGED, (b1(2, False, 6),))
    assert client.events == [ResponseReceived(1, Response(codes.CHANGED))]


def test_the_client_takes_a_smaller_size() -> None:
    """RFC 7959 figure 8 again, from the other side: block 0 of 1024 is through, 512-octet block 2 follows."""
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(codes.CONTINUE, (b1(0, True, 5),))
    assert client.block1() == Block(2, True, 5)


def test_the_client_starts_over_with_a_smaller_size_after_4_13() -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(codes.REQUEST_ENTITY_TOO_LARGE, (b1(0, True, 2),))
    assert client.block1() == Block(0, True, 2)


@pytest.mark.parametrize("options", [(), (b1(0, True, 6),), ((opt.SIZE1, b"\x10"),)])
def test_4_13_without_a_way_out_is_the_answer(options: opt.Options) -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(codes.REQUEST_ENTITY_TOO_LARGE, options)
    (event,) = client.events
    assert isinstance(event, ResponseReceived) and event.response.code == codes.REQUEST_ENTITY_TOO_LARGE


def test_the_client_starts_over_once_after_4_08() -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(codes.CONTINUE, (b1(0, True, 6),))
    client.answer(codes.REQUEST_ENTITY_INCOMPLETE)
    assert client.block1() == Block(0, True, 6)
    client.answer(codes.REQUEST_ENTITY_INCOMPLETE)
    (event,) = client.events
    assert isinstance(event, ResponseReceived) and event.response.code == codes.REQUEST_ENTITY_INCOMPLETE


def test_an_early_refusal_is_the_answer() -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(codes.FORBIDDEN)
    assert client.events == [ResponseReceived(1, Response(codes.FORBIDDEN))]


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (codes.CONTINUE, (b1(5, True, 6),)),
        (codes.CONTINUE, ((opt.BLOCK1, b"\x07"),)),
        (codes.CONTENT, (b2(1, True, 6),)),
        (codes.CONTENT, ((opt.BLOCK2, b"\x0f"),)),
    ],
)
def test_answers_that_make_no_sense(code: int, options: opt.Options) -> None:
    client = Client(Request(codes.PUT, PATH, bytes(2500)))
    client.answer(code, options, bytes(1024))
    assert client.events == [ExchangeFailed(1, FailureReason.MALFORMED)]


def test_body_and_answer_both_in_blocks() -> None:
    """RFC 7959 figure 11: the fetches repeat method and options, without body."""
    client = Client(Request(codes.POST, PATH, bytes(1500)))
    client.answer(codes.CONTINUE, (b1(0, True, 6),))
    client.answer(codes.CHANGED, (b1(1, False, 6), b2(0, True, 6), (opt.ETAG, b"e")), b"a" * 1024)
    assert client.asked.code == codes.POST and client.asked.payload == b""
    assert block_of(client.asked, opt.BLOCK2) == Block(1, False, 6) and client.block1() is None
    client.answer(codes.CHANGED, (b2(1, False, 6), (opt.ETAG, b"e")), b"b")
    assert client.events == [ResponseReceived(1, Response(codes.CHANGED, ((opt.ETAG, b"e"),), b"a" * 1024 + b"b"))]


def test_a_changed_body_is_fetched_again() -> None:
    client = Client(Request(codes.GET, PATH))
    client.answer(codes.CONTENT, (b2(0, True, 6), (opt.ETAG, b"1")), b"a" * 1024)
    client.answer(codes.CONTENT, (b2(1, False, 6), (opt.ETAG, b"2")), b"b")
    assert block_of(client.asked, opt.BLOCK2) == Block(0, False, 6)
    client.answer(codes.CONTENT, (b2(0, True, 6), (opt.ETAG, b"2")), b"c" * 1024)
    client.answer(codes.CONTENT, (b2(1, False, 6), (opt.ETAG, b"2")), b"d")
    (event,) = client.events
    assert isinstance(event, ResponseReceived) and event.response.payload == b"c" * 1024 + b"d"


def test_a_body_that_changes_for_ever_fails() -> None:
    client = Client(Request(codes.GET, PATH))
    for number in range(20):
        block = block_of(client.asked, opt.BLOCK2)
        wanted = block.number if block is not None else 0
        client.answer(codes.CONTENT, (b2(wanted, True, 6), (opt.ETAG, b"%d" % number)), bytes(1024))
        if client.events:
            break
    assert client.events == [ExchangeFailed(1, FailureReason.CHANGED)]


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_beyond_the_limit_fails(announced: bool) -> None:
    client = Client(Request(codes.GET, PATH), max_body=1500)
    size = ((opt.SIZE2, b"\xff\xff"),) if announced else ()
    client.answer(codes.CONTENT, (*size, b2(0, True, 6)), bytes(1024))
    if not announced:
        client.answer(codes.CONTENT, (b2(1, True, 6),), bytes(1024))
    assert client.events == [ExchangeFailed(1, FailureReason.TOO_LARGE)]


def test_an_error_in_the_middle_is_the_answer() -> None:
    client = Client(Request(codes.GET, PATH))
    client.answer(codes.CONTENT, (b2(0, True, 6),), bytes(1024))
    client.answer(codes.NOT_FOUND)
    assert client.events == [ResponseReceived(1, Response(codes.NOT_FOUND))]


def test_a_client_that_wants_small_blocks_says_so_first() -> None:
    client = Client(Request(codes.GET, PATH), block_szx=2)
    assert block_of(client.asked, opt.BLOCK2) == Block(0, False, 2)
    client = Client(Request(codes.PUT, PATH, bytes(100)), block_szx=2)
    assert client.block1() == Block(0, True, 2)
