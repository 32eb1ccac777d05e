"""The HTTP part of docs/carriage.md against the codecs and the adapter: its examples, tables and numbers."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from adapters.http.south_events import KEEP_ALIVE, EventStream
from carriage.http import atls, atls_client
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import MEDIA_TYPES, PROBLEM, REASON_STATUS
from gateway.api.model import Reason

SESSION = "0123456789abcdef0123456789abcdef"
NONCE = "a1b2c3d4e5f60718"
PLACE = f"/atls/{SESSION}"
UNIT = bytes.fromhex("17fefd00010000000000050018") + bytes(range(0xA0, 0xB8))
RECORD = bytes.fromhex("1703030004a0a1a2a3")
TEXTS = (PROBLEM, "application/json")
SPELLED = {"atls-seq": "ATLS-Seq", "etag": "ETag"}
DRAFT = (("content-type", "application/atls+octet-stream"),)

REQUESTS = {
    "http-open": atls_client.send_request(atls_client.open_target("lamp7", NONCE), 0, "adtls", b""),
    "http-send": atls_client.send_request(PLACE, 0, "adtls", UNIT),
    "http-poll": atls_client.read_request(PLACE, 1, 20),
    "http-draft-send": HttpRequest(
        "POST", "/atls?to=lamp7", (*DRAFT, ("cookie", f"__Host-atls-lamp7={SESSION}")), RECORD
    ),
}
RESPONSES = {
    "http-opened": atls.opened(SESSION),
    "http-answer": atls.unit(0, "adtls", UNIT),
    "http-nothing": atls.applied(atls.taken(), 20),
    "http-order": atls.refusal("order", expected=1),
    "http-over-rate": atls.refusal("over-rate", 12),
    "http-inbox": atls.inbox([atls.InboxEntry(SESSION, "adtls", "lamp7")]),
    "http-draft-opened": atls.with_cookie(
        atls.opened(SESSION, atls.unit(0, "atls", RECORD, draft=True)), "lamp7", SESSION
    ),
}


def spelled(message: HttpRequest | HttpResponse, *more: tuple[str, str]) -> str:
    """A message as the page shows it: field names in their usual case, a body that is no text in hexadecimal."""
    fields = (*more, *message.fields, ("content-length", str(len(message.body))))
    lines = [f"{SPELLED.get(name, '-'.join(map(str.capitalize, name.split('-'))))}: {value}" for name, value in fields]
    if isinstance(message, HttpRequest):
        lines.insert(0, f"{message.method} {message.target} HTTP/1.1")
    else:
        lines.insert(0, f"HTTP/1.1 {message.status} {HTTPStatus(message.status).phrase}")
    if message.body:
        text = any(value in TEXTS for _, value in message.fields)
        lines += ["", message.body.decode() if text else message.body.hex()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(carriage: Any, name: str) -> None:
    ours = (("host", "gateway.example"), ("authorization", "Bearer TOKEN"))
    assert carriage.block("http", name) == spelled(REQUESTS[name], *ours)
    assert not isinstance(atls.parse(REQUESTS[name]), HttpResponse)


@pytest.mark.parametrize("name", RESPONSES)
def test_responses(carriage: Any, name: str) -> None:
    assert carriage.block("http", name) == spelled(RESPONSES[name])


def test_the_asking_side_reads_the_examples() -> None:
    opened = atls_client.read_opened("https://gateway.example/atls", RESPONSES["http-opened"])
    assert opened == atls_client.Opened(PLACE, None)
    assert atls_client.read_unit(RESPONSES["http-answer"]) == atls_client.ReceivedUnit(0, "adtls", UNIT)
    assert atls_client.read_unit(RESPONSES["http-nothing"]) is None
    assert atls_client.read_unit(RESPONSES["http-order"]) == atls_client.SessionRefused("order", 409, None, 1)
    assert atls_client.read_unit(RESPONSES["http-over-rate"]) == atls_client.SessionRefused("over-rate", 429, 12)


def test_events(carriage: Any) -> None:
    stream = EventStream()
    stream.put({"n": 2}, id=2)
    stream.end("closed")
    assert carriage.block("text", "http-events") + "\n" == "".join(stream._waiting.values())
    assert f"every {KEEP_ALIVE:g} s" in carriage.text


def test_media_types_and_reasons(carriage: Any) -> None:
    documented = {row[1].strip("`"): row[0].strip("`") for row in carriage.rows("media type", "HTTP resources")}
    assert documented == MEDIA_TYPES
    reasons = {row[0].strip("`"): int(row[1]) for row in carriage.rows("HTTP reason", "HTTP refusals")}
    assert reasons == REASON_STATUS
    assert {reason.value for reason in Reason} <= set(reasons)


def test_resources_parse(carriage: Any, code_words: Callable[[str], list[str]]) -> None:
    seen = set()
    for request, what, _ in carriage.rows("request", "HTTP resources"):
        method, _, target = code_words(request)[0].partition(" ")
        target = target.replace("SESSION", SESSION).replace("ALIAS", "lamp7").replace("HEX", NONCE)
        body = UNIT if method == "POST" and "without" not in request else b""
        fields = (("content-type", "application/adtls"), ("atls-seq", "0"))
        parsed = atls.parse(HttpRequest(method, target, fields, body))
        assert not isinstance(parsed, HttpResponse), (target, what)
        seen.add(type(parsed))
    assert seen == {
        atls.OpenSession, atls.SendUnit, atls.ReadUnit, atls.WatchSession, atls.CloseSession, atls.Inbox
    }  # fmt: skip


def test_every_example_is_compared(carriage: Any) -> None:
    assert {name for name in carriage.blocks if name.startswith("http-")} == {*REQUESTS, *RESPONSES, "http-events"}
