"""Sessions with services over https, through the real gateway: opening, units each way, questions, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.http.north_config import NorthTimes
from adapters.http.north_questions import longer
from carriage.http import atls
from gateway.api.model import Close, ContentKind, Outcome, Reason, Unit
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.http_services import (
    QUICK,
    DraftService,
    NorthHome,
    NumberingService,
    Seen,
    localhost,
    server_context,
    serving,
)
from tests.harness.layer_pair import authority

Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a home with a service over https: ``start(service, **table)``. Its books are checked in the end."""
    homes: list[NorthHome] = []
    async with AsyncExitStack() as stack:

        async def one(service: Any, more: dict[str, Any] | None = None, **table: Any) -> NorthHome:
            (tmp_path / "ca.pem").write_bytes(authority().pem)
            port = await stack.enter_async_context(
                serving(service.handle, server_context(tmp_path, localhost(authority())))
            )
            url = f"https://localhost:{port}/.well-known/atls"
            home = NorthHome(tmp_path, url, {"url": url, "ca_file": "ca.pem", **table}, **(more or {}))
            homes.append(home)
            await stack.enter_async_context(home.running(home.adapter))
            return home

        yield one
    for home in homes:
        home.check_books()


async def heard(home: NorthHome, count: int) -> list[bytes]:
    await until(lambda: len(home.far.of(Unit)) >= count)
    return [unit.payload.octets for unit in home.far.of(Unit)]


@pytest.mark.parametrize("content", [ContentKind.ATLS, ContentKind.ADTLS, ContentKind.OSCORE])
async def test_the_first_unit_opens_the_session_and_the_next_go_to_its_place(
    start: Start, content: ContentKind
) -> None:
    service = NumberingService()
    home = await start(service)
    session = home.far.open("cloud", content)
    made = tls_record if content is ContentKind.ATLS else record
    sent = [made(seed=n) for n in range(3)]
    units = []
    for n, payload in enumerate(sent):
        units.append(home.far.unit(session, n, payload, content))
        await until(lambda: home.far.outcome(units[-1]) is not None)
    assert [home.far.outcome(unit) for unit in units] == [(Outcome.DELIVERED, None)] * 3
    first, *others = service.posts()
    assert first.target == "/.well-known/atls" and first.get("atls-seq") == "0" and first.get("cookie") is None
    (place,) = service.places
    assert [(each.target, each.get("atls-seq")) for each in others] == [(f"/atls/{place}", n) for n in ("1", "2")]
    assert service.place.came == sent
    assert {each.get("content-type") for each in service.posts()} == {f"application/{content.value}"}
    assert all(each.get("accept-encoding") == "identity" for each in service.seen)
    if content is not ContentKind.ATLS:  # what the service says is no TLS record
        assert await heard(home, 3) == [b"re:" + payload for payload in sent]
        assert [unit.n for unit in home.far.of(Unit)] == [0, 1, 2]


async def test_a_service_speaks_unasked_by_a_question_that_waits(start: Start) -> None:
    service = NumberingService()
    service.replies = lambda payload: None
    home = await start(service, poll=30)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await until(lambda: service.waiting == 1)
    for n in range(5):
        service.place.push(record(seed=n))
        assert await heard(home, n + 1) == [record(seed=each) for each in range(n + 1)]
    question = service.questions()[0]
    assert question.get("prefer") == "wait=30" and question.get("atls-seq") == "0"
    await until(lambda: service.waiting == 1)
    assert [each.get("atls-seq") for each in service.questions()] == ["0", "1", "2", "3", "4", "5"]


async def test_our_unit_goes_beside_the_question_that_waits(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record(seed=0))
    await until(lambda: service.waiting == 1)
    for n in range(1, 6):
        home.far.unit(session, n, record(seed=n))
        await heard(home, n + 1)
    assert [unit.n for unit in home.far.of(Unit)] == list(range(6))
    posts, waiting = service.posts(), service.questions()[0]
    assert {each.connection for each in posts[1:]}.isdisjoint({waiting.connection}) or len(service.questions()) > 1
    assert home.called["connections_made"] <= 2


async def test_one_connection_carries_the_units_of_many_sessions(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=0)
    for index in range(20):
        session = home.far.open("cloud")
        for n in range(3):
            home.far.unit(session, n, record(seed=n))
        await heard(home, 3 * (index + 1))
    assert home.called["connections_made"] == 1 and len(service.seen) == 60
    assert {each.connection for each in service.seen} == {0}


async def test_units_of_a_session_go_one_at_a_time_and_in_order(start: Start) -> None:
    service = NumberingService()
    under_way, most = 0, 0

    async def slowly(seen: Seen) -> None:
        nonlocal under_way, most
        under_way += bool(seen.body)
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= bool(seen.body)

    service.wrap = slowly
    home = await start(service)
    session = home.far.open("cloud")
    sent = [record(seed=n) for n in range(12)]
    for n, payload in enumerate(sent):
        home.far.unit(session, n, payload)
    await heard(home, 12)
    assert service.place.came == sent and most == 1


