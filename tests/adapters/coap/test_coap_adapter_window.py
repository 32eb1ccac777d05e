"""Several units of a session in the adapter at once: the next one is there when the client takes the one before, and
none is skipped, sent for nothing or without its one receipt, however many wait."""

from __future__ import annotations

import asyncio
import itertools
import time
from random import Random

import pytest

from adapters.coap.plugin import CoapPlugin
from carriage.coap import atls_client
from carriage.coap.connection import NotificationReceived, ResponseReceived
from gateway.api.model import ContentKind, EnvelopeId, Outcome, Reason
from tests.harness.coap_gateway import Home, Raw, Start, observed, read
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.watched import Watched

DELIVERED = (Outcome.DELIVERED, None)


def waiting(home: Home) -> int:
    """Transmits in the adapter."""
    return len(home.adapter._mailboxes._unsettled)


@pytest.mark.parametrize(("window", "at_once"), [(1, False), (2, True)])
async def test_the_next_notification_is_written_before_the_gateway_has_its_turn(
    start: Start, window: int, at_once: bool
) -> None:
    home = await start(plugin=CoapPlugin(window=window))
    phone = await home.client("phone")
    session = home.far.open("phone")
    seen = await observed(phone, session)
    events: list[str] = []
    server = home.adapter._server
    assert server is not None
    acknowledged, flush, taken = home.adapter.acknowledged, home.adapter.flush, server._listener.datagrams_to_send

    def note_acknowledged(*arguments: object) -> None:
        events.append("acknowledged")
        acknowledged(*arguments)  # type: ignore[arg-type]

    def note_turn() -> None:
        events.append("turn")
        flush()

    def note_written() -> list[tuple[bytes, object]]:
        datagrams = taken()
        events.extend(["written"] * bool(datagrams))
        return datagrams  # type: ignore[return-value]

    server._handler = Watched(server._handler, acknowledged=note_acknowledged)
    home.hub.states["coap"].adapter = Watched(home.adapter, flush=note_turn)
    server._listener = Watched(server._listener, datagrams_to_send=note_written)
    units = [home.far.unit(session, n, record(seed=n)) for n in range(6)]
    await until(lambda: len(seen.units) == 6 and home.far.outcome(units[-1]))
    after = [following for event, following in itertools.pairwise(events) if event == "acknowledged"]
    assert after[:5] == ["written" if at_once else "turn"] * 5


@pytest.mark.parametrize("window", [2, 8])
async def test_the_units_that_wait_for_a_client_that_vanished_have_one_receipt_each(start: Start, window: int) -> None:
    """A TLS session is broken with the first that is lost, which takes the others with it."""
    home = await start(plugin=CoapPlugin(window=window), absence=1.0)
    raw = await home.raw("phone")
    sessions = {kind: home.far.open("phone", kind) for kind in (ContentKind.ATLS, ContentKind.ADTLS)}
    for session in sessions.values():
        await raw.request(atls_client.read_request(session), observe=True)
    raw.deaf = True
    make = {ContentKind.ATLS: tls_record, ContentKind.ADTLS: record}
    units = {
        kind: [home.far.unit(session, n, make[kind](seed=n), kind) for n in range(5)]
        for kind, session in sessions.items()
    }
    await until(lambda: all(home.far.outcome(unit) for each in units.values() for unit in each), 5.0)
    lost = [home.far.outcome(unit) for unit in units[ContentKind.ATLS]]
    assert lost == [(Outcome.DROPPED, Reason.UNREACHABLE)] + [(Outcome.DROPPED, Reason.BROKEN)] * 4
    closed = [home.far.outcome(unit) for unit in units[ContentKind.ADTLS]]
    assert closed[:window] == [(Outcome.DROPPED, Reason.UNREACHABLE)] * min(window, 5)
    assert closed[window:] == [(Outcome.DROPPED, Reason.CLOSED)] * max(5 - window, 0)  # they were not sent yet
    assert home.adapter.status()["sessions"] == 0 and not waiting(home)


async def test_units_that_expire_together_are_not_sent_one_after_the_other(start: Start) -> None:
    """Only the one that is under way already, and the one that may still live."""
    home = await start(plugin=CoapPlugin(window=8), absence=30.0)
    raw = await home.raw("phone")
    session = home.far.open("phone")
    observation = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(observation))
    raw.holds = True
    late = [home.far.unit(session, n, record(seed=n), expires_in=0.6) for n in range(4)]
    last = home.far.unit(session, 4, record(seed=4))
    await until(lambda: waiting(home) == 5)
    time.sleep(0.7)  # the loop is busy elsewhere when they expire, so it finds them all late
    await until(lambda: all(home.far.outcome(unit) for unit in late))
    raw.release()
    await until(lambda: home.far.outcome(last) == DELIVERED)
    assert [unit.n for unit in raw.units(observation) if isinstance(unit, atls_client.ReceivedUnit)] == [0, 4]
    assert home.adapter.status()["notifications"] == 2


