"""The asking side of ATLS over HTTP: what it makes of answers, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.http import atls
from carriage.http.atls import HttpResponse
from carriage.http.atls_client import (
    MAX_PLACE,
    Opened,
    ReceivedUnit,
    SessionRefused,
    applied_wait,
    close_request,
    open_target,
    read_opened,
    read_request,
    read_unit,
    send_request,
)
from layer.errors import PeerError, UsageError
from tests.harness.mutations import mutated

URL = "https://cloud.example/.well-known/atls"
SESSION = "0123456789abcdef" * 2
NONCE = "00" * 8


def opened(*places: str) -> Opened | SessionRefused:
    return read_opened(URL, HttpResponse(200, tuple(("location", place) for place in places)))


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("/atls/1", "/atls/1"),
        ("atls/1", "/.well-known/atls/1"),
        ("../s?x=1", "/s?x=1"),
        ("https://cloud.example/s", "/s"),
        ("https://CLOUD.example:443/s#part", "/s"),
        ("", "/.well-known/atls"),
        ("?s=1", "/.well-known/atls?s=1"),
    ],
)
def test_a_location_is_read_relative_to_the_url(place: str, target: str) -> None:
    assert opened(place) == Opened(target, None)


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/s",
        "//evil.example/s",
        "http://cloud.example/s",
        "https://cloud.example:8443/s",
        "https://cloud.example@evil.example/s",
        "https://cloud.example:port/s",
        "https://[::1/s",
        "javascript:alert(1)",
        "/with space",
        "/umlaut-ü",
        "/" + "a" * MAX_PLACE,
    ],
)
def test_a_location_elsewhere_is_not_followed(place: str) -> None:
    with pytest.raises(PeerError, match="Location"):
        opened(place)


def test_two_locations_are_none() -> None:
    with pytest.raises(PeerError, match="two places"):
        opened("/a", "/b")


def test_what_a_server_answers_is_read_as_it_was_meant() -> None:
    unit = atls.unit(3, "adtls", b"unit")
    assert read_opened(URL, atls.opened(SESSION, unit)) == Opened(f"/atls/{SESSION}", ReceivedUnit(3, "adtls", b"unit"))
    assert read_unit(atls.taken(unit)) == ReceivedUnit(3, "adtls", b"unit")
    assert read_unit(atls.taken()) is None
    assert read_unit(atls.closed()) is None
    assert read_unit(atls.refusal("order", expected=7)) == SessionRefused("order", 409, None, 7)
    assert read_unit(atls.refusal("over-rate", 2.5)) == SessionRefused("over-rate", 429, 3)


def test_what_we_ask_is_read_by_a_server_as_it_was_meant() -> None:
    place = f"/atls/{SESSION}"
    asked = [
        (send_request(open_target("cloud", NONCE), 0, "atls", b"a"), atls.OpenSession("cloud", NONCE, "atls", b"a")),
        (send_request(place, 5, "adtls", b"unit"), atls.SendUnit(SESSION, 5, "adtls", b"unit")),
        (read_request(place, 2), atls.ReadUnit(SESSION, 2)),
        (read_request(place, 2, 50), atls.ReadUnit(SESSION, 2, 50)),
        (close_request(place), atls.CloseSession(SESSION)),
    ]  # fmt: skip
    assert [atls.parse(request) for request, _ in asked] == [operation for _, operation in asked]
    with pytest.raises(UsageError):
        open_target("no alias", NONCE)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(301, "rejected"), (302, "rejected"), (307, "rejected"), (410, "closed"), (404, "unknown"), (418, "bad-request"),
     (503, "busy"), (599, "internal"), (206, "rejected")],
)  # fmt: skip
def test_each_other_status_is_a_refusal(status: int, reason: str) -> None:
    for read in (read_unit, lambda response: read_opened(URL, response)):
        found = read(HttpResponse(status, (("location", "https://evil.example/"),), b"page"))
        assert isinstance(found, SessionRefused) and (found.reason, found.status) == (reason, status)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (("content-type", "text/html"),),
        (("content-type", "application/atls"), ("content-encoding", "gzip")),
        (("content-type", "application/atls"), ("content-type", "application/atls")),
        (("content-type", "application/atls"), ("atls-seq", "-1")),
        (("content-type", "application/atls"), ("atls-seq", str(2**64))),
        (("content-type", "application/atls"), ("atls-seq", "1"), ("atls-seq", "1")),
    ],
)
def test_a_body_that_is_no_plain_unit_is_refused(fields: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(PeerError):
        read_unit(HttpResponse(200, fields, b"page"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=30", 30),
        ("respond-async, wait=30", 30),
        ('Wait="5"; x=y', 5),
        ("wait=-1", None),
        ("wait", None),
        ("", None),
    ],
)
def test_the_wait_that_a_server_applies_is_read(value: str, seconds: int | None) -> None:
    assert applied_wait(HttpResponse(200, (("preference-applied", value),))) == seconds
    assert applied_wait(HttpResponse(200)) is None


NAMES = ("location", "content-type", "atls-seq", "retry-after", "preference-applied", "content-encoding", "x")
VALUES = (
    b"/atls/" + SESSION.encode(), b"https://cloud.example/s", b"application/adtls", b"application/problem+json", b"17",
    b"wait=9", b'{"reason": "order", "status": 409, "expected": 4}', b"//h/p", b"http://[",
)  # fmt: skip


@given(
    st.sampled_from((200, 201, 204, 302, 404, 409, 410, 429, 500)),
    st.lists(st.tuples(st.sampled_from(NAMES), mutated(VALUES)), max_size=5),
    mutated(VALUES) | st.just(b""),
)
def test_no_answer_does_more_than_be_refused(status: int, pairs: list[tuple[str, bytes]], body: bytes) -> None:
    response = HttpResponse(status, tuple((name, value.decode("latin-1")) for name, value in pairs), body)
    applied_wait(response)
    for read in (read_unit, lambda each: read_opened(URL, each)):
        try:
            found = read(response)
        except PeerError:
            continue
        if isinstance(found, Opened) and found.location is not None:
            assert found.location.startswith("/") and found.location.isascii() and " " not in found.location
