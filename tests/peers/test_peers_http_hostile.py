"""Hostile clients at the gateway's listener, and a hostile service: all others go on meanwhile, and afterwards nothing
of it is left: connections, places, descriptors, memory. The log has a few lines on it, and ``status`` counts."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from demo.process import Process
from demo.stack import free_port
from tests.harness.gateway_in_loop import until
from tests.harness.http_house import HttpHouse, http_house, meet, say, session_of

HEAD = "HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token-of-stranger\r\n"
PER_CLIENT = 16
QUICK = f"""\
    idle: 4
    body_within: 2
    handshake_within: 2
    longest_wait: 6
    max_polls_per_client: {PER_CLIENT}
"""
POLLS, CONNECTIONS = 10_000, 200
AT_LEAST = POLLS - PER_CLIENT * POLLS // CONNECTIONS
"""Polls that are answered at once: behind the last ones that wait there may be others at the same connections."""
ROUNDS = 2
TABLETS = 8
"""Connections that the tablet has at most, which is well behaved."""
MiB = 1 << 20

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(house: HttpHouse) -> AsyncIterator[Stream]:
    context = ssl.create_default_context(cafile=str(house.stack.directory / "link-ca.pem"))
    reader, writer = await asyncio.open_connection("localhost", house.http_port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def trickle(writer: asyncio.StreamWriter, first: bytes) -> None:
    """Octet by octet, until the gateway has had enough."""
    writer.write(first)
    with contextlib.suppress(OSError):
        while not writer.transport.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)


async def pour(writer: asyncio.StreamWriter, first: bytes, again: bytes, most: int) -> int:
    """As fast as it is taken, up to ``most`` octets; stops when nothing is taken for a while. What was taken."""
    writer.write(first)
    poured = 0
    with contextlib.suppress(OSError, TimeoutError):
        while poured < most and not writer.transport.is_closing():
            writer.write(again)
            async with asyncio.timeout(1.5):
                await writer.drain()
            poured += len(again)
    return poured


async def status_of(reader: asyncio.StreamReader) -> bytes:
    """Of an answer; empty: the end of the connection overtook it."""
    with contextlib.suppress(OSError):
        return (await reader.read(12))[9:]
    return b""


async def endless_body(house: HttpHouse) -> None:
    async with connected(house) as (reader, writer):
        head = f"POST /atls/{'0' * 32} {HEAD}ATLS-Seq: 0\r\nContent-Type: application/adtls\r\n"
        chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
        await pour(writer, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunk, 500 * MiB)
        await until(writer.transport.is_closing)  # for two seconds it is read past, so that the client has its answer
        assert await status_of(reader) in (b"413", b"")


async def slow_head(house: HttpHouse) -> None:
    async with connected(house) as (_, writer):
        await trickle(writer, b"GET /d HTTP/1.1\r\nX: ")


async def slow_body(house: HttpHouse) -> None:
    async with connected(house) as (reader, writer):
        head = f"POST /atls?to=door {HEAD}Content-Type: application/adtls\r\nContent-Length: 4000\r\n\r\n"
        await trickle(writer, head.encode())
        assert await status_of(reader) in (b"408", b"")


async def wrong_length(house: HttpHouse) -> None:
    head = f"POST /atls?to=door {HEAD}Content-Type: application/adtls\r\nContent-Length: "
    async with connected(house) as (reader, writer):
        writer.write(f"{head}3\r\n\r\n".encode() + b"abcSMUGGLED / HTTP/9\r\n\r\n")
        answer = await reader.read()
        assert re.findall(rb"HTTP/1\.. (\d+)", answer)[-1] == b"400" and b"SMUGGLED" not in answer
    async with connected(house) as (_, writer):
        writer.write(f"{head}3000\r\n\r\nabc".encode())
        await writer.drain()


async def pipelined(house: HttpHouse) -> None:
    """Behind a poll that waits, and without reading an answer. Until the poll is answered the gateway reads nothing of
    it, not even its end."""
    async with connected(house) as (_, writer):
        first = f"GET /atls/inbox {HEAD}Prefer: wait=50\r\n\r\n".encode()
        poured = await pour(writer, first, f"GET /d {HEAD}\r\n".encode() * 100, 50 * MiB)
        assert poured < 50 * MiB


async def cookies(house: HttpHouse) -> None:
    async with connected(house) as (reader, writer):
        field = f"Cookie: {'; '.join(f'c{n}={chr(118) * 80}' for n in range(80))}\r\n"
        for lines in (1, 50):
            writer.write(f"GET /d {HEAD}{field * lines}\r\n".encode())
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]
        await pour(writer, f"GET /d {HEAD}".encode(), field.encode() * 100, 50 * MiB)
        assert await status_of(reader) in (b"431", b"")


async def streams_unread(house: HttpHouse) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            _, writer = await stack.enter_async_context(connected(house))
            writer.write(f"GET /atls/inbox {HEAD}Accept: text/event-stream\r\n\r\n".encode())
        await asyncio.sleep(1.0)


async def no_handshake(house: HttpHouse) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", house.http_port) for _ in range(300)]
    await asyncio.sleep(0.5)
    for _, writer in silent:
        writer.transport.abort()


async def polls(house: HttpHouse) -> None:
    """10,000, of one client, at 200 connections; the last ones are left waiting."""
    asked = f"GET /atls/inbox {HEAD}Prefer: wait=50\r\n\r\n".encode() * (POLLS // CONNECTIONS)
    answered = 0

    async def read(reader: asyncio.StreamReader) -> None:
        nonlocal answered
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                await reader.readuntil(b"\r\n\r\n[]")
                answered += 1

    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(CONNECTIONS):
            reader, writer = await stack.enter_async_context(connected(house))
            writer.write(asked)
            readers.append(asyncio.ensure_future(read(reader)))
        await until(lambda: answered >= AT_LEAST, 60)
        assert (await http_status(house))["polls"] <= PER_CLIENT + 3, "the others are the tablet's"
    await asyncio.gather(*readers)


CLIENTS: tuple[tuple[Callable[[HttpHouse], Awaitable[None]], int], ...] = (
    (endless_body, 2),
    (slow_head, 20),
    (slow_body, 20),
    (wrong_length, 5),
    (pipelined, 5),
    (cookies, 3),
    (streams_unread, 1),
    (no_handshake, 1),
    (polls, 1),
)
"""What they do, and how many at once."""


async def http_status(house: HttpHouse) -> dict[str, Any]:
    found: dict[str, Any] = (await house.stack.ask("status"))["adapters"]["http"]["detail"]
    return found


async def drained(house: HttpHouse) -> dict[str, Any]:
    """``status`` once the tablet's connections are the only ones."""
    for _ in range(180):
        if (status := await http_status(house))["connections"] <= TABLETS:
            return status
        await asyncio.sleep(0.5)
    raise AssertionError(f"connections are left: {status}")


