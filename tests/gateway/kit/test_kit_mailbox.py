"""Pull mailboxes without a carriage: who gets a unit, when, and that each transmit and each request ends once."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import (
    ANY_LINK,
    Address,
    Close,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Reset,
    Sealed,
    SessionId,
    SurvivingEnd,
    Transmit,
    Unit,
)
from gateway.kit.mailbox import Mailboxes
from gateway.kit.mailbox_state import Downlink, MailboxConnection, MailboxLimits
from gateway.testing.recording_context import RecordingContext
from tests.harness.skipping_loop import SkippingLoop

ADTLS = ContentKind.ADTLS
FAR = Peer(scheme="far", claims=("far:a",), link=LinkSecurity(protocol="none"))
PLAIN, GOOD = LinkSecurity(protocol="none"), LinkSecurity(protocol="tls1.3", authenticated=True)
MUTUAL = LinkRequirement(min_version="tls1.2")
PHONE, OTHER = "key:phone", "key:other"
S, S2 = SessionId("01"), SessionId("02")


@dataclass(slots=True, eq=False)
class Request:
    """A request; ``answers``: what it was answered with: a unit's number, "none", or a reason."""

    connection: MailboxConnection
    reads: bool = True
    reaches: bool = True
    answers: list[int | str] = field(default_factory=list)

    def answer(self, unit: Unit | None) -> bool:
        self.answers.append("none" if unit is None else unit.n)
        return self.reaches

    def refuse(self, reason: Reason) -> None:
        self.answers.append(reason.value)


@dataclass(slots=True, eq=False)
class Stream:
    """An observer; ``seen``: the numbers of units, and why it ended."""

    connection: MailboxConnection
    works: bool = True
    seen: list[int | str] = field(default_factory=list)

    def push(self, unit: Unit) -> bool:
        if self.works:
            self.seen.append(unit.n)
        return self.works

    def end(self, reason: Reason) -> None:
        self.seen.append(reason.value)

    def replaced(self) -> None:
        self.seen.append("replaced")