async def test_a_service_of_the_draft_has_its_cookie_and_no_other_session_has(start: Start) -> None:
    service = DraftService()
    home = await start(service)
    sessions = [home.far.open("cloud") for _ in range(3)]
    for n in range(3):
        for index, session in enumerate(sessions):
            home.far.unit(session, n, record(seed=10 * index + n))
    await heard(home, 9)
    assert sorted(service.sessions.values()) == [[record(seed=10 * index + n) for n in range(3)] for index in range(3)]
    assert all(each.target == "/.well-known/atls" for each in service.seen)
    for session in sessions:
        assert [unit.n for unit in home.far.of(Unit, session)] == [0, 1, 2]
    units = [each for each in service.seen if each.body]
    assert len(units) == 9 and sum(each.get("cookie") is None for each in units) == 3


@pytest.mark.parametrize("status", [400, 405, 411, 415])
async def test_a_service_that_knows_no_question_is_asked_once(start: Start, status: int) -> None:
    service = DraftService()
    service.question = status
    home = await start(service)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await until(lambda: home.services.status()["polls"] == 0 and len(service.seen) == 2)
    assert home.services.status()["sessions"] == 1


def test_pauses_between_questions_grow_to_a_minute() -> None:
    pauses, pause = [], 0.0
    for _ in range(9):
        pauses.append(pause := longer(pause, NorthTimes()))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_a_service_that_lets_no_question_wait_has_pauses(start: Start) -> None:
    service = NumberingService()
    service.waits, service.replies = False, lambda payload: None
    home = await start(service, {"times": replace(QUICK, poll_pause=100.0, longest_poll_pause=100.0)})
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await until(lambda: len(service.questions()) == 1)
    for n in range(1, 4):  # our own units bring what waits
        service.place.push(record(seed=n))
        home.far.unit(session, n, record(seed=n))
        await heard(home, n)
    assert len(service.questions()) <= 2  # a unit may have come with the answer to the first one
    assert home.services.status()["polls"] == 1


async def test_a_session_that_the_gateway_closes_is_deleted_at_the_service(start: Start) -> None:
    service = NumberingService()
    home = await start(service, poll=30)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await until(lambda: service.waiting == 1)
    (place,) = service.places
    close = home.far.close(session)
    await until(lambda: home.far.outcome(close) is not None)
    assert home.far.outcome(close) == (Outcome.DELIVERED, None)
    assert (service.seen[-1].method, service.seen[-1].target) == ("DELETE", f"/atls/{place}")
    await until(lambda: not home.services.status()["polls"])
    assert not service.places and home.services.status()["sessions"] == 0
    assert home.called["connections"] == 2  # the question was answered: both are good for other sessions


@pytest.mark.parametrize("asked", [True, False], ids=["in the answer to a question", "in the answer to our unit"])
async def test_a_unit_that_comes_after_the_gateway_closed_does_not_stop_the_delete(start: Start, asked: bool) -> None:
    service, late = NumberingService(), asyncio.Event()
    home = await start(service, poll=30)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await until(lambda: service.waiting == 1)
    (place,), at_service = service.places, service.place

    async def hold(seen: Seen) -> Any:
        if seen.method == "POST" and seen.body:
            await late.wait()
        return None

    service.wrap = hold
    if asked:
        service.replies = lambda payload: None
    home.far.unit(session, 1, record(seed=1))
    await until(lambda: len(service.posts()) == 2)
    close = home.far.close(session)
    await asyncio.sleep(0.05)
    if asked:
        at_service.push(record(seed=2))
        await until(lambda: home.called["units_in"] == 2)
    late.set()
    await until(lambda: home.far.outcome(close) is not None)
    await until(lambda: not service.places)
    assert [(each.method, each.target) for each in service.seen if each.method != "POST"] == [
        ("DELETE", f"/atls/{place}")
    ]


@pytest.mark.parametrize("status", [404, 405])
async def test_a_service_that_knows_no_delete_is_closed_all_the_same(start: Start, status: int) -> None:
    service = NumberingService()
    home = await start(service)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await heard(home, 1)

    async def unknown(seen: Seen) -> Any:
        return NumberingService.web(atls.HttpResponse(status)) if seen.method == "DELETE" else None

    service.wrap = unknown
    close = home.far.close(session)
    await until(lambda: home.far.outcome(close) is not None)
    assert home.far.outcome(close) == (Outcome.DELIVERED, None)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_session_that_the_service_ends_is_over_for_the_other_end_too(start: Start, asked: bool) -> None:
    service = NumberingService()
    home = await start(service, poll=30 if asked else 0)
    session = home.far.open("cloud")
    home.far.unit(session, 0, record())
    await heard(home, 1)
    if asked:
        await until(lambda: service.waiting == 1)
    place = service.place
    service.places.clear()
    place.changed.set()
    if not asked:
        home.far.unit(session, 1, record(seed=1))
    await until(lambda: home.far.of(Close, session))
    (close,) = home.far.of(Close, session)
    assert close.reason is (Reason.CLOSED if asked else Reason.UNKNOWN)
    assert home.services.status()["sessions"] == 0


async def test_units_up_to_the_limit_pass_whole(start: Start) -> None:
    service = NumberingService()
    service.replies = lambda payload: payload
    home = await start(service)
    session = home.far.open("cloud", ContentKind.ATLS_DATA)
    sizes = [1, 2, 1023, 1024, 4095, 4096]
    for n, size in enumerate(sizes):
        home.far.unit(session, n, bytes((n,)) * size, ContentKind.ATLS_DATA)
    assert await heard(home, 6) == [bytes((n,)) * size for n, size in enumerate(sizes)]