class Footprint:
    """What a process holds: descriptors, octets of memory, octets and lines of its log."""

    def __init__(self, process: Process) -> None:
        self.descriptors = sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert found is not None
        self.memory = int(found[1]) * 1024
        text = process.log.read_text()
        self.warnings = len(re.findall(r"\b(WARNING|ERROR)\b", text))
        self.traces = text.count("Traceback")


class Neighbours:
    """An application whose sessions, with a tablet at the listener and with the door, go on all the while."""

    def __init__(self, sessions: list[tuple[Process, int, Process, int]]) -> None:
        self._sessions = sessions
        self._seeds = count(1)
        self.said = 0

    async def go_on(self) -> None:
        while True:
            for sender, mine, receiver, theirs in self._sessions:
                await say(sender, mine, receiver, theirs, 600, next(self._seeds))
                await say(receiver, theirs, sender, mine, 600, next(self._seeds))
            self.said += 1
            await asyncio.sleep(0.1)


@asynccontextmanager
async def in_use(house: HttpHouse) -> AsyncIterator[tuple[Process, Neighbours]]:
    """The application, and what it says all the while; it must get through three times as often as asked below."""
    door, tablet = await house.start_door(), await house.start_client("tablet")
    app = await house.stack.start_application("app", "app", house.layer0, "--open", "tablet", "--open", "door")
    sessions = []
    for target in (tablet, door):
        mine = await session_of(app, target.name)
        sessions.append((app, mine, target, await meet(app, mine, target)))
    neighbours = Neighbours(sessions)
    going_on = asyncio.ensure_future(neighbours.go_on())
    try:
        yield app, neighbours
        before = neighbours.said
        await until(lambda: going_on.done() or neighbours.said > before + 2, 30)
        assert not going_on.done(), going_on.exception()
    finally:
        going_on.cancel()


@pytest.mark.process
@pytest.mark.timeout(180)
async def test_hostile_clients(tmp_path: Path) -> None:
    async with http_house(tmp_path / "s", "dtls1.2", http=QUICK) as house:
        gateway = house.stack.gateway
        assert gateway is not None
        async with in_use(house) as (_, neighbours):
            rounds = []
            for _ in range(ROUNDS):  # what is loaded and made once is no leak
                for attack, at_once in CLIENTS:
                    said = neighbours.said
                    await asyncio.gather(*(attack(house) for _ in range(at_once)))
                    await until(lambda: neighbours.said > said + 2, 30)  # noqa: B023
                status = await drained(house)
                rounds.append(Footprint(gateway))
            assert status["polls"] <= TABLETS and status["streams"] == 0
            assert status["polls_evicted"] >= ROUNDS * (AT_LEAST - CONNECTIONS)
            assert status["streams_evicted"] >= ROUNDS * 24 and status["connections_evicted"] >= ROUNDS * 44
            assert status["handler_errors"] == 0
            first, last = rounds[0], rounds[-1]
            assert last.descriptors <= first.descriptors + 4
            assert last.memory < first.memory + 12 * MiB
            assert last.traces == 0 and last.warnings <= ROUNDS * 40