async def test_a_session_that_ends_sends_nothing_of_what_waited(start: Start) -> None:
    home = await start(plugin=CoapPlugin(window=8), absence=30.0)
    raw = await home.raw("phone")
    session = home.far.open("phone", ContentKind.ATLS)
    observation = raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: raw.response(observation))
    raw.holds = True
    units = [home.far.unit(session, 0, tls_record(), ContentKind.ATLS, expires_in=0.2)]
    units += [home.far.unit(session, n, tls_record(seed=n), ContentKind.ATLS) for n in range(1, 5)]
    await until(lambda: all(home.far.outcome(unit) for unit in units))
    raw.release()
    await until(lambda: len(raw.units(observation)) == 2)
    first, end = raw.units(observation)
    assert isinstance(first, atls_client.ReceivedUnit) and first.n == 0
    assert isinstance(end, atls_client.SessionRefused) and end.reason == "broken"
    assert home.adapter.status()["notifications"] == 1


async def test_a_client_that_asks_for_a_later_unit_has_all_before_it(start: Start) -> None:
    home = await start(plugin=CoapPlugin(window=4))
    phone = await home.client("phone")
    session = home.far.open("phone")
    units = [home.far.unit(session, n, record(seed=n)) for n in range(6)]
    await until(lambda: waiting(home) == 4)
    assert await read(phone, session) == atls_client.ReceivedUnit(0, "adtls", record())
    assert await read(phone, session, 3) == atls_client.ReceivedUnit(3, "adtls", record(seed=3))
    await until(lambda: waiting(home) == 3)  # the gateway gave it the next ones
    assert [home.far.outcome(unit) for unit in units] == [DELIVERED] * 3 + [None] * 3
    assert [receipt.id for receipt in home.far.receipts if receipt.id in units] == units[:3]


@pytest.mark.parametrize("window", [1, 2, 3, 8])
async def test_a_client_that_comes_and_goes_misses_nothing(start: Start, window: int) -> None:
    """It observes, reads, reads again, falls silent, and comes back over another association."""
    home = await start(plugin=CoapPlugin(window=window), absence=30.0, reply_window=0.02, handshake_burst=1000)
    random = Random(window)
    session = home.far.open("phone")
    raw = await home.raw("phone")
    units: list[EnvelopeId] = []
    seen: list[int] = []
    asked: list[int] = []
    sent = 0

    def look() -> None:
        for event in raw.events:
            if isinstance(event, NotificationReceived | ResponseReceived):
                unit = atls_client.read_unit(event.response)
                if isinstance(unit, atls_client.ReceivedUnit) and unit.n not in seen:
                    assert unit.payload == record(seed=unit.n)
                    seen.append(unit.n)
            if isinstance(event, ResponseReceived) and event.exchange in asked:
                asked.remove(event.exchange)
        raw.events.clear()

    for _ in range(150):
        what = random.choice(["unit", "unit", "unit", "observe", "read", "again", "post", "silent", "new", "pause"])
        look()
        if what == "unit" and len(units) - len(seen) < 20:
            units.append(home.far.unit(session, len(units), record(seed=len(units))))
        elif what in ("read", "again"):
            asked.append(raw.start(atls_client.read_request(session, len(seen) if what == "read" else None)))
        elif what == "observe":
            raw.start(atls_client.read_request(session), observe=True)
        elif what == "post" and not asked:  # it would say that it has the answer to what it asked before
            asked.append(raw.start(atls_client.send_request(session, sent, "adtls", record(seed=sent))))
            sent += 1
        elif what == "silent":
            raw.deaf = True
        elif what == "new":
            raw.close()
            raw = await _another(home)
            asked = [raw.start(atls_client.read_request(session, len(seen)))]
        elif what == "pause":
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
    raw.close()
    raw = await _another(home)
    raw.start(atls_client.read_request(session), observe=True)
    await until(lambda: {home.far.outcome(unit) for unit in units} == {DELIVERED})
    look()
    assert seen == list(range(len(units))) and len(units) > 20
    receipts = [receipt.id for receipt in home.far.receipts if receipt.id in units]
    assert [each for each in receipts if receipts.count(each) == 1] == units


async def _another(home: Home) -> Raw:
    """The same client, from another port; the old association is not over yet for the gateway."""
    home.clients.clear()
    return await home.raw("phone")
