"""Whatever the order of events: one final receipt for each exchange, one end for each order, nothing left over."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.api.model import (
    Accepted,
    Answer,
    ContentKind,
    EnvelopeId,
    Exchange,
    Outcome,
    Reason,
    Receipt,
    Sealed,
    SessionId,
    Transmit,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.outputs import ReportOutcome, Withdraw
from gateway.engine.path_pattern import parse_pattern
from gateway.engine.policy import PROXY_ACTIONS, Condition, Effect, Hours, Mode, PolicySet, Rule, Subject
from tests.harness.engine_stage import PEERS, SUBJECTS

LIMITS = EngineLimits(max_exchanges=6, subject_exchanges=3, exchange_timeout=30.0, max_body=8)
WHO = st.sampled_from(sorted(PEERS))
NAMES = st.sampled_from(["lamp", "phone", "app", "lamp2", "phone2", "app2", "x"])
PATHS = st.sampled_from([("a",), ("a", "b"), ("a",), (), ("a", "b"), ("..",)])
BODIES = st.sampled_from(
    [
        (b"", None),
        (b"x", None),
        (b"xy", None),
        (b"x" * 9, None),
        (Sealed(b"o"), ContentKind.OSCORE),
        (Sealed(b"o"), None),
    ]
)
FINAL = {Outcome.DELIVERED, Outcome.DROPPED, Outcome.EXPIRED}


def a_policy(paths: tuple[str, ...], renamed: bool, sealed: bool, mode: Mode, hours: Hours | None) -> PolicySet:
    subjects = tuple(Subject(each.name + "2" * renamed, each.link, each.claim) for each in SUBJECTS)
    condition = Condition(paths=tuple(map(parse_pattern, paths)), exchanges=Rate(9, 60), hours=hours)
    plain = Rule(
        id="p", effect=Effect.PERMIT, subjects=("*",), resources=("*",), actions=PROXY_ACTIONS, condition=condition
    )
    kinds = frozenset({ContentKind.OSCORE})
    whole = Rule(id="s", effect=Effect.PERMIT, subjects=("*",), resources=("*",), actions=PROXY_ACTIONS, content=kinds)
    return PolicySet(subjects=subjects, rules=(plain, whole) if sealed else (plain,), mode=mode)


POLICIES = st.builds(
    a_policy,
    st.sampled_from([("/**",), ("/a/*",), ("/", "/a")]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.SHADOW]),
    st.sampled_from([None, None, Hours(0, 720)]),
)
ANSWERS = st.sampled_from([
    Answer(code="2.05"),
    Answer(code="404", body=b"x" * 8),
    Answer(code="2.05", body=b"x" * 9),
    Answer(code="7.00"),
    Answer(code="2.04", body=Sealed(b"o"), content=ContentKind.OSCORE),
    None,
])  # fmt: skip


class Proxying(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ids = itertools.count(1)
        self.accepted: dict[int, Exchange] = {}
        self.final: Counter[int] = Counter()
        self.ordered: dict[int, Transmit] = {}
        """By id, what an adapter has and neither settled nor lost to a withdrawal."""
        self.orders: Counter[int] = Counter()

    @initialize(policy=POLICIES)
    def begins(self, policy: PolicySet) -> None:
        ids = itertools.count(10**6)
        self.engine = Engine(policy, LIMITS, lambda: SessionId("s"), lambda: EnvelopeId(next(ids)))
        self.engine.set_minute(0, now=self.now)

    def carries_out(self) -> None:
        for command in self.engine.commands():
            if isinstance(command, Transmit):
                assert isinstance(command.envelope, Exchange)
                self.ordered[command.envelope.id] = command
                self.orders[command.envelope.id] += 1
            elif isinstance(command, Withdraw):
                assert self.ordered.pop(command.id).to.scheme == command.scheme
            elif isinstance(command, ReportOutcome):
                self.reported(command)

    def reported(self, command: ReportOutcome) -> None:
        receipt = command.receipt
        assert receipt.outcome in FINAL
        assert (receipt.answer is not None) is (receipt.outcome is Outcome.DELIVERED)
        assert (receipt.reason is not None) is (receipt.outcome is Outcome.DROPPED)
        assert command.scheme == self.accepted[receipt.id].source.scheme
        if receipt.answer is not None:
            assert len(receipt.answer.body) <= LIMITS.max_body
        self.final[receipt.id] += 1

    @rule(who=WHO, to=NAMES, path=PATHS, body=BODIES, within=st.integers(0, 60).map(lambda within: 60 - within))
    def asks(self, who: str, to: str, path: tuple[str, ...], body: tuple[Any, Any], within: int) -> None:
        exchange = Exchange(
            id=EnvelopeId(next(self.ids)),
            source=PEERS[who],
            to=to,
            method="GET",
            path=path,
            body=body[0],
            content=body[1],
            received_at=self.now,
            deadline=self.now + within,
        )
        if isinstance(self.engine.submit(exchange, now=self.now), Accepted):
            self.accepted[exchange.id] = exchange
        self.carries_out()

    @precondition(lambda self: self.ordered)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([Outcome.DELIVERED, *Outcome]),
        reason=st.sampled_from([None, *Reason]),
        answer=ANSWERS,
    )
    def settles(self, data: Any, outcome: Outcome, reason: Reason | None, answer: Answer | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.ordered)))
        if outcome is not Outcome.HELD:
            del self.ordered[number]
        self.engine.settle(Receipt(EnvelopeId(number), outcome, reason, answer=answer), now=self.now)
        self.carries_out()

    @rule(number=st.integers(1, 40))
    def settles_what_is_over(self, number: int) -> None:
        if number not in self.ordered:
            self.engine.settle(Receipt(EnvelopeId(number), Outcome.DELIVERED, answer=Answer(code="2.05")), now=self.now)
            self.carries_out()

    @rule(seconds=st.floats(0.0, 40.0))
    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.engine.tick(now=self.now)
        self.carries_out()
        deadline = self.engine.next_deadline()
        assert deadline is None or deadline > self.now

    @rule(policy=POLICIES)
    def replaces(self, policy: PolicySet) -> None:
        self.engine.replace_policy(policy, now=self.now)
        self.carries_out()

    @rule(minute=st.sampled_from([None, 0, 720]))
    def passes(self, minute: int | None) -> None:
        self.engine.set_minute(minute, now=self.now)
        self.carries_out()

    @rule(scheme=st.sampled_from(["zigbee", "coap", "mqtt"]))
    def loses_an_adapter(self, scheme: str) -> None:
        """As the hub does it."""
        over = self.engine.adapter_gone(scheme, now=self.now)
        mine = {number for number, order in self.ordered.items() if order.to.scheme == scheme}
        for number in sorted(mine - over):
            del self.ordered[number]
            self.engine.settle(Receipt(EnvelopeId(number), Outcome.DROPPED, Reason.UNREACHABLE), now=self.now)
        self.carries_out()

    @invariant()
    def one_word_for_each(self) -> None:
        assert all(count == 1 for count in (*self.final.values(), *self.orders.values()))
        assert self.orders.keys() == self.accepted.keys()
        pending = self.accepted.keys() - self.final.keys()
        assert pending == self.ordered.keys()
        if self.accepted:
            assert self.engine.queues()["exchanges"] == len(pending) <= LIMITS.max_exchanges
            askers = Counter(self.accepted[number].source.claims for number in pending)
            assert all(count <= LIMITS.subject_exchanges for count in askers.values())

    @invariant()
    def no_deadline_is_missed(self) -> None:
        if hasattr(self, "engine") and (deadline := self.engine.next_deadline()) is not None:
            assert self.engine.look_by() <= deadline

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.waits(100.0)
            assert self.final.keys() == self.accepted.keys()
            assert not self.ordered
            assert self.engine.next_deadline() is None
            exchanges = self.engine._exchanges
            assert not exchanges.pending and not exchanges._askers and not exchanges._targets


Proxying.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestProxying = Proxying.TestCase
