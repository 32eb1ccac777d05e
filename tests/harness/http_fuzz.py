"""Messages of HTTP that no peer should send, into the readers of ``carriage/http``: each is read or refused, and
nothing but ``PeerError`` is raised. By hand: ``python -m tests.harness.http_fuzz 1000000``."""

from __future__ import annotations

import sys
from random import Random

from carriage.http import atls, atls_client, atls_format, device_resources
from carriage.http.atls import HttpRequest, HttpResponse
from layer.errors import PeerError

SESSION = "0123456789abcdef" * 2
METHODS = ("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "", "get")
TARGETS = (
    "/atls?to=lamp&nonce=" + "ab" * 8,
    f"/atls/{SESSION}",
    "/atls/inbox",
    "/.well-known/atls",
    "/atls?to=lamp",
    "/d",
    "/d/lamp",
    "/d/lamp/on",
    "/d/lamp/on/command",
    "/d/lamp/on/value",
    "/d/lamp/toggle?key=1",
    "/td/lamp",
    "/.well-known/wot",
    "*",
    "/atls/../d",
    "/d/%2e%2e/%ff",
    "/atls?nonce=%ED%A0%80&to=%00",
)
FIELDS = (
    (
        "content-type",
        (
            "application/atls",
            "application/adtls; x=y",
            "application/json",
            "application/cbor",
            "text/plain",
            "",
            ";",
            "\udcff",
        ),
    ),
    ("atls-seq", ("0", "1", "00", "-1", "18446744073709551615", "18446744073709551616", "1" * 30, "٣", "")),
    ("prefer", ("wait=5", "wait", 'wait="7"', "wait=" + "9" * 40, "respond-async, wait=1", ",,;=", "wait=-1")),
    (
        "accept",
        (
            "text/event-stream",
            "application/json",
            "application/cbor",
            "application/td+json",
            "*/*",
            "text/*;q=0",
            "",
            ",",
            "application/*",
        ),
    ),
    ("last-event-id", ("0", "-1", "x", "9" * 30)),
    ("cookie", (f"__Host-atls-lamp={SESSION}", "__Host-atls-lamp=x", "a=b; ;=;", f"a=b;__Host-atls-lamp={SESSION}")),
    ("if-none-match", ('"x"', "*", 'W/"x", "y"', ",", "," * 100)),
    ("idempotency-key", ("1", '"1"', '"', "", "k" * 100, "é", '"a"b"')),
    ("content-encoding", ("gzip", "")),
    ("retry-after", ("12", "-1", "x", "9" * 20, "Mon, 30 Nov 2026 15:17:29 GMT")),
    ("location", (f"/atls/{SESSION}", "https://elsewhere.example/", "//x", "http://[", "?", "\udcff", "../..")),
    ("expect", ("100-continue",)),
)
BODIES = (
    b"",
    b"\x17\xfe\xfd",
    b"true",
    b'{"value":21.5}',
    b'{"title": "order", "status": 409, "reason": "order", "expected": 1}',
    b'{"reason": ["x"], "expected": -1}',
    b'{"reason": "order", "expected": 1e999}',
    b"[" * 3000,
    b"\xff\xfe",
    b"\xa1\x62on\xf5",
    b"\x9f" * 3000,
    b"\xa1\x81\x01\xf9\x7e\x00",
    b'{"a":1,"a":2}',
    b'"\\ud800"',
    b"9" * 5000,
)
ODD = (0, 10, 32, 37, 38, 44, 47, 59, 61, 63, 127, 0x663, 0xDCFF, 0x1F600)
STATUSES = (200, 204, 304, 400, 401, 403, 404, 409, 413, 415, 425, 429, 500, 502, 503, 504, 599, 0, 999)


def changed(text: str, random: Random) -> str:
    """The text, sometimes with another character somewhere, or cut."""
    if not text or random.random() < 0.7:
        return text
    at = random.randrange(len(text))
    if random.random() < 0.3:
        return text[:at]
    return (
        text[:at]
        + chr(random.choice((0, 10, 32, 37, 38, 44, 47, 59, 61, 63, 127, 0xDCFF, 0x663, 0x1F600)))
        + text[at + 1 :]
    )


def fields(random: Random) -> atls_format.Fields:
    found = []
    for _ in range(random.randrange(6)):
        name, values = random.choice(FIELDS)
        found.append((name, changed(random.choice(values), random)))
    return tuple(found)


def one(random: Random) -> None:
    """One request and one response, read by everything that reads such."""
    body = random.choice(BODIES) if random.random() < 0.8 else random.randbytes(random.randrange(40))
    request = HttpRequest(random.choice(METHODS), changed(random.choice(TARGETS), random), fields(random), body)
    for parse in (atls.parse, device_resources.parse):
        found = parse(request)
        if isinstance(found, HttpResponse):
            assert found.status in atls_format.REASON_STATUS.values()
            assert all("\n" not in value and "\r" not in value for _, value in found.fields), found
    device_resources.in_format_of(request, device_resources.content({"value": 1e-9}))
    found = atls.parse(request, SESSION)
    if isinstance(found, atls.SendUnit):
        assert found.payload and (found.n is None or 0 <= found.n < 2**64)
    if isinstance(found, atls.OpenSession) and found.to is not None:
        assert found.to.isascii() and len(found.to) <= 64
    response = HttpResponse(random.choice(STATUSES), fields(random), body)
    for read in (atls_client.read_unit, lambda each: atls_client.read_opened("https://service.example/x", each)):
        try:
            read(response)
        except PeerError:
            pass
    reason, expected = atls_format.reason_of(response.status, response.fields, response.body)
    assert reason in atls_format.REASON_STATUS and (expected is None or 0 <= expected < 2**64)


def run(count: int, seed: int) -> None:
    random = Random(seed)
    for _ in range(count):
        state = random.getstate()
        try:
            one(random)
        except Exception:
            random.setstate(state)
            print(f"input {seed}: {random.random()}", file=sys.stderr)
            raise


if __name__ == "__main__":
    run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print("done")
