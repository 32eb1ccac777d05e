"""Services that answer what no service should: the session with such a one ends or goes on, all others are untouched,
memory and time are bounded, and no line of the log holds what is secret."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from adapters.http.north_exchange import MAX_BODY
from carriage.http.cookies import MOST
from gateway.api.model import Close, ContentKind, Outcome, Reason, SessionId, Unit
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_services import (
    POLICY,
    NorthHome,
    NumberingService,
    RawService,
    localhost,
    server_context,
    serving,
)
from tests.harness.layer_pair import Authority, authority

Answer = Callable[[str, bytes, asyncio.StreamWriter], Awaitable[None]]

UNIT = "Content-Type: application/adtls\r\nATLS-Seq: 0\r\n"
TOKEN = "secret-token-secret-token"
BOTH = POLICY.replace("rules:", '  good: {{link: http, url: "{good}"}}\nrules:')


def whole(head: str, body: bytes = b"", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def octets(answer: bytes) -> Answer:
    async def write(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return write


@asynccontextmanager
async def beside_a_good_one(
    folder: Path, answer: Answer, **table: object
) -> AsyncIterator[tuple[NorthHome, RawService]]:
    """A home with the service that answers so, and with a good one, to which a session goes on all the while."""
    (folder / "ca.pem").write_bytes(authority().pem)
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    context = server_context(folder, localhost(authority()))
    raw, good = RawService(answer), NumberingService()
    async with AsyncExitStack() as stack:
        bad_port = await stack.enter_async_context(raw.running(context))
        good_port = await stack.enter_async_context(serving(good.handle, context))
        bad_url, good_url = (f"https://localhost:{port}/.well-known/atls" for port in (bad_port, good_port))
        usual = {"ca_file": "ca.pem", "answer_within": 1.0, "token_file": "token"}
        home = NorthHome(
            folder, bad_url, {"url": bad_url, **usual, **table}, {"url": good_url, **usual},
            policy=BOTH.replace("{good}", good_url),
        )  # fmt: skip
        await stack.enter_async_context(home.running(home.adapter))
        session = home.far.open("good", ContentKind.ATLS_DATA)
        home.far.unit(session, 0, b"before", ContentKind.ATLS_DATA)
        await until(lambda: len(home.far.of(Unit, session)) == 1)
        yield home, raw
        home.far.unit(session, 1, b"after", ContentKind.ATLS_DATA)
        await until(lambda: len(home.far.of(Unit, session)) == 2)
        assert not home.far.of(Close, session)
    home.check_books()


async def outcome_of_first(home: NorthHome) -> tuple[SessionId, tuple[Outcome, Reason | None]]:
    session = home.far.open("cloud")
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.outcome(unit) is not None)
    found = home.far.outcome(unit)
    assert found is not None
    return session, found


DELIVERED = (Outcome.DELIVERED, None)
TOO_LARGE = (Outcome.DROPPED, Reason.TOO_LARGE)
GARBAGE = b"\x16\x03\x03\x00\x05hello\r\n\r\n" * 100


BAD = (
    (whole(UNIT, b"x" * (MAX_BODY + 1)), TOO_LARGE, Reason.TOO_LARGE),
    (f"HTTP/1.1 200 OK\r\nContent-Length: {10**15}\r\n{UNIT}\r\n".encode(), TOO_LARGE, Reason.TOO_LARGE),
    (whole(f"Content-Encoding: gzip\r\n{UNIT}", gzip.compress(bytes(10_000_000))), DELIVERED, Reason.BROKEN),
    (whole(f"Content-Encoding: br\r\n{UNIT}", b"bomb"), DELIVERED, Reason.BROKEN),
    (whole("Content-Type: text/html\r\n", b"<html>"), DELIVERED, Reason.BROKEN),
    (whole("", b"what"), DELIVERED, Reason.BROKEN),
    (whole(UNIT.replace("adtls", "atls"), b"kind"), DELIVERED, Reason.CONTENT),
    (whole(UNIT.replace("0", "-7"), b"x"), DELIVERED, Reason.BROKEN),
    (whole("X: y\r\n" * 10_000), (Outcome.DROPPED, Reason.BROKEN), Reason.BROKEN),
    (whole(f"X: {'y' * 1_000_000}\r\n"), (Outcome.DROPPED, Reason.BROKEN), Reason.BROKEN),
    (GARBAGE, (Outcome.DROPPED, Reason.BROKEN), Reason.BROKEN),
    (whole("Location: https://127.0.0.1:1/steal\r\n"), DELIVERED, Reason.BROKEN),
    (whole("Location: //169.254.169.254/latest\r\n"), DELIVERED, Reason.BROKEN),
    (whole("Location: /a\r\nLocation: /b\r\n"), DELIVERED, Reason.BROKEN),
    (whole("", b"", "204 No Content"), (Outcome.DELIVERED, None), None),
    (whole("", b"no", "403 Forbidden"), (Outcome.DROPPED, Reason.DENIED), Reason.DENIED),
    (whole("", b"no", "401 Unauthorized"), (Outcome.DROPPED, Reason.DENIED), Reason.DENIED),
    (whole("", b"no", "415 Unsupported"), (Outcome.DROPPED, Reason.CONTENT), Reason.CONTENT),
    (whole("", b"no", "500 Oops"), (Outcome.DROPPED, Reason.REJECTED), Reason.REJECTED),
    (whole("", b"no", "502 Bad Gateway"), (Outcome.DROPPED, Reason.UNREACHABLE), None),
    (whole("", b"no", "504 Gateway Timeout"), (Outcome.DROPPED, Reason.UNREACHABLE), None),
    (whole("", b"no", "503 Busy"), (Outcome.DROPPED, Reason.BUSY), None),
    (whole("Retry-After: 9999999\r\n", b"no", "429 Many"), (Outcome.DROPPED, Reason.OVER_RATE), None),
)
"""What comes, what becomes of the unit, and with which reason the session ends then; None: it doesn't."""


