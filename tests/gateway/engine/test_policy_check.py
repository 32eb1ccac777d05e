"""What a policy must be before it is put in force, and how hours are read."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from gateway.api.model import Address, ContentKind, LinkRequirement, LinkSecurity, Peer
from gateway.engine.limits import Rate
from gateway.engine.path_pattern import parse_pattern
from gateway.engine.policy import (
    ADMIN_ACTIONS,
    DEVICE_ACTIONS,
    GATEWAY,
    PROXY_ACTIONS,
    Action,
    Condition,
    Direction,
    Effect,
    Hours,
    Obligation,
    OnExcess,
    Resource,
    Rule,
    Subject,
    parse_hours,
)
from gateway.engine.policy_check import mistakes
from tests.harness.engine_stage import KINDS, PolicySet

LAMP, PHONE = Subject("lamp", "zigbee", "eui64:1"), Subject("phone", "coap", "psk:phone")


SESSION_CONDITIONS: dict[str, Any] = {
    "versions": frozenset({"dtls1.2"}),
    "record_types": frozenset({22}),
    "max_unit": 1,
    "handshakes": Rate(1, 1),
    "bytes": Rate(1, 1),
    "units": Rate(1, 1),
    "sessions": 1,
    "opens": Rate(1, 1),
    "idle": 1.0,
    "early_data": False,
}
PROXY_CONDITIONS: dict[str, Any] = {
    "methods": frozenset({"GET"}),
    "paths": (parse_pattern("/a"),),
    "exchanges": Rate(1, 1),
}


def policy(rule: dict[str, Any] | None = None, **fields: Any) -> PolicySet:
    defaults: dict[str, Any] = {"subjects": (LAMP, PHONE), "groups": {"home": ("lamp",)}}
    if rule is not None:
        given: dict[str, Any] = {"id": "r", "effect": Effect.PERMIT, "subjects": ("lamp",), "resources": ("phone",)}
        defaults["rules"] = (Rule(**(given | rule)),)
    return PolicySet(**(defaults | fields))


GOOD = [
    policy(),
    policy({}),
    policy({"subjects": ("group:home", "*"), "resources": ("*",)}),
    policy({"resources": ("cloud",)}, resources=(Resource("cloud", "phone"),)),
    policy({"effect": Effect.DENY, "condition": Condition(hours=Hours(0, 60))}),
    policy({"condition": Condition(versions=frozenset({"dtls1.2"}), sessions=1, idle=5.0, units=Rate(1, 1))}),
    policy({"content": KINDS, "condition": Condition(max_unit=100, bytes=Rate(1, 1))}),
    policy({"actions": DEVICE_ACTIONS, "condition": Condition(commands=Rate(1, 1), hours=Hours(0, 60))}),
    policy(
        {"actions": frozenset({Action.OBSERVE}), "condition": Condition(require_link=LinkRequirement(link_key=True))}
    ),
    policy({"actions": ADMIN_ACTIONS, "resources": (GATEWAY,), "condition": Condition(commands=Rate(1, 1))}),
    policy({"actions": ADMIN_ACTIONS, "resources": (GATEWAY,), "effect": Effect.DENY}),
    policy({"actions": PROXY_ACTIONS, "condition": Condition(max_unit=9, hours=Hours(0, 60), **PROXY_CONDITIONS)}),
    policy({"actions": PROXY_ACTIONS, "content": frozenset({ContentKind.OSCORE})}),
    policy(
        {
            "actions": PROXY_ACTIONS,
            "effect": Effect.DENY,
            "condition": Condition(methods=frozenset({"PUT"}), paths=(parse_pattern("/a/**"),)),
        }
    ),
]


@pytest.mark.parametrize("good", GOOD)
def test_good_policies(good: PolicySet) -> None:
    assert list(mistakes(good)) == []


def same(name: str) -> Rule:
    return Rule(id=name, effect=Effect.DENY, subjects=("lamp",), resources=("phone",))


BAD = {
    "subjects.*": policy(subjects=(Subject("*", "coap", "psk:x"),)),
    "subjects.": policy(subjects=(Subject("", "coap", "psk:x"),)),
    "subjects.group:x": policy(subjects=(Subject("group:x", "coap", "psk:x"),)),
    "subjects.lamp": policy(subjects=(LAMP, LAMP)),
    "subjects.twin": policy(subjects=(LAMP, Subject("twin", "zigbee", "eui64:1"))),
    "groups.home": policy(groups={"home": ("stranger",)}),
    "resources.phone": policy(resources=(Resource("phone", "lamp"),)),
    "resources.twice": policy(resources=(Resource("twice", "lamp"), Resource("twice", "phone"))),
    "resources.*": policy(resources=(Resource("*", "lamp"),)),
    "resources.cloud": policy(resources=(Resource("cloud", "stranger"),)),
    "rules.0.id": policy({"id": ""}),
    "rules.1.id": policy(rules=(same("r"), same("r"))),
    "rules.0.subject": policy({"subjects": ("stranger",)}),
    "rules.0.subject ": policy({"subjects": ()}),
    "rules.0.resource": policy({"resources": ("group:stranger",)}),
    "rules.0.action": policy({"actions": frozenset()}),
    "rules.0.content": policy({"content": frozenset()}),
    "rules.0.content ": policy({"content": KINDS, "condition": Condition(early_data=False)}),
    "rules.0.condition": policy({"effect": Effect.DENY, "condition": Condition(max_unit=1)}),
    "rules.0.obligation": policy({"effect": Effect.DENY, "obligation": Obligation(on_excess=OnExcess.DROP)}),
    "rules.0.condition ": policy({"actions": frozenset({Action.OPEN}), "condition": Condition(max_unit=1)}),
    "rules.0.condition.sessions": policy({"actions": frozenset({Action.FORWARD}), "condition": Condition(sessions=1)}),
    "rules.0.condition.max_unit": policy({"condition": Condition(max_unit=0)}),
    "rules.0.condition.bytes": policy({"condition": Condition(bytes=Rate(0, 60))}),
    "rules.0.condition.idle": policy({"condition": Condition(idle=-1.0)}),
    "rules.0.condition.versions": policy({"condition": Condition(versions=frozenset({"ssl3"}))}),
    "rules.0.condition.versions ": policy({"condition": Condition(versions=frozenset())}),
    "rules.0.condition.record_types": policy({"condition": Condition(record_types=frozenset({256}))}),
    "subjects.gateway": policy(subjects=(Subject("gateway", "coap", "psk:x"),)),
    "groups.gateway": policy(groups={"gateway": ("lamp",)}),
    "resources.gateway": policy(resources=(Resource("gateway", "lamp"),)),
    "rules.0.action ": policy({"actions": frozenset({Action.OPEN, Action.READ})}),
    "rules.0.action  ": policy({"actions": frozenset({Action.READ, Action.ADMIN}), "resources": (GATEWAY,)}),
    "rules.0.action   ": policy({"resources": (GATEWAY,)}),
    "rules.0.action    ": policy({"actions": DEVICE_ACTIONS, "resources": ("lamp", GATEWAY)}),
    "rules.0.resource  ": policy({"actions": ADMIN_ACTIONS}),
    "rules.0.resource   ": policy({"actions": ADMIN_ACTIONS, "resources": ("*",)}),
    "rules.0.resource    ": policy({"actions": DEVICE_ACTIONS, "resources": ("nothing",)}),
    "rules.0.subject  ": policy({"actions": ADMIN_ACTIONS, "resources": (GATEWAY,), "subjects": (GATEWAY,)}),
    "rules.0.content  ": policy({"actions": DEVICE_ACTIONS, "content": frozenset({ContentKind.ATLS})}),
    "rules.0.direction": policy({"actions": DEVICE_ACTIONS, "direction": Direction.TO_DEVICE}),
    "rules.0.obligation ": policy({"actions": DEVICE_ACTIONS, "obligation": Obligation(on_excess=OnExcess.DROP)}),
    "rules.0.condition.commands": policy({"condition": Condition(commands=Rate(1, 1))}),
    "rules.0.condition.commands ": policy(
        {"actions": frozenset({Action.OBSERVE}), "condition": Condition(commands=Rate(1, 1))}
    ),
    "rules.0.condition.commands  ": policy({"actions": DEVICE_ACTIONS, "condition": Condition(commands=Rate(0, 1))}),
    **{
        f"rules.0.condition.{name}  ": policy({"actions": DEVICE_ACTIONS, "condition": Condition(**{name: value})})
        for name, value in SESSION_CONDITIONS.items()
    },
    **{
        f"rules.0.condition.{name}   ": policy({"condition": Condition(**{name: value})})
        for name, value in PROXY_CONDITIONS.items()
    },
    **{
        f"rules.0.condition.{name}    ": policy({"actions": DEVICE_ACTIONS, "condition": Condition(**{name: value})})
        for name, value in PROXY_CONDITIONS.items()
    },
    **{
        f"rules.0.condition.{name}     ": policy({"actions": PROXY_ACTIONS, "condition": Condition(**{name: value})})
        for name, value in SESSION_CONDITIONS.items()
        if name != "max_unit"
    },
    "rules.0.condition.commands   ": policy({"actions": PROXY_ACTIONS, "condition": Condition(commands=Rate(1, 1))}),
    "rules.0.condition.exchanges      ": policy(
        {"actions": PROXY_ACTIONS, "condition": Condition(exchanges=Rate(0, 1))}
    ),
    "rules.0.condition.methods      ": policy(
        {"actions": PROXY_ACTIONS, "condition": Condition(methods=frozenset({"get"}))}
    ),
    "rules.0.condition.paths      ": policy({"actions": PROXY_ACTIONS, "condition": Condition(paths=())}),
    "rules.0.condition  ": policy(
        {"actions": PROXY_ACTIONS, "effect": Effect.DENY, "condition": Condition(exchanges=Rate(1, 1))}
    ),
    "rules.0.condition   ": policy({"effect": Effect.DENY, "condition": Condition(methods=frozenset({"GET"}))}),
    "rules.0.content   ": policy({"actions": PROXY_ACTIONS, "content": frozenset()}),
    "rules.0.direction ": policy({"actions": PROXY_ACTIONS, "direction": Direction.TO_DEVICE}),
    "rules.0.obligation  ": policy({"actions": PROXY_ACTIONS, "obligation": Obligation(on_excess=OnExcess.DROP)}),
    "rules.0.action     ": policy({"actions": frozenset({Action.PROXY, Action.READ})}),
    "rules.0.action      ": policy({"actions": frozenset({Action.PROXY, Action.OPEN})}),
    "rules.0.action       ": policy({"actions": PROXY_ACTIONS, "resources": (GATEWAY,)}),
    "rules.0.condition.require_link.min_version": policy(
        {"condition": Condition(require_link=LinkRequirement(min_version="dtls9"))}
    ),
}


@pytest.mark.parametrize("key", BAD)
def test_bad_policies_say_where(key: str) -> None:
    found = [(".".join(map(str, where)), expected) for where, expected in mistakes(BAD[key])]
    assert found[0][0] == key.strip()
    assert all(expected.startswith("expected") for _, expected in found)


def test_a_bad_rule_hides_no_other() -> None:
    rules = (
        Rule(
            id="a",
            effect=Effect.PERMIT,
            subjects=("lmap", "phnoe", "x"),
            resources=("phone",),
            actions=DEVICE_ACTIONS,
            direction=Direction.TO_DEVICE,
            content=frozenset({ContentKind.ATLS}),
        ),
        same("b"),
        Rule(id="b", effect=Effect.DENY, subjects=("lamp",), resources=("stranger",), condition=Condition(max_unit=1)),
    )
    found = list(mistakes(policy(rules=rules, groups={"home": ("lmap",)})))
    assert found == [
        (("groups", "home"), "expected names of subjects, 'lmap' is none (did you mean lamp?)"),
        (
            ("rules", 0, "subject"),
            "expected names that the policy defines, 'lmap' is none (did you mean lamp?), "
            "'phnoe' is none (did you mean phone?), 'x' is none",
        ),
        (("rules", 0, "content"), "expected none: a rule for read, observe and write is not about sessions"),
        (("rules", 0, "direction"), "expected none: a rule for read, observe and write goes from subject to resource"),
        (("rules", 2, "resource"), "expected names that the policy defines, 'stranger' is none"),
        (("rules", 2, "id"), "expected a unique name, 'b' is taken"),
        (("rules", 2, "condition"), "expected no condition but hours: a deny has no others"),
    ]


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("06:00-23:00", Hours(360, 1380)),
        ("22:00-06:00", Hours(1320, 360)),
        ("00:00-24:00", Hours(0, 1440)),
        ("06:00 - 23:30", Hours(360, 1410)),
    ],
)
def test_hours(text: str, hours: Hours) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize(
    "text", ["", "06:00", "6:00-23:00", "06:00-23:60", "06:00-25:00", "06:00-06:00", "a-b", "06:00-07:00-08:00", "-"]
)
def test_text_that_is_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected two times"):
        parse_hours(text)


def test_hours_hold() -> None:
    day, night = Hours(360, 1380), Hours(1320, 360)
    assert [day.hold(m) for m in (359, 360, 1379, 1380)] == [False, True, True, False]
    assert [night.hold(m) for m in (1319, 1320, 0, 359, 360)] == [False, True, True, True, False]


def test_a_peer_is_the_subject_of_its_most_specific_claim() -> None:
    subjects = (Subject("pin", "coap", "spki:aa"), Subject("host", "coap", "san:dns:h"))
    link = LinkSecurity(protocol="dtls1.2")
    known = PolicySet(subjects=subjects)
    assert known.name_of(Peer(scheme="coap", claims=("spki:aa", "san:dns:h"), link=link)) == "pin"
    assert known.name_of(Peer(scheme="coap", claims=("spki:bb", "san:dns:h"), link=link)) == "host"
    assert known.name_of(Peer(scheme="mqtt", claims=("spki:aa",), link=link)) == ""
    assert known.name_of(Peer(scheme="coap", claims=(), link=link)) == ""
    assert known.address_of("host") == Address(scheme="coap", claim="san:dns:h")


def test_every_condition_is_of_sessions_or_of_devices_too() -> None:
    """A new condition must be thought of here."""
    assert set(SESSION_CONDITIONS) | {"hours", "require_link", "commands"} | set(PROXY_CONDITIONS) == {
        field.name for field in fields(Condition)
    }
