"""Readers of what a peer sends, fed with valid input that was changed: each gives a value or a ``PeerError``, and the
readers that promise never to raise don't."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import atls, atls_client, codes, device_resources
from carriage.coap import options as opt
from carriage.coap.atls_format import number_of, reason_of
from carriage.coap.blockwise import Block, decode_block
from carriage.coap.connection import CoapConfig, CoapConnection, Request, RequestReceived, Response
from carriage.coap.link_format import matching, read_links
from carriage.coap.message import ACK, CON, NON, RST, Message, decode
from carriage.identifiers import parse_number
from layer.errors import PeerError
from tests.harness.mutations import mutated

SESSION: Final = "0123456789abcdef" * 2
OBSERVE: Final = ((opt.OBSERVE, b""),)
UNIT: Final = atls.unit(7, "adtls", b"\x16\xfe\xfd" + bytes(40))
LINKS: Final = atls.links(
    read_links(b'</atls/inbox>;rt="atls.inbox";ct=40;obs,</d/lamp/on>;if="core.a";ct="110 112 0"')
)


def blocks(number: int, *, more: bool = True, szx: int = 0) -> bytes:
    return Block(number, more, szx).encode()


REQUESTS: Final = [
    atls_client.open_request("lamp", "ab" * 16, "adtls", b"first"),
    atls_client.send_request(SESSION, 3, "atls", bytes(100)),
    atls_client.read_request(SESSION, 5),
    atls_client.close_request(SESSION),
    atls_client.inbox_request(),
    atls_client.core_request("rt=atls*"),
    Request(codes.GET, opt.uri(("d", "lamp"), ()) + OBSERVE + ((opt.BLOCK2, blocks(0)),)),
    Request(codes.GET, opt.uri(("d",), ("if=core.a",))),
    Request(codes.PUT, (*opt.uri(("d", "lamp", "on")), (opt.CONTENT_FORMAT, b"\x6e")), b'[{"vb":true}]'),
    Request(codes.PUT, (*opt.uri(("d", "lamp", "on")), (opt.BLOCK1, blocks(0)), (opt.SIZE1, b"\x20")), bytes(16)),
    Request(codes.FETCH, (*opt.uri(("d", "lamp")), (opt.ECHO, b"e" * 8), (opt.NO_RESPONSE, b"\x1a")), b"x"),
]
RESPONSES: Final = [
    UNIT,
    atls.no_unit(),
    atls.opened(SESSION, UNIT),
    atls.taken(UNIT),
    atls.closed(),
    LINKS,
    atls.refusal("over-rate", 3.0),
    device_resources.queued("lamp", "on"),
    Response(codes.CONTENT, ((opt.OBSERVE, b"\x05"), (opt.ETAG, b"e"), (opt.BLOCK2, blocks(0))), bytes(16)),
    Response(codes.CONTENT, ((opt.ETAG, b"e"), (opt.BLOCK2, blocks(1, more=False))), b"end"),
    Response(codes.CONTINUE, ((opt.BLOCK1, blocks(0)),)),
    Response(codes.REQUEST_ENTITY_TOO_LARGE, ((opt.BLOCK1, blocks(0)), (opt.SIZE1, b"\x20"))),
    Response(codes.UNAUTHORIZED, ((opt.ECHO, b"e" * 8),)),
]
DATAGRAMS: Final = [
    Message(kind, each.code, number, b"tok", each.options, each.payload).encode()
    for number, each in enumerate(REQUESTS + RESPONSES)
    for kind in (CON, NON)
] + [Message(kind, 0, 9).encode() for kind in (CON, ACK, RST)]


@given(mutated(DATAGRAMS))
@settings(max_examples=300, deadline=None)
def test_a_message(octets: bytes) -> None:
    try:
        message = decode(octets)
    except PeerError:
        return
    assert decode(message.encode()) == message
    try:
        decode_block(message.payload)
    except PeerError:
        pass


@given(st.lists(st.tuples(mutated(DATAGRAMS), st.sampled_from([0.0, 0.1, 3.0, 70.0, 300.0])), max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_server_never_raises(heard: list[tuple[bytes, float]]) -> None:
    """Each request that gets through is read by both vocabularies, and answered with more than one block takes."""
    connection = CoapConnection(random=Random(1).random, config=CoapConfig(max_body=200))
    connection.start(0.0)
    now = 0.0
    for octets, pause in heard:
        connection.receive(octets, now)
        while (event := connection.next_event()) is not None:
            if isinstance(event, RequestReceived):
                operation = atls.parse(event.request)
                if operation is None:
                    operation = device_resources.parse(event.request)
                answer = operation if isinstance(operation, Response) else Response(codes.CONTENT, (), bytes(2000))
                connection.respond(event.exchange, answer, now, observe=True, states=pause > 1)
                connection.notify(event.exchange, answer, now, confirmable=pause > 1)
        connection.to_send()
        now += pause
        connection.tick(now)
        connection.to_send()


@given(st.lists(st.tuples(st.sampled_from(RESPONSES), mutated([b"\x00" * 12]), st.integers(0, 3)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_client_never_raises(heard: list[tuple[Response, bytes, int]]) -> None:
    """One that observes and sends a body in blocks; what it receives has its tokens, and then a few octets changed."""
    connection = CoapConnection(random=Random(1).random, config=CoapConfig(max_body=200))
    connection.start(0.0)
    connection.observe(Request(codes.GET, opt.uri(("d", "lamp"))), 0.0)
    connection.request(Request(codes.PUT, opt.uri(("d", "lamp", "label")), bytes(3000)), 0.0)
    now, asked = 0.0, [decode(octets) for octets in connection.to_send()]
    for response, noise, which in heard:
        request = asked[which % len(asked)]
        message = Message(ACK if which & 1 else CON, response.code, request.message_id, request.token, response.options)
        octets = bytearray(message.encode())
        for at, octet in enumerate(noise):  # the first octets, which say whose it is, stay
            if octet and 8 + at < len(octets):
                octets[8 + at] ^= octet
        connection.receive(bytes(octets) + b"\xff" + response.payload + b"\x00", now)
        asked += [decode(octets) for octets in connection.to_send()]
        now += which
        connection.tick(now)
        while connection.next_event() is not None:
            pass


@given(mutated([LINKS.payload, b'</a>;title="\\""', b"<>"]), st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_link_document(document: bytes, query: str) -> None:
    try:
        links = read_links(document)
    except PeerError:
        return
    assert set(matching(links, query)) <= set(links)


options = st.lists(
    st.tuples(
        st.sampled_from(sorted(opt.DEFINITIONS)),
        st.binary(max_size=9) | st.sampled_from([SESSION.encode(), b"atls", b"\xfd\xe9", b"n=3", b"\xff\xff"]),
    ),
    max_size=8,
).map(lambda found: tuple(sorted(found)))


@given(options)
def test_options_are_screened(found: opt.Options) -> None:
    kept, refused = opt.screen(found, opt.UNDERSTOOD)
    assert set(kept) <= set(found) and (refused is None or refused & 1)


@given(st.integers(0x40, 0xBF), options, mutated([UNIT.payload, LINKS.payload, b"over-rate"]))
@settings(max_examples=300, deadline=None)
def test_a_response(code: int, found: opt.Options, payload: bytes) -> None:
    response = Response(code, found, payload)
    for read in (atls_client.read_opened, atls_client.read_unit, atls_client.read_link_document):
        try:
            read(response)
        except PeerError:
            pass


@given(st.integers(1, 31), options, st.binary(max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_request(code: int, found: opt.Options, payload: bytes) -> None:
    request = Request(code, found, payload)
    operation = atls.parse(request)
    own = opt.first(found, opt.URI_PATH) in (b"d", b"td")
    assert (operation is None) == (device_resources.concerns(request) and own)
    device_resources.parse(request)


@given(st.binary(max_size=12), st.text(max_size=24), st.integers(0, 255))
def test_numbers_and_reasons_are_read_or_refused(octets: bytes, text: str, code: int) -> None:
    try:
        assert number_of(octets) >= 0
    except PeerError:
        pass
    number = parse_number(text)
    assert number is None or str(number) == text
    assert reason_of(code, octets)


@pytest.mark.parametrize("digits", ["٣", "²", "1_0", "+1", " 1", "1 "])
def test_digits_of_other_scripts_are_no_number(digits: str) -> None:
    assert parse_number(digits) is None
