"""Requests of one client that cross each other on several connections, and answers that get lost on the way."""

from __future__ import annotations

import asyncio

from gateway.api.model import Unit
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import Home, Start


async def test_a_unit_that_crosses_the_answer_to_a_poll_does_not_acknowledge_it(home: Home) -> None:
    phone, other = home.client("phone"), home.client("phone")
    session = (await phone.opened("lamp")).session
    polling = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=20))
    await until(lambda: home.adapter.status()["polls"])
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    assert (await polling).body == record(seed=1)  # think that it was lost: the connection was cut
    crossing = await other.sent(session, 0, record(seed=2))
    assert (crossing.status, crossing.seq, crossing.body) == (200, 0, record(seed=1))
    assert (await other.read(session, 0)).body == record(seed=1), "it is still there"
    assert (await other.read(session, 1)).body == b"", "and goes when the client asks for the next one"


async def test_a_unit_acknowledges_what_the_answer_to_the_unit_before_it_had(start: Start) -> None:
    home = await start(reply_window=5.0)
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    first = asyncio.get_running_loop().create_task(phone.sent(session, 0, record()))
    await until(lambda: home.far.of(Unit))
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    assert (await first).body == record(seed=1)
    second = asyncio.get_running_loop().create_task(phone.sent(session, 1, record(seed=2)))
    await until(lambda: len(home.far.of(Unit)) == 2)
    home.far.unit(session, 1, record(seed=3))  # type: ignore[arg-type]
    answer = await second
    assert (answer.seq, answer.body) == (1, record(seed=3))


async def test_a_poll_that_begins_while_a_unit_waits_for_its_answer_brings_the_unit_too(start: Start) -> None:
    home = await start(reply_window=10.0)
    phone, other = home.client("phone"), home.client("phone")
    session = (await phone.opened("lamp")).session
    sending = asyncio.get_running_loop().create_task(phone.sent(session, 0, record()))
    await until(lambda: home.south._sessions.mailboxes._waits)
    polling = asyncio.get_running_loop().create_task(other.read(session, 0, wait=50))
    await until(lambda: home.adapter.status()["polls"])
    for n in range(2):
        home.far.unit(session, n, record(seed=n))  # type: ignore[arg-type]
    assert [(each.seq, each.body) for each in (await sending, await polling)] == [(0, record(seed=0))] * 2
    assert (await other.read(session, 1)).body == record(seed=1)


async def test_two_polls_at_once_both_bring_the_unit(home: Home) -> None:
    """The client gave the first one up, and the gateway can't know that yet."""
    phone, other = home.client("phone"), home.client("phone")
    session = (await phone.opened("lamp")).session
    polls = [asyncio.get_running_loop().create_task(each.read(session, 0, wait=50)) for each in (phone, other)]
    await until(lambda: home.adapter.status()["polls"] == 2)
    home.far.unit(session, 0, record())  # type: ignore[arg-type]
    assert [(await each).body for each in polls] == [record()] * 2
    assert len(home.south._sessions.mailboxes._waits) == 0


async def test_a_unit_acknowledges_what_the_answer_to_a_unit_had_though_a_poll_had_it_too(start: Start) -> None:
    home = await start(reply_window=10.0)
    phone, other = home.client("phone"), home.client("phone")
    session = (await phone.opened("lamp")).session
    sending = asyncio.get_running_loop().create_task(phone.sent(session, 0, record()))
    await until(lambda: home.south._sessions.mailboxes._waits)
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    await sending
    assert (await other.read(session, 0)).body == record(seed=1)
    home.far.unit(session, 1, record(seed=2))  # type: ignore[arg-type]
    answer = await phone.sent(session, 1, record())
    assert (answer.seq, answer.body) == (1, record(seed=2))
