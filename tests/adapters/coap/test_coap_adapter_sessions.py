"""Sessions over the CoAP adapter as they should go: opened, used both ways, closed, over one association or several."""

from __future__ import annotations

import asyncio

import pytest

from carriage.coap import atls_client, codes
from carriage.coap.link_format import read_links
from gateway.api.model import Close, ContentKind, Open, Outcome, Reason, Unit
from gateway.engine.limits import EngineLimits
from tests.harness.coap_gateway import (
    Home,
    Start,
    closed,
    entries,
    inbox,
    observed,
    opened,
    read,
    sent,
)
from tests.harness.gateway_in_loop import record, tls_record, until


@pytest.mark.parametrize("kind", ["adtls", "atls", "atls-data"])
async def test_two_coaps_clients_talk(home: Home, kind: str) -> None:
    phone, tablet = await home.client("phone"), await home.client("tablet")
    inboxes: list[list[tuple[str, str | None, str | None]]] = []
    await tablet.observe(atls_client.inbox_request(), lambda response: inboxes.append(entries(response)))
    session = await opened(phone, "tablet", kind)
    await until(lambda: len(inboxes) == 2)
    formats = {"atls": "65000", "adtls": "65001", "atls-data": "65002"}
    assert inboxes == [[], [(session, formats[kind], "phone")]]
    assert await inbox(phone) == []
    seen_by_tablet, seen_by_phone = await observed(tablet, session), await observed(phone, session)
    make = tls_record if kind == "atls" else record
    sizes = (1, 1000, 1100, 1139, 50) if kind == "adtls" else (1, 1000, 3000, 4000, 50)  # the middle ones go in blocks
    units = [make(size, seed) for seed, size in enumerate(sizes)]
    for n, unit in enumerate(units):
        assert await sent(phone, session, n, unit, kind) is None
        assert await sent(tablet, session, n, unit[::-1] if kind == "atls-data" else unit, kind) is None
    await until(lambda: len(seen_by_phone.units) == len(seen_by_tablet.units) == len(units))
    assert seen_by_tablet.units == list(enumerate(units))
    assert [n for n, _ in seen_by_phone.units] == list(range(len(units)))
    assert await closed(tablet, session) == codes.DELETED
    await until(lambda: seen_by_phone.refusal and seen_by_tablet.refusal)
    assert seen_by_phone.refusal is not None and seen_by_phone.refusal.reason == "closed"
    await until(lambda: len(inboxes) == 3)
    assert inboxes[-1] == []
    assert await closed(phone, session) == codes.NOT_FOUND
    phone.close(), tablet.close()
    await until(lambda: not home.adapter._connections)
    home.check_empty()


async def test_the_receipt_of_a_unit_is_the_one_that_its_sender_gets(home: Home) -> None:
    """The engine makes no second one, to name the session in it."""
    session = home.far.open("phone")
    await observed(await home.client("phone"), session)
    settled = home.settled()
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.outcome(unit))
    assert home.far.receipts[-1] is settled[-1] and settled[-1].session == session


async def test_a_close_comes_behind_the_units_before_it(home: Home) -> None:
    """Also with a unit in blocks that is still being fetched."""
    phone = await home.client("phone")
    session = home.far.open("phone", ContentKind.ATLS)
    seen = await observed(phone, session)
    units = [tls_record(4000, seed) for seed in range(4)]
    for n, unit in enumerate(units):
        home.far.unit(session, n, unit, ContentKind.ATLS)
    home.far.close(session)
    await until(lambda: seen.refusal)
    assert seen.units == list(enumerate(units))
    assert seen.refusal is not None and (seen.refusal.code, seen.refusal.reason) == (codes.NOT_FOUND, "closed")
    assert await read(phone, session) == atls_client.SessionRefused("unknown", codes.NOT_FOUND)


