"""ATLS over HTTP, sans I/O: what one side writes the other reads; what neither may write is refused."""

from __future__ import annotations

from typing import Any

import pytest

from carriage.http import atls, atls_client, atls_format
from carriage.http.atls import HttpRequest, HttpResponse
from layer.errors import PeerError, UsageError

SESSION = "0123456789abcdef" * 2
PLACE = f"/atls/{SESSION}"
NONCE = "ab" * 8
DRAFT = ("content-type", "application/atls+octet-stream")
ADTLS = ("content-type", "application/adtls")


def parsed(method: str, target: str, *fields: tuple[str, str], body: bytes = b"") -> Any:
    return atls.parse(HttpRequest(method, target, fields, body))


@pytest.mark.parametrize("kind", atls_format.KINDS)
def test_what_the_asking_side_writes_is_read(kind: Any) -> None:
    place = atls_client.open_target("lamp", NONCE)
    assert atls.parse(atls_client.send_request(place, 0, kind, b"x")) == atls.OpenSession("lamp", NONCE, kind, b"x")
    assert atls.parse(atls_client.send_request(PLACE, 7, kind, b"x")) == atls.SendUnit(SESSION, 7, kind, b"x")
    assert atls.parse(atls_client.read_request(PLACE, 7)) == atls.ReadUnit(SESSION, 7)
    assert atls.parse(atls_client.read_request(PLACE, 7, 20)) == atls.ReadUnit(SESSION, 7, 20)
    assert atls.parse(atls_client.close_request(PLACE)) == atls.CloseSession(SESSION)


@pytest.mark.parametrize("kind", atls_format.KINDS)
def test_what_the_serving_side_writes_is_read(kind: Any) -> None:
    unit = atls.unit(2**64 - 1, kind, b"x")
    assert atls_client.read_unit(unit) == atls_client.ReceivedUnit(2**64 - 1, kind, b"x")
    opened = atls_client.read_opened("https://gateway.example/atls", atls.opened(SESSION, unit))
    assert opened == atls_client.Opened(PLACE, atls_client.ReceivedUnit(2**64 - 1, kind, b"x"))
    assert atls_client.read_unit(atls.taken()) is atls_client.read_unit(atls.closed()) is None


@pytest.mark.parametrize("reason", atls_format.REASON_STATUS)
def test_a_refusal_is_read_by_its_name(reason: str) -> None:
    refused = atls_client.read_unit(atls.refusal(reason, 11.2, "why", 3))
    assert refused == atls_client.SessionRefused(reason, atls_format.REASON_STATUS[reason], 12, 3)
    with pytest.raises(UsageError):
        atls.refusal("no such reason")


@pytest.mark.parametrize(
    ("method", "target", "fields", "body", "reason"),
    [
        ("GET", f"/atls?to=lamp&nonce={NONCE}", (), b"", "method"),
        ("POST", "/atls", (ADTLS,), b"", "bad-request"),
        ("POST", f"/atls?to=lamp&nonce={NONCE[:14]}", (ADTLS,), b"", "bad-request"),
        ("POST", f"/atls?to=lamp&nonce={NONCE}&x=1", (ADTLS,), b"", "bad-request"),
        ("POST", f"/atls?to=la/mp&nonce={NONCE}", (ADTLS,), b"", "bad-request"),
        ("POST", f"/atls?to=lamp&nonce={NONCE}", (), b"", "content"),
        ("POST", f"/atls?to=lamp&nonce={NONCE}", (ADTLS, ADTLS), b"", "bad-request"),
        ("POST", f"/atls?to=lamp&nonce={NONCE}", (ADTLS, ("atls-seq", "1")), b"", "bad-request"),
        ("POST", "/atls?to=lamp", (ADTLS,), b"x", "bad-request"),
        ("POST", PLACE, (ADTLS,), b"x", "bad-request"),
        ("POST", PLACE, (ADTLS, ("atls-seq", "0"), ("atls-seq", "0")), b"x", "bad-request"),
        ("POST", PLACE, (ADTLS, ("atls-seq", "00")), b"x", "bad-request"),
        ("POST", PLACE, (ADTLS, ("atls-seq", str(2**64))), b"x", "bad-request"),
        ("POST", PLACE, (ADTLS, ("atls-seq", "0"), ("content-encoding", "gzip")), b"x", "content"),
        ("POST", PLACE, (("content-type", "text/plain"), ("atls-seq", "0")), b"x", "content"),
        ("POST", f"{PLACE}?x=1", (ADTLS, ("atls-seq", "0")), b"x", "bad-request"),
        ("POST", PLACE.upper(), (ADTLS, ("atls-seq", "0")), b"x", "unknown"),
        ("POST", f"{PLACE}/", (ADTLS, ("atls-seq", "0")), b"x", "unknown"),
        ("POST", f"/{PLACE}", (ADTLS, ("atls-seq", "0")), b"x", "unknown"),
        ("PATCH", PLACE, (), b"", "method"),
        ("GET", PLACE, (("accept", "application/json"),), b"", "not-acceptable"),
        ("POST", "/atls/inbox", (), b"", "method"),
        ("GET", "/atls/inbox", (("accept", "text/html"),), b"", "not-acceptable"),
        ("GET", "/.well-known/atls", (), b"", "method"),
    ],
)
def test_what_is_refused(
    method: str, target: str, fields: tuple[tuple[str, str], ...], body: bytes, reason: str
) -> None:
    answer = parsed(method, target, *fields, body=body)
    assert isinstance(answer, HttpResponse) and answer.status == atls_format.REASON_STATUS[reason]
    assert atls_format.reason_of(answer.status, answer.fields, answer.body) == (reason, None)
    assert ("cache-control", "no-store") in answer.fields


