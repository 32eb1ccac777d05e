"""Checks of a policy before it is put in force: no contradictions, no undefined names, nothing without a meaning."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields, replace

from gateway.api.exchanges import known_method
from gateway.api.hints import did_you_mean
from gateway.engine.limits import Rate
from gateway.engine.policy import (
    ADMIN_ACTIONS,
    DEVICE_ACTIONS,
    EVERYONE,
    GATEWAY,
    GROUP,
    PROXY_ACTIONS,
    SESSION_ACTIONS,
    Action,
    Condition,
    Direction,
    Effect,
    Obligation,
    PolicySet,
    Rule,
)

Key = tuple[str | int, ...]
"""A place in a policy: the table, then the name of the entry, or of a rule its position, then the keys within."""

Mistake = tuple[Key, str]
"""Where, and what was expected there."""

VERSIONS = frozenset({"tls1.2", "tls1.3", "dtls1.2", "dtls1.3"})

_FAMILIES = {
    "open and forward": SESSION_ACTIONS,
    "read, observe and write": DEVICE_ACTIONS,
    "admin": ADMIN_ACTIONS,
    "proxy": PROXY_ACTIONS,
}
"""A rule has actions of one of these families."""

_PROXY_CONDITIONS = ("methods", "paths", "exchanges")
"""Conditions of proxied requests only."""

_SESSION_CONDITIONS = tuple(
    field.name
    for field in fields(Condition)
    if field.name not in ("hours", "require_link", "commands", *_PROXY_CONDITIONS)
)
"""Conditions of units and sessions only."""


def mistakes(policy: PolicySet) -> Iterator[Mistake]:
    """All that keeps a policy from being put in force: contradictions, and names that it doesn't define."""
    yield from name_mistakes(policy)
    for index, rule in enumerate(policy.rules):
        yield from party_mistakes(policy, index, rule)
        yield from rule_mistakes(policy, index, rule)


def name_mistakes(policy: PolicySet) -> Iterator[Mistake]:
    """The mistakes in subjects, groups and resources: names had twice, not allowed or not defined."""
    names: set[str] = set()
    claims: dict[tuple[str, str], str] = {}
    for subject in policy.subjects:
        key = ("subjects", subject.name)
        yield from _name(key, subject.name)
        if subject.name in names:
            yield key, "expected a unique name"
        other = claims.setdefault((subject.link, subject.claim), subject.name)
        if other != subject.name:
            yield key, f"expected a unique identity, {other!r} has this one"
        names.add(subject.name)
    for group, members in policy.groups.items():
        yield from _name(("groups", group), group)
        if unknown := _unknown(members, names):
            yield ("groups", group), f"expected names of subjects, {unknown}"
    aliases: set[str] = set()
    for resource in policy.resources:
        key = ("resources", resource.name)
        yield from _name(key, resource.name)
        if resource.name in names or resource.name in aliases:
            yield key, "expected a name that no subject and no other resource has"
        if unknown := _unknown((resource.subject,), names):
            yield key, f"expected the name of a subject, {unknown}"
        aliases.add(resource.name)


def _name(key: Key, name: str) -> Iterator[Mistake]:
    if not name or name == EVERYONE or name.startswith(GROUP):
        yield key, f"expected a name that is not empty, {EVERYONE!r} or begins with {GROUP!r}"
    if name == GATEWAY:
        yield key, f"expected another name: {GATEWAY!r} is reserved for the gateway itself"


def _unknown(names: Collection[str], known: Collection[str]) -> str:
    """Those of the names that are not known, each with the one that was probably meant; empty if all are known."""
    return ", ".join(f"{name!r} is none{did_you_mean(name, known)}" for name in names if name not in known)


def party_mistakes(policy: PolicySet, index: int, rule: Rule) -> Iterator[Mistake]:
    """Names in the parties of a rule that the policy doesn't define."""
    groups = {GROUP + name for name in policy.groups}
    for field_name, names, known in (
        ("subject", rule.subjects, {EVERYONE, *groups, *policy.by_name}),
        ("resource", rule.resources, {EVERYONE, GATEWAY, *groups, *policy.aliases}),
    ):
        if not names:
            yield ("rules", index, field_name), "expected at least one name"
        if unknown := _unknown(names, known):
            yield ("rules", index, field_name), f"expected names that the policy defines, {unknown}"


def rule_mistakes(policy: PolicySet, index: int, rule: Rule) -> Iterator[Mistake]:
    """The mistakes in a rule, its parties' names apart."""
    key: Key = ("rules", index)
    if not rule.id:
        yield (*key, "id"), "expected a name"
    elif any(other.id == rule.id for other in policy.rules[:index]):
        yield (*key, "id"), f"expected a unique name, {rule.id!r} is taken"
    if rule.effect is Effect.DENY and rule.condition != _of_a_deny(rule):
        others = "hours, methods and paths" if rule.actions == PROXY_ACTIONS else "hours"
        yield (*key, "condition"), f"expected no condition but {others}: a deny has no others"
        rule = replace(rule, condition=Condition())
    if rule.effect is Effect.DENY and rule.obligation != Obligation():
        yield (*key, "obligation"), "expected none: a deny has no obligations"
        rule = replace(rule, obligation=Obligation())
    family = next((name for name, actions in _FAMILIES.items() if rule.actions and rule.actions <= actions), None)
    if family is None:
        yield (*key, "action"), f"expected actions of one of these groups only: {'; '.join(_FAMILIES)}"
        return
    if rule.actions <= ADMIN_ACTIONS:
        if rule.resources != (GATEWAY,):
            yield (*key, "resource"), f"expected {GATEWAY!r} alone: it is what admin is about"
    elif GATEWAY in rule.resources:
        yield (*key, "action"), f"expected admin: it is the only action on {GATEWAY!r}"
    if not rule.actions <= PROXY_ACTIONS:
        for name in _PROXY_CONDITIONS:
            if getattr(rule.condition, name) is not None:
                yield (*key, "condition", name), "expected in rules for proxy only"
    if rule.actions <= SESSION_ACTIONS:
        yield from _of_sessions(key, rule, policy)
    else:
        yield from _of_others(key, rule, family)
    yield from _amounts(key, rule.condition)
    yield from _least_version(key, rule.condition, policy)