UNIT = "Content-Type: application/adtls\r\nATLS-Seq: 0\r\n"


def whole(head: str, body: bytes = b"", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


OCTETS = {
    "a wrong length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n" + UNIT.encode() + b"\r\n" + b"y" * 60,
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n" + UNIT.encode() + b"\r\nxy",
    "huge by its own word": f"HTTP/1.1 200 OK\r\nContent-Length: {10**15}\r\n{UNIT}\r\n".encode(),
    "a flood of header fields": whole("X: y\r\n" * 10_000),
    "a header field without end": whole(f"X: {'y' * 1_000_000}\r\n"),
    "a flood of cookies": whole("".join(f"Set-Cookie: c{n}={'v' * 500}\r\n" for n in range(60))),
    "a bomb": whole(f"Content-Encoding: gzip\r\n{UNIT}", gzip.compress(bytes(10_000_000))),
    "a redirect inside": whole("Location: http://169.254.169.254/latest\r\n", b"", "307 Temporary Redirect"),
    "a place inside": whole("Location: http://127.0.0.1:1/\r\n"),
    "no HTTP": b"\x16\x03\x03\x00\x05hello\r\n\r\n" * 100,
    "two answers": whole(UNIT, b"one") + whole(UNIT, b"two"),
    "busy": whole("Retry-After: 0\r\n", b"", "503 Busy"),
}
ENDLESS = {
    "a body without end": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{UNIT}\r\n".encode(), b"1000\r\n" + bytes(4096) + b"\r\n",
        0.0,
    ),
    "a slow head": (b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),
    "a slow body": (f"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n{UNIT}\r\n".encode(), b"x", 0.05),
    "1xx without end": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20, 0.001),
    "nothing": (b"", b"", 0.05),
}  # fmt: skip


class Evil:
    """A service that answers each session's first unit in another of these ways, and even before it is asked."""

    def __init__(self) -> None:
        self.ways = [*OCTETS, *ENDLESS]
        self.asked = 0
        self.unasked = False
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.unasked:
                writer.write(whole(UNIT, b"smuggled") * 100)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                way = self.ways[self.asked % len(self.ways)]
                self.asked += 1
                if way in OCTETS:
                    writer.write(OCTETS[way])
                    await writer.drain()
                    if way == "cut short":
                        break
                    continue
                first, again, pause = ENDLESS[way]
                writer.write(first)
                while not writer.transport.is_closing():
                    writer.write(again)
                    await writer.drain()
                    await asyncio.sleep(pause)
                break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    def end(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@pytest.mark.process
@pytest.mark.timeout(180)
async def test_a_hostile_service(tmp_path: Path) -> None:
    port = free_port()
    url = f"https://localhost:{port}/.well-known/atls"
    more = f"      - {{url: '{url}', ca_file: link-ca.pem, answer_within: 1, connect_within: 1}}\n"
    async with http_house(tmp_path / "s", "dtls1.2", http=more) as house:
        folder, gateway = house.stack.directory, house.stack.gateway
        assert gateway is not None
        policy = (folder / "policy.yaml").read_text().replace("door]", "door, evil]")
        house.stack.write_policy(policy.replace("groups:", f'  evil: {{link: http, url: "{url}"}}\ngroups:'))
        await house.stack.ask("reload")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
        evil = Evil()
        server = await asyncio.start_server(evil.serve, "127.0.0.1", port, ssl=context)
        async with in_use(house) as (app, neighbours):
            feet = []
            for evil.unasked in (False, True):
                asked = evil.asked + len(evil.ways)
                for _ in evil.ways:
                    app.tell(do="open", to="evil")
                await until(lambda: evil.asked >= asked, 60)  # noqa: B023
                said = neighbours.said
                await until(lambda: neighbours.said > said + 2, 30)  # noqa: B023
                feet.append(Footprint(gateway))
            status = await http_status(house)
            called = status["services"]["called"][url]
            assert called["refused"].keys() >= {"broken", "too-large", "unreachable"}
            assert called["connections"] <= 32, "max_connections"
            assert feet[1].descriptors <= feet[0].descriptors + 16
            assert feet[1].memory < feet[0].memory + 12 * MiB
            assert feet[1].traces == 0 and feet[1].warnings <= 4 * len(evil.ways) + 10
        evil.end()
        server.close()
