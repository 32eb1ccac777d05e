"""Whatever happens to devices, watchers, policies and adapters: watchers hold the true state and nothing beyond what
they may observe; each command has one final word; nothing outgrows its bounds."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.api.model import (
    Accepted,
    Change,
    DataType,
    EnvelopeId,
    Interaction,
    Join,
    Leave,
    LinkSecurity,
    Outcome,
    Peer,
    Presence,
    PropertyAffordance,
    Reading,
    Reason,
    Receipt,
    Refused,
    SessionId,
    Subscribe,
    Transmit,
    Unsubscribe,
    Update,
)
from gateway.engine.engine import Engine
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.outputs import Audit, PushUpdate, Refresh, ReportOutcome, Withdraw
from gateway.engine.policy import DEVICE_ACTIONS, Action, Condition, Effect, Mode, Rule, Subject
from tests.harness.engine_stage import PolicySet
from tests.harness.interactions import read_or_write

LINK = LinkSecurity(protocol="dtls1.2")
DEVICES = ("lamp", "meter")
PEERS = {
    "lamp": Peer(scheme="zigbee", claims=("eui64:1",), link=LINK),
    "meter": Peer(scheme="zigbee", claims=("eui64:2",), link=LINK),
    "phone": Peer(scheme="coap", claims=("psk:phone",), link=LINK),
    "app": Peer(scheme="mqtt", claims=("user:app",), link=LINK),
    "stranger": Peer(scheme="coap", claims=("psk:stranger",), link=LINK),
}
SUBJECTS = (
    Subject("lamp", "zigbee", "eui64:1"),
    Subject("meter", "zigbee", "eui64:2"),
    Subject("phone", "coap", "psk:phone"),
    Subject("app", "mqtt", "user:app"),
)
STATE = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True, lifetime=100.0)
LEVEL = PropertyAffordance(name="level", type=DataType.NUMBER, writable=True, minimum=0, maximum=9, lifetime=40.0)
HEAT = PropertyAffordance(name="heat", type=DataType.NUMBER)
LIMITS = EngineLimits(
    max_watches=5,
    subject_watches=3,
    max_commands=4,
    subject_commands=3,
    device_commands=3,
    command_timeout=30.0,
    command_lifetime=90.0,
    recent_commands=3,
    recent_age=50.0,
)
ASKERS = st.sampled_from(["phone", "app", "app", "stranger"])
DEVICE = st.sampled_from(DEVICES)
NAMES = st.sampled_from(["state", "level", "heat", "nothing"])
VALUES = st.sampled_from([None, True, False, 3, 9.5, -1, "x", float("nan")])
Triple = tuple[str, str, Action]


@st.composite
def policies(draw: Any) -> tuple[PolicySet, frozenset[Triple]]:
    """A policy, and what it permits as plain triples: the other way to say the same."""
    every = [
        (w, d, a)
        for w in ("phone", "app")
        for d in DEVICES
        for a in sorted(DEVICE_ACTIONS, key=lambda action: action.value)
    ]
    triples = draw(st.frozensets(st.sampled_from(every), min_size=4))
    rate = draw(st.sampled_from([None, None, Rate(3, 60)]))
    rules = tuple(
        Rule(
            id=f"{who}-{what}-{action.value}",
            effect=Effect.PERMIT,
            subjects=(who,),
            resources=(what,),
            actions=frozenset({action}),
            condition=Condition() if action is Action.OBSERVE else Condition(commands=rate),
        )
        for who, what, action in sorted(triples, key=str)
    )
    subjects = draw(st.sampled_from([SUBJECTS, SUBJECTS, SUBJECTS, SUBJECTS[1:], SUBJECTS[:-1]]))
    names = {subject.name for subject in subjects}
    rules = tuple(each for each in rules if {*each.subjects, *each.resources} <= names)
    mode = draw(st.sampled_from([Mode.ENFORCE] * 4 + [Mode.SHADOW]))
    if mode is Mode.SHADOW:
        triples = frozenset(every)
    known = frozenset((who, what, action) for who, what, action in triples if {who, what} <= names)
    return PolicySet(subjects=subjects, rules=rules, mode=mode), known


@dataclass
class Seen:
    """A device: as it is, or as a watcher has seen it."""

    properties: tuple[PropertyAffordance, ...] = ()
    online: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)
    reported_at: dict[str, float] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)


@dataclass
class Watcher:
    who: str
    device: str
    property: str
    seen: dict[str, Seen] = field(default_factory=dict)


class TwinsMachine(RuleBasedStateMachine):
    @initialize(policy=policies())
    def start(self, policy: tuple[PolicySet, frozenset[Triple]]) -> None:
        self.now = 0.0
        self.ids = itertools.count(1)
        self.may = policy[1]
        self.names = {subject.name for subject in policy[0].subjects}
        self.engine = Engine(policy[0], LIMITS, lambda: SessionId("s"), lambda: EnvelopeId(next(self.ids)))
        self.engine.snapshot()
        self.devices: dict[str, Seen] = {}  # all that joined, known to the policy or not
        self.watchers: dict[int, Watcher] = {}
        self.owed: dict[int, str] = {}
        self.echoes: dict[int, str] = {}  # duplicates: a word may follow
        self.words: Counter[tuple[int, str]] = Counter()
        self.under_way: dict[int, Transmit] = {}
        self.refreshed: set[str] = set()

    # What comes out

    def _take(self) -> None:
        for command in self.engine.commands():
            if isinstance(command, Transmit):
                assert isinstance(command.envelope, Interaction)
                assert command.envelope.id not in self.under_way
                assert command.envelope.expires_at is not None and command.to.scheme == "zigbee"
                self.under_way[command.envelope.id] = command
            elif isinstance(command, Withdraw):
                assert self.under_way.pop(command.id).to.scheme == command.scheme
            elif isinstance(command, ReportOutcome):
                self._notified(command)
            elif isinstance(command, PushUpdate):
                self._told(command.scheme, command.update)
            elif isinstance(command, Refresh):
                self.refreshed.add(command.device.claim)
            else:
                assert isinstance(command, Audit)

    def _notified(self, command: ReportOutcome) -> None:
        receipt = command.receipt
        held = receipt.outcome is Outcome.HELD
        assert (receipt.reason is None) == (receipt.outcome is not Outcome.DROPPED)
        self.words[receipt.id, "held" if held else "final"] += 1
        assert self.words[receipt.id, "held" if held else "final"] == 1
        assert not (held and self.words[receipt.id, "final"]), "held comes before the final outcome or never"
        if receipt.id in self.echoes:
            assert self.echoes[receipt.id] == command.scheme
        else:
            assert self.owed[receipt.id] == command.scheme
            if not held:
                del self.owed[receipt.id]

    def _told(self, scheme: str, update: Update) -> None:
        watcher = self.watchers[update.subscription]
        assert PEERS[watcher.who].scheme == scheme
        if update.change is Change.ENDED:
            assert watcher.who not in self.names
            del self.watchers[update.subscription]
            return
        if update.change is Change.GONE:
            gone = watcher.seen.pop(update.device, None)
            assert gone is not None or watcher.property, "gone what was never there"
            if watcher.device:
                del self.watchers[update.subscription]
            return
        assert (watcher.who, update.device, Action.OBSERVE) in self.may, "an update for a party that may not observe"
        assert not watcher.device or watcher.device == update.device
        if watcher.property:
            assert update.change in (Change.VALUES, Change.STALE)
            assert {name for name, _ in update.samples} == {watcher.property}
        seen = watcher.seen.setdefault(update.device, Seen())
        if update.change is Change.DEVICE:
            names = {spec.name for spec in self.devices[update.device].properties}
            for table in (seen.values, seen.reported_at):
                for name in [name for name in table if name not in names]:
                    del table[name]
            seen.stale &= names
        elif update.change is Change.PRESENCE:
            seen.online = update.online
        elif update.change is Change.STALE:
            seen.stale |= {name for name, _ in update.samples}
        else:
            for name, sample in update.samples:
                seen.values[name], seen.reported_at[name] = sample.value, update.at
                seen.stale.discard(name)

    def _submit(self, envelope: Any) -> Any:
        verdict = self.engine.submit(envelope, now=self.now)
        if isinstance(envelope, Subscribe) and isinstance(verdict, Accepted):
            who = next(name for name, peer in PEERS.items() if peer is envelope.source)
            self.watchers[envelope.id] = Watcher(who, envelope.to, envelope.name)
        if isinstance(envelope, Interaction) and isinstance(verdict, Accepted):
            (self.echoes if verdict.duplicate else self.owed)[envelope.id] = envelope.source.scheme
        self._take()
        return verdict

    def _head(self, who: str) -> dict[str, Any]:
        return {"id": EnvelopeId(next(self.ids)), "source": PEERS[who], "received_at": self.now}

    # Devices

    @rule(who=DEVICE, properties=st.permutations([STATE, LEVEL, HEAT]), count=st.integers(1, 3))
    def joins(self, who: str, properties: list[PropertyAffordance], count: int) -> None:
        device = self.devices.setdefault(who, Seen())
        device.properties = tuple(properties[:count])
        names = {spec.name for spec in device.properties}
        device.values = {name: value for name, value in device.values.items() if name in names}
        self._submit(Join(**self._head(who), properties=device.properties))

    @rule(who=DEVICE)
    def leaves(self, who: str) -> None:
        self.devices.pop(who, None)
        self._submit(Leave(**self._head(who)))

    @rule(who=DEVICE, online=st.booleans())
    def can_be_reached(self, who: str, online: bool) -> None:
        if who in self.devices:
            self.devices[who].online = online
        self._submit(Presence(**self._head(who), online=online))

    @rule(who=DEVICE, reported=st.lists(st.tuples(NAMES, VALUES), max_size=3))
    def tells(self, who: str, reported: list[tuple[str, Any]]) -> None:
        known = who in self.devices and who in self.names
        for name, value in reported if known else ():
            spec = next((spec for spec in self.devices[who].properties if spec.name == name), None)
            number = spec is not None and spec.type is DataType.NUMBER
            fits = isinstance(value, int | float) and not isinstance(value, bool) and value == value if number else (
                isinstance(value, bool)
            )  # fmt: skip
            if spec is not None and (value is None or fits):
                self.devices[who].values[name] = value
                self.devices[who].reported_at[name] = self.now
        verdict = self._submit(Reading(**self._head(who), values=tuple(reported)))
        assert verdict == (Accepted() if known else Refused(Reason.UNKNOWN))

    # Watchers

    @rule(who=ASKERS, to=st.sampled_from(["", "", "lamp", "meter", "nobody"]), name=st.sampled_from(["", "", "level"]))
    def watches(self, who: str, to: str, name: str) -> None:
        may = (who, to, Action.OBSERVE) in self.may and to in self.devices
        verdict = self._submit(Subscribe(**self._head(who), to=to, name=name))
        if who not in self.names or (to and not may):
            assert verdict == Refused(Reason.DENIED)

    @rule(data=st.data(), who=ASKERS)
    def unwatches(self, data: Any, who: str) -> None:
        watch = data.draw(st.sampled_from([0, *sorted(self.watchers)]), label="watch")
        mine = watch in self.watchers and self.watchers[watch].who == who
        verdict = self._submit(Unsubscribe(**self._head(who), subscription=EnvelopeId(watch)))
        assert verdict == (Accepted() if mine else Refused(Reason.UNKNOWN))
        if mine:
            del self.watchers[watch]

    # Commands

    @rule(who=ASKERS, to=DEVICE, name=NAMES, value=VALUES, transaction=st.sampled_from(["", "1", "2"]))
    def commands(self, who: str, to: str, name: str, value: Any, transaction: str) -> None:
        action = Action.READ if value is None else Action.WRITE
        may = (who, to, action) in self.may and to in self.devices
        before = len(self.under_way)
        verdict = self._submit(
            read_or_write(**self._head(who), to=to, name=name, value=value, transaction=transaction)
        )  # fmt: skip
        if not may:
            assert verdict == Refused(Reason.DENIED)
        if not may or isinstance(verdict, Refused) or verdict.duplicate:
            assert len(self.under_way) == before, "nothing goes out"

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from([*Outcome, Outcome.HELD, Outcome.HELD]))
    def settles(self, data: Any, outcome: Outcome) -> None:
        number = EnvelopeId(data.draw(st.sampled_from(sorted(self.under_way)), label="transmit"))
        if outcome is not Outcome.HELD:
            del self.under_way[number]
        reason = Reason.REJECTED if outcome is Outcome.DROPPED else None
        self.engine.settle(Receipt(number, outcome, reason, detail="BUSY"), now=self.now)
        self._take()

    @rule()
    def stores(self) -> None:
        self.engine.stored(self.engine.changes(samples=True), now=self.now)
        self._take()

    # Adapters, policies, time

    @rule(scheme=st.sampled_from(["zigbee", "coap", "mqtt"]))
    def restarts(self, scheme: str) -> None:
        """An adapter goes away and comes back."""
        kept = self.engine.adapter_gone(scheme, now=self.now)
        for number in [number for number, watcher in self.watchers.items() if PEERS[watcher.who].scheme == scheme]:
            del self.watchers[number]
        if scheme == "zigbee":
            self._out_of_sight()
            ordered, self.under_way = self.under_way, {}
            assert kept <= set(ordered)
            self._take()
            for number in sorted(set(ordered) - kept):
                self.engine.settle(Receipt(EnvelopeId(number), Outcome.DROPPED, Reason.UNREACHABLE), now=self.now)
        self._take()
        self.engine.adapter_ready(scheme, now=self.now)
        self._take()
        assert set(self.under_way) >= kept

    @rule()
    def loses_the_radio(self) -> None:
        self._out_of_sight()
        self.engine.adapter_faulty("zigbee", now=self.now)
        self._take()

    def _out_of_sight(self) -> None:
        for device in self.devices.values():
            device.online = None

    @rule(policy=policies())
    def replaces(self, policy: tuple[PolicySet, frozenset[Triple]]) -> None:
        self.may = policy[1]
        for name in set(self.devices) - {
            subject.name for subject in policy[0].subjects
        }:  # a stranger again: its values are forgotten
            self.devices[name] = Seen(properties=self.devices[name].properties, online=self.devices[name].online)
        known, self.refreshed = self.known(), set()
        self.names = {subject.name for subject in policy[0].subjects}
        self.engine.replace_policy(policy[0], now=self.now)
        self._take()
        assert self.refreshed == {PEERS[name].claims[0] for name in self.known() - known}, "asked for what is new"

    def known(self) -> set[str]:
        return self.names & set(self.devices)

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 31.0, 61.0, 200.0]))
    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.engine.tick(now=self.now)
        self._take()
        deadline = self.engine.next_deadline()
        assert deadline is None or deadline > self.now

    # What holds

    def _true(self, name: str) -> Seen:
        device = self.devices[name]
        lifetimes = {spec.name: spec.lifetime for spec in device.properties}
        times = {prop: at for prop, at in device.reported_at.items() if prop in device.values}
        stale = {prop for prop, at in times.items() if self.now - at >= lifetimes[prop]}
        return Seen(device.properties, device.online, dict(device.values), times, stale)

    @invariant()
    def watchers_hold_the_true_state(self) -> None:
        for watcher in getattr(self, "watchers", {}).values():
            covered = {
                name
                for name in self.devices
                if name in self.names
                and (watcher.who, name, Action.OBSERVE) in self.may
                and watcher.device in ("", name)
            }
            if watcher.property:
                for name, seen in watcher.seen.items():
                    assert name in covered
                    true = self._true(name)
                    if watcher.property in true.values:
                        assert seen.values == {watcher.property: true.values[watcher.property]}
                        assert seen.stale == true.stale & {watcher.property}
                continue
            assert set(watcher.seen) == covered
            for name, seen in watcher.seen.items():
                true = self._true(name)
                assert (seen.online, seen.values, seen.reported_at, seen.stale) == (
                    true.online,
                    true.values,
                    true.reported_at,
                    true.stale,
                )

    @invariant()
    def questions_have_the_same_answers(self) -> None:
        if not hasattr(self, "engine"):
            return
        for who in ("phone", "app", "stranger"):
            views = {view.name: view for view in self.engine.devices(PEERS[who], now=self.now)}
            may = {(view.name, action) for view in views.values() for action in view.may}
            assert may == {(d, a.value) for w, d, a in self.may if w == who and d in self.devices}
            for name, view in views.items():
                true = self._true(name)
                if "read" not in view.may:
                    assert not view.samples
                    continue
                shown = {key: (sample.value, sample.at) for key, sample in view.samples.items()}
                assert shown == {key: (value, true.reported_at[key]) for key, value in true.values.items()}
                assert {key for key, sample in view.samples.items() if sample.stale} == true.stale

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "engine"):
            return
        assert len(self.watchers) <= LIMITS.max_watches
        assert all(n <= LIMITS.subject_watches for n in Counter(w.who for w in self.watchers.values()).values())
        assert len(self.owed) <= LIMITS.max_commands
        assert len(self.under_way) <= LIMITS.max_commands

    @invariant()
    def no_deadline_is_missed(self) -> None:
        if hasattr(self, "engine") and (deadline := self.engine.next_deadline()) is not None:
            assert self.engine.look_by() <= deadline

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        while (deadline := self.engine.next_deadline()) is not None:
            self.now = max(self.now, deadline)
            self.engine.tick(now=self.now)
            self._take()
        assert not self.owed, "time alone brings each command its final word"
        assert not self.under_way


TestTwins = TwinsMachine.TestCase
TestTwins.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
