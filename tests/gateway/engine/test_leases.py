"""How far a session's row may be behind, and that a crash then loses nothing: no number twice, no gap that is none."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.model import ContentKind, EnvelopeId, Outcome, Receipt, Transmit, Unit
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import ReportOutcome
from gateway.engine.policy import Condition
from gateway.engine.stored import Unsaved
from gateway.engine.write_behind import LEASE, SETTLED, session_row
from layer.tls_stream import StreamState, TlsRecordReader
from tests.harness.engine_stage import KINDS, Stage, permit
from tests.harness.tls_octets import (
    client_hello,
    dtls_fragment,
    dtls_record,
    server_hello,
    tls_message,
    tls_record,
)

ATLS, ADTLS, ATLS_DATA = ContentKind.ATLS, ContentKind.ADTLS, ContentKind.ATLS_DATA
DATA = {ATLS: tls_record(23, b"x" * 20), ADTLS: dtls_record(23, b"x" * 20, 1), ATLS_DATA: b"x" * 20}


def dtls_message(kind: int, body: bytes, message_seq: int = 0) -> bytes:
    return dtls_record(22, dtls_fragment(kind, body, 0, len(body), message_seq))


HELLO = {
    ATLS: tls_record(22, tls_message(1, client_hello(dtls=False, versions=(0x0304,)))),
    ADTLS: dtls_message(1, client_hello(dtls=True, versions=(0xFEFD,))),
}
READS = Condition(record_types=frozenset({20, 21, 22, 23}))
AROUND_A_LEASE = [LEASE - 1, LEASE, LEASE + 1]


class Home(Stage):
    """A session s1 from the phone to the lamp, whose row is committed whenever something is to be written soon."""

    def __init__(self, kind: ContentKind, condition: Condition | None = None) -> None:
        super().__init__(
            permit("r", "phone", "lamp", content=KINDS, condition=condition or Condition()),
            limits=EngineLimits(idle=100.0),
        )
        self.kind = kind
        self.commits = 0
        self.out: deque[Unit] = deque()
        """What went out, in order."""
        self.has_a_store()
        self.opens("phone", "lamp", kind)
        self.settles(1)
        self.is_committed()

    def next_id(self) -> EnvelopeId:
        self.last_id = super().next_id()
        return self.last_id

    def lines(self) -> list[str]:
        said = super().lines()
        orders = [each.envelope for each in self.commands if isinstance(each, Transmit)]
        self.out.extend(each for each in orders if isinstance(each, Unit))
        return said

    def is_committed(self) -> None:
        """As the daemon does it, but at once."""
        if self.engine.unsaved:
            self.stores()
            self.commits += 1

    def delivers(self, who: str, n: int, payload: bytes | None = None) -> None:
        """One unit, which is taken on, goes out with its number and is settled."""
        said = self.sends(who, "s1", n, DATA[self.kind] if payload is None else payload, self.kind)
        assert said[0] == "accepted s1"
        (sent,) = [each.envelope for each in self.commands if isinstance(each, Transmit)]
        assert isinstance(sent, Unit) and sent.n == n
        self.settles(sent.id)
        self.is_committed()

    def is_killed(self) -> list[str]:
        """Only the last commit is left. Returns what each adapter gets when it is there again."""
        self.restarts()
        return [*self.resumes("zigbee"), *self.resumes("coap")]

    @property
    def alive(self) -> bool:
        return bool(self.engine.all_sessions())


@pytest.mark.parametrize("kind", [ATLS, ADTLS, ATLS_DATA])
def test_a_unit_that_is_delivered_at_once_costs_a_sixty_fourth_of_a_commit(kind: ContentKind) -> None:
    home = Home(kind)
    home.delivers("phone", 0)
    home.delivers("lamp", 0)
    before, rounds = home.commits, 8 * LEASE
    for n in range(1, rounds + 1):
        home.delivers("phone", n)
        home.waits(0.5)
        home.delivers("lamp", n)
    assert home.commits - before == 2 * rounds // LEASE
    assert (home.commits - before) / (2 * rounds) <= 0.02


@pytest.mark.parametrize("taken", AROUND_A_LEASE)
@pytest.mark.parametrize("kind", [ATLS, ADTLS, ATLS_DATA])
def test_after_a_crash_around_the_end_of_a_lease_both_directions_go_on(kind: ContentKind, taken: int) -> None:
    home = Home(kind)
    home.is_committed()
    for n in range(taken):
        home.delivers("phone", n)
    behind = taken - home.rows["sessions", ("s1",)].up.next_out
    assert home.is_killed() == [], "no adapter gets anything"
    (lamp,), (phone,) = home.engine.surviving("zigbee"), home.engine.surviving("coap")
    assert lamp.next_out == phone.next_in == taken - behind and 0 <= behind <= LEASE
    home.delivers("phone", taken)
    home.delivers("lamp", 0)
    for n in range(taken + 1, taken + 2 * LEASE):
        home.delivers("phone", n)
        home.delivers("lamp", n - taken)
    assert home.alive


@pytest.mark.parametrize("taken", AROUND_A_LEASE)
@pytest.mark.parametrize("kind", [ATLS, ADTLS, ATLS_DATA])
def test_what_was_not_acknowledged_before_a_crash_comes_again_under_its_number(kind: ContentKind, taken: int) -> None:
    """Its receiver had it and drops it: better twice than never."""
    home = Home(kind)
    for n in range(taken):
        home.delivers("phone", n)
    home.sends("phone", "s1", taken, DATA[kind], kind)
    home.is_committed()
    home.is_killed()
    home.delivers("phone", taken)
    home.delivers("phone", taken + 1)
    assert home.sends("phone", "s1", taken, DATA[kind], kind) == ["duplicate s1"]


def test_a_unit_that_goes_out_again_after_a_crash_takes_back_no_number() -> None:
    home = Home(ADTLS)
    home.engine.set_window("zigbee", 4)
    home.sends("phone", "s1", 0)
    home.delivers("phone", 1)
    home.rows["sessions", ("s1",)] = session_row(next(iter(home.engine._sessions)))
    home.is_killed()
    home.delivers("phone", 0)
    (lamp,) = home.engine.surviving("zigbee")
    assert lamp.next_out == 2


def test_crash_after_crash_a_row_is_behind_by_one_lease_and_no_more() -> None:
    home, taken = Home(ADTLS), 0
    for _ in range(5):
        for _ in range(LEASE - 1):
            home.delivers("phone", taken)
            taken += 1
        assert taken - home.rows["sessions", ("s1",)].up.watermark < LEASE
        home.is_killed()


def test_what_was_acknowledged_out_of_turn_before_a_crash_is_no_gap_of_a_tls_stream() -> None:
    """Adapters with a window may settle in any order; the sender repeats only what has no receipt."""
    home = Home(ATLS)
    home.engine.set_window("zigbee", 8)
    for n in range(6):
        home.sends("phone", "s1", n, DATA[ATLS], ATLS)
    for n in (1, 2, 4):
        home.settles(2 + n)
    home.is_committed()
    home.is_killed()
    for n in (0, 3, 5, 6, 7):
        home.delivers("phone", n)
    assert home.alive


def test_as_many_units_as_a_sender_has_without_a_receipt_may_each_have_such_a_hole_ahead() -> None:
    home = Home(ATLS)
    home.engine.set_window("zigbee", 1000)
    home.delivers("phone", 0)
    repeated = range(1, 2 * home.limits.queue_units - 1, 2)
    for n in repeated:
        home.sends("phone", "s1", n, DATA[ATLS], ATLS)
        home.delivers("phone", n + 1)
    row = home.rows["sessions", ("s1",)]
    home.rows["sessions", ("s1",)] = replace(row, up=replace(row.up, watermark=0))  # as if the lease were longer
    home.is_killed()
    for n in (*repeated, repeated.stop + 1, repeated.stop + 2):
        home.delivers("phone", n)
    assert home.sends("phone", "s1", repeated.stop + 4, DATA[ATLS], ATLS)[0] == "refused broken", "a real one"


def test_a_gap_of_a_tls_stream_in_a_run_ends_it_as_ever() -> None:
    home = Home(ATLS)
    home.delivers("phone", 0)
    assert home.sends("phone", "s1", 2, DATA[ATLS], ATLS)[0] == "refused broken"
    assert not home.alive


class TlsHome(Home):
    """A TLS session under a rule that reads its records, whose handshake is over."""

    def __init__(self) -> None:
        super().__init__(ATLS, READS)
        self.delivers("phone", 0, HELLO[ATLS])
        self.delivers("lamp", 0, tls_record(22, tls_message(2, server_hello(0x0304))) + DATA[ATLS][:12])
        self.delivers("lamp", 1, DATA[ATLS][12:])
        self.next = {"phone": 1, "lamp": 2}

    def says(self, count: int, payload: bytes = DATA[ATLS]) -> None:
        """So many units of each end."""
        for _ in range(count):
            for who in ("phone", "lamp"):
                self.delivers(who, self.next[who], payload)
                self.next[who] += 1

    def offers(self, who: str, payload: bytes, n: int | None = None) -> list[str]:
        n = self.next[who] if n is None else n
        self.next[who] = n + 1
        return self.sends(who, "s1", n, payload, ATLS)


def ended_at(lines: list[str]) -> list[str]:
    return [line.split(" ", 3)[0] for line in lines if line.endswith("close s1 restarted")]


@pytest.mark.parametrize("count", [SETTLED, *AROUND_A_LEASE])
def test_a_tls_stream_of_whole_records_is_read_on_after_a_crash(count: int) -> None:
    home = TlsHome()
    home.says(count)
    assert home.is_killed() == []
    home.says(2 * LEASE)
    assert home.is_killed() == [], "and after one more"
    home.says(1)
    assert home.offers("phone", b"no record")[0] == "refused broken", "and it is still read"


@pytest.mark.parametrize("count", [0, SETTLED - 3])
def test_a_crash_in_a_tls_handshake_ends_the_session_at_both_ends(count: int) -> None:
    """Nobody knows where its streams are: a reader that guesses could be led past the rule."""
    home = TlsHome()
    home.says(count)
    assert ended_at(home.is_killed()) == ["zigbee", "coap"]
    assert not home.alive


def test_a_unit_that_cuts_a_record_waits_until_the_row_says_so_and_later_ones_do_not() -> None:
    home = TlsHome()
    home.says(LEASE)
    home.offers("phone", DATA[ATLS])
    assert home.offers("phone", DATA[ATLS][:9]) == ["accepted s1"], "and nothing goes out"
    assert len(home.settles(home.last_id - 1)) == 1, "nor when there is room"
    assert home.offers("phone", DATA[ATLS][9:]) == ["accepted s1"]
    n = home.next["phone"] - 2
    said = home.stores()
    assert said[:2] == ["put units", "put sessions"]
    assert [line.split()[-1] for line in said[2:]] == ["held", f"n={n}"]
    assert home.settles(home.last_id - 1)[-1].endswith(f"n={n + 1}")
    home.settles(home.last_id)
    home.is_committed()
    before = home.commits
    for n in range(home.next["phone"], home.next["phone"] + LEASE, 2):
        home.delivers("phone", n, DATA[ATLS][:9])
        home.delivers("phone", n + 1, DATA[ATLS][9:])
    assert home.commits - before == 1, "the end of a lease"


def test_after_a_crash_a_tls_stream_whose_records_were_cut_ends() -> None:
    home = TlsHome()
    home.says(LEASE)
    home.offers("phone", DATA[ATLS][:9])
    home.stores()
    home.settles(home.last_id)
    assert ended_at(home.is_killed()) == ["zigbee", "coap"]


def test_after_a_crash_a_unit_that_cuts_a_record_can_not_be_read_on() -> None:
    """Its receiver may have had another one under its number, and drops this."""
    home = TlsHome()
    home.says(LEASE)
    home.is_killed()
    assert home.offers("phone", DATA[ATLS][:9])[0] == "refused broken"
    assert not home.alive


def test_after_an_orderly_stop_a_unit_that_cuts_a_record_is_read_on() -> None:
    home = TlsHome()
    home.says(LEASE)
    home.stops()
    home.is_killed()
    assert home.offers("phone", DATA[ATLS][:9]) == ["accepted s1"]
    assert home.stores()[-1].endswith(f" n={home.next['phone'] - 1}")


def test_a_flight_of_a_handshake_may_be_cut_anywhere_without_a_wait() -> None:
    home = TlsHome()
    for _ in range(3):
        home.says(1)
        home.engine.snapshot()  # the row was written, for whatever reason
        home.says(1, DATA[ATLS][:9])
        home.says(1, DATA[ATLS][9:])


def test_a_stream_whose_beginning_was_lost_with_its_row_is_not_begun_in_the_middle() -> None:
    home = Home(ATLS, READS)
    home.sends("phone", "s1", 0, HELLO[ATLS][:30], ATLS)
    home.settles(home.last_id)
    home.is_killed()
    assert home.sends("phone", "s1", 1, HELLO[ATLS], ATLS)[0] == "refused broken"


def test_without_a_store_no_unit_waits_for_a_row() -> None:
    home = TlsHome()
    home.engine.store_lost()
    home.says(2 * LEASE)
    home.says(3, DATA[ATLS][:9])
    assert home.alive


def test_a_unit_that_waits_for_a_row_waits_until_the_store_is_there_again() -> None:
    home = TlsHome()
    home.says(LEASE)
    home.engine.store_lost()
    home.offers("phone", DATA[ATLS][:9])
    assert home.waits(20.0) == []
    whole = home.engine.snapshot()
    home.engine.stored(whole, now=home.now)
    assert any(line.startswith("zigbee <- ") and " unit s1 " in line for line in home.lines())


def test_under_rules_that_read_no_records_no_unit_waits_for_a_row() -> None:
    home = Home(ATLS)
    home.delivers("phone", 0, HELLO[ATLS])
    home.delivers("lamp", 0, tls_record(22, tls_message(2, server_hello(0x0304))))
    for n in range(1, 2 * LEASE):
        home.delivers("phone", n)
    home.stops()
    home.is_killed()
    home.delivers("phone", 2 * LEASE, DATA[ATLS][:9])


def test_a_crash_in_the_middle_of_a_first_hello_is_no_beginning_of_the_stream() -> None:
    home = Home(ATLS, READS)
    home.delivers("phone", 0, HELLO[ATLS][:30])
    assert any(line.endswith("close s1 restarted") for line in home.is_killed())


@pytest.mark.parametrize("taken", [0, 1, *AROUND_A_LEASE])
def test_an_orderly_stop_loses_no_place_in_a_tls_stream(taken: int) -> None:
    home = Home(ATLS, READS)
    for n in range(taken):
        home.delivers("phone", n, HELLO[ATLS] if n == 0 else DATA[ATLS] + DATA[ATLS][:9] if n % 2 else DATA[ATLS][9:])
    home.stops()
    assert home.is_killed() == []
    (phone,) = home.engine.surviving("coap")
    assert phone.next_in == taken
    rest = HELLO[ATLS] if taken == 0 else DATA[ATLS] if taken % 2 else DATA[ATLS][9:]
    home.delivers("phone", taken, rest + tls_record(23, b"y"))
    assert home.sends("phone", "s1", taken + 1, b"no record", ATLS)[0] == "refused broken", "and it is still read"


def test_the_row_of_an_orderly_stop_is_not_left_to_a_crash_of_the_next_run() -> None:
    home = Home(ATLS, READS)
    home.delivers("phone", 0, HELLO[ATLS])
    home.stops()
    home.is_killed()
    home.delivers("phone", 1)
    assert any(line.endswith("close s1 restarted") for line in home.is_killed())


def test_a_handshake_is_written_for_what_it_shows_and_not_for_each_of_its_units() -> None:
    home = Home(ADTLS, READS)
    home.commits = 0
    home.delivers("phone", 0, HELLO[ADTLS])
    assert home.commits == 1, "whose hello it was, and which"
    for n in range(1, 20):
        home.delivers("phone", n, HELLO[ADTLS])
    assert home.commits == 1, "the same again"
    home.delivers("lamp", 0, dtls_message(2, server_hello(0xFEFD)))
    assert home.commits == 2
    for n in range(1, 20):
        home.delivers("lamp", n, dtls_message(11, b"c" * 9, n))
        home.delivers("phone", 19 + n)
    assert home.commits == 2
    home.is_killed()
    assert home.rows["sessions", ("s1",)].version == "dtls1.2"


def test_a_restart_counts_as_activity() -> None:
    """The row says when the session was last used a lease ago: that may be days."""
    home = Home(ADTLS)
    for n in range(20):
        home.waits(90.0)
        home.delivers("phone", n)
    assert home.rows["sessions", ("s1",)].last_activity < home.now - 10 * 90
    home.is_killed()
    home.waits(99.0)
    assert home.alive
    home.waits(1.0)
    assert not home.alive, "and is the last one"


ACTS = st.sampled_from(
    ["sends"] * 8 + ["sends a lot", "arrives", "arrives", "arrives", "settles", "settles", "settles", "sleeps", "waits"]
    + ["commits", "commits", "is killed"]
)  # fmt: skip


class Journey:
    """A sender that repeats what it has no receipt for, a receiver that drops a number that it had, and crashes."""

    def __init__(self, kind: ContentKind, window: int) -> None:
        self.home = Home(kind)
        self.kind, self.window = kind, window
        self.home.engine.set_window("zigbee", window)
        self.next_n = 0
        self.acknowledged: set[int] = set()
        self.envelopes: dict[int, int] = {}
        """Of this run: which number an envelope of the sender's has."""
        self.on_air: deque[Unit] = deque()
        self.arrived: list[EnvelopeId] = []
        self.taken: list[int] = []

    def payload(self, n: int) -> bytes:
        return DATA[self.kind] if self.kind is not ATLS_DATA else b"%d" % n

    def hears(self) -> None:
        """What the engine has just said."""
        for said in self.home.commands:
            if isinstance(said, Transmit) and isinstance(said.envelope, Unit):
                self.on_air.append(said.envelope)
            elif isinstance(said, ReportOutcome) and said.receipt.id in self.envelopes:
                assert said.receipt.outcome in (Outcome.DELIVERED, Outcome.HELD), said
                self.acknowledged.add(self.envelopes[said.receipt.id])

    def offers(self, n: int) -> None:
        while (said := self.home.sends("phone", "s1", n, self.payload(n), self.kind))[0].startswith("refused busy"):
            self.arrives()
            self.settles(0)
        if said[0] == "duplicate s1":
            self.acknowledged.add(n)
        else:
            assert said[0] == "accepted s1", said
            self.envelopes[self.home.last_id] = n
        self.hears()

    def act(self, what: str, which: int) -> None:
        home = self.home
        home.commands = []
        if what in ("sends", "sends a lot"):
            for _ in range(1 if what == "sends" else which):
                if self.next_n - len(self.acknowledged) < 30:
                    self.offers(self.next_n)
                    self.next_n += 1
                    if what == "sends a lot":
                        self.arrives()
                        self.settles(0)
        elif what == "arrives":
            self.arrives()
        elif what == "settles":
            self.settles(which)
        elif what == "sleeps" and self.on_air:
            home.settles(self.on_air[0].id, "held")
        elif what == "waits":
            home.waits(0.3)
        elif what == "commits":
            self.commits()
        elif what == "is killed":
            self.is_killed(which)
        self.hears()

    def arrives(self) -> None:
        if self.on_air:
            unit = self.on_air.popleft()
            assert unit.payload.octets == self.payload(unit.n), "a number is never that of another unit"
            if not self.taken or unit.n > self.taken[-1]:
                self.taken.append(unit.n)
            self.arrived.append(unit.id)

    def settles(self, which: int) -> None:
        if self.arrived:
            self.home.engine.settle(
                Receipt(self.arrived.pop(which % len(self.arrived)), Outcome.DELIVERED), now=self.home.now
            )
            self.home.lines()
            self.hears()
            self.home.commands = []

    def commits(self) -> None:
        if self.home.engine.unsaved:
            self.home.stores()
        if self.home.engine.unsaved is Unsaved.NOTHING:
            (session,) = self.home.engine._sessions
            row = self.home.rows["sessions", ("s1",)]
            flow = session.from_opener
            assert 0 <= flow.units - row.up.units < LEASE
            assert row.up.watermark <= flow.watermark and row.up.next_out <= flow.next_out

    def is_killed(self, which: int) -> None:
        for _ in range(which % 3):
            self.arrives()  # what was in the air comes down nevertheless
        self.on_air.clear()
        self.arrived.clear()
        self.envelopes.clear()
        self.home.restarts()
        self.home.engine.set_window("zigbee", self.window)
        self.home.resumes("zigbee")
        self.hears()
        self.home.resumes("coap")
        self.home.commands = []
        for n in range(self.next_n):
            if n not in self.acknowledged:
                self.offers(n)
        self.home.commands = []

    def ends(self) -> None:
        for _ in range(4):
            self.act("waits", 0)
            self.commits()
            self.hears()
            while self.on_air or self.arrived:
                self.home.commands = []
                self.arrives()
                self.settles(0)
        assert self.home.alive
        assert self.acknowledged == set(range(self.next_n))
        assert self.taken == list(range(self.next_n)), "each once, in order, none missing"


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([ATLS, ADTLS, ATLS_DATA]),
    window=st.integers(1, 8),
    acts=st.lists(st.tuples(ACTS, st.integers(0, 150)), min_size=20, max_size=100),
)
def test_over_any_crashes_no_number_is_given_twice_and_nothing_acknowledged_is_lost(
    kind: ContentKind, window: int, acts: list[tuple[str, int]]
) -> None:
    journey = Journey(kind, window)
    for what, which in acts:
        journey.act(what, which)
    journey.ends()


