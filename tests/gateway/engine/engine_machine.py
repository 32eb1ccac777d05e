"""A hypothesis state machine over one engine, with the invariants that hold after each step."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.api.model import (
    ANY_LINK,
    Accepted,
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
    Refused,
    Reset,
    Sealed,
    SessionId,
    Transmit,
    Unit,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.outputs import Audit, ReportOutcome, Withdraw
from gateway.engine.policy import Condition, Effect, Mode, Obligation, OnExcess, Rule, Subject
from tests.harness.engine_stage import WORDS, PolicySet

LINK = LinkSecurity(protocol="dtls1.2")
PEERS = {
    "lamp": Peer(scheme="zigbee", claims=("eui64:1",), link=LINK),
    "phone": Peer(scheme="coap", claims=("psk:phone",), link=LINK),
    "app": Peer(scheme="mqtt", claims=("user:app",), link=LINK),
    "stranger": Peer(scheme="coap", claims=("psk:stranger",), link=LINK),
}
SUBJECTS = (
    Subject("lamp", "zigbee", "eui64:1"),
    Subject("phone", "coap", "psk:phone"),
    Subject("app", "mqtt", "user:app"),
)
KINDS = st.sampled_from([ContentKind.ATLS, ContentKind.ADTLS, ContentKind.OSCORE])
WHO = st.sampled_from(sorted(PEERS))
LIMITS = EngineLimits(
    max_sessions=4,
    subject_sessions=3,
    queue_units=4,
    queue_octets=60,
    total_octets=150,
    max_unit=40,
    recent_opens=3,
    idle=300.0,
    unit_lifetime=200.0,
)


def a_policy(names: tuple[str, ...], condition: Condition, on_excess: OnExcess, mode: Mode) -> PolicySet:
    permits = tuple(
        Rule(
            id=f"p-{name}",
            effect=Effect.PERMIT,
            subjects=(name,),
            resources=("*",),
            content=frozenset(WORDS.kinds),
            condition=condition,
            obligation=Obligation(on_excess=on_excess),
        )
        for name in names
    )
    return PolicySet(subjects=SUBJECTS, rules=permits, mode=mode)


POLICIES = st.builds(
    a_policy,
    st.sets(st.sampled_from(["lamp", "phone", "app"]), min_size=1).map(lambda names: tuple(sorted(names))),
    st.builds(
        Condition,
        bytes=st.sampled_from([None, Rate(60, 60)]),
        max_unit=st.sampled_from([None, 30]),
        sessions=st.sampled_from([None, 1, 2]),
        idle=st.sampled_from([None, 50.0]),
        require_link=st.sampled_from([ANY_LINK, ANY_LINK, LinkRequirement(min_version="dtls1.2")]),
    ),
    st.sampled_from(OnExcess),
    st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW]),
)


class EngineMachine(RuleBasedStateMachine):
    @initialize(policy=POLICIES, windows=st.tuples(st.integers(1, 3), st.integers(1, 3)))
    def start(self, policy: PolicySet, windows: tuple[int, int]) -> None:
        self.now = 0.0
        self.ids = itertools.count(1)
        self.names = itertools.count(1)
        self.policy = policy
        self.windows = windows
        self.engine = self._engine()
        self.owed: dict[int, str] = {}  # accepted envelope -> the scheme that is owed the final word
        self.finals: Counter[int] = Counter()
        self.under_way: dict[int, Transmit] = {}
        self.payloads: dict[int, Sealed] = {}
        self.owners: dict[str, tuple[str, str]] = {}
        self.last_n: dict[tuple[str, str], int] = {}
        self.next_n: Counter[tuple[str, str]] = Counter()
        self.allowed: int | None = None  # units that the adapter mqtt takes at once; None: it doesn't say

    def _engine(self) -> Engine:
        engine = Engine(
            self.policy,
            LIMITS,
            lambda: SessionId(f"s{next(self.names)}"),
            lambda: EnvelopeId(next(self.ids)),
        )
        engine.set_window("coap", self.windows[0])
        engine.set_window("zigbee", self.windows[1])
        return engine

    def _held(self, receipt: Receipt, scheme: str) -> None:
        raise AssertionError("there is no store, so nothing is held")

    def _submit(self, envelope: Any, who: str) -> Any:
        verdict = self.engine.submit(envelope, now=self.now)
        if isinstance(verdict, Accepted) and not verdict.duplicate and not isinstance(envelope, Reset):
            self.owed[envelope.id] = PEERS[who].scheme
        self.owners |= {view.session: (view.opener, view.target) for view in self.engine.all_sessions()}
        self._take()
        return verdict

    def _take(self) -> None:
        for command in self.engine.commands():
            if isinstance(command, Transmit):
                self._transmitted(command)
            elif isinstance(command, Withdraw):
                assert self.under_way.pop(command.id).to.scheme == command.scheme
            elif isinstance(command, ReportOutcome):
                receipt = command.receipt
                if receipt.outcome is Outcome.HELD:
                    self._held(receipt, command.scheme)
                    continue
                self.finals[receipt.id] += 1
                assert self.owed.pop(receipt.id) == command.scheme, "one final word, to the one who is owed it"
                assert self.finals[receipt.id] == 1
                assert receipt.session is not None
                assert (receipt.reason is None) == (receipt.outcome is not Outcome.DROPPED)
            else:
                assert isinstance(command, Audit)

    def _transmitted(self, command: Transmit) -> None:
        envelope = command.envelope
        assert envelope.id not in self.under_way
        self.under_way[envelope.id] = command
        assert envelope.session is not None
        if isinstance(envelope, Open):
            opener = envelope.sender
            target = next(s.name for s in SUBJECTS if (s.link, s.claim) == (command.to.scheme, command.to.claim))
            self.owners[envelope.session] = (opener, target)
            return
        assert command.to.scheme in {PEERS[name].scheme for name in self.owners[envelope.session]}
        if isinstance(envelope, Unit):
            assert envelope.payload is self.payloads[envelope.id]
            flow = (envelope.session, envelope.source.scheme)
            assert envelope.n > self.last_n.get(flow, -1), "in order, none twice"
            self.last_n[flow] = envelope.n
            if self.allowed is not None and command.to.scheme == "mqtt":
                orders = self.under_way.values()
                out = sum(each.to.scheme == "mqtt" and isinstance(each.envelope, Unit) for each in orders)
                assert out <= self.allowed, "no more than the adapter takes"

    @rule(who=WHO, to=st.sampled_from(["lamp", "phone", "app", "nobody"]), kind=KINDS, nonce=st.integers(0, 2))
    def opens(self, who: str, to: str, kind: ContentKind, nonce: int) -> None:
        asked = Open(
            id=EnvelopeId(next(self.ids)),
            source=PEERS[who],
            to=to,
            content=kind,
            nonce=bytes([nonce]),
            received_at=self.now,
        )
        verdict = self._submit(asked, who)
        if who == "stranger":
            assert verdict == Refused(Reason.DENIED)

    def _some_session(self, data: Any) -> tuple[str, tuple[str, str]]:
        session: str = data.draw(st.sampled_from(sorted(self.owners)), label="session")
        return session, self.owners[session]

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), size=st.integers(0, 45), skip=st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]), life=KINDS)
    def sends(self, data: Any, size: int, skip: int, life: ContentKind) -> None:
        session, owners = self._some_session(data)
        who = data.draw(st.sampled_from([*owners, *owners, *owners, *sorted(PEERS)]), label="who")
        live = {view.session: view for view in self.engine.all_sessions()}
        kind = live[SessionId(session)].content if SessionId(session) in live else ContentKind.ADTLS
        number = EnvelopeId(next(self.ids))
        flow = (session, PEERS[who].scheme)
        unit = Unit(
            id=number,
            source=PEERS[who],
            session=SessionId(session),
            content=kind,
            n=self.next_n[flow] + skip,
            payload=Sealed(bytes(size)),
            received_at=self.now,
            expires_at=self.now + 20 if life is ContentKind.ATLS else None,
        )
        self.payloads[number] = unit.payload
        verdict = self._submit(unit, who)
        if who not in owners or SessionId(session) not in live:
            assert verdict == Refused(Reason.UNKNOWN)
        elif isinstance(verdict, Accepted) and not verdict.duplicate:
            self.next_n[flow] = unit.n + 1

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), reason=st.sampled_from([Reason.CLOSED, Reason.BROKEN]))
    def closes(self, data: Any, reason: Reason) -> None:
        session, owners = self._some_session(data)
        who = data.draw(st.sampled_from([*owners, *sorted(PEERS)]), label="who")
        close = Close(
            id=EnvelopeId(next(self.ids)),
            source=PEERS[who],
            session=SessionId(session),
            reason=reason,
            received_at=self.now,
        )
        verdict = self._submit(close, who)
        if who not in owners:
            assert verdict == Refused(Reason.UNKNOWN)

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([Outcome.DELIVERED] * 6 + [Outcome.DROPPED, Outcome.EXPIRED]),
        reason=st.sampled_from([Reason.UNREACHABLE, Reason.LINK, Reason.UNKNOWN]),
    )
    def settles(self, data: Any, outcome: Outcome, reason: Reason) -> None:
        number = data.draw(st.sampled_from(sorted(self.under_way)), label="transmit")
        del self.under_way[number]
        receipt = Receipt(EnvelopeId(number), outcome, reason if outcome is Outcome.DROPPED else None)
        self.engine.settle(receipt, now=self.now)
        self._take()
        before = len(self.finals)
        self.engine.settle(receipt, now=self.now)
        self._take()
        assert len(self.finals) == before, "said twice, heard once"

    @rule(units=st.sampled_from([0, 0, 1, 2, 5]))
    def allows(self, units: int) -> None:
        self.allowed = units
        self.engine.allow("mqtt", units, now=self.now)
        self._take()

    @precondition(lambda self: self.allowed == 0 and any(x.to.scheme == "mqtt" for x in self.under_way.values()))
    @rule(data=st.data())
    def puts_back(self, data: Any) -> None:
        orders = [number for number, transmit in self.under_way.items() if transmit.to.scheme == "mqtt"]
        number = data.draw(st.sampled_from(sorted(orders)), label="put back")
        self._rewind(self.under_way.pop(number))
        self.engine.put_back(EnvelopeId(number), scheme="coap")  # another's: nothing happens
        self.engine.put_back(EnvelopeId(number), scheme="mqtt")
        self._take()

    def _rewind(self, transmit: Any) -> None:
        """What goes out once more may go out in order once more."""
        envelope = transmit.envelope
        if envelope.id in self.payloads:
            flow = (envelope.session, envelope.source.scheme)
            self.last_n[flow] = min(self.last_n.get(flow, -1), envelope.n - 1)

    @rule(number=st.integers(1, 200))
    def settles_what_is_not_under_way(self, number: int) -> None:
        if number not in self.under_way:
            self.engine.settle(Receipt(EnvelopeId(number), Outcome.DELIVERED), now=self.now)
            self._take()

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 31.0, 61.0, 400.0]))
    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.engine.tick(now=self.now)
        self._take()
        deadline = self.engine.next_deadline()
        assert deadline is None or deadline > self.now

    @rule(who=WHO)
    def resets(self, who: str) -> None:
        self._submit(
            Reset(id=EnvelopeId(next(self.ids)), source=PEERS[who], reason=Reason.RESTARTED, received_at=self.now),
            who,
        )
        assert not self.engine.sessions(PEERS[who])

    @rule(policy=POLICIES)
    def replaces(self, policy: PolicySet) -> None:
        self.policy = policy
        self.engine.replace_policy(policy, now=self.now)
        self._take()

    @invariant()
    def bounds(self) -> None:
        views = self.engine.all_sessions()
        assert len(views) <= LIMITS.max_sessions
        assert all(max(view.queued) <= LIMITS.queue_units for view in views)
        if views:
            assert self.engine.next_deadline() is not None, "every session has a time when it is looked at"
        for view in views:
            for name, peer in PEERS.items():
                assert self.engine.owns(peer, view.session) == (name in (view.opener, view.target))

    @invariant()
    def no_deadline_is_missed(self) -> None:
        if hasattr(self, "engine") and (deadline := self.engine.next_deadline()) is not None:
            assert self.engine.look_by() <= deadline

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        # Time alone, with no adapter that answers, must bring every envelope its final word.
        while (deadline := self.engine.next_deadline()) is not None:
            self.now = max(self.now, deadline)
            self.engine.tick(now=self.now)
            self._take()
        assert not self.owed
        assert not self.under_way
        assert not self.engine.all_sessions()
