"""Sessions over the HTTP adapter as they should go: opened, used both ways, polled for, watched, closed."""

from __future__ import annotations

import asyncio

import pytest

from gateway.api.model import Close, ContentKind, Open, Outcome, Reason, Unit
from tests.harness.gateway_in_loop import record, tls_record, until
from tests.harness.http_gateway import POLICY, Home, Start, media_type


@pytest.mark.parametrize("kind", ["adtls", "atls", "atls-data", "oscore", "edhoc"])
async def test_two_clients_talk(home: Home, kind: str) -> None:
    phone, tablet = home.client("phone"), home.client("tablet")
    listening = asyncio.get_running_loop().create_task(tablet.inbox(Prefer="wait=20"))
    await until(lambda: home.adapter.status()["polls"])
    answer = await phone.opened("tablet", kind)
    assert (answer.status, answer.body, answer.headers["Cache-Control"]) == (200, b"", "no-store")
    listed = await listening
    assert listed.json == [{"session": answer.session, "kind": kind, "from": "phone"}]
    make = tls_record if kind == "atls" else record
    units = [make(size, seed) for seed, size in enumerate((1, 1000, 1100))]
    for n, unit in enumerate(units):
        sending = asyncio.get_running_loop().create_task(phone.sent(answer.session, n, unit, kind))
        read = await tablet.read(answer.session, n, wait=20)
        assert (read.status, read.seq, read.body) == (200, n, unit)
        assert read.headers["Content-Type"] == media_type(kind)
        assert read.headers["Preference-Applied"] == "wait=20"
        assert (await tablet.read(answer.session, n + 1)).body == b"", "that acknowledges it"
        assert (await sending).status == 200
    sending = asyncio.get_running_loop().create_task(tablet.sent(answer.session, 0, units[0], kind))
    back = await phone.read(answer.session, 0, wait=20)
    assert (back.seq, back.body) == (0, units[0])
    assert (await phone.read(answer.session, 1)).body == b"", "that acknowledges it"
    assert (await sending).status == 200
    assert (await tablet.closed(answer.session)).status == 204
    assert (await phone.read(answer.session, 1)).status == 404
    assert (await tablet.inbox()).json == []
    home.check_empty()


async def test_an_open_may_bring_the_first_unit_and_get_the_answer_with_it(home: Home) -> None:
    phone = home.client("phone")
    asking = asyncio.get_running_loop().create_task(phone.opened("lamp", body=record()))
    await until(lambda: home.far.of(Unit))
    session = home.far.of(Open)[0].session
    assert session is not None
    home.far.unit(session, 0, record(seed=1))
    answer = await asking
    assert (answer.status, answer.session, answer.seq, answer.body) == (200, session, 0, record(seed=1))


async def test_a_repeated_open_is_the_same_session_with_the_same_answer(home: Home) -> None:
    phone = home.client("phone")
    first = asyncio.get_running_loop().create_task(phone.opened("lamp", nonce="ab" * 8, body=record()))
    await until(lambda: home.far.of(Unit))
    home.far.unit(home.far.of(Open)[0].session or "", 0, record(seed=1))  # type: ignore[arg-type]
    answers = [await first, await phone.opened("lamp", nonce="ab" * 8, body=record())]
    assert answers[0].session == answers[1].session and answers[0].body == answers[1].body == record(seed=1)
    assert len(home.far.of(Open)) == len(home.far.of(Unit)) == 1