LONG = tls_record(23, b"y" * 60)
PAYLOADS = [DATA[ATLS], DATA[ATLS] * 2, LONG[:15], LONG[:40], LONG[15:], DATA[ATLS] + LONG[:40], LONG[40:] + DATA[ATLS]]


@settings(max_examples=150, deadline=None)
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["sends"] * 6 + ["commits", "is killed", "stops"]), st.integers(0, 9), st.integers(-3, 2)
        ),
        min_size=5,
        max_size=40,
    )
)
def test_whatever_a_sender_repeats_or_skips_after_a_kill_the_stream_is_read_as_its_receiver_reads_it(
    acts: list[tuple[str, int, int]],
) -> None:
    """A sender that wants to lead the reader astray: other octets under old numbers, numbers left out, records cut."""
    home = TlsHome()
    home.says(LEASE)
    home.out.clear()
    receiver, last, killed = TlsRecordReader.resumed(StreamState(), paired=True), home.next["phone"] - 1, False
    for what, which, skip in acts:
        if what == "commits":
            home.is_committed()
        elif what != "sends":
            if what == "stops":
                home.stops()
            home.is_killed()
            killed = True
        else:
            home.offers("phone", PAYLOADS[which % len(PAYLOADS)], home.next["phone"] + (skip if killed else 0))
        (session,) = home.engine._sessions or (None,)
        if session is None:
            return
        while home.out:
            sent = home.out.popleft()
            if sent.n > last:
                receiver.feed(sent.payload.octets)
                last = sent.n
            home.settles(sent.id)
        flow = session.from_opener
        if not flow.pending and not flow.reader.lost:
            assert flow.reader.state == receiver.state
