"""Requests that are sent twice, and those that are not: what the service did is done once in each case; and how often
we ask a service that would have us ask without end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from adapters.http.north_config import NorthTimes
from carriage.http import atls
from gateway.api.model import Close, ContentKind, Outcome, Reason, SessionId, Unit
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_services import (
    QUICK,
    DraftService,
    NorthHome,
    NumberingService,
    RawService,
    Seen,
    localhost,
    server_context,
    serving,
)
from tests.harness.layer_pair import authority

DELIVERED = (Outcome.DELIVERED, None)
DATA = ContentKind.ATLS_DATA


class Stage:
    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        (folder / "ca.pem").write_bytes(authority().pem)
        self.context = server_context(folder, localhost(authority()))
        self.stack = stack

    async def serve(self, service: Any, port: int = 0) -> int:
        return await self.stack.enter_async_context(serving(service.handle, self.context, port))

    async def call(self, port: int, times: NorthTimes = QUICK, **table: Any) -> NorthHome:
        url = f"https://localhost:{port}/.well-known/atls"
        home = NorthHome(self.folder, url, {"url": url, "ca_file": "ca.pem", "poll": 0, **table}, times=times)
        await self.stack.enter_async_context(home.running(home.adapter))
        return home


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(tmp_path, stack)


async def outcome(home: NorthHome, session: SessionId, n: int) -> tuple[Outcome, Reason | None]:
    unit = home.far.unit(session, n, record(seed=n), DATA)
    await until(lambda: home.far.outcome(unit) is not None)
    found = home.far.outcome(unit)
    assert found is not None
    return found


async def test_a_service_that_starts_late_gets_the_unit_once(stage: Stage) -> None:
    service, port = NumberingService(), free_port()
    home = await stage.call(port)
    session = home.far.open("cloud", DATA)
    unit = home.far.unit(session, 0, record(), DATA)
    await until(lambda: home.called.get("retries", 0) >= 1)
    await stage.serve(service, port)
    await until(lambda: home.far.outcome(unit) is not None)
    assert home.far.outcome(unit) == DELIVERED
    assert [each.body for each in service.seen] == [record()]


async def test_a_service_that_is_away_for_too_long_is_unreachable(stage: Stage) -> None:
    home = await stage.call(free_port())
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert home.called["retries"] > 1


async def test_a_unit_that_waits_for_a_connection_learns_that_its_client_is_closed(stage: Stage) -> None:
    came: list[bytes] = []

    async def silence(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        came.append(body)
        await asyncio.sleep(30)

    port = await stage.stack.enter_async_context(RawService(silence).running(stage.context))
    home = await stage.call(port, max_connections=2)
    units = [home.far.unit(home.far.open("cloud", DATA), 0, record(seed=seed), DATA) for seed in range(3)]
    await until(lambda: len(came) == 2)
    await home.services.client(home.url).aclose()  # as after a reload
    await until(lambda: all(home.far.outcome(unit) is not None for unit in units))
    assert {home.far.outcome(unit) for unit in units} == {(Outcome.DROPPED, Reason.UNREACHABLE)}


async def test_a_unit_that_has_a_connection_when_its_time_is_nearly_over_is_not_sent(stage: Stage) -> None:
    came: list[bytes] = []

    async def slowly(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        came.append(body)
        await asyncio.sleep(1.05)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    port = await stage.stack.enter_async_context(RawService(slowly).running(stage.context))
    home = await stage.call(port, max_connections=2, answer_within=1.2)
    units = [home.far.unit(home.far.open("cloud", DATA), 0, record(seed=seed), DATA) for seed in range(3)]
    await until(lambda: all(home.far.outcome(unit) is not None for unit in units))
    assert home.far.outcome(units[2]) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert sorted(came) == sorted(record(seed=seed) for seed in range(2))


def dying(number_units: bool) -> tuple[Callable[..., Any], list[bytes]]:
    """Answers the first request of each connection, and closes it when the second one comes, unanswered."""
    taken: list[bytes] = []
    served: set[int] = set()

    async def answer(target: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if id(writer) in served:
            writer.transport.abort()
            raise ConnectionResetError
        served.add(id(writer))
        taken.append(body)
        number = f"ATLS-Seq: {len(taken) - 1}\r\nLocation: /s\r\n" if number_units else "Set-Cookie: a=1; Path=/\r\n"
        unit = record(seed=len(taken) - 1)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/atls-data\r\n{number}Content-Length: {len(unit)}\r\n\r\n"
        writer.write(head.encode() + unit)

    return answer, taken


async def test_a_dead_idle_connection_costs_no_unit_if_the_service_numbers_them(stage: Stage) -> None:
    answer, taken = dying(number_units=True)
    raw = RawService(answer)
    port = await stage.stack.enter_async_context(raw.running(stage.context))
    home = await stage.call(port)
    session = home.far.open("cloud", DATA)
    for n in range(4):
        assert await outcome(home, session, n) == DELIVERED
        await until(lambda: len(home.far.of(Unit, session)) == n + 1)  # noqa: B023
    assert taken == [record(seed=n) for n in range(4)]
    assert home.called["retries"] == 3


async def test_a_dead_idle_connection_repeats_nothing_to_a_service_that_knows_no_numbers(stage: Stage) -> None:
    answer, taken = dying(number_units=False)
    raw = RawService(answer)
    port = await stage.stack.enter_async_context(raw.running(stage.context))
    home = await stage.call(port)
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == DELIVERED
    assert await outcome(home, session, 1) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert len(raw.targets) == 2 and taken == [record(seed=0)] and home.called["retries"] == 0


async def test_a_lost_answer_to_an_open_is_asked_for_by_the_nonce_only_if_numbers_are_known(stage: Stage) -> None:
    service = NumberingService()
    service.replies = lambda payload: record(seed=9)
    lose = 1

    async def lost(seen: Seen) -> web.StreamResponse | None:
        nonlocal lose
        if lose and "nonce" in seen.target:
            lose -= 1
            seen.cut()
        return None

    service.wrap = lost
    home = await stage.call(await stage.serve(service))
    first = home.far.open("cloud", DATA)
    assert await outcome(home, first, 0) == DELIVERED
    assert service.seen[0].target == "/.well-known/atls"
    second = home.far.open("cloud", DATA)
    assert await outcome(home, second, 0) == DELIVERED
    assert all("?nonce=" in each.target for each in service.seen[1:]) and len(service.places) == 2


@pytest.mark.parametrize(("times", "reason"), [(1, None), (2, Reason.REJECTED)])
async def test_too_early_is_tried_again_once(stage: Stage, times: int, reason: Reason | None) -> None:
    """RFC 8470, section 5.2: some box in front took early data from another one."""
    service = NumberingService()

    async def early(seen: Seen) -> web.StreamResponse | None:
        return web.Response(status=425) if len(service.seen) <= times else None

    service.wrap = early
    home = await stage.call(await stage.serve(service))
    session = home.far.open("cloud", DATA)
    found = await outcome(home, session, 0)
    assert found == (DELIVERED if reason is None else (Outcome.DROPPED, reason))
    assert len(service.seen) == 2
    assert [each.get("early-data") for each in service.seen] == [None, None]
    assert service.seen[0].body == service.seen[1].body and service.seen[0].target == service.seen[1].target


async def test_questions_that_cross_the_answers_to_our_units_bring_no_pause(stage: Stage) -> None:
    """However many do so in a row: the unit that was asked for came, in the other answer."""
    service = NumberingService()
    home = await stage.call(await stage.serve(service), replace(QUICK, poll_pause=30, longest_poll_pause=60), poll=20)
    session = home.far.open("cloud", DATA)
    for n in range(5):
        assert await outcome(home, session, n) == DELIVERED
        await until(lambda: service.waiting)
    assert [unit.n for unit in home.far.of(Unit)] == list(range(5))


async def test_a_question_and_a_close_that_come_too_early_go_again_too(stage: Stage) -> None:
    service = NumberingService()
    late: set[str] = set()

    async def early(seen: Seen) -> web.StreamResponse | None:
        what = f"{seen.method} {bool(seen.body)}"
        if what in late:
            return None
        late.add(what)
        return web.Response(status=425)

    service.wrap = early
    home = await stage.call(await stage.serve(service), poll=5)
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == DELIVERED
    await until(lambda: service.waiting)
    home.far.close(session)
    await until(lambda: [each.method for each in service.seen].count("DELETE") == 2)
    assert late == {"POST True", "POST False", "DELETE False"}


@pytest.mark.parametrize(
    ("status", "retry_after", "outcome_", "requests"),
    [
        (503, "1", DELIVERED, 2),
        (429, "1", DELIVERED, 2),
        (503, "600", (Outcome.DROPPED, Reason.BUSY), 1),
        (429, "600", (Outcome.DROPPED, Reason.OVER_RATE), 1),
        (503, None, (Outcome.DROPPED, Reason.BUSY), 1),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", (Outcome.DROPPED, Reason.BUSY), 1),
    ],
)
async def test_a_busy_service_is_left_alone_for_as_long_as_it_says(
    stage: Stage, status: int, retry_after: str | None, outcome_: Any, requests: int
) -> None:
    service = NumberingService()

    async def busy(seen: Seen) -> web.StreamResponse | None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return web.Response(status=status, headers=headers) if len(service.seen) == 1 else None

    service.wrap = busy
    home = await stage.call(await stage.serve(service), replace(QUICK, patience=1.5))
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == outcome_
    assert len(service.seen) == requests
    if (status, retry_after) == (503, "600"):  # nothing goes to it meanwhile, of whichever session
        other = home.far.open("cloud", DATA)
        assert await outcome(home, other, 0) == outcome_
        assert len(service.seen) == 1


async def test_a_number_that_the_service_wants_is_the_next_one(stage: Stage) -> None:
    """A datagram that was lost before this hop has no number on it; one whose end is unknown may have one."""
    service = NumberingService()
    home = await stage.call(await stage.serve(service))
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == DELIVERED
    for n in (1, 5, 9):
        assert await outcome(home, session, n) == DELIVERED
    assert [each.get("atls-seq") for each in service.posts()] == ["0", "1", "2", "3"]
    home.services._sessions[session]._hop = 40
    assert await outcome(home, session, 10) == DELIVERED
    assert [each.get("atls-seq") for each in service.posts()][4:] == ["40", "4"]
    assert service.place.came == [record(seed=n) for n in (0, 1, 5, 9, 10)]


class CuttingRelay:
    """Between the gateway and a service: cuts a connection at about every tenth piece that passes it."""

    def __init__(self, port: int, random_: random.Random) -> None:
        self.port = port
        self.cuts = 0
        self._random = random_
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, onwards = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers |= {writer, onwards}
        pieces = 0

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal pieces
            while octets := await source.read(65536):
                pieces += 1
                if pieces > 6 and self._random.random() < 0.1:  # the handshake may pass
                    self.cuts += 1
                    break
                sink.write(octets)
            for each in (writer, onwards):
                each.transport.abort()

        try:
            await asyncio.gather(copy(reader, onwards), copy(far, writer))
        except OSError:
            pass

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def test_a_tenth_of_the_connections_cut_loses_no_unit_and_doubles_none(stage: Stage) -> None:
    service = NumberingService()
    relay = CuttingRelay(await stage.serve(service), random.Random(7))
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    home = await stage.call(server.sockets[0].getsockname()[1])
    sessions = [home.far.open("cloud", ContentKind.OSCORE) for _ in range(4)]
    sent: dict[SessionId, list[bytes]] = {}
    for index, session in enumerate(sessions):
        sent[session] = [record(seed=50 * index + n) for n in range(30)]
        home.far.unit(session, 0, sent[session][0], ContentKind.OSCORE)
        await until(lambda: len(home.far.of(Unit, session)) == 1)  # noqa: B023
    for n in range(1, 30):
        for session in sessions:
            home.far.unit(session, n, sent[session][n], ContentKind.OSCORE)
        await until(lambda: all(len(home.far.of(Unit, each)) == n + 1 for each in sessions), 20)  # noqa: B023
    server.close()
    assert relay.cuts > 5 and not home.far.of(Close)
    assert sorted(place.came for place in service.places.values()) == sorted(sent.values())
    for session in sessions:
        assert [each.payload.octets for each in home.far.of(Unit, session)] == [b"re:" + each for each in sent[session]]
    relay.close()
    await asyncio.sleep(0.05)


async def test_a_unit_that_the_gateway_takes_back_is_not_begun(stage: Stage) -> None:
    service, port = NumberingService(), free_port()
    home = await stage.call(port)
    session = home.far.open("cloud", DATA)
    unit = home.far.unit(session, 0, record(), DATA, expires_in=0.2)
    await until(lambda: home.far.outcome(unit) is not None)
    assert home.far.outcome(unit) == (Outcome.EXPIRED, None)
    await stage.serve(service, port)
    later = home.far.unit(session, 1, record(seed=1), DATA)
    await until(lambda: home.far.outcome(later) is not None)
    assert [(each.get("atls-seq"), each.body) for each in service.posts()] == [("0", record(seed=1))]
    assert not home.services._orders


async def test_a_service_of_the_draft_with_a_question_that_waits_gets_our_unit_at_once(stage: Stage) -> None:
    """Two answers without numbers would have no order: the question is given up."""
    service, asked = DraftService(), asyncio.Event()
    service.question = 200
    answered = service.handle

    async def waits(request: web.Request) -> web.StreamResponse:
        if not await request.read():
            asked.set()
            await asyncio.sleep(30)
        return await answered(request)

    service.handle = waits  # type: ignore[method-assign]
    home = await stage.call(await stage.serve(service), poll=30)
    session = home.far.open("cloud", DATA)
    for n in range(3):
        asked.clear()
        assert await outcome(home, session, n) == DELIVERED
        await asked.wait()
    assert [each.n for each in home.far.of(Unit, session)] == [0, 1, 2]


def test_the_answers_of_the_numbering_service_are_those_of_the_serving_side() -> None:
    """Its words are made and read by ``carriage.http.atls``, as a gateway's are."""
    request = atls.HttpRequest("POST", "/.well-known/atls", (("content-type", "application/atls"),), b"x")
    assert atls.parse(request) == atls.OpenSession(None, None, "atls", b"x")


