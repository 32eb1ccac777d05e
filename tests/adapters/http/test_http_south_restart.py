"""Sessions go on with another instance of the adapter, and clients need not know that there was one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.api.model import Close, ContentKind, Reason, Unit
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.http_gateway import Home, token_lines

OCTETS = {"adtls": record, "atls": tls_record}
kinds = pytest.mark.parametrize("kind", ["adtls", "atls"])


@asynccontextmanager
async def restarted(home: Home, *, killed: bool = False) -> AsyncIterator[None]:
    """``killed``: with what the adapter had written until then, and rows of sessions that may lag."""
    written = {path: path.read_bytes() for path in home.south._context.state_dir.iterdir()}
    home.tasks["http"].cancel()
    await until(lambda: home.state.adapter is None)
    if killed:
        for path, octets in written.items():
            path.write_bytes(octets)
    home.adapter = home.configure()
    async with asyncio.TaskGroup() as tasks:
        home.run(tasks, "http", home.adapter)
        await until(lambda: home.state.ready)
        yield
        home.tasks["http"].cancel()


@kinds
async def test_a_session_that_the_client_opened_goes_on(home: Home, kind: Any) -> None:
    octets = OCTETS[kind]
    phone = home.client("phone")
    session = (await phone.opened("lamp", kind)).session
    for n in range(2):
        assert (await phone.sent(session, n, octets(seed=n), kind)).status == 200
    async with restarted(home):
        assert (await phone.inbox()).json == []
        assert (await phone.sent(session, 1, octets(seed=1), kind)).status == 200  # its answer got lost
        assert (await phone.sent(session, 2, octets(seed=2), kind)).status == 200
        gap = await phone.sent(session, 4, octets(seed=4), kind)
        assert (gap.status, gap.json["expected"]) == (409, 3)
        home.far.unit(session, 0, octets(seed=10), ContentKind(kind))  # type: ignore[arg-type]
        assert (await phone.read(session, 0, wait=5)).body == octets(seed=10)
        assert [unit.n for unit in home.far.of(Unit)] == [0, 1, 2]
        assert (await home.client("tablet").read(session, 0)).status == 404


@kinds
async def test_a_session_that_was_opened_towards_the_client_is_still_in_its_inbox(home: Home, kind: Any) -> None:
    octets = OCTETS[kind]
    phone = home.client("phone")
    await phone.inbox()
    session = home.far.open("phone", ContentKind(kind))
    home.far.unit(session, 0, octets(), ContentKind(kind))
    assert (await phone.read(session, 0, wait=5)).body == octets()
    assert (await phone.read(session, 1)).body == b"", "that acknowledges it"
    async with restarted(home):
        assert [each["session"] for each in (await phone.inbox()).json] == [session]
        home.far.unit(session, 1, octets(seed=1), ContentKind(kind))
        found = await phone.read(session, 1, wait=5)
        assert (found.seq, found.body) == (1, octets(seed=1))
        assert (await phone.sent(session, 0, octets(seed=2), kind)).status == 200


async def test_a_client_of_the_draft_goes_on_with_its_cookie(home: Home) -> None:
    draft = {"Content-Type": "application/atls+octet-stream"}
    phone = home.client("phone")
    first = await phone.ask("POST", "/atls?to=lamp", tls_record(), **draft)
    cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}
    async with restarted(home):
        assert (await phone.ask("POST", "/atls?to=lamp", tls_record(seed=1), **draft, **cookie)).status == 200
        assert [unit.n for unit in home.far.of(Unit)] == [0, 1]


async def test_a_client_of_the_draft_learns_that_its_count_was_lost_in_a_crash(home: Home) -> None:
    """A unit without a number could be taken for one that the other side has had, acknowledged and lost."""
    draft = {"Content-Type": "application/atls+octet-stream"}
    phone = home.client("phone")
    first = await phone.ask("POST", "/atls?to=lamp", tls_record(), **draft)
    cookie = {"Cookie": first.headers["Set-Cookie"].partition(";")[0]}
    numbered = (await phone.opened("lamp", "atls", body=tls_record(seed=3))).session
    for n in (1, 2):
        assert (await phone.ask("POST", "/atls?to=lamp", tls_record(seed=n), **draft, **cookie)).status == 200
    async with restarted(home, killed=True):
        refused = await phone.ask("POST", "/atls?to=lamp", tls_record(seed=9), **draft, **cookie)
        assert refused.status == 404 and "Max-Age=0" in refused.headers["Set-Cookie"]
        await until(lambda: home.far.of(Close))
        assert [(each.session, each.reason) for each in home.far.of(Close)] == [(first.session, Reason.RESTARTED)]
        assert (await phone.sent(numbered, 1, tls_record(seed=4), "atls")).status == 200, "one with numbers goes on"
        assert (await phone.ask("POST", "/atls?to=lamp", tls_record(), **draft)).status == 200
    async with restarted(home):
        pass


async def test_what_stands_is_answered_when_the_adapter_ends(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    events = await phone.events("/atls/inbox")
    polls = [phone.inbox(Prefer="wait=20"), phone.read(session, 0, wait=20)]
    polling = [asyncio.get_running_loop().create_task(each) for each in polls]
    await until(lambda: home.adapter.status()["polls"] == 2)
    async with restarted(home):
        assert [(await each).status for each in polling] == [200, 200]
        assert await events.next() == {"data": []}
        assert await events.next() == {"event": "end", "data": {"reason": "restarted"}}
        assert (await phone.read(session, 0)).status == 200


async def test_a_token_that_was_revoked_meanwhile_ends_its_sessions(home: Home) -> None:
    phone = home.client("phone")
    await phone.opened("lamp")
    home.write("tokens", token_lines("tablet"), 0o600)
    async with restarted(home):
        await until(lambda: home.far.of(Close))


async def test_a_repeat_of_a_unit_on_its_way_is_answered_too_when_the_adapter_ends(home: Home) -> None:
    phone, other = home.client("phone"), home.client("phone")
    session = (await phone.opened("lamp")).session
    home.far.takes = False
    sending = [asyncio.get_running_loop().create_task(each.sent(session, 0, record())) for each in (phone, other)]
    await until(lambda: len(tuple(home.south._sessions._submitted)) == 2)
    home.tasks["http"].cancel()
    done, _ = await asyncio.wait(sending, timeout=5)
    assert [each.result().reason for each in done] == ["busy", "busy"]