async def test_each_bad_answer_to_an_open_ends_in_one_receipt(tmp_path: Path) -> None:
    now = b""

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(now)

    async with beside_a_good_one(tmp_path, answer, poll=0) as (home, raw):
        for now, outcome, closed in BAD:
            session, found = await outcome_of_first(home)
            assert found == outcome, now[:200]
            if closed is not None:
                await until(lambda: home.far.of(Close, session))  # noqa: B023
                assert home.far.of(Close, session)[0].reason is closed, now[:200]
        assert [target.partition("?")[0] for target in raw.targets] == ["/.well-known/atls"] * len(BAD)


async def test_an_answer_to_no_request_is_not_taken_for_that_to_the_next_one(tmp_path: Path) -> None:
    """Sessions share connections: what one answer too many says would count for another session."""
    more = asyncio.Event()

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(""))
        await writer.drain()
        await more.wait()
        writer.write(whole("", b"no", "403 Forbidden"))

    async with beside_a_good_one(tmp_path, answer, poll=0) as (home, raw):
        _, found = await outcome_of_first(home)
        assert found == DELIVERED
        more.set()
        await asyncio.sleep(0.1)  # it is on its way
        _, found = await outcome_of_first(home)
        assert found == DELIVERED and len(raw.targets) == 2


async def test_a_connection_on_which_the_service_changes_the_protocol_is_not_used_again(tmp_path: Path) -> None:
    """The gateway did not ask for it, and no field says to which: what follows may be the answer after all."""
    used: list[asyncio.StreamWriter] = []

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        late = writer in used
        used.append(writer)
        if late or len(used) > 1:
            writer.write(whole("", b"no", "403 Forbidden") if late else whole(""))
        else:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    async with beside_a_good_one(tmp_path, answer, poll=0) as (home, _):
        _, found = await outcome_of_first(home)
        assert found == (Outcome.DROPPED, Reason.BROKEN)
        _, found = await outcome_of_first(home)
        assert found == DELIVERED and len(set(used)) == 2


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    elsewhere: list[bytes] = []

    async def caught(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere.append(await reader.read(100))
        writer.transport.abort()

    trap = await asyncio.start_server(caught, "127.0.0.1", 0)
    place = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}/"
    statuses = ["301", "302", "303", "307", "308"]
    left = list(statuses)

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(f"Location: {place}\r\n", b"", f"{left.pop()} Moved"))

    async with beside_a_good_one(tmp_path, answer) as (home, raw):
        for _ in statuses:
            session, found = await outcome_of_first(home)
            assert found == (Outcome.DROPPED, Reason.REJECTED)
            await until(lambda: home.far.of(Close, session))  # noqa: B023
        assert len(raw.targets) == len(statuses)
    trap.close()
    assert not elsewhere


