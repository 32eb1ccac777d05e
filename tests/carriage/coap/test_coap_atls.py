"""Tests of the ATLS mapping over CoAP: every request and response both sides can make, and every refusal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import atls, atls_client, codes
from carriage.coap import options as opt
from carriage.coap.atls import CloseSession, Inbox, OpenSession, ReadUnit, SendUnit, WellKnownCore
from carriage.coap.atls_client import Opened, ReceivedUnit, SessionRefused
from carriage.coap.atls_format import (
    KINDS,
    REASON_CODES,
    ContentFormats,
    etag_of,
    number_of,
)
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import Link
from carriage.identifiers import is_alias, is_nonce, is_session, parse_number
from layer.errors import PeerError, UsageError

SESSION = "0123456789abcdef0123456789abcdef"
NONCE = "00112233445566ff"

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
KIND = st.sampled_from(KINDS)


def with_observe(request: Request, value: bytes) -> Request:
    return Request(request.code, (*request.options, (opt.OBSERVE, value)), request.payload)


# Requests


@given(st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z"), st.binary(min_size=8, max_size=32), KIND, st.binary(max_size=50))
@settings(max_examples=50, deadline=None)
def test_open_comes_through(to: str, nonce: bytes, kind, payload: bytes) -> None:
    request = atls_client.open_request(to, nonce.hex(), kind, payload)
    assert atls.parse(request) == OpenSession(to, nonce.hex(), kind, payload)


@given(NUMBERS, KIND, st.binary(min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
def test_send_comes_through(n: int, kind, payload: bytes) -> None:
    assert atls.parse(atls_client.send_request(SESSION, n, kind, payload)) == SendUnit(SESSION, n, kind, payload)


PATHS = st.sampled_from((b"atls", b"atlas", SESSION.encode(), b"inbox", b"", b"\xff"))
QUERIES = st.sampled_from((b"n=0", b"n=17", b"n=017", b"n=", b"n=\xb2", b"m=1", b"n", b"to=x"))
FORMATS = st.sampled_from((b"", b"\xfd\xe8", b"\xfd\xe9", b"\x00\xfd\xe9", b"\x28"))


@given(st.sampled_from((codes.POST, codes.GET)), PATHS, PATHS, FORMATS, QUERIES, st.sampled_from((b"", b"unit")))
@settings(max_examples=300, deadline=None)
def test_the_quick_way_reads_what_the_long_way_reads(code, root, segment, content, query, payload) -> None:
    options = ((opt.URI_PATH, root), (opt.URI_PATH, segment), (opt.CONTENT_FORMAT, content), (opt.URI_QUERY, query))
    longer = (*options, (opt.SIZE1, b"\x04"))  # says nothing here, but keeps the request off the quick way
    assert atls.parse(Request(code, options, payload)) == atls.parse(Request(code, longer, payload))


def test_the_open_request_by_hand() -> None:
    request = atls_client.open_request("cloud", NONCE, "adtls", b"u")
    assert request == Request(
        codes.POST,
        (
            (opt.URI_PATH, b"atls"),
            (opt.URI_QUERY, b"to=cloud"),
            (opt.URI_QUERY, b"nonce=00112233445566ff"),
            (opt.CONTENT_FORMAT, b"\xfd\xe9"),
        ),
        b"u",
    )


@pytest.mark.parametrize(
    ("request_", "operation"),
    [
        (atls_client.open_implied_request("atls", b"u"), OpenSession(None, None, "atls", b"u")),
        (atls_client.open_implied_request("atls", b"", NONCE), OpenSession(None, NONCE, "atls", b"")),
        (atls_client.read_request(SESSION), ReadUnit(SESSION, None)),
        (atls_client.read_request(SESSION, 7), ReadUnit(SESSION, 7)),
        (with_observe(atls_client.read_request(SESSION), b""), ReadUnit(SESSION, None, observe=True)),
        (with_observe(atls_client.read_request(SESSION), b"\x01"), ReadUnit(SESSION, None, deregister=True)),
        (with_observe(atls_client.read_request(SESSION, 7), b""), ReadUnit(SESSION, 7)),  # nothing to observe
        (atls_client.close_request(SESSION), CloseSession(SESSION)),
        (atls_client.inbox_request(), Inbox()),
        (with_observe(atls_client.inbox_request(), b""), Inbox(observe=True)),
        (with_observe(atls_client.inbox_request(), b"\x01"), Inbox(deregister=True)),
        (atls_client.core_request(), WellKnownCore()),
        (atls_client.core_request("rt=atls"), WellKnownCore("rt=atls")),
        (
            Request(codes.GET, (*opt.uri(("atls", SESSION)), (opt.ACCEPT, b"\xfd\xe8"))),
            ReadUnit(SESSION, None, accept="atls"),
        ),
    ],
)
def test_requests(request_: Request, operation: atls.Operation) -> None:
    assert atls.parse(request_) == operation


def raw(code: int, path: str, query: str = "", *options: tuple[int, bytes], payload: bytes = b"u") -> Request:
    parts = tuple(path.strip("/").split("/"))
    return Request(code, opt.uri(parts, tuple(query.split("&")) if query else ()) + options, payload)


ADTLS = (opt.CONTENT_FORMAT, b"\xfd\xe9")
OPEN_QUERY = f"to=cloud&nonce={NONCE}"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (raw(codes.GET, "/atls", OPEN_QUERY), "method"),
        (raw(codes.PUT, "/.well-known/atls"), "method"),
        (raw(codes.PUT, f"/atls/{SESSION}"), "method"),
        (raw(codes.FETCH, f"/atls/{SESSION}"), "method"),
        (raw(codes.POST, "/atls/inbox"), "method"),
        (raw(codes.DELETE, "/.well-known/core"), "method"),
        (raw(codes.POST, "/atls", OPEN_QUERY), "content"),
        (raw(codes.POST, "/atls", OPEN_QUERY, (opt.CONTENT_FORMAT, b"\x2a")), "content"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=0"), "content"),
        (raw(codes.POST, "/atls", "", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", "to=cloud", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", f"nonce={NONCE}", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", "to=cloud&nonce=0011", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", f"to=http://x&nonce={NONCE}", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", f"{OPEN_QUERY}&to=other", ADTLS), "bad-request"),
        (raw(codes.POST, "/atls", f"{OPEN_QUERY}&x=1", ADTLS), "bad-request"),
        (raw(codes.POST, "/.well-known/atls", "to=cloud", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=-1", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=01", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=18446744073709551616", ADTLS), "bad-request"),
        (raw(codes.POST, f"/atls/{SESSION}", "n=0", ADTLS, payload=b""), "bad-request"),
        (raw(codes.GET, f"/atls/{SESSION}", "n=x"), "bad-request"),
        (raw(codes.DELETE, f"/atls/{SESSION}", "n=1"), "bad-request"),
        (raw(codes.GET, "/.well-known/core", "a=1&b=2"), "bad-request"),
        (raw(codes.GET, f"/atls/{SESSION}", "", (opt.ACCEPT, b"\x2a")), "not-acceptable"),
        (raw(codes.GET, "/atls/inbox", "", (opt.ACCEPT, b"\x2a")), "not-acceptable"),
        (raw(codes.GET, "/.well-known/core", "", (opt.ACCEPT, b"\x00\x00")), "not-acceptable"),
        (raw(codes.GET, "/"), "unknown"),
        (raw(codes.GET, "/other"), "unknown"),
        (raw(codes.GET, f"/atls/{SESSION[:-1]}"), "unknown"),
        (raw(codes.GET, f"/atls/{SESSION.upper()}"), "unknown"),
        (raw(codes.GET, f"/atls/{SESSION}/x"), "unknown"),
        (Request(codes.GET, ((opt.URI_PATH, b"\xff"),)), "bad-request"),
    ],
)
def test_refusals(request_: Request, reason: str) -> None:
    answer = atls.parse(request_)
    assert isinstance(answer, Response)
    assert answer.code == REASON_CODES[reason]
    assert answer.payload == reason.encode()
    assert opt.first(answer.options, opt.MAX_AGE) == b""


def test_a_nonce_in_upper_case_is_the_same_nonce() -> None:
    request = raw(codes.POST, "/atls", f"to=cloud&nonce={NONCE.upper()}", ADTLS)
    assert atls.parse(request) == OpenSession("cloud", NONCE, "adtls", b"u")


SEGMENT = st.sampled_from((b"atls", b".well-known", b"core", b"inbox", SESSION.encode(), b"", b"\xff", b"n=1", b"to=a"))
ANY_OPTIONS = st.lists(
    st.tuples(st.sampled_from((6, 8, 11, 12, 15, 17)), st.one_of(SEGMENT, st.binary(max_size=3))), max_size=6
)


@given(st.integers(1, 7), ANY_OPTIONS, st.binary(max_size=5))
@settings(max_examples=150, deadline=None)
def test_any_request_is_an_operation_or_a_response(code: int, options, payload: bytes) -> None:
    found = atls.parse(Request(code, tuple(sorted(options)), payload))
    assert isinstance(found, atls.Operation | Response)


@given(st.sampled_from((0x41, 0x42, 0x44, 0x45, 0x80, 0x84, 0x9D, 0xA3)), ANY_OPTIONS, st.binary(max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_response_is_read_or_a_peer_error(code: int, options, payload: bytes) -> None:
    response = Response(code, tuple(sorted(options)), payload)
    for read in (atls_client.read_opened, atls_client.read_unit, atls_client.read_link_document):
        try:
            read(response)
        except PeerError:
            pass


# Responses


@given(NUMBERS, KIND, st.binary(min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_units_come_back_in_every_answer(n: int, kind, payload: bytes) -> None:
    unit = ReceivedUnit(n, kind, payload)
    made = atls.unit(n, kind, payload)
    assert made.code == codes.CONTENT and atls_client.read_unit(made) == unit
    assert atls_client.read_opened(atls.opened(SESSION, made)) == Opened(SESSION, unit)
    taken = atls.taken(made)
    assert taken.code == codes.CHANGED and atls_client.read_unit(taken) == unit


def test_answers_without_units() -> None:
    assert atls_client.read_opened(atls.opened(SESSION)) == Opened(SESSION, None)
    for answer, code in ((atls.taken(), "2.04"), (atls.no_unit(), "2.05"), (atls.closed(), "2.02")):
        assert codes.dotted(answer.code) == code
        assert atls_client.read_unit(answer) is None
        assert opt.first(answer.options, opt.MAX_AGE) == b""


def test_the_unit_response_by_hand() -> None:
    assert atls.unit(256, "atls-data", b"u") == Response(
        codes.CONTENT,
        ((opt.ETAG, b"\x01\x00"), (opt.CONTENT_FORMAT, b"\xfd\xea"), (opt.MAX_AGE, b"")),
        b"u",
    )


@pytest.mark.parametrize("reason", sorted(REASON_CODES))
def test_every_reason_comes_back(reason: str) -> None:
    refused = atls_client.read_unit(atls.refusal(reason))
    assert refused == SessionRefused(reason, REASON_CODES[reason])
    assert atls_client.read_opened(atls.refusal(reason)) == refused
    assert atls_client.read_link_document(atls.refusal(reason)) == refused


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("denied", "4.03"),
        ("too-large", "4.13"),
        ("over-rate", "4.29"),
        ("content", "4.15"),
        ("busy", "5.03"),
        ("unknown", "4.04"),
        ("timeout", "5.04"),
        ("bad-request", "4.00"),
        ("bad-option", "4.02"),
    ],
)
def test_the_table_of_reasons(reason: str, code: str) -> None:
    assert codes.dotted(atls.refusal(reason).code) == code


def test_retry_after_is_rounded_up() -> None:
    assert atls_client.read_unit(atls.refusal("over-rate", 1.2)) == SessionRefused(
        "over-rate", codes.TOO_MANY_REQUESTS, 2
    )
    assert atls_client.read_unit(atls.refusal("busy", 0.0)) == SessionRefused("busy", codes.SERVICE_UNAVAILABLE, 1)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (Response(codes.FORBIDDEN), "denied"),
        (Response(codes.NOT_FOUND, (), b"over-rate"), "unknown"),  # a name that does not fit the code
        (Response(codes.GATEWAY_TIMEOUT), "timeout"),
        (Response(0xB0), "internal"),
        (Response(0x9E, (), b"\xff" * 10), "bad-request"),
    ],
)
def test_refusals_by_others(response: Response, reason: str) -> None:
    refused = atls_client.read_unit(response)
    assert isinstance(refused, SessionRefused) and refused.reason == reason


@pytest.mark.parametrize(
    "response",
    [
        Response(codes.CREATED),
        Response(codes.CREATED, ((opt.LOCATION_PATH, b"atls"), (opt.LOCATION_PATH, b"xyz"))),
        Response(codes.CHANGED, ((opt.LOCATION_PATH, b"atls"), (opt.LOCATION_PATH, SESSION.encode()))),
    ],
)
def test_opens_without_a_session(response: Response) -> None:
    with pytest.raises(PeerError):
        atls_client.read_opened(response)


@pytest.mark.parametrize(
    "options",
    [(), ((opt.ETAG, b"\x00"),), ((opt.CONTENT_FORMAT, b"\xfd\xe8"),), ((opt.ETAG, b"\x00\x01"), ADTLS)],
)
def test_payloads_that_are_no_units(options: opt.Options) -> None:
    with pytest.raises(PeerError):
        atls_client.read_unit(Response(codes.CONTENT, options, b"x"))


def test_links_come_back() -> None:
    links = (Link(f"/atls/{SESSION}", (("ct", "65001"), ("from", "lamp7"))),)
    answer = atls.links(links)
    assert opt.first_uint(answer.options, opt.CONTENT_FORMAT) == 40
    assert atls_client.read_link_document(answer) == links
    with pytest.raises(PeerError):
        atls_client.read_link_document(Response(codes.CONTENT, (ADTLS,), b"</x>"))


# Names and numbers


@pytest.mark.parametrize("n", [0, 1, 255, 256, 2**64 - 1])
def test_etags(n: int) -> None:
    assert number_of(etag_of(n)) == n
    assert parse_number(str(n)) == n


@pytest.mark.parametrize("etag", [b"", b"\x00\x00", b"\x00\x01", bytes(9)])
def test_etags_that_are_no_numbers(etag: bytes) -> None:
    with pytest.raises(PeerError):
        number_of(etag)


@pytest.mark.parametrize("text", ["", "00", "+1", "1 ", "1_0", "٣", "18446744073709551616", "9" * 30])
def test_texts_that_are_no_numbers(text: str) -> None:
    assert parse_number(text) is None


def test_identifiers() -> None:
    assert is_session(SESSION) and not is_session(SESSION + "0") and not is_session("g" * 32)
    assert not is_session("0" * 31 + "\n")
    assert is_alias("a") and is_alias("A.b_c-9") and is_alias("x" * 64)
    assert not any(map(is_alias, ("", "x" * 65, "a/b", "a b", "ü", "a\n")))
    assert is_nonce("00" * 8) and is_nonce("ff" * 32)
    assert not any(map(is_nonce, ("00" * 7, "00" * 33, "0" * 17, "zz" * 8)))


def test_other_content_formats() -> None:
    formats = ContentFormats(atls=65100, adtls=65101, atls_data=65102)
    request = atls_client.open_request("a", NONCE, "adtls", b"u", formats)
    assert isinstance(atls.parse(request, formats), OpenSession)
    assert isinstance(atls.parse(request), Response)
    assert atls_client.read_unit(atls.unit(1, "atls", b"u", formats), formats) == ReceivedUnit(1, "atls", b"u")


def test_arguments_that_are_our_fault_raise_usage_errors() -> None:
    for call in (
        lambda: ContentFormats(atls=1, adtls=1),
        lambda: ContentFormats(atls=70000),
        lambda: atls.refusal("nonsense"),
        lambda: atls_client.open_request("a b", NONCE, "atls", b""),
        lambda: atls_client.open_request("a", "xy", "atls", b""),
        lambda: atls_client.open_implied_request("atls", b"", "xy"),
        lambda: atls_client.send_request("x", 0, "atls", b""),
        lambda: atls_client.send_request(SESSION, -1, "atls", b""),
        lambda: atls_client.send_request(SESSION, 0, "atls", b"u", confirmable=False),
        lambda: etag_of(2**64),
    ):
        with pytest.raises(UsageError):
            call()


def test_reprs_hide_payloads() -> None:
    assert "secret" not in repr(OpenSession("a", NONCE, "atls", b"secret"))
    assert "secret" not in repr(SendUnit(SESSION, 0, "atls", b"secret"))
    assert "secret" not in repr(ReceivedUnit(0, "atls", b"secret"))
    assert "secret" not in repr(Request(codes.POST, (), b"secret")) + repr(Response(codes.CONTENT, (), b"secret"))
