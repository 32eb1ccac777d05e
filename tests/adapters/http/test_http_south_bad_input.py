"""Input that is wrong, slow or cut off, octet by octet: each gets a clear answer, nothing is lost or held for ever."""

from __future__ import annotations

import asyncio
import json
from http.client import HTTPConnection
from typing import Any

import pytest

from gateway.api.model import Unit
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import TOKENS, Home, Start

PHONE = f"Host: localhost\r\nAuthorization: Bearer {TOKENS['phone']}\r\n".encode()
OPEN = b"POST /atls?to=lamp&nonce=abababababababab HTTP/1.1\r\n" + PHONE + b"Content-Type: application/adtls\r\n"


class Wire:
    """One connection in octets, over http."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @staticmethod
    async def to(home: Home) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", home.plain_port))

    def send(self, octets: bytes) -> Wire:
        self.writer.write(octets)
        return self

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next response: status, header fields, body."""
        async with asyncio.timeout(10):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = b"" if head else await self.reader.readexactly(int(fields.get("content-length", "0")))
        return int(lines[0].split()[1]), fields, body

    async def over(self) -> bool:
        async with asyncio.timeout(10):
            return not await self.reader.read()

    def close(self) -> None:
        self.writer.close()


async def reason(wire: Wire) -> tuple[int, str]:
    status, fields, body = await wire.answer()
    assert fields["server"] == "atls-gateway"
    assert fields["content-type"] == "application/problem+json" and fields["cache-control"] == "no-store"
    return status, json.loads(body)["reason"]


