"""Acknowledged units survive in the store, and sessions go on with another instance of the adapter.

Clients that have lost their associations come back by a new handshake and find their sessions and observations.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from carriage.coap import atls_client
from gateway.api.model import ContentKind, Outcome, Reason, SessionId, Unit
from gateway.engine.stored import Unsaved
from tests.adapters.coap.restarting import restarted
from tests.harness.coap_gateway import Home, inbox, observed, opened, read, sent
from tests.harness.gateway_in_loop import record, tls_record, until

OCTETS = {"adtls": record, "atls": tls_record}
kinds = pytest.mark.parametrize("kind", ["adtls", "atls"])


def payloads(home: Home, session: SessionId) -> list[tuple[int, bytes]]:
    return [(unit.n, unit.payload.octets) for unit in home.far.of(Unit, session)]


@kinds
async def test_a_session_that_the_client_opened_goes_on(home: Home, kind: Any) -> None:
    octets = OCTETS[kind]
    phone = await home.client("phone")
    session = await opened(phone, "lamp", kind)
    for n in range(2):
        await sent(phone, session, n, octets(seed=n), kind)
    async with restarted(home):
        phone = await home.client("phone")
        assert await inbox(phone) == []
        assert await sent(phone, session, 1, octets(seed=1), kind) is None  # its answer got lost
        assert await sent(phone, session, 2, octets(seed=2), kind) is None
        seen = await observed(phone, session)
        for n in range(2):
            home.far.unit(session, n, octets(seed=10 + n), ContentKind(kind))
        await until(lambda: len(seen.units) == 2)
        assert seen.units == [(n, octets(seed=10 + n)) for n in range(2)]
        assert payloads(home, session) == [(n, octets(seed=n)) for n in range(3)]
        assert isinstance(await read(await home.client("tablet"), session), atls_client.SessionRefused)


@kinds
async def test_a_session_that_was_opened_towards_the_client_is_still_in_its_inbox(home: Home, kind: Any) -> None:
    octets = OCTETS[kind]
    phone = await home.client("phone")
    session = home.far.open("phone", ContentKind(kind))
    await until(lambda: home.hub.engine.surviving("coap"))
    seen = await observed(phone, session)
    home.far.unit(session, 0, octets(), ContentKind(kind))
    await until(lambda: seen.units)
    async with restarted(home):
        phone = await home.client("phone")
        assert [(name, title) for name, _, title in await inbox(phone)] == [(session, "lamp")]
        home.far.unit(session, 1, octets(seed=1), ContentKind(kind))
        unit = await read(phone, session, 1)
        assert isinstance(unit, atls_client.ReceivedUnit) and (unit.n, unit.payload) == (1, octets(seed=1))
        assert await sent(phone, session, 0, octets(seed=2), kind) is None
        assert payloads(home, session) == [(0, octets(seed=2))]


async def test_a_session_that_is_closed_after_a_restart_leaves_nothing(home: Home) -> None:
    phone = await home.client("phone")
    session = await opened(phone, "lamp", "atls-data")
    async with restarted(home):
        assert home.adapter.status()["sessions"] == 1
        phone = await home.client("phone")
        await phone.request(atls_client.close_request(session))
        assert home.adapter.status()["sessions"] == 0


async def test_a_unit_in_the_store_is_answered_for(home: Home) -> None:
    """2.04 comes when the gateway has stored it, though the next hop takes its time."""
    phone = await home.client("phone")
    session = await opened(phone, "lamp")
    await until(lambda: not home.hub.engine.in_flight("far"))
    home.far.takes = False
    engine = home.hub.engine
    engine.snapshot()  # from now on there is a store
    sending = asyncio.get_running_loop().create_task(sent(phone, session, 0, record()))
    await until(lambda: engine.unsaved is Unsaved.URGENT)
    assert not sending.done()
    engine.stored(engine.changes(samples=False), now=home.hub.now())
    home.hub.touch()
    assert await sending is None
    assert await sent(phone, session, 0, record()) is None  # once more: the same answer
    home.far.settle(home.far.orders[-1], Outcome.DROPPED, Reason.TOO_LARGE)
    assert not home.adapter._submitted
    home.far.takes = True
    assert await sent(phone, session, 1, record(seed=1)) is None