class Owning(RecordingContext):
    """A gateway that knows whose sessions are whose."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.owned: set[tuple[str, SessionId]] = set()

    def owns(self, peer: Peer, session: SessionId) -> bool:
        return any((claim, session) in self.owned for claim in peer.claims)


class Site:
    def __init__(self, **limits: Any) -> None:
        self.context = Owning()
        self.changed: list[str] = []
        self.boxes: Mailboxes[MailboxConnection, Request] = Mailboxes(
            "web", (ADTLS,), MailboxLimits(**limits), lambda box: self.changed.append(box.claim)
        )
        self.boxes.begin(self.context, ())
        self.ids = itertools.count(1)

    def connect(self, *claims: str, link: LinkSecurity = GOOD) -> MailboxConnection:
        connection = MailboxConnection(Peer(scheme="web", claims=claims, link=link))
        self.boxes.connect(connection)
        return connection

    def of(self, session: SessionId = S, claim: str = PHONE) -> Downlink[MailboxConnection, Request]:
        self.context.owned.add((claim, session))
        return self.boxes.table.downlink(self.boxes.table.of(claim), session, ADTLS)

    def send(self, envelope: Any, claim: str, require: LinkRequirement = ANY_LINK) -> EnvelopeId:
        self.boxes.send(Transmit(envelope, Address(scheme="web", claim=claim), require))
        return envelope.id

    def unit(
        self, n: int, session: SessionId = S, claim: str = PHONE, octets: int = 10, require: LinkRequirement = ANY_LINK
    ) -> EnvelopeId:
        self.context.owned.add((claim, session))
        payload = Sealed(bytes(octets))
        unit = Unit(
            id=EnvelopeId(next(self.ids)),
            source=FAR,
            session=session,
            content=ADTLS,
            n=n,
            payload=payload,
            received_at=0.0,
        )
        return self.send(unit, claim, require)

    def open(self, session: SessionId = S, claim: str = PHONE, require: LinkRequirement = ANY_LINK) -> EnvelopeId:
        self.context.owned.add((claim, session))
        identifier = EnvelopeId(next(self.ids))
        fields = {"to": "phone", "content": ADTLS, "nonce": b"\x01", "session": session, "sender": "lamp"}
        return self.send(Open(id=identifier, source=FAR, received_at=0.0, **fields), claim, require)  # type: ignore[arg-type]

    def end(self, session: SessionId = S, claim: str = PHONE) -> EnvelopeId:
        identifier = EnvelopeId(next(self.ids))
        close = Close(id=identifier, source=None, session=session, reason=Reason.CLOSED, received_at=0.0)
        return self.send(close, claim)

    def outcome(self, envelope: EnvelopeId) -> Outcome | Reason | None:
        """Of the one receipt that there may be; the reason if it was dropped."""
        found: list[Receipt] = [each for each in self.context.receipts if each.id == envelope]
        assert len(found) <= 1
        return (found[0].reason or found[0].outcome) if found else None

    def check_empty(self) -> None:
        boxes = self.boxes
        assert not len(boxes.table) and not boxes.table.sessions and not boxes.octets
        assert not boxes._unsettled and not boxes._holding and not boxes._waits
        assert not len(boxes._absence) and not len(boxes._windows)


def run(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(play())


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
        assert [request.answers for request in requests] == [["none"], [0], []]

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


class Ending(Owning):
    """A gateway that ends a session as soon as one of its units is lost, and takes back the rest: a TLS session."""

    def settle(self, receipt: Receipt) -> None:
        super().settle(receipt)
        if receipt.outcome is Outcome.DROPPED:
            self.owned = {(claim, session) for claim, session in self.owned if session != receipt.session}


def test_units_that_are_acknowledged_together_have_their_receipts_in_order_and_are_not_sent() -> None:
    async def play() -> None:
        site = Site(window=8)
        phone = site.connect(PHONE)
        site.boxes.observe(site.of(), stream := Stream(phone))
        units = [site.unit(n) for n in range(5)]
        site.boxes.acknowledge_below(site.of(), 3)
        assert stream.seen == [0, 3]
        assert [receipt.id for receipt in site.context.receipts] == units[:3]
        site.boxes.acknowledge_below(site.of(), 3)
        assert stream.seen == [0, 3] and len(site.context.receipts) == 3

    run(play)


def test_a_unit_behind_a_lost_one_is_not_sent_if_the_session_ended_with_that() -> None:
    async def play() -> None:
        site = Site(window=8)
        site.context = site.boxes.context = site.boxes.table.context = Ending()
        units = [site.unit(0, require=MUTUAL), site.unit(1, require=MUTUAL), site.unit(2)]
        request = Request(site.connect(PHONE, link=PLAIN))
        site.boxes.wait(request, site.boxes.table.kept(PHONE)[S])
        assert [site.outcome(unit) for unit in units] == [Reason.LINK, None, None]  # the engine takes the others back
        assert request.answers == ["none"] and not site.boxes.octets
        for unit in units[1:]:
            site.boxes.withdraw(unit)

    run(play)


def test_units_that_wait_too_long_are_dropped_with_the_first_alone_if_the_session_ends_with_that() -> None:
    async def play() -> None:
        site = Site(window=8, absence=25.0)
        site.context = site.boxes.context = site.boxes.table.context = Ending()
        units = [site.unit(n) for n in range(3)]
        await asyncio.sleep(26.0)
        assert [site.outcome(unit) for unit in units] == [Reason.UNREACHABLE, None, None]
        site.check_empty()

    run(play)


def test_a_unit_that_is_taken_back_brings_no_other_unit_of_a_session_that_is_over() -> None:
    async def play() -> None:
        site = Site(window=8)
        phone = site.connect(PHONE)
        site.boxes.observe(site.of(), stream := Stream(phone))
        units = [site.unit(n) for n in range(3)]
        site.context.owned.clear()
        for unit in units:
            site.boxes.withdraw(unit)
        assert stream.seen == [0] and not site.boxes.octets and not site.context.receipts

    run(play)


def test_a_session_has_waited_as_long_as_its_lowest_unit_whatever_becomes_of_the_others() -> None:
    async def play() -> None:
        site = Site(window=8, octets=100)
        units = [site.unit(0, S, octets=40), site.unit(1, S, octets=20)]
        site.unit(0, S2, octets=40)
        site.boxes.withdraw(units[1])
        site.unit(1, S2, octets=40)
        assert site.outcome(units[0]) is Reason.UNREACHABLE and site.boxes.octets == 80

    run(play)


class Client:
    """A peer that keeps to the protocol, and what it has had of one session.

    ``seen``: the numbers in the order in which it first saw them. It asks for none above the next, and acknowledges
    what its observer was sent last.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.connection = site.connect(PHONE)
        self.stream: Stream | None = None
        self.requests: list[Request] = []
        self.seen: list[int] = []

    def look(self) -> None:
        """See what came since the last look."""
        came = [n for request in self.requests for n in request.answers if request.reaches]
        came += self.stream.seen if self.stream is not None else []
        for n in came:
            if isinstance(n, int) and n not in self.seen:
                self.seen.append(n)
        self.requests = [request for request in self.requests if not request.answers]

    @property
    def pushed(self) -> int | None:
        """The unit under way to its observer."""
        last = self.stream.seen[-1] if self.stream is not None and self.stream.seen else None
        return last if isinstance(last, int) else None

    def ask(self, *, reads: bool, reaches: bool) -> None:
        request = Request(self.connection, reads=reads, reaches=reaches)
        self.requests.append(request)
        self.site.boxes.wait(request, self.site.of())