RARE = replace(QUICK, poll_pause=100.0, longest_poll_pause=100.0)
SETTLES = 0.3
"""Seconds in which a question without pauses would be asked a hundred times."""


@pytest.mark.parametrize(
    "answer",
    [
        atls.applied(atls.taken(), 50),
        atls.unit(0, "atls-data", b"again"),
        atls.applied(atls.unit(0, "atls-data", b"again"), 50),
    ],
    ids=["it claims to have waited", "a unit that we have", "a unit that we have, as if it had waited"],
)
async def test_a_question_that_brings_nothing_new_at_once_has_pauses(stage: Stage, answer: Any) -> None:
    service = NumberingService()

    async def wrap(seen: Seen) -> web.StreamResponse | None:
        return None if seen.body else NumberingService.web(answer)

    service.wrap = wrap
    home = await stage.call(await stage.serve(service), RARE, poll=20)
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == DELIVERED
    await until(service.questions)
    await asyncio.sleep(SETTLES)
    assert len(service.questions()) <= 3
    assert len(home.far.of(Unit, session)) == 1, "the answer to our own unit"


@pytest.mark.parametrize("status", [403, 500])
async def test_a_service_that_has_no_answer_to_what_is_missing_is_asked_with_pauses(stage: Stage, status: int) -> None:
    service = NumberingService()

    async def wrap(seen: Seen) -> web.StreamResponse | None:
        if not seen.body:
            return web.Response(status=status)
        return None if seen.body == record() else NumberingService.web(atls.unit(5, "atls-data", b"too far on"))

    service.wrap = wrap
    home = await stage.call(await stage.serve(service), RARE)
    session = home.far.open("cloud", DATA)
    assert await outcome(home, session, 0) == DELIVERED
    assert await outcome(home, session, 1) == DELIVERED
    await until(service.questions)
    await asyncio.sleep(SETTLES)
    assert len(service.questions()) == 1


@pytest.mark.parametrize(("status", "reason"), [(429, Reason.OVER_RATE), (503, Reason.BUSY)])
async def test_a_service_that_says_again_at_once_is_asked_with_growing_pauses(
    stage: Stage, status: int, reason: Reason
) -> None:
    service = NumberingService()

    async def busy(seen: Seen) -> web.StreamResponse | None:
        return web.Response(status=status, headers={"Retry-After": "0"})

    service.wrap = busy
    home = await stage.call(await stage.serve(service), replace(QUICK, patience=0.5))
    session = home.far.open("cloud", DATA)
    unit = home.far.unit(session, 0, record(), DATA)
    await until(lambda: home.far.outcome(unit) is not None)
    assert home.far.outcome(unit) == (Outcome.DROPPED, reason)
    assert len(service.seen) <= 12  # 0.02, 0.04, 0.08, and then 0.1 s each