async def test_an_answer_brings_the_unit_of_the_other_side_within_the_reply_window(home: Home) -> None:
    phone = await home.client("phone")
    session = await opened(phone, "lamp")
    asking = asyncio.get_running_loop().create_task(sent(phone, session, 0, record()))
    await until(lambda: home.far.of(Unit))
    first, second = home.far.unit(session, 0, record(seed=1)), home.far.unit(session, 1, record(seed=2))
    assert await asking == atls_client.ReceivedUnit(0, "adtls", record(seed=1))
    assert home.far.outcome(first) is None
    # the next one acknowledges it
    assert await sent(phone, session, 1, record()) == atls_client.ReceivedUnit(1, "adtls", record(seed=2))
    assert home.far.outcome(first) == (Outcome.DELIVERED, None)
    assert await read(phone, session, 2) is None
    assert home.far.outcome(second) == (Outcome.DELIVERED, None)


async def test_reading_again(home: Home) -> None:
    """The lowest unit that isn't acknowledged comes again and again, until a higher one is asked for."""
    phone = await home.client("phone")
    session = home.far.open("phone")
    receipts = [home.far.unit(session, n, record(seed=n)) for n in range(3)]
    for n in range(3):
        for asked in (None, n, n):
            assert await read(phone, session, asked) == atls_client.ReceivedUnit(n, "adtls", record(seed=n))
        assert await read(phone, session, 0) == atls_client.ReceivedUnit(n, "adtls", record(seed=n))
        assert home.far.outcome(receipts[n]) is None
        following = await read(phone, session, n + 1)
        assert following == (atls_client.ReceivedUnit(n + 1, "adtls", record(seed=n + 1)) if n < 2 else None)
        assert home.far.outcome(receipts[n]) == (Outcome.DELIVERED, None)


async def test_an_observer_may_read_the_unit_that_it_is_being_notified_of(home: Home) -> None:
    raw = await home.raw("phone")
    session = home.far.open("phone")
    await raw.request(atls_client.read_request(session), observe=True)
    raw.deaf = True  # the notification gets lost
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.adapter.status()["notifications"] == 1)
    await asyncio.sleep(0.05)
    raw.deaf = False
    assert await read(raw, session, 0) == atls_client.ReceivedUnit(0, "adtls", record())
    assert await read(raw, session, 1) is None
    assert home.far.outcome(unit) == (Outcome.DELIVERED, None)


async def test_who_observes_gets_empty_answers(home: Home) -> None:
    phone = await home.client("phone")
    session = await opened(phone, "lamp")
    seen = await observed(phone, session)
    home.far.unit(session, 0, record(seed=1))
    started = asyncio.get_running_loop().time()
    assert await sent(phone, session, 0, record()) is None
    assert await read(phone, session, 1) is None
    assert asyncio.get_running_loop().time() - started < 0.3  # no reply window
    await until(lambda: seen.units == [(0, record(seed=1))])


async def test_an_open_may_bring_the_first_unit(home: Home) -> None:
    phone = await home.client("phone")
    request = atls_client.open_request("lamp", "00" * 8, "adtls", record(seed=1))
    asking = asyncio.get_running_loop().create_task(phone.request(request))
    await until(lambda: home.far.of(Unit))
    (opening,), (unit,) = home.far.of(Open), home.far.of(Unit)
    assert (opening.sender, opening.content) == ("phone", ContentKind.ADTLS)
    assert (unit.n, unit.payload.octets, unit.session) == (0, record(seed=1), opening.session)
    assert opening.session is not None
    home.far.unit(opening.session, 0, record(seed=2))
    answer = atls_client.read_opened(await asking)
    assert answer == atls_client.Opened(opening.session, atls_client.ReceivedUnit(0, "adtls", record(seed=2)))
    # The same again, and nothing happens twice. The unit wasn't acknowledged: it comes again.
    assert atls_client.read_opened(await phone.request(request)) == answer
    assert len(home.far.of(Unit)) == 1


async def test_the_same_open_gives_the_same_session_over_a_new_association(home: Home) -> None:
    first = await home.raw("phone")
    session = await opened(first, "lamp", nonce="ab" * 8)
    second = await home.client("phone")
    assert await opened(second, "lamp", nonce="ab" * 8) == session
    assert await sent(second, session, 0, record()) is None
    assert len(home.far.of(Open)) == 1
    tablet = await home.client("tablet")
    assert await opened(tablet, "lamp", nonce="ab" * 8) != session