def _of_a_deny(rule: Rule) -> Condition:
    """The part of a rule's condition that a deny may have."""
    condition = rule.condition
    if rule.actions != PROXY_ACTIONS:
        return Condition(hours=condition.hours)
    return Condition(hours=condition.hours, methods=condition.methods, paths=condition.paths)


def _of_sessions(key: Key, rule: Rule, policy: PolicySet) -> Iterator[Mistake]:
    condition = rule.condition
    if condition.commands is not None:
        yield (*key, "condition", "commands"), "expected in rules for read, write or admin only"
    known = policy.vocabulary
    if rule.content is not None:
        if not rule.content:
            yield (*key, "content"), "expected at least one kind of content"
        elif not rule.content <= known.kinds.keys():
            words = ", ".join(sorted(kind.value for kind in known.kinds)) or "none"
            yield (
                (*key, "content"),
                f"expected kinds of content that an adapter declares ({words})",
            )
    if condition.judges_units and Action.FORWARD not in rule.actions:
        yield (*key, "condition"), "expected no conditions on units: the rule doesn't permit to forward any"
    for name in ("sessions", "opens"):
        if getattr(condition, name) is not None and Action.OPEN not in rule.actions:
            yield (*key, "condition", name), "expected in rules that permit to open only"
    if condition.reads_records and rule.content is not None and not rule.content <= known.record_kinds:
        readable = " and ".join(sorted((kind.value for kind in known.record_kinds), key=len)) or "none"
        expected = f"expected a separate rule for content whose records can't be seen (all but {readable})"
        yield (*key, "content"), expected


def _of_others(key: Key, rule: Rule, family: str) -> Iterator[Mistake]:
    """A rule for devices, for the gateway or for proxy says nothing that has a meaning for sessions only."""
    proxy = rule.actions <= PROXY_ACTIONS
    if rule.content is not None and not proxy:
        yield (*key, "content"), f"expected none: a rule for {family} is not about sessions"
    if rule.content is not None and proxy and not rule.content:
        yield (*key, "content"), "expected at least one kind of content"
    if rule.direction is not Direction.BOTH:
        yield (*key, "direction"), f"expected none: a rule for {family} goes from subject to resource"
    condition, usual = rule.condition, Condition()
    for name in _SESSION_CONDITIONS:
        if getattr(condition, name) != getattr(usual, name) and not (proxy and name == "max_unit"):
            yield (*key, "condition", name), f"expected none: a rule for {family} is not about sessions"
    if rule.obligation != Obligation():
        yield (*key, "obligation"), f"expected none: a rule for {family} has no obligations"
    if condition.commands is not None and (proxy or rule.actions == {Action.OBSERVE}):
        yield (*key, "condition", "commands"), "expected in rules for read, write or admin only"


def _amounts(key: Key, condition: Condition) -> Iterator[Mistake]:
    """Values that no judgement could be made with, whatever the rule is about."""
    amounts: dict[str, float | None] = {name: getattr(condition, name) for name in ("max_unit", "sessions", "idle")}
    for name in ("handshakes", "bytes", "units", "opens", "commands", "exchanges"):
        rate: Rate | None = getattr(condition, name)
        amounts[name] = None if rate is None else min(rate.amount, rate.period)
    for name, value in amounts.items():
        if value is not None and value <= 0:
            yield (*key, "condition", name), "expected more than zero"
    if condition.versions is not None and not (condition.versions and condition.versions <= VERSIONS):
        yield (*key, "condition", "versions"), f"expected some of {', '.join(sorted(VERSIONS))}"
    if condition.record_types is not None and not all(0 <= number <= 255 for number in condition.record_types):
        yield (*key, "condition", "record_types"), "expected numbers from 0 to 255"
    if condition.methods is not None and not (condition.methods and all(map(known_method, condition.methods))):
        yield (*key, "condition", "methods"), "expected methods in upper case, such as GET or POST"
    if condition.paths is not None and not condition.paths:
        yield (*key, "condition", "paths"), "expected at least one path"


def _least_version(key: Key, condition: Condition, policy: PolicySet) -> Iterator[Mistake]:
    require, links = condition.require_link, policy.vocabulary.links
    names = [name for name in (require.min_version, *require.other_versions) if name]
    if any(name not in links or not links[name].least for name in names):
        known = [link.name for link in links.values() if link.least]
        expected = f"expected {' or '.join(filter(None, (', '.join(known[:-1]), *known[-1:]))) or 'none'}"
        yield (*key, "condition", "require_link", "min_version"), expected
    elif len({links[name].family for name in names}) < len(names):
        expected = "expected one version of each family of protocols: the others say nothing more"
        yield (*key, "condition", "require_link", "min_version"), expected