async def test_an_endless_body_is_not_read(tmp_path: Path) -> None:
    written = 0

    async def endless(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{UNIT}\r\n".encode())
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
            written += 4096

    async with beside_a_good_one(tmp_path, endless) as (home, _):
        _, found = await outcome_of_first(home)
        assert found == (Outcome.DROPPED, Reason.TOO_LARGE)
    assert written < 16_000_000  # what the sockets' buffers on the loopback interface take; the rest is not read


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", f"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n{UNIT}\r\n".encode(), b""]
)
async def test_a_slow_answer_has_an_end(tmp_path: Path, head: bytes) -> None:
    async def slowly(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"x" if head else b"")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with beside_a_good_one(tmp_path, slowly) as (home, _):
        _, found = await outcome_of_first(home)
        assert found == (Outcome.DROPPED, Reason.UNREACHABLE)


async def test_a_flood_of_informational_answers_has_an_end(tmp_path: Path) -> None:
    async def flood(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20)
            await writer.drain()
            await asyncio.sleep(0.001)

    async with beside_a_good_one(tmp_path, flood) as (home, _):
        _, found = await outcome_of_first(home)
        assert found == (Outcome.DROPPED, Reason.UNREACHABLE)


@pytest.mark.parametrize("length", [b"5000", b"10"])
async def test_a_wrong_length_is_no_unit(tmp_path: Path, length: bytes) -> None:
    """Longer than the body: cut off. Shorter: the rest is no answer to the next request."""

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n" + UNIT.encode() + b"\r\n" + b"y" * 60)
        if length == b"5000":
            await writer.drain()
            writer.close()

    async with beside_a_good_one(tmp_path, answer, poll=0) as (home, _):
        session, found = await outcome_of_first(home)
        if length == b"5000":
            assert found == (Outcome.DROPPED, Reason.UNREACHABLE)
        else:
            assert found == (Outcome.DROPPED, Reason.BROKEN)
        assert not home.far.of(Unit, session)