async def test_a_repeated_unit_gets_the_same_answer(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    asking = asyncio.get_running_loop().create_task(phone.sent(session, 0, record()))
    await until(lambda: home.far.of(Unit))
    home.far.unit(session, 0, record(seed=7))  # type: ignore[arg-type]
    first = await asking
    again = await phone.sent(session, 0, record())
    assert (first.seq, first.body) == (again.seq, again.body) == (0, record(seed=7))
    assert len(home.far.of(Unit)) == 1


async def test_a_gap_is_refused_with_the_number_that_is_expected_and_the_session_goes_on(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp", "atls")).session
    assert (await phone.sent(session, 0, tls_record(), "atls")).status == 200
    gap = await phone.sent(session, 2, tls_record(seed=2), "atls")
    assert (gap.status, gap.reason, gap.json["expected"]) == (409, "order", 1)
    assert (await phone.sent(session, 1, tls_record(seed=1), "atls")).status == 200
    assert (await phone.sent(session, 2, tls_record(seed=2), "atls")).status == 200
    assert [unit.n for unit in home.far.of(Unit)] == [0, 1, 2]


async def test_reading_a_later_unit_acknowledges_those_before_it(home: Home) -> None:
    phone = home.client("phone")
    await phone.inbox()
    session = home.far.open("phone")
    units = [home.far.unit(session, n, record(seed=n)) for n in range(3)]
    for n in range(3):
        for _ in range(2):
            read = await phone.read(session, n)
            assert (read.seq, read.body) == (n, record(seed=n))
        assert home.far.outcome(units[n]) is None
    last = await phone.read(session, 3)
    assert (last.status, last.body, last.seq) == (200, b"", None)
    assert [home.far.outcome(unit) for unit in units] == [(Outcome.DELIVERED, None)] * 3


async def test_events_tell_the_number_and_the_unit_is_fetched(home: Home) -> None:
    phone = home.client("phone")
    session = home.far.open("phone")
    events = await phone.events(f"/atls/{session}")
    assert events.response.headers["Content-Type"] == "text/event-stream"
    home.far.unit(session, 0, record(seed=0))
    home.far.unit(session, 1, record(seed=1))
    assert await events.next() == {"id": "0", "data": {"n": 0}}
    assert (await phone.read(session, 0)).body == record(seed=0)
    second = await phone.read(session, 1)
    assert second.body == record(seed=1)
    assert await events.next() == {"id": "1", "data": {"n": 1}}
    assert (await phone.read(session, 2)).body == b""
    home.far.close(session)
    assert await events.next() == {"event": "end", "data": {"reason": "closed"}}
    assert await events.over()
    home.check_empty()


async def test_a_stream_that_connects_again_begins_behind_what_it_has_heard(home: Home) -> None:
    phone = home.client("phone")
    session = home.far.open("phone")
    events = await phone.events(f"/atls/{session}")
    home.far.unit(session, 0, record(seed=0))
    home.far.unit(session, 1, record(seed=1))
    assert (await events.next())["id"] == "0"
    events.close()
    again = await phone.events(f"/atls/{session}", Last_Event_ID="0")
    await phone.read(session, 0)
    await phone.read(session, 1)
    assert (await again.next())["id"] == "1"


async def test_another_stream_of_a_session_takes_the_place_of_the_first(home: Home) -> None:
    phone = home.client("phone")
    session = home.far.open("phone")
    first = await phone.events(f"/atls/{session}")
    second = await phone.events(f"/atls/{session}")
    assert await first.next() == {"event": "end", "data": {"reason": "replaced"}}
    home.far.unit(session, 0, record())
    assert (await second.next())["id"] == "0"


async def test_the_inbox_as_events_and_with_an_entity_tag(home: Home) -> None:
    phone = home.client("phone")
    events = await phone.events("/atls/inbox")
    assert await events.next() == {"data": []}
    session = home.far.open("phone", ContentKind.ATLS)
    assert await events.next() == {"data": [{"session": session, "kind": "atls", "from": "lamp"}]}
    listed = await phone.inbox()
    tag = listed.headers["ETag"]
    same = await phone.inbox(If_None_Match=tag)
    assert (same.status, same.body, same.headers["ETag"]) == (304, b"", tag)
    waiting = asyncio.get_running_loop().create_task(phone.inbox(If_None_Match=tag, Prefer="wait=20"))
    await until(lambda: home.adapter.status()["polls"])
    home.far.close(session)
    assert (await waiting).json == []
    assert await events.next() == {"data": []}


async def test_a_poll_that_gets_nothing_says_so_after_its_time(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    found = await phone.read(session, 0, wait=1)
    assert (found.status, found.body, found.headers["Preference-Applied"]) == (200, b"", "wait=1")
    assert (await phone.inbox(Prefer="wait=1")).json == []


async def test_a_unit_is_answered_at_once_while_a_poll_stands_for_what_comes(start: Start) -> None:
    home = await start(reply_window=20)
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    polling = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=20))
    await until(lambda: home.adapter.status()["polls"])
    assert (await phone.sent(session, 0, record())).body == b""
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    assert (await polling).body == record(seed=1)


async def test_an_open_reaches_a_client_that_asks_later(home: Home) -> None:
    home.far.takes = False
    opening = home.far.ask("phone")
    assert not [each for each in home.far.receipts if each.outcome is Outcome.DELIVERED]
    phone = home.client("phone")
    (entry,) = (await phone.inbox()).json
    assert entry["session"] == opening.session and entry["from"] == "lamp"  # type: ignore[union-attr]


async def test_a_unit_that_no_client_fetches_ends_the_session(home: Home) -> None:
    session = home.far.open("phone")
    phone = home.client("phone")
    assert len((await phone.inbox()).json) == 1
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.of(Close))
    assert home.far.outcome(unit) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert (await phone.read(session, 0)).reason == "unknown"


async def test_a_datagram_that_was_refused_is_lost_and_the_next_one_is_no_gap(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    for n in (0, 2):
        assert (await phone.sent(session, n, record(2000))).status == 413
        assert (await phone.sent(session, n + 1, record(seed=n))).status == 200
    assert [unit.n for unit in home.far.of(Unit)] == [1, 3]


async def test_a_piece_of_a_stream_that_was_refused_can_come_again(start: Start) -> None:
    home = await start(POLICY.replace("    content:", "    condition: {units: 60/min}\n    content:"), reply_window=0)
    phone = home.client("phone")
    session = (await phone.opened("lamp", "atls")).session
    n = 0
    while (answer := await phone.sent(session, n, tls_record(seed=n), "atls")).status == 200:
        n += 1
    assert answer.status == 429
    gap = await phone.sent(session, n + 1, tls_record(seed=n + 1), "atls")
    assert (gap.status, gap.json["expected"]) == (409, n)
    await asyncio.sleep(int(answer.headers["Retry-After"]))
    assert (await phone.sent(session, n, tls_record(seed=n), "atls")).status == 200


async def test_a_poll_that_waits_is_answered_with_the_reason_of_the_end(home: Home) -> None:
    phone, tablet = home.client("phone"), home.client("tablet")
    listening = asyncio.get_running_loop().create_task(tablet.inbox(Prefer="wait=20"))
    session = (await phone.opened("tablet")).session
    await listening
    reading = asyncio.get_running_loop().create_task(phone.read(session, 0, wait=20))
    await until(lambda: home.adapter.status()["polls"])
    assert (await tablet.closed(session)).status == 204
    answer = await reading
    assert (answer.status, answer.reason) == (404, "closed")


async def test_a_datagram_that_was_refused_has_used_its_number(home: Home) -> None:
    """It may come again under it, or never: DTLS sends what it lost in another record."""
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    assert (await phone.sent(session, 0, record(1153))).reason == "too-large"
    sending = asyncio.get_running_loop().create_task(phone.sent(session, 1, record()))
    await until(lambda: home.far.of(Unit))
    assert [unit.n for unit in home.far.of(Unit)] == [1]
    assert (await sending).status == 200