WRONG = [
    (b"nonsense\r\n\r\n", (400, "bad-request")),
    (b"GET /d HTTP/1.1\r\n\r\n", (400, "bad-request")),
    (b"GET /d HTTP/1.0\r\n\r\n", (400, "bad-request")),
    (b"GET /d HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", (400, "bad-request")),
    (b"GET /d HTTP/1.1\r\nHost: evil\r\n\r\n", (421, "misdirected")),
    (b"GET http://evil/d HTTP/1.1\r\n" + PHONE + b"\r\n", (421, "misdirected")),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + PHONE + b"\r\n", (431, "fields-too-large")),
    (b"GET /d HTTP/1.1\r\n" + PHONE + b"X: " + b"a" * 9000 + b"\r\n\r\n", (431, "fields-too-large")),
    (b"GET /d HTTP/1.1\r\n" + PHONE + b"X: y\r\n" * 100 + b"\r\n", (431, "fields-too-large")),
    (b"GET /d HTTP/1.1\r\n" + PHONE + b"no field\r\n\r\n", (400, "bad-request")),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "bad-request")),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), (400, "bad-request")),
    (b"TRACE /d HTTP/1.1\r\n" + PHONE + b"\r\n", (405, "method")),
    (b"PATCH /d HTTP/1.1\r\n" + PHONE + b"\r\n", (405, "method")),
    (b"CONNECT localhost:80 HTTP/1.1\r\n" + PHONE + b"\r\n", (400, "bad-request")),
    (OPEN + b"Content-Length: x\r\n\r\n", (400, "bad-request")),
    (OPEN + b"Content-Length: -1\r\n\r\n", (400, "bad-request")),
    (OPEN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", (400, "bad-request")),
    (OPEN + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", (400, "bad-request")),
    (OPEN + b"Transfer-Encoding: gzip\r\n\r\n", (400, "bad-request")),
    (OPEN + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", (400, "bad-request")),
    (OPEN + b"Content-Length: 99999\r\n\r\n", (413, "too-large")),
    (OPEN + b"Transfer-Encoding: chunked\r\n\r\n5000\r\n" + b"a" * 0x5000 + b"\r\n0\r\n\r\n", (413, "too-large")),
    (OPEN + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", (415, "content")),
    (OPEN + b"Content-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", (415, "content")),
    (OPEN + b"Content-Type: application/atls\r\nContent-Length: 3\r\n\r\nabc", (400, "bad-request")),
    (OPEN.replace(b"adtls", b"json") + b"Content-Length: 3\r\n\r\nabc", (415, "content")),
    (OPEN + b"ATLS-Seq: 1\r\nContent-Length: 3\r\n\r\nabc", (400, "bad-request")),
    (OPEN + b"ATLS-Seq: 0\r\nATLS-Seq: 0\r\nContent-Length: 3\r\n\r\nabc", (400, "bad-request")),
    (OPEN.replace(b"nonce=", b"nonce=x") + b"Content-Length: 0\r\n\r\n", (400, "bad-request")),
    (OPEN.replace(b"&nonce=", b"&to=a&nonce=") + b"Content-Length: 0\r\n\r\n", (400, "bad-request")),
    (OPEN.replace(b"to=lamp", b"to=%2e%2e") + b"Content-Length: 0\r\n\r\n", (403, "denied")),
    (b"POST /atls/../atls/inbox HTTP/1.1\r\n" + PHONE + b"\r\n", (404, "unknown")),
]


async def test_a_wrong_request_is_refused(home: Home) -> None:
    for octets, expected in WRONG:
        wire = await Wire.to(home)
        assert await reason(wire.send(octets)) == expected, octets[:100]
        wire.close()
    assert not home.far.of(Unit)
    assert (await home.client("phone").inbox()).status == 200


async def test_expectations(home: Home) -> None:
    wire = await Wire.to(home)
    wire.send(OPEN + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(record()))
    assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await wire.send(record()).answer())[0] == 200
    wire.close()
    wire = await Wire.to(home)
    assert (await wire.send(OPEN + b"Expect: miracles\r\nContent-Length: 3\r\n\r\nabc").answer())[0] == 417
    assert await wire.over()
    wire.close()


async def test_a_body_is_encoded_in_no_other_way_than_by_chunks(home: Home) -> None:
    wire = await Wire.to(home)
    wire.send(OPEN + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert (await wire.answer())[0] == 501
    assert await wire.over()
    wire.close()
    assert not home.far.orders


async def test_a_client_of_http_1_0_is_sent_no_interim_answer(home: Home) -> None:
    """RFC 9110, section 15.2."""
    wire = await Wire.to(home)
    wire.send(OPEN.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Expect: 100-continue\r\nContent-Length: 53\r\n\r\n" + record())
    assert (await wire.answer())[0] == 200
    wire.close()


async def test_a_body_in_chunks_and_slow_is_a_body(home: Home) -> None:
    wire = await Wire.to(home)
    wire.send(OPEN + b"Transfer-Encoding: chunked\r\n\r\n")
    for octet in record():
        wire.send(b"1\r\n%c\r\n" % octet)
        await asyncio.sleep(0)
    assert (await wire.send(b"0\r\n\r\n").answer())[0] == 200
    await until(lambda: home.far.of(Unit))
    assert home.far.of(Unit)[0].payload.octets == record()
    wire.close()


async def test_a_body_that_does_not_come_is_given_up(start: Start) -> None:
    home = await start(body_within=1)
    wire = await Wire.to(home)
    assert (await wire.send(OPEN + b"Content-Length: 3\r\n\r\na").answer())[0] == 408
    assert await wire.over()
    wire.close()
    assert not home.far.orders


async def test_header_fields_that_do_not_come_end_the_connection(start: Start) -> None:
    home = await start(idle=1)
    wires = [await Wire.to(home) for _ in range(3)]
    wires[1].send(OPEN[:30])
    wires[2].send(b"GET /d HTTP/1.1\r\n" + PHONE + b"\r\n")
    assert (await wires[2].answer())[0] == 200
    wires[2].send(OPEN)
    assert [await wire.over() for wire in wires] == [True, True, True]
    assert home.adapter.status()["connections"] == 0
    for wire in wires:
        wire.close()


async def test_a_handshake_that_does_not_come_ends_the_connection(start: Start) -> None:
    home = await start(handshake_within=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port)
    assert await reader.read() == b""
    writer.close()
    await until(lambda: home.adapter.status()["refused_handshakes"] == 1)
    assert home.adapter.status()["connections"] == 0


async def test_requests_in_a_row_are_answered_in_their_order(home: Home) -> None:
    wire = await Wire.to(home)
    gets = [
        b"GET /d HTTP/1.1\r\n",
        b"GET /nothing HTTP/1.1\r\n",
        b"GET /atls/inbox HTTP/1.1\r\n",
        b"HEAD /d HTTP/1.1\r\n",
    ]
    wire.send(b"".join(get + PHONE + b"\r\n" for get in gets))
    found = [(await wire.answer(head=get.startswith(b"HEAD")))[0] for get in gets]
    assert found == [200, 404, 200, 200]
    wire.close()


async def test_the_rest_of_a_refused_body_does_not_become_a_request(home: Home) -> None:
    """The body looks like a request with a good token."""
    wire = await Wire.to(home)
    inner = b"GET /d HTTP/1.1\r\n" + PHONE + b"\r\n"
    wire.send(b"POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
    assert (await wire.answer())[0] == 401
    wire.send(b"GET /d HTTP/1.1\r\n" + PHONE + b"\r\n")
    assert (await wire.answer())[0] == 200
    wire.close()
    assert home.adapter.status()["requests"] == 2


async def test_head_and_options(home: Home) -> None:
    phone = home.client("phone")
    whole, head = await phone.inbox(), await phone.ask("HEAD", "/atls/inbox")
    assert (head.status, head.body) == (200, b"") and head.headers["ETag"] == whole.headers["ETag"]
    assert head.headers["Content-Length"] == str(len(whole.body))
    stream = await phone.ask("HEAD", "/atls/inbox", Accept="text/event-stream")
    assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
    options = await phone.ask("OPTIONS", "/d")
    assert options.status == 204 and "OPTIONS" in options.headers["Allow"]
    assert (await phone.ask("HEAD", f"/atls/{'0' * 32}")).status == 405
    assert home.adapter.status()["streams"] == 0


async def test_an_upgrade_is_not_made(home: Home) -> None:
    wire = await Wire.to(home)
    for upgrade in (b"h2c", b"websocket"):
        wire.send(b"GET /d HTTP/1.1\r\n" + PHONE + b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade)
        assert (await wire.answer())[0] == 200
    wire.close()


@pytest.mark.parametrize("state", ["idle", "fields", "body", "receipt", "window", "poll", "inbox", "stream", "device"])
async def test_a_connection_that_ends_in_any_state_leaves_nothing(start: Start, state: str) -> None:
    home = await start(reply_window=20, absence=60)
    phone = home.client("phone", plain=True)
    session = (await phone.opened("lamp")).session
    wire = await Wire.to(home)
    on = b"POST /atls/%s HTTP/1.1\r\n" % session.encode() + PHONE
    unit = b"Content-Type: application/adtls\r\nATLS-Seq: 0\r\nContent-Length: 53\r\n\r\n"
    status = home.adapter.status
    if state == "receipt":
        home.far.takes = False
    sends: dict[str, tuple[bytes, Any]] = {
        "idle": (b"", lambda: status()["connections"] == 2),
        "fields": (on, lambda: status()["connections"] == 2),
        "body": (on + unit + b"x", lambda: status()["requests"] == 2),
        "receipt": (on + unit + record(), lambda: status()["waiting"] == 1),
        "window": (on + unit + record(), lambda: home.south._sessions.mailboxes._waits),
        "poll": (on + b"ATLS-Seq: 0\r\nPrefer: wait=50\r\n\r\n", lambda: status()["polls"] == 1),
        "inbox": (
            b"GET /atls/inbox HTTP/1.1\r\nPrefer: wait=50\r\n" + PHONE + b"\r\n", lambda: status()["polls"] == 1
        ),
        "stream": (
            b"GET /atls/%s HTTP/1.1\r\n" % session.encode() + PHONE + b"\r\n", lambda: status()["streams"] == 1
        ),
        "device": (
            b"GET /d HTTP/1.1\r\nAccept: text/event-stream\r\n" + PHONE + b"\r\n",
            lambda: status()["device_watches"] == 1,
        ),
    }  # fmt: skip
    octets, there = sends[state]
    wire.send(octets)
    await until(there)
    wire.writer.transport.abort()
    await until(lambda: status()["connections"] == 1)
    await until(lambda: not home.south._sessions.mailboxes._waits)
    assert status()["polls"] == status()["streams"] == status()["device_watches"] == 0
    if state == "receipt":
        home.far.settle(home.far.orders[-1])
        await until(lambda: status()["waiting"] == 0)
    again = 0 if state in ("idle", "fields", "body", "poll", "inbox", "stream", "device") else 1
    sending = asyncio.get_running_loop().create_task(phone.sent(session, again, record(seed=3)))
    await until(lambda: len(home.far.of(Unit)) == again + 1)
    home.far.unit(session, 0, record(seed=9))  # type: ignore[arg-type]
    if state == "receipt":
        home.far.settle(home.far.orders[-1])
    assert (await sending).body == record(seed=9)


async def test_a_client_that_reads_nothing_is_dropped(start: Start) -> None:
    home = await start()
    from adapters.http import south_events

    wire = await Wire.to(home)
    wire.send(b"GET /atls/inbox HTTP/1.1\r\nAccept: text/event-stream\r\n" + PHONE + b"\r\n")
    await until(lambda: home.adapter.status()["streams"])
    (watch,) = home.south._watches
    watch.stream._read_within = 0.2
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for n in range(south_events.MAX_WAITING * 40):
        watch.stream.put("x" * 4096, key=n % 200)
        if n % 400 == 0:
            await asyncio.sleep(0.01)
    await until(lambda: home.adapter.status()["streams"] == 0)
    await until(lambda: home.adapter.status()["connections"] == 0)
    wire.writer.transport.abort()


async def test_a_client_that_leaves_without_reading_is_no_error_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await Wire.to(home)
    wire.send(b"GET /atls/inbox HTTP/1.1\r\nAccept: text/event-stream\r\n" + PHONE + b"\r\n")
    await until(lambda: home.adapter.status()["streams"])
    (watch,) = home.south._watches
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = home.south._listener.connections()
    size = 0
    while size < 8_000_000 and not (connection.transport and connection.transport.get_write_buffer_size()):
        watch.stream.put("x" * 60_000, key=0)
        size += 60_000
        await asyncio.sleep(0.001)
    wire.writer.write_eof()  # its transport stays until the buffer is empty, which it never is
    await asyncio.sleep(0.05)
    watch.stream.put("y", key=1)
    await until(lambda: home.adapter.status()["streams"] == 0)
    assert not [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    wire.writer.transport.abort()


async def test_pythons_own_client_comes_in(home: Home) -> None:
    def talk() -> list[tuple[int, bytes]]:
        connection = HTTPConnection("127.0.0.1", home.plain_port, timeout=10)
        auth = {"Authorization": f"Bearer {TOKENS['phone']}"}
        found = []
        for method, target in (("GET", "/atls/inbox"), ("POST", "/atls?to=lamp&nonce=" + "cd" * 8)):
            connection.request(method, target, headers=auth | {"Content-Type": "application/atls"})
            answer = connection.getresponse()
            found.append((answer.status, answer.read()))
        connection.close()
        return found

    assert await asyncio.to_thread(talk) == [(200, b"[]"), (200, b"")]
