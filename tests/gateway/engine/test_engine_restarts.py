"""Whatever the order of events, kills and crashes among them: each envelope reported as held gets a final outcome."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from gateway.api.model import EnvelopeId, Outcome, Reason, Receipt
from gateway.engine.outputs import Audit, ReportOutcome
from gateway.engine.policy import Action
from tests.gateway.engine.engine_machine import PEERS, POLICIES, EngineMachine
from tests.harness.engine_stage import STATE, Stage, permit

SCHEMES = st.sampled_from(["coap", "zigbee", "mqtt"])


class RestartMachine(EngineMachine):
    """The machine of the engine's properties, with a store in memory."""

    @initialize(policy=POLICIES, windows=st.tuples(st.integers(1, 3), st.integers(1, 3)))
    def start(self, policy: Any, windows: tuple[int, int]) -> None:
        super().start(policy, windows)
        self.held: set[int] = set()
        self.stored_policy = policy
        self.rows = dict(self.engine.snapshot().rows)
        self.failing = False

    def _held(self, receipt: Receipt, scheme: str) -> None:
        assert self.owed[receipt.id] == scheme, "before the final word"
        assert receipt.id not in self.held, "at most once"
        self.held.add(receipt.id)
        assert not self.failing

    def _apply(self, changes: Any) -> None:
        if changes.whole:
            self.rows = {}
        self.rows.update(changes.rows)
        for key in changes.gone:
            self.rows.pop(key, None)
        self.stored_policy = self.policy
        self.engine.stored(changes, now=self.now)
        self._take()

    @rule()
    def stores(self) -> None:
        if not self.failing:
            self._apply(self.engine.changes(samples=True))
            assert not self.engine.unsaved
            self._check_rows()

    def _check_rows(self) -> None:
        """Between two transactions the store says exactly what is there."""
        live = {view.session for view in self.engine.all_sessions()}
        assert {key[0] for table, key in self.rows if table == "sessions"} == live
        assert {row.session for (table, _), row in self.rows.items() if table == "units"} <= live
        held_units = {number for number in self.held if number in self.owed and number in self.payloads}
        assert held_units <= {key[0] for table, key in self.rows if table == "units"}

    @rule()
    def loses_the_store(self) -> None:
        self.engine.store_lost()
        self.failing = True

    @precondition(lambda self: self.failing)
    @rule()
    def has_the_store_again(self) -> None:
        self.failing = False
        self._apply(self.engine.snapshot())
        self._check_rows()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def sleeps(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.under_way)), label="transmit")
        self.engine.settle(Receipt(EnvelopeId(number), Outcome.HELD), now=self.now)
        self._take()

    @rule(scheme=SCHEMES)
    def loses_an_adapter(self, scheme: str) -> None:
        waiting = self.engine.adapter_gone(scheme, now=self.now)
        gone = [number for number, transmit in self.under_way.items() if transmit.to.scheme == scheme]
        assert waiting <= set(gone)
        for number in gone:
            self._rewind(self.under_way[number] if number not in waiting else self.under_way.pop(number))
        for number in gone:
            if self.under_way.pop(number, None) is not None:  # else the end of another took it back
                receipt = Receipt(EnvelopeId(number), Outcome.DROPPED, Reason.UNREACHABLE)
                self.engine.settle(receipt, now=self.now)
                self._take()

    def _rewind(self, transmit: Any) -> None:
        """What goes out once more may go out in order once more."""
        envelope = transmit.envelope
        if envelope.id in self.payloads:
            flow = (envelope.session, envelope.source.scheme)
            self.last_n[flow] = min(self.last_n.get(flow, -1), envelope.n - 1)

    @rule(scheme=SCHEMES)
    def has_an_adapter_again(self, scheme: str) -> None:
        self.engine.adapter_ready(scheme, now=self.now)
        self._take()

    @rule()
    def restarts(self) -> None:
        """As after a kill: only the rows are left."""
        self.engine = self._engine()
        self.engine.restore(list(self.rows.values()), now=self.now)
        said = self.engine.commands()  # what the policy forbids ends, before anybody is there to hear of it
        assert all(isinstance(command, ReportOutcome | Audit) for command in said)
        sessions = {session.id: session for session in self.engine._sessions}
        units = {key[0]: row for (table, key), row in self.rows.items() if table == "units"}
        assert sessions.keys() <= {key[0] for table, key in self.rows if table == "sessions"}
        # Those who submitted before are gone; the engine owes a word on what it took up, which nobody hears.
        self.owed = {}
        for session in sessions.values():
            for flow, sender in ((session.from_opener, session.opener), (session.from_target, session.target)):
                self.owed |= dict.fromkeys(flow.pending, PEERS[sender].scheme)
                numbers = [pending.unit.n for pending in flow.waiting]
                assert numbers == sorted(numbers)
            for asked in (session.open, session.close):
                if asked is not None:
                    self.owed[asked.id] = asked.source.scheme
        if self.policy is self.stored_policy:
            assert {number for number, row in units.items() if row.session in sessions} <= self.owed.keys()
        for number in self.owed:
            self.finals.pop(number, None)  # what had its final word just before the kill may have one more
        self.under_way.clear()
        self.last_n.clear()
        self.failing = False
        self._apply(self.engine.snapshot())

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            for scheme in ("coap", "zigbee", "mqtt"):
                self.engine.adapter_ready(scheme, now=self.now)
                self._take()
        super().teardown()


TestRestarts = RestartMachine.TestCase
TestRestarts.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def test_of_an_outdated_store_all_sessions_and_commands_end() -> None:
    """Such as a backup that was restored: what happened since is not known."""
    home = Stage(permit("talk", "lamp", "phone"), permit("hands", "phone", "lamp", actions=frozenset({Action.WRITE})))
    home.has_a_store()
    home.joins("lamp", STATE)
    home.opens("lamp", "phone")
    home.settles(2)
    home.wants("phone", "lamp", "state", True)
    home.settles(3, "held")
    home.stores()
    kept = list(home.rows.values())
    home.engine = home._engine()
    home.engine.restore(kept, now=home.now, outdated=True)
    lines = home.lines()
    assert "coap <- #3 dropped restarted" in lines
    lines = [*home.resumes("zigbee"), *home.resumes("coap")]
    assert [line.split(" ", 3)[0] for line in lines if line.endswith("close s1 restarted")] == ["zigbee", "coap"]
