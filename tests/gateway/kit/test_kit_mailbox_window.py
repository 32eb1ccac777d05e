"""Pull mailboxes that hold several units of a session: order, receipts, and what becomes of those behind the lowest."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import (
    ANY_LINK,
    EnvelopeId,
    Outcome,
    Reason,
    Receipt,
)
from tests.harness.mailbox_site import GOOD, MUTUAL, PHONE, PLAIN, S2, Owning, Request, S, Site, Stream, run


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