async def test_a_second_answer_to_one_request_is_no_answer_to_the_next(tmp_path: Path) -> None:
    count = 0

    async def twice(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        payload = f"answer {count}".encode()
        head = f"Content-Type: application/adtls\r\nATLS-Seq: {count}\r\nLocation: /s\r\n"
        count += 1
        writer.write(whole(head, payload) + whole(head.replace("ATLS-Seq: ", "ATLS-Seq: 1"), b"smuggled"))

    async with beside_a_good_one(tmp_path, twice, poll=0) as (home, _):
        session = home.far.open("cloud")
        for n in range(3):
            home.far.unit(session, n, record(seed=n))
            await until(lambda: len(home.far.of(Unit, session)) == n + 1)  # noqa: B023
        assert [unit.payload.octets for unit in home.far.of(Unit, session)] == [b"answer 0", b"answer 1", b"answer 2"]


async def test_a_flood_of_cookies_stays_small_and_in_its_session(tmp_path: Path) -> None:
    heads: list[str] = []

    async def flood(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        lines = "".join(f"Set-Cookie: c{len(heads)}-{index}={'v' * 500}; Path=/\r\n" for index in range(100))
        heads.append(target)
        writer.write(whole(UNIT.replace("ATLS-Seq: 0\r\n", "") + lines, record(seed=len(heads))))

    async with beside_a_good_one(tmp_path, flood, poll=0) as (home, raw):
        sessions = [home.far.open("cloud") for _ in range(3)]
        for n in range(3):
            for session in sessions:
                home.far.unit(session, n, record(seed=n))
                await until(lambda: len(home.far.of(Unit, session)) == n + 1)  # noqa: B023
        jars = [home.services._sessions[session].cookies for session in sessions]
        assert [len(jar) for jar in jars] == [MOST] * 3
        fields = [jar.field("/.well-known/atls", 0.0) for jar in jars]
        assert len({field and field[1] for field in fields}) == 3
        assert len(raw.targets) == 9


@pytest.mark.parametrize("content", [ContentKind.ADTLS, ContentKind.ATLS])
async def test_a_number_from_the_future_is_asked_about_and_ends_a_stream_only(
    tmp_path: Path, content: ContentKind
) -> None:
    asked: list[str] = []

    async def future(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if body:
            head = f"Content-Type: application/{content.value}\r\nATLS-Seq: {2**60}\r\nLocation: /s\r\n"
            writer.write(whole(head, record(seed=1)))
        elif target == "/s":
            asked.append(target)
            writer.write(whole(f"Content-Type: application/{content.value}\r\nATLS-Seq: {2**60}\r\n", record(seed=1)))

    async with beside_a_good_one(tmp_path, future, poll=0) as (home, _):
        session = home.far.open("cloud", content)
        payload = record() if content is ContentKind.ADTLS else bytes((23, 3, 3, 0, 1, 0))
        home.far.unit(session, 0, payload, content)
        if content is ContentKind.ADTLS:
            await until(lambda: home.far.of(Unit, session))
            assert home.far.of(Unit, session)[0].n == 2**60
        else:
            await until(lambda: home.far.of(Close, session))
            assert home.far.of(Close, session)[0].reason is Reason.BROKEN
        assert asked[0] == "/s"


async def test_numbers_behind_which_none_follows_end_the_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = 2**64 - 1

    async def numbering(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if b"first" in body:
            writer.write(whole("Location: /s\r\nATLS-Seq: 0\r\n"))
        elif b"second" in body and len(raw.targets) == 2:
            problem = b'{"reason": "order", "expected": %d}' % last
            writer.write(whole("Content-Type: application/problem+json\r\n", problem, "409 Conflict"))
        elif body or target != "/s":
            writer.write(whole(""))
        else:
            writer.write(whole(f"Content-Type: application/atls-data\r\nATLS-Seq: {last}\r\n", b"last"))

    async with beside_a_good_one(tmp_path, numbering, poll=0) as (home, raw):
        session = home.far.open("cloud", ContentKind.ATLS_DATA)
        outcomes = []
        for n, payload in enumerate((b"first", b"second", b"third")):
            unit = home.far.unit(session, n, payload, ContentKind.ATLS_DATA)
            await until(lambda: home.far.outcome(unit) is not None)  # noqa: B023
            outcomes.append(home.far.outcome(unit))
        assert outcomes == [DELIVERED, (Outcome.DROPPED, Reason.BROKEN), DELIVERED]
        home.services._sessions[session].arrivals.ahead = 1
        home.services._sessions[session]._questions.begin()
        await until(lambda: home.far.of(Close, session))
        assert home.far.of(Close, session)[0].reason is Reason.BROKEN
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


@pytest.mark.parametrize("way", ["no TLS", "no handshake", "a stranger's certificate", "no HTTP"])
async def test_an_attempt_that_fails_leaves_nothing_for_the_garbage_collector(tmp_path: Path, way: str) -> None:
    """asyncio has 256 KiB for each connection with TLS, and the collector doesn't count octets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write({"no TLS": b"SSH-2.0-x\r\n", "no HTTP": b"SSH-2.0-x\r\n\r\n"}.get(way, b""))
        writer.close()

    (tmp_path / "ca.pem").write_bytes(authority().pem)
    issuer = Authority("stranger") if "stranger" in way else authority()
    context = None if way in ("no TLS", "no handshake") else server_context(tmp_path, localhost(issuer))
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/.well-known/atls"
    home = NorthHome(tmp_path, url, {"url": url, "ca_file": "ca.pem", "poll": 0})
    async with home.running(home.adapter):
        gc.collect()
        gc.disable()
        try:
            before = connections()
            for _ in range(5):
                await outcome_of_first(home)
            await asyncio.sleep(0.1)
            assert connections() - before <= 1, "that one is the loop's last"
        finally:
            gc.enable()
    server.close()


def connections() -> int:
    """Those of clients, with TLS."""
    found = [each for each in gc.get_objects() if isinstance(each, asyncio.sslproto.SSLProtocol)]
    return sum(not each._server_side for each in found)


async def test_no_line_of_the_log_holds_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bad = whole("Set-Cookie: session=very-secret-cookie; Path=/\r\nLocation: //elsewhere/very-secret-place\r\n")
    async with beside_a_good_one(tmp_path, octets(bad)) as (home, _):
        session, _ = await outcome_of_first(home)
        await until(lambda: home.far.of(Close, session))
        shown = repr(home.services.status()) + repr(home.services._config)
    text = caplog.text + shown
    assert "very-secret" not in text and TOKEN not in text and "Bearer" not in text