def test_a_client_of_the_draft_opens_and_then_sends_to_the_same_place() -> None:
    opening = parsed("POST", "/atls?to=lamp", DRAFT, body=b"x")
    assert opening == atls.OpenSession("lamp", None, "atls", b"x", draft=True)
    cookie = ("cookie", f"a=b; __Host-atls-lamp={SESSION}; c=d")
    assert parsed("POST", "/atls?to=lamp", DRAFT, cookie, body=b"x") == atls.SendUnit(SESSION, None, "atls", b"x", True)
    assert isinstance(parsed("POST", "/atls?to=other", DRAFT, cookie, body=b"x"), atls.OpenSession)
    ours = parsed("POST", f"/atls?to=lamp&nonce={NONCE}", ("content-type", "application/atls"), cookie, body=b"x")
    assert isinstance(ours, atls.OpenSession), "only a client of the draft is known by a cookie"
    assert parsed("POST", "/atls?to=lamp", DRAFT, cookie).status == 400
    answer = atls.with_cookie(atls.opened(SESSION, atls.unit(0, "atls", b"x", draft=True)), "lamp", SESSION)
    (set_cookie,) = atls_format.field_values(answer.fields, "set-cookie")
    assert set_cookie == f"__Host-atls-lamp={SESSION}; Path=/; Secure; HttpOnly; SameSite=Strict"
    assert atls_format.media_type(answer.fields) == DRAFT[1]


def test_the_well_known_place_of_a_service() -> None:
    request = HttpRequest("POST", "/.well-known/atls", (DRAFT,), b"x")
    assert atls.parse(request) == atls.OpenSession(None, None, "atls", b"x", draft=True)
    assert atls.parse(request, SESSION) == atls.SendUnit(SESSION, None, "atls", b"x", draft=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("wait=20", 20),
        ('Wait="7"', 7),
        ("respond-async, wait=3; x=y", 3),
        ("wait=1, wait=2", 1),
        ("wait=-1", None),
        ("wait", None),
        ("wait=1e3", None),
        ("respond-async", None),
    ],
)
def test_prefer(text: str, seconds: int | None) -> None:
    assert atls_format.wait_of((("prefer", text),)) == seconds


def test_an_inbox_has_an_entity_tag() -> None:
    empty, full = atls.inbox([]), atls.inbox([atls.InboxEntry(SESSION, "atls", "lamp")])
    (tag,) = atls_format.field_values(full.fields, "etag")
    assert atls.is_known(full, ("x", tag)) and not atls.is_known(empty, (tag,)) and atls.is_known(empty, ("*",))
    assert atls.not_modified(full) == HttpResponse(304, (("etag", tag), ("cache-control", "no-store")))
    asked = parsed("GET", "/atls/inbox", ("if-none-match", f'W/{tag}, "x"'), ("prefer", "wait=9"))
    assert asked == atls.Inbox(False, (tag, '"x"'), 9)
    assert parsed("GET", "/atls/inbox", ("accept", "text/event-stream")).watch


@pytest.mark.parametrize(
    "place", ["https://other.example/atls/1", "//other.example/", "http://gateway.example/", "http://["]
)
def test_a_place_on_another_origin_is_not_followed(place: str) -> None:
    answer = HttpResponse(200, (("location", place),))
    with pytest.raises(PeerError):
        atls_client.read_opened("https://gateway.example/atls", answer)


def test_no_message_shows_its_secrets() -> None:
    """Tokens, cookies, units."""
    fields = (("authorization", "Bearer s3cret"), ("cookie", "a=s3cret"))
    assert "s3cret" not in repr(HttpRequest("POST", "/atls", fields, b"s3cret"))
    assert "s3cret" not in repr(HttpResponse(200, (("set-cookie", "a=s3cret"),), b"s3cret"))


def test_what_a_client_does_not_want_at_all_is_not_what_it_accepts() -> None:
    """RFC 9110, section 12.4.2."""
    request = HttpRequest("GET", "/atls/inbox", (("accept", "text/event-stream;q=0, application/json; Q=0.5"),))
    assert atls.parse(request) == atls.Inbox(watch=False)
    refused = atls.parse(HttpRequest("GET", "/atls/inbox", (("accept", "application/json;q=0.000"),)))
    assert isinstance(refused, HttpResponse) and refused.status == 406