MOVES = (
    "unit",
    "unit",
    "unit",
    "weak",
    "acknowledge",
    "observe",
    "cut",
    "read",
    "below",
    "post",
    "new",
    "back",
    "wait",
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 15)), max_size=80), st.integers(1, 8))
def test_a_client_that_mixes_observing_and_reading_misses_nothing(moves: list[tuple[str, int]], window: int) -> None:
    """Each unit comes in order, none before all lower ones are acknowledged, dropped or taken back; each has one
    receipt, in order; and none counts as delivered that the client never saw."""

    async def play() -> None:
        site = Site(window=window, absence=1000.0, reply_window=2.0)
        client = Client(site)
        sent: dict[EnvelopeId, int] = {}
        over: set[EnvelopeId] = set()  # taken back

        def unsettled() -> list[EnvelopeId]:
            return [each for each in sent if each not in over and site.outcome(each) is None]

        for what, which in moves:
            downlink = site.of()
            if what in ("unit", "weak") and len(unsettled()) < window:
                sent[site.unit(len(sent), require=MUTUAL if what == "weak" else ANY_LINK)] = len(sent)
            elif what == "acknowledge" and client.pushed is not None and downlink.observer is client.stream:
                if downlink.units and client.pushed == downlink.units[0].envelope.n:  # type: ignore[union-attr]
                    site.boxes.acknowledge(downlink)
            elif what == "observe":
                client.look()
                client.stream = Stream(client.connection, works=which % 5 != 0)
                site.boxes.observe(downlink, client.stream)
            elif what == "cut" and client.stream is not None:
                site.boxes.observation_ended(downlink, client.stream)
            elif what == "read":
                client.ask(reads=True, reaches=which % 3 != 0)
            elif what == "below":
                client.look()
                named = [n for n in client.seen if n >= max(client.seen) - which] or [-1]
                site.boxes.acknowledge_below(downlink, named[which % len(named)] + 1)
                client.ask(reads=True, reaches=which % 3 != 0)
            elif what == "post":
                if downlink.shown:
                    client.look()
                    site.boxes.acknowledge(downlink)
                client.ask(reads=False, reaches=which % 3 != 0)
            elif what == "new":  # another association, whose link may be a worse one
                client.look()
                client.stream = None
                site.boxes.disconnect(client.connection)
                client.connection = site.connect(PHONE, link=GOOD if which % 3 else PLAIN)
            elif what == "back" and (there := unsettled()):
                over.add(there[which % len(there)])
                site.boxes.withdraw(there[which % len(there)])
            elif what == "wait":
                await asyncio.sleep(which / 4)
            client.look()
            waiting = [sent[each] for each in unsettled()]
            assert not client.seen or not waiting or max(client.seen) <= waiting[0]
            observing = downlink.observer is not None and downlink.observer is client.stream
            assert not (observing and waiting) or client.pushed == waiting[0]
        assert client.seen == sorted(client.seen)
        receipts = [receipt.id for receipt in site.context.receipts]
        assert receipts == sorted(set(receipts)) and not over & set(receipts)
        delivered = {sent[receipt.id] for receipt in site.context.receipts if receipt.outcome is Outcome.DELIVERED}
        assert delivered <= set(client.seen)
        site.boxes.disconnect(client.connection)
        await asyncio.sleep(1001.0 * (window + 1))  # one by one, as long as the lowest was shown
        assert not unsettled()

    run(play)


def _payload(transmit: Transmit) -> bytes:
    assert isinstance(transmit.envelope, Unit)
    return transmit.envelope.payload.octets
