"""The judgement of the policy: what permits, what denies, and how it is explained."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.model import ContentKind, LinkRequirement, LinkSecurity, Reason
from gateway.engine.decision import AccessRequest, Deny, Permit, decide, explain
from gateway.engine.policy import (
    DEVICE_ACTIONS,
    GATEWAY,
    Action,
    Condition,
    Direction,
    Effect,
    Hours,
    Resource,
    Rule,
    Subject,
    parse_hours,
)
from gateway.engine.visible import Visible
from tests.harness.engine_stage import KINDS, PolicySet

SUBJECTS = (
    Subject("lamp", "zigbee", "eui64:1"),
    Subject("bulb", "zigbee", "eui64:2"),
    Subject("phone", "coap", "psk:phone"),
    Subject("svc", "mqtt", "user:svc"),
)
NAMES = tuple(subject.name for subject in SUBJECTS)
OPEN, FORWARD = frozenset({Action.OPEN}), frozenset({Action.FORWARD})


def a_policy(*rules: Rule) -> PolicySet:
    return PolicySet(
        subjects=SUBJECTS, groups={"home": ("lamp", "bulb")}, resources=(Resource("cloud", "svc"),), rules=rules
    )


def rule(effect: Effect = Effect.PERMIT, **fields: Any) -> Rule:
    defaults: dict[str, Any] = {"id": "r", "subjects": ("lamp",), "resources": ("phone",)}
    return Rule(effect=effect, **(defaults | fields))


def ask(action: Action, sender: str, receiver: str, **fields: Any) -> AccessRequest:
    defaults: dict[str, Any] = {"content": ContentKind.ADTLS, "link": LinkSecurity(protocol="dtls1.2")}
    return AccessRequest(action=action, sender=sender, receiver=receiver, **(defaults | fields))


def permitted(policy: PolicySet, action: Action, sender: str, receiver: str, **fields: Any) -> bool:
    return isinstance(decide(ask(action, sender, receiver, **fields), policy), Permit)


def test_nothing_is_permitted_by_default() -> None:
    assert decide(ask(Action.OPEN, "lamp", "phone"), a_policy()) == Deny(Reason.DENIED, "default")


def test_only_a_subject_opens_but_both_forward() -> None:
    policy = a_policy(rule())
    assert permitted(policy, Action.OPEN, "lamp", "phone")
    assert not permitted(policy, Action.OPEN, "phone", "lamp")
    assert permitted(policy, Action.FORWARD, "lamp", "phone")
    assert permitted(policy, Action.FORWARD, "phone", "lamp")
    assert not permitted(policy, Action.FORWARD, "bulb", "phone")
    assert not permitted(a_policy(rule(actions=OPEN)), Action.FORWARD, "lamp", "phone")
    assert not permitted(a_policy(rule(actions=FORWARD)), Action.OPEN, "lamp", "phone")


@pytest.mark.parametrize(
    ("direction", "sender", "receiver", "fits"),
    [
        (Direction.FROM_DEVICE, "lamp", "phone", True),
        (Direction.FROM_DEVICE, "phone", "lamp", False),
        (Direction.TO_DEVICE, "lamp", "phone", False),
        (Direction.TO_DEVICE, "phone", "lamp", True),
        (Direction.BOTH, "phone", "lamp", True),
        (Direction.FROM_DEVICE, "phone", "svc", False),
        (Direction.TO_DEVICE, "phone", "svc", False),
        (Direction.BOTH, "phone", "svc", True),
        (Direction.FROM_DEVICE, "lamp", "bulb", True),
        (Direction.TO_DEVICE, "lamp", "bulb", True),
    ],
)
def test_direction_is_where_the_unit_comes_from_and_goes_to(
    direction: Direction, sender: str, receiver: str, fits: bool
) -> None:
    policy = a_policy(rule(subjects=("*",), resources=("*",), direction=direction))
    assert permitted(policy, Action.FORWARD, sender, receiver) is fits


def test_groups_aliases_and_everyone() -> None:
    policy = a_policy(rule(subjects=("group:home",), resources=("cloud",)))
    assert permitted(policy, Action.OPEN, "bulb", "svc")
    assert not permitted(policy, Action.OPEN, "phone", "svc")
    assert permitted(a_policy(rule(subjects=("*",), resources=("group:home",))), Action.OPEN, "phone", "bulb")


def test_a_deny_hits_the_endpoint_whatever_its_name() -> None:
    policy = a_policy(
        rule(id="a", subjects=("*",), resources=("*",)),
        rule(Effect.DENY, id="z", subjects=("lamp",), resources=("svc",)),
    )
    assert decide(ask(Action.OPEN, "lamp", "svc"), policy) == Deny(Reason.DENIED, "z")
    assert permitted(policy, Action.OPEN, "lamp", "phone")


def test_a_deny_may_hold_at_night_only() -> None:
    night = Condition(hours=parse_hours("22:00-06:00"))
    policy = a_policy(rule(id="a"), rule(Effect.DENY, id="z", condition=night))
    assert permitted(policy, Action.OPEN, "lamp", "phone", minute=720)
    assert not permitted(policy, Action.OPEN, "lamp", "phone", minute=1400)
    assert decide(ask(Action.OPEN, "lamp", "phone"), policy) == Deny(Reason.DENIED, "z"), "no clock: it can't be judged"


def test_kinds_of_content() -> None:
    policy = a_policy(rule(id="a"))
    assert decide(ask(Action.OPEN, "lamp", "phone", content=ContentKind.OSCORE), policy) == Deny(Reason.CONTENT, "a")
    policy = a_policy(rule(id="a", content=frozenset({ContentKind.OSCORE})))
    assert permitted(policy, Action.OPEN, "lamp", "phone", content=ContentKind.OSCORE)
    assert not permitted(policy, Action.OPEN, "lamp", "phone")
    every = a_policy(rule(id="a", content=KINDS), rule(Effect.DENY, id="z"))
    for kind in sorted(KINDS, key=lambda kind: kind.value):
        assert decide(ask(Action.OPEN, "lamp", "phone", content=kind), every) == Deny(Reason.DENIED, "z")


def test_a_rule_about_records_cannot_be_judged_for_content_without_them() -> None:
    condition = Condition(record_types=frozenset({23}))
    policy = a_policy(rule(content=KINDS, condition=condition), rule(id="s", content=KINDS))
    assert decide(ask(Action.FORWARD, "lamp", "phone", content=ContentKind.OSCORE), policy) == Deny(Reason.DENIED, "r")


@pytest.mark.parametrize(
    ("link", "require", "verdict"),
    [
        ("dtls1.2", LinkRequirement(min_version="dtls1.2"), True),
        ("tls1.3", LinkRequirement(min_version="dtls1.2"), True),
        ("tls1.1", LinkRequirement(min_version="dtls1.2"), False),
        ("none", LinkRequirement(min_version="tls1.2"), False),
        ("something-new", LinkRequirement(min_version="tls1.2"), False),
        ("dtls1.2", LinkRequirement(suites=frozenset({"A"})), True),
        ("dtls1.2", LinkRequirement(suites=frozenset({"B"})), False),
        ("dtls1.2", LinkRequirement(link_key=True), True),
    ],
)
def test_the_senders_link(link: str, require: LinkRequirement, verdict: bool) -> None:
    policy = a_policy(rule(subjects=("phone",), resources=("lamp",), condition=Condition(require_link=require)))
    request = ask(Action.OPEN, "phone", "lamp", link=LinkSecurity(protocol=link, suite="A"))
    decision = decide(request, policy)
    assert isinstance(decision, Permit) if verdict else decision == Deny(Reason.LINK, "r")


def test_each_hop_is_asked_for_what_it_can_be() -> None:
    require = LinkRequirement(min_version="dtls1.2", suites=frozenset({"A"}), link_key=True)
    policy = a_policy(rule(condition=Condition(require_link=require)))
    keyed = LinkSecurity(protocol="zigbee-link-key")
    onward = decide(ask(Action.FORWARD, "lamp", "phone", link=keyed), policy)
    back = decide(ask(Action.FORWARD, "phone", "lamp", link=LinkSecurity(protocol="dtls1.2", suite="A")), policy)
    assert isinstance(onward, Permit) and isinstance(back, Permit)
    assert onward.grants[0].require == LinkRequirement(min_version="dtls1.2", suites=frozenset({"A"}))
    assert back.grants[0].require == LinkRequirement(link_key=True)


def test_recorded_units_can_be_judged_along() -> None:
    policy = a_policy(rule(condition=Condition(max_unit=100, record_types=frozenset({22, 23}))))
    data, ccs = Visible(frozenset({23}), True), Visible(frozenset({20}))
    assert permitted(policy, Action.FORWARD, "lamp", "phone", octets=100, visible=data)
    assert decide(ask(Action.FORWARD, "lamp", "phone", octets=101, visible=data), policy) == Deny(Reason.TOO_LARGE, "r")
    assert decide(ask(Action.FORWARD, "lamp", "phone", octets=9, visible=ccs), policy) == Deny(Reason.DENIED, "r")
    assert decide(ask(Action.FORWARD, "lamp", "phone", octets=9), policy) == Deny(Reason.BROKEN, "r")


def test_an_explanation_tells_what_every_rule_found() -> None:
    policy = a_policy(
        rule(id="a", actions=OPEN),
        rule(id="b", condition=Condition(hours=Hours(0, 60))),
        rule(id="c", direction=Direction.TO_DEVICE),
        rule(id="d", subjects=("bulb",)),
        rule(id="e"),
        rule(Effect.DENY, id="f", content=frozenset({ContentKind.ATLS})),
        rule(id="g", content=frozenset({ContentKind.ATLS})),
        rule(id="h", condition=Condition(max_unit=5)),
    )
    explained = explain(
        ask(Action.FORWARD, "lamp", "phone", minute=100, octets=9, visible=Visible(frozenset({23}))), policy
    )
    assert [(finding.rule, finding.note) for finding in explained.findings] == [
        ("a", "action"),
        ("b", "hours"),
        ("c", "direction"),
        ("d", "parties"),
        ("e", ""),
        ("f", "content"),
        ("g", "content"),
        ("h", "unit (too-large)"),
    ]
    assert [finding.rule for finding in explained.matched] == ["e"]
    assert isinstance(explained.decision, Permit) and explained.decision.rules == ("e",)


names = st.sampled_from([*NAMES, "group:home", "*", "cloud"])
conditions = st.builds(
    Condition,
    hours=st.none() | st.builds(Hours, st.integers(0, 1440), st.integers(0, 1440)),
    max_unit=st.none() | st.integers(1, 50),
    require_link=st.sampled_from([LinkRequirement(), LinkRequirement(min_version="tls1.3")]),
)
rules = st.builds(
    Rule,
    id=st.uuids().map(str),
    effect=st.sampled_from(Effect),
    subjects=st.lists(names, min_size=1, max_size=2).map(tuple),
    resources=st.lists(names, min_size=1, max_size=2).map(tuple),
    actions=st.sampled_from([OPEN, FORWARD, OPEN | FORWARD]),
    direction=st.sampled_from(Direction),
    content=st.none() | st.frozensets(st.sampled_from(sorted(KINDS, key=lambda kind: kind.value)), min_size=1),
    condition=conditions,
)
requests = st.builds(
    AccessRequest,
    action=st.sampled_from(Action),
    sender=st.sampled_from(NAMES),
    receiver=st.sampled_from(NAMES),
    content=st.sampled_from(sorted(KINDS, key=lambda kind: kind.value)),
    link=st.builds(LinkSecurity, protocol=st.sampled_from(["none", "dtls1.2", "tls1.3", "zigbee-network-key", "?"])),
    minute=st.none() | st.integers(0, 1439),
    octets=st.none() | st.integers(0, 60),
    visible=st.just(Visible(frozenset({23}))),
)


@given(request=requests, chosen=st.lists(rules, max_size=6, unique_by=lambda rule: rule.id), seed=st.integers())
def test_order_means_nothing_and_explaining_is_deciding(request: AccessRequest, chosen: list[Rule], seed: int) -> None:
    shuffled = list(chosen)
    random.Random(seed).shuffle(shuffled)
    decision = decide(request, a_policy(*chosen))
    assert decide(request, a_policy(*shuffled)) == decision
    assert explain(request, a_policy(*shuffled)).decision == decision


@given(request=requests, chosen=st.lists(rules, max_size=6, unique_by=lambda rule: rule.id), extra=rules)
def test_a_deny_that_holds_overrides_and_a_permit_never_takes_away(
    request: AccessRequest, chosen: list[Rule], extra: Rule
) -> None:
    before = decide(request, a_policy(*chosen))
    after = decide(request, a_policy(*chosen, extra))
    finding = next(found for found in explain(request, a_policy(extra)).findings)
    if extra.effect is Effect.DENY and not finding.note:
        assert isinstance(after, Deny)
    if extra.effect is Effect.PERMIT and isinstance(before, Permit) and not finding.undecidable:
        assert isinstance(after, Permit)
    if isinstance(before, Deny) and isinstance(after, Permit):
        assert extra.effect is Effect.PERMIT


@given(request=requests, chosen=st.lists(rules, max_size=6, unique_by=lambda rule: rule.id))
def test_a_permit_names_only_permits_that_hold(request: AccessRequest, chosen: list[Rule]) -> None:
    explained = explain(request, a_policy(*chosen))
    if isinstance(explained.decision, Permit):
        effects = {rule.id: rule.effect for rule in chosen}
        assert explained.decision.grants
        assert all(effects[name] is Effect.PERMIT for name in explained.decision.rules)
        assert not any(finding.effect is Effect.DENY for finding in explained.matched)


@pytest.mark.parametrize("action", sorted(DEVICE_ACTIONS, key=lambda action: action.value))
def test_an_action_on_a_device_goes_one_way_and_implies_no_other(action: Action) -> None:
    policy = a_policy(rule(subjects=("phone",), resources=("group:home",), actions=frozenset({action})))
    for asked in Action:
        assert permitted(policy, asked, "phone", "lamp", content=None) == (asked is action)
        assert not permitted(policy, asked, "lamp", "phone", content=None)
    everybody = a_policy(rule(subjects=("*",), resources=("*",)))
    assert not permitted(everybody, action, "phone", "lamp", content=None)


def test_admin_is_about_the_gateway_only() -> None:
    boss = rule(subjects=("phone",), resources=(GATEWAY,), actions=frozenset({Action.ADMIN}))
    assert permitted(a_policy(boss), Action.ADMIN, "phone", GATEWAY, content=None)
    assert not permitted(a_policy(boss), Action.ADMIN, "svc", GATEWAY, content=None)
    assert not permitted(a_policy(boss), Action.READ, "phone", GATEWAY, content=None)
    stop = rule(Effect.DENY, id="a", subjects=("*",), resources=(GATEWAY,), actions=frozenset({Action.ADMIN}))
    assert decide(ask(Action.ADMIN, "phone", GATEWAY, content=None), a_policy(boss, stop)) == Deny(Reason.DENIED, "a")
    strict = Condition(require_link=LinkRequirement(min_version="tls1.3"))
    wanting = a_policy(rule(subjects=("phone",), resources=(GATEWAY,), actions=boss.actions, condition=strict))
    assert decide(ask(Action.ADMIN, "phone", GATEWAY, content=None), wanting) == Deny(Reason.LINK, "r")


def test_the_link_of_a_device_is_for_its_adapter_to_check() -> None:
    condition = Condition(require_link=LinkRequirement(min_version="dtls1.2", link_key=True))
    policy = a_policy(
        rule(subjects=("phone",), resources=("lamp",), actions=frozenset({Action.WRITE}), condition=condition)
    )
    decision = decide(ask(Action.WRITE, "phone", "lamp", content=None), policy)
    assert isinstance(decision, Permit)
    assert decision.grants[0].require == LinkRequirement(link_key=True)
    assert not permitted(policy, Action.WRITE, "phone", "lamp", content=None, link=LinkSecurity(protocol="none"))