async def test_an_open_of_a_session_that_was_closed_leaves_nothing(home: Home) -> None:
    phone = await home.client("phone")
    session = await opened(phone, "lamp", nonce="cd" * 8)
    assert await closed(phone, session) == codes.DELETED
    await until(lambda: not home.hub.engine.all_sessions())
    assert await opened(phone, "lamp", nonce="cd" * 8) == session
    assert await sent(phone, session, 0, record()) == atls_client.SessionRefused("unknown", codes.NOT_FOUND)
    assert home.adapter.status()["sessions"] == 0


async def test_a_unit_is_answered_when_the_next_hop_has_spoken(home: Home) -> None:
    phone = await home.client("phone")
    home.far.takes = False
    session = await opened(phone, "lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    tasks = [asyncio.get_running_loop().create_task(sent(phone, session, n, record(seed=n))) for n in range(3)]
    await until(lambda: len(home.far.of(Unit)) == 3)
    assert not any(task.done() for task in tasks)
    home.far.settle(home.far.orders[1])
    assert await tasks[0] is None
    home.far.settle(home.far.orders[2], Outcome.DROPPED, Reason.UNREACHABLE)
    home.far.settle(home.far.orders[3], Outcome.EXPIRED)
    for task in tasks[1:]:
        answer = await task
        assert isinstance(answer, atls_client.SessionRefused) and answer.code == codes.GATEWAY_TIMEOUT


async def test_a_repeated_unit_is_answered_like_the_first_and_not_sooner(home: Home) -> None:
    home.far.takes = False
    first = await home.raw("phone")
    session = await opened(first, "lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    request = atls_client.send_request(session, 0, "adtls", record())
    original = first.start(request)
    await until(lambda: home.far.of(Unit))
    second = await home.raw("phone")
    repetitions = [second.start(request), second.start(request), first.start(request)]
    await asyncio.sleep(0.6)
    assert first.response(original) is None
    assert [second.response(each) for each in repetitions[:2]] == [None, None]
    home.far.settle(home.far.orders[1])
    await until(lambda: first.response(original) and first.response(repetitions[2]))
    await until(lambda: all(second.response(each) for each in repetitions[:2]))
    for client, exchange in ((first, original), (second, repetitions[0]), (second, repetitions[1])):
        response = client.response(exchange)
        assert response is not None and response.code == codes.CHANGED
    assert len(home.far.of(Unit)) == 1
    assert await sent(second, session, 0, record()) is None
    assert not home.adapter._submitted


async def test_a_repeated_unit_that_got_lost_is_refused_like_the_first(home: Home) -> None:
    home.far.takes = False
    first = await home.raw("phone")
    session = await opened(first, "lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    request = atls_client.send_request(session, 0, "adtls", record())
    original = first.start(request)
    await until(lambda: home.far.of(Unit))
    second = await home.raw("phone")
    repeated = second.start(request)
    await asyncio.sleep(0.1)
    home.far.settle(home.far.orders[1], Outcome.DROPPED, Reason.TOO_LARGE)
    await until(lambda: first.response(original) and second.response(repeated))
    for response in (first.response(original), second.response(repeated), await second.request(request)):
        assert response is not None
        assert (response.code, response.payload) == (codes.REQUEST_ENTITY_TOO_LARGE, b"too-large")


async def test_a_repeated_unit_does_not_acknowledge_the_answer_that_got_lost(home: Home) -> None:
    """The answer with unit 0 is lost with its association; the client repeats its request over the next one."""
    first = await home.raw("phone")
    session = await opened(first, "lamp")
    receipt = home.far.unit(session, 0, record(seed=1))
    await until(lambda: home.adapter._delivery._unsettled)
    first.start(atls_client.send_request(session, 0, "adtls", record()))
    first.deaf = True
    await until(lambda: home.far.of(Unit))
    await asyncio.sleep(0.1)
    second = await home.client("phone")
    assert await sent(second, session, 0, record()) == atls_client.ReceivedUnit(0, "adtls", record(seed=1))
    assert home.far.outcome(receipt) is None
    assert await sent(second, session, 1, record()) is None
    assert home.far.outcome(receipt) == (Outcome.DELIVERED, None)


async def test_a_delete_lets_the_units_before_it_pass(home: Home) -> None:
    phone = await home.client("phone")
    home.far.takes = False
    session = await opened(phone, "lamp")
    await until(lambda: home.far.orders)
    home.far.settle(home.far.orders[0])
    sending = asyncio.get_running_loop().create_task(sent(phone, session, 0, record()))
    await until(lambda: home.far.of(Unit))
    assert await closed(phone, session) == codes.DELETED
    assert await closed(phone, session) == codes.DELETED  # it drains still
    assert not home.far.of(Close)
    home.far.settle(home.far.orders[1])
    assert await sending is None
    await until(lambda: home.far.of(Close))
    assert home.far.of(Close)[0].reason is Reason.CLOSED
    assert await closed(phone, session) == codes.NOT_FOUND
    assert home.adapter.status()["sessions"] == 0


async def test_who_reads_an_answer_and_then_has_nothing_to_say_keeps_its_session(home: Home) -> None:
    """Also for longer than a unit waits for its client."""
    phone = await home.client("phone")
    session = await opened(phone, "lamp")
    receipt = home.far.unit(session, 0, record(seed=1))
    assert await sent(phone, session, 0, record()) == atls_client.ReceivedUnit(0, "adtls", record(seed=1))
    await until(lambda: home.far.outcome(receipt) == (Outcome.DELIVERED, None), 3.0)
    assert not home.far.of(Close)
    assert await sent(phone, session, 1, record()) is None


async def test_the_directory_lists_what_may_be_opened_and_can_be_filtered(start: Start) -> None:
    policy = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: coap, psk_identity: phone}
  tablet: {link: coap, psk_identity: tablet}
resources:
  "name with <space>": {subject: lamp}
rules:
  - {id: out, effect: permit, subject: phone, resource: lamp}
"""
    home = await start(policy)
    phone = await home.client("phone")
    response = await phone.request(atls_client.core_request())
    assert [link.target for link in read_links(response.payload)] == ["/atls/inbox", "/atls?to=lamp"]
    assert (await phone.request(atls_client.core_request("rt=atls"))).payload == (
        b'</atls?to=lamp>;rt="atls";ct="65000 65001 65002";title="lamp"'
    )
    tablet = await home.client("tablet")
    response = await tablet.request(atls_client.core_request())
    assert [link.target for link in read_links(response.payload)] == ["/atls/inbox"]
    refused = atls_client.read_opened(await tablet.request(atls_client.open_request("lamp", "00" * 8, "adtls", b"")))
    assert isinstance(refused, atls_client.SessionRefused) and refused.reason == "denied"


async def test_nothing_stands_behind_the_implied_target(home: Home) -> None:
    phone = await home.client("phone")
    response = await phone.request(atls_client.open_implied_request("adtls", record()))
    assert response.code == codes.NOT_FOUND


async def test_kinds_without_a_content_format_do_not_come_here(home: Home) -> None:
    phone = await home.client("phone")
    for kind in (ContentKind.OSCORE, ContentKind.EDHOC):
        session = home.far.open("phone", kind)
        await until(lambda session=session: home.far.of(Close, session))
        assert home.far.of(Close, session)[0].reason is Reason.CONTENT
    kept = home.far.open("phone", ContentKind.ATLS_DATA)
    await until(lambda: home.adapter.status()["sessions"])
    assert await inbox(phone) == [(kept, "65002", "lamp")]


async def test_opens_above_their_rate_are_refused_with_a_time_to_wait(start: Start) -> None:
    home = await start(limits=EngineLimits(subject_opens_burst=2))
    phone = await home.client("phone")
    answers = [await phone.request(atls_client.open_request("lamp", f"{n:016x}", "adtls", b"")) for n in (1, 2, 2, 3)]
    assert [codes.dotted(answer.code) for answer in answers] == ["2.01", "2.01", "2.01", "4.29"]
    refused = atls_client.read_opened(answers[3])
    assert isinstance(refused, atls_client.SessionRefused)
    assert (refused.reason, refused.retry_after) == ("over-rate", 1)
    assert len(home.far.of(Open)) == 2
