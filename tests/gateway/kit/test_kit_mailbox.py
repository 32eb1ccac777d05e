"""Pull mailboxes without a carriage: who gets a unit, when, and that each transmit and each request ends once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import (
    ANY_LINK,
    Close,
    ContentKind,
    EnvelopeId,
    Outcome,
    Reason,
    Reset,
    Sealed,
    SessionId,
    SurvivingEnd,
    Transmit,
    Unit,
)
from gateway.kit.mailbox_state import MailboxConnection
from tests.harness.mailbox_site import ADTLS, FAR, GOOD, MUTUAL, OTHER, PHONE, PLAIN, S2, Request, S, Site, Stream, run


def test_a_reader_waits_for_the_next_unit_and_no_longer_than_its_window() -> None:
    async def play() -> None:
        site = Site(reply_window=2.0)
        phone = site.connect(PHONE)
        early, late = Request(phone), Request(phone)
        site.boxes.wait(early, site.of())
        await asyncio.sleep(1.0)
        unit = site.unit(0)
        assert early.answers == [0] and site.outcome(unit) is None
        site.boxes.acknowledge(site.of())
        assert site.outcome(unit) is Outcome.DELIVERED
        site.boxes.wait(late, site.of())
        await asyncio.sleep(1.9)
        assert late.answers == []
        await asyncio.sleep(0.2)
        assert late.answers == ["none"]

    run(play)


def test_a_reader_without_a_window_waits_until_its_connection_gives_it_up() -> None:
    async def play() -> None:
        site = Site(reply_window=2.0)
        phone = site.connect(PHONE)
        given_up, patient = Request(phone), Request(phone)
        for request in (given_up, patient):
            site.boxes.wait(request, site.of(), timed=False)
        await asyncio.sleep(60.0)
        site.boxes.cancel(given_up)
        site.boxes.cancel(given_up)
        site.unit(0)
        assert (given_up.answers, patient.answers) == ([], [0])
        site.boxes.cancel(patient)
        assert not site.boxes._waits and not len(site.boxes._windows)

    run(play)


def test_units_of_a_session_are_read_in_order_each_until_it_is_acknowledged() -> None:
    async def play() -> None:
        site = Site(window=3)
        phone = site.connect(PHONE)
        units = [site.unit(n) for n in range(4)]
        assert site.outcome(units[3]) is Reason.BUSY and site.boxes.octets == 30
        for _ in range(2):
            request = Request(phone)
            site.boxes.wait(request, site.of())
            assert request.answers == [0]
        site.boxes.acknowledge_below(site.of(), 2)
        assert [site.outcome(unit) for unit in units[:3]] == [Outcome.DELIVERED, Outcome.DELIVERED, None]
        site.boxes.wait(request := Request(phone), site.of())
        assert request.answers == [2]

    run(play)


def test_who_waits_gets_the_unit_behind_the_one_that_is_acknowledged_or_taken_back() -> None:
    async def play() -> None:
        site = Site(window=4)
        phone = site.connect(PHONE)
        stream = Stream(phone)
        site.boxes.observe(site.of(), stream)
        units = [site.unit(n) for n in range(4)]
        assert stream.seen == [0]
        site.boxes.acknowledge(site.of())
        assert stream.seen == [0, 1]
        site.boxes.withdraw(units[2])
        site.boxes.withdraw(units[1])
        assert stream.seen == [0, 1, 3] and site.boxes.octets == 10
        site.boxes.withdraw(units[3])
        site.boxes.withdraw(units[3])
        assert [site.outcome(unit) for unit in units] == [Outcome.DELIVERED, None, None, None]

    run(play)


def test_a_unit_that_no_client_fetches_ends_its_session_and_the_other_end_learns_it() -> None:
    async def play() -> None:
        site = Site(absence=25.0)
        unit = site.unit(0)
        await asyncio.sleep(24.0)
        assert site.outcome(unit) is None
        await asyncio.sleep(2.0)
        assert site.outcome(unit) is Reason.UNREACHABLE and site.boxes.counters["unreachable"] == 1
        (close,) = site.context.submitted
        assert isinstance(close, Close) and (close.session, close.reason) == (S, Reason.UNREACHABLE)
        assert close.source is not None and close.source.claims == (PHONE,)
        site.check_empty()

    run(play)


def test_a_unit_that_went_out_with_an_answer_counts_as_taken_in_the_end() -> None:
    async def play() -> None:
        site = Site(absence=25.0)
        unit = site.unit(0)
        lost = Request(site.connect(PHONE), reaches=False)
        site.boxes.wait(lost, site.of())
        assert lost.answers == [0] and not site.of().shown
        site.boxes.wait(Request(site.connect(PHONE)), site.of())
        assert site.of().shown
        await asyncio.sleep(26.0)
        assert site.outcome(unit) is Outcome.DELIVERED and not site.context.submitted

    run(play)


def test_the_units_that_have_waited_longest_make_room_and_are_counted() -> None:
    async def play() -> None:
        site = Site(window=2, octets=100)
        first, second = site.unit(0, S, octets=40), site.unit(0, S2, octets=40)
        site.boxes.acknowledge(site.of(S))  # so the other one has waited longest
        third = site.unit(1, S, octets=40)
        assert site.outcome(first) is Outcome.DELIVERED and site.boxes.octets == 80
        fourth = site.unit(2, S, octets=40)
        assert site.outcome(second) is Reason.UNREACHABLE and site.boxes.counters["evicted"] == 1
        assert site.outcome(third) is None and site.outcome(fourth) is None and site.boxes.octets == 80
        alone = site.unit(0, S2, octets=101)  # longer than all room: nothing helps it
        assert site.outcome(alone) is Reason.UNREACHABLE and not site.boxes.octets
        assert site.boxes.counters["evicted"] == 3

    run(play)


def test_more_requests_than_may_wait_answer_the_oldest() -> None:
    async def play() -> None:
        site = Site(readers=2)
        phone = site.connect(PHONE)
        requests = [Request(phone) for _ in range(3)]
        for request in requests:
            site.boxes.wait(request, site.of())
        assert [request.answers for request in requests] == [["none"], [], []]
        assert site.boxes.counters["readers_evicted"] == 1
        site.unit(0)
        assert [request.answers for request in requests] == [["none"], [0], [0]]

    run(play)


def test_one_that_observes_gets_units_there_and_may_read_them_again() -> None:
    async def play() -> None:
        site = Site()
        phone = site.connect(PHONE)
        waiting, post, read = Request(phone, reads=False), Request(phone, reads=False), Request(phone)
        site.boxes.wait(waiting, site.of())
        before, stream = Stream(phone), Stream(phone)
        site.boxes.observe(site.of(), before)
        site.boxes.observe(site.of(), stream)
        assert waiting.answers == ["none"] and before.seen == ["replaced"]
        site.unit(0)
        site.boxes.wait(post, site.of())
        site.boxes.wait(read, site.of())
        assert (stream.seen, post.answers, read.answers) == ([0], ["none"], [0])
        site.boxes.observation_ended(site.of(), before)  # it is over for long
        assert site.of().observer is stream
        site.boxes.observation_ended(site.of(), stream)
        site.boxes.observe(site.of(), broken := Stream(phone, works=False))
        assert site.of().observer is None and not broken.seen
        assert site.boxes.counters["notifications"] == 1

    run(play)


def test_a_unit_goes_over_no_worse_link_than_its_route_asks_for() -> None:
    async def play() -> None:
        site = Site(window=3)
        units = [site.unit(0, require=MUTUAL), site.unit(1), site.unit(2)]
        request = Request(site.connect(PHONE, link=PLAIN))
        site.boxes.wait(request, site.of())
        assert request.answers == [1]
        assert [site.outcome(unit) for unit in units] == [Reason.LINK, None, None]

    run(play)


def test_an_open_is_listed_and_reaches_the_client_that_connects() -> None:
    async def play() -> None:
        site = Site()
        opened = site.open()
        assert site.outcome(opened) is None and site.changed == [PHONE]
        other = site.connect(OTHER)
        assert site.outcome(opened) is None and not list(site.boxes.table.offered(other))
        phone = site.connect(PHONE)
        assert site.outcome(opened) is Outcome.DELIVERED
        assert [each.session for each in site.boxes.table.offered(phone)] == [S]
        again = site.open(S2, require=MUTUAL)
        assert site.outcome(again) is Outcome.DELIVERED
        ended = site.end()
        assert site.outcome(ended) is Outcome.DELIVERED and site.changed == [PHONE] * 3
        assert [each.session for each in site.boxes.table.offered(phone)] == [S2]

    run(play)


def test_an_open_that_no_client_takes_or_only_over_a_worse_link_fails() -> None:
    async def play() -> None:
        site = Site(absence=25.0)
        missed, refused = site.open(S), site.open(S2, OTHER, require=MUTUAL)
        site.connect(OTHER, link=PLAIN)
        assert site.outcome(refused) is Reason.LINK
        await asyncio.sleep(26.0)
        assert site.outcome(missed) is Reason.UNREACHABLE

    run(play)


def test_an_end_answers_the_waiting_reader_and_what_a_carriage_has_no_word_for_is_dropped() -> None:
    async def play() -> None:
        site = Site()
        phone = site.connect(PHONE)
        waiting, stream = Request(phone), Stream(phone)
        site.boxes.wait(waiting, site.of(S))
        site.boxes.observe(site.of(S2), stream)
        unit = site.unit(0, S2)
        site.end(S)
        site.end(S2)
        assert waiting.answers == ["closed"] and stream.seen == [0, "closed"]
        assert site.outcome(unit) is Reason.CLOSED
        assert site.outcome(site.end(S, OTHER)) is Reason.UNREACHABLE
        unknown = replace(_unit(site), content=ContentKind("coap"))
        assert site.outcome(site.send(unknown, PHONE)) is Reason.CONTENT
        site.boxes.disconnect(phone)
        site.check_empty()

    run(play)


def test_two_peers_that_share_a_claim_see_nothing_of_each_other() -> None:
    async def play() -> None:
        site = Site()
        keeper, other = site.connect(PHONE), site.connect(OTHER, PHONE)
        site.unit(0, S, PHONE)
        owns = site.context.owns
        site.context.owns = lambda peer, session: peer.claims != (OTHER, PHONE) and owns(peer, session)  # type: ignore[method-assign]
        assert site.boxes.table.owned(other, S) is None and site.boxes.table.find(other, S) is None
        assert site.boxes.table.owned(keeper, S) is site.boxes.table.get(PHONE)

    run(play)


def test_a_peer_that_is_shut_out_loses_all_sessions_without_a_receipt() -> None:
    async def play() -> None:
        site = Site()
        phone = site.connect(PHONE)
        unit, waiting = site.unit(0, S), Request(phone)
        site.boxes.wait(waiting, site.of(S2))
        site.boxes.end_all(PHONE)
        assert isinstance(site.context.submitted[0], Reset)
        assert waiting.answers == ["denied"] and site.outcome(unit) is None  # the engine has taken it back
        site.boxes.disconnect(phone)
        site.check_empty()

    run(play)


def test_sessions_of_before_go_on() -> None:
    async def play() -> None:
        site = Site()
        ends = [
            SurvivingEnd(
                session=session,
                content=content,
                claim=PHONE,
                opened=opened,
                to="lamp",
                sender="lamp",
                nonce=b"",
                next_in=0,
                next_out=0,
            )
            for session, content, opened in (
                (S, ADTLS, True),
                (S2, ADTLS, False),
                (SessionId("03"), ContentKind("coap"), True),
            )
        ]
        site.boxes.begin(site.context, ends)
        site.context.owned |= {(PHONE, S), (PHONE, S2)}
        assert set(site.boxes.table.kept(PHONE)) == {S, S2}
        assert [each.session for each in site.boxes.table.offered(site.connect(PHONE))] == [S2]

    run(play)


def _unit(site: Site) -> Unit:
    payload = Sealed(b"x")
    identifier = EnvelopeId(next(site.ids))
    return Unit(id=identifier, source=FAR, session=S, content=ADTLS, n=0, payload=payload, received_at=0.0)


STEPS = (
    "unit",
    "open",
    "end",
    "withdraw",
    "read",
    "post",
    "observe",
    "cut",
    "acknowledge",
    "below",
    "come",
    "go",
    "wait",
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), max_size=60))
def test_each_transmit_and_each_request_ends_once_whatever_happens(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        site = Site(window=2, octets=60, readers=2, reply_window=2.0, absence=10.0)
        connections: list[MailboxConnection] = []
        requests: list[Request] = []
        sent: list[EnvelopeId] = []
        withdrawn: set[EnvelopeId] = set()
        numbers: Counter[SessionId] = Counter()
        for what, which in steps:
            session, claim = ((S, PHONE), (S2, OTHER))[which % 2]
            connection = connections[which % len(connections)] if connections else None
            if what == "unit":
                sent.append(site.unit(numbers[session], session, claim, octets=which))
                numbers[session] += 1
            elif what == "open":
                sent.append(site.open(session, claim, MUTUAL if which % 3 else ANY_LINK))
            elif what == "end":
                sent.append(site.end(session, claim))
            elif what == "withdraw":
                open_now = [each for each in sent if site.outcome(each) is None and each not in withdrawn]
                if open_now:
                    withdrawn.add(open_now[which % len(open_now)])
                    site.boxes.withdraw(open_now[which % len(open_now)])
            elif what == "wait":
                await asyncio.sleep(which / 4)
            elif what == "come":
                if len(connections) < 4:
                    connections.append(site.connect(claim, link=GOOD if which % 3 else PLAIN))
            elif connection is not None and (box := connection.boxes[0]) is site.boxes.table.get(box.claim):
                session = S if box.claim == PHONE else S2
                downlink = site.of(session, box.claim)
                if what in ("read", "post"):
                    requests.append(Request(connection, reads=what == "read", reaches=which % 4 != 0))
                    site.boxes.wait(requests[-1], downlink)
                elif what == "observe":
                    site.boxes.observe(downlink, Stream(connection, works=which % 4 != 0))
                elif what == "cut" and downlink.observer is not None:
                    site.boxes.observation_ended(downlink, downlink.observer)
                elif what == "acknowledge":
                    site.boxes.acknowledge(downlink)
                elif what == "below":
                    site.boxes.acknowledge_below(downlink, which)
                elif what == "go":
                    connections.remove(connection)
                    site.boxes.disconnect(connection)
            held = [each for box in (PHONE, OTHER) for each in site.boxes.table.kept(box).values()]
            assert site.boxes.octets == sum(len(_payload(unit)) for each in held for unit in each.units) <= 60
            assert all(len(each.units) <= 2 and len(each.waiting) <= 2 for each in held)
        await asyncio.sleep(60.0)
        for connection in connections:
            site.boxes.disconnect(connection)
        for request in requests:
            assert len(request.answers) == 1 or (not request.answers and request.connection.gone)
        settled = Counter(receipt.id for receipt in site.context.receipts)
        assert set(settled.values()) <= {1}
        assert settled.keys() == set(sent) - withdrawn
        for session, claim in ((S, PHONE), (S2, OTHER)):
            site.end(session, claim)
        site.check_empty()

    run(play)


def _payload(transmit: Transmit) -> bytes:
    assert isinstance(transmit.envelope, Unit)
    return transmit.envelope.payload.octets
