"""What a policy must be before it is put in force: no contradictions, no undefined names, nothing without a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from gateway.api.errors import ConfigError
from gateway.api.link import known_version
from gateway.engine.limits import Rate
from gateway.engine.policy import (
    ADMIN_ACTIONS,
    DEVICE_ACTIONS,
    EVERYONE,
    GATEWAY,
    GROUP,
    RECORD_KINDS,
    SESSION_ACTIONS,
    Action,
    Condition,
    Direction,
    Effect,
    Obligation,
    PolicySet,
    Rule,
)

VERSIONS = frozenset({"tls1.2", "tls1.3", "dtls1.2", "dtls1.3"})

_FAMILIES = {"open and forward": SESSION_ACTIONS, "read, observe and write": DEVICE_ACTIONS, "admin": ADMIN_ACTIONS}
"""A rule has actions of one of these families."""

_SESSION_CONDITIONS = tuple(
    field.name for field in fields(Condition) if field.name not in ("hours", "require_link", "commands")
)
"""What concerns units and sessions only."""


def check(policy: PolicySet) -> None:
    """Refuse a policy that contradicts itself or names what it doesn't define: ConfigError with the key path."""
    _check_names(policy)
    for index, rule in enumerate(policy.rules):
        key = f"rules.{index}"
        if not rule.id:
            raise ConfigError(f"{key}.id", "expected a name")
        if any(other.id == rule.id for other in policy.rules[:index]):
            raise ConfigError(f"{key}.id", f"expected a name of its own, {rule.id!r} is taken")
        _check_parties(policy, key, "subject", rule.subjects, policy.by_name)
        _check_action(policy, key, rule)
        if rule.effect is Effect.DENY:
            if rule.condition != Condition(hours=rule.condition.hours):
                raise ConfigError(f"{key}.condition", "expected no condition but hours: a deny has no others")
            if rule.obligation != Obligation():
                raise ConfigError(f"{key}.obligation", "expected none: a deny has no obligations")
        _check_condition(f"{key}.condition", rule)


def _check_action(policy: PolicySet, key: str, rule: Rule) -> None:
    """The actions are of one family, and the rule says nothing that has no meaning for it."""
    family = next((name for name, actions in _FAMILIES.items() if rule.actions and rule.actions <= actions), None)
    if family is None:
        raise ConfigError(f"{key}.action", f"expected actions of one of these groups only: {'; '.join(_FAMILIES)}")
    if rule.actions <= ADMIN_ACTIONS:
        if rule.resources != (GATEWAY,):
            raise ConfigError(f"{key}.resource", f"expected {GATEWAY!r} alone: it is what admin is about")
    elif GATEWAY in rule.resources:
        raise ConfigError(f"{key}.action", f"expected admin: it is the only action on {GATEWAY!r}")
    else:
        _check_parties(policy, key, "resource", rule.resources, policy.aliases)
    if rule.actions <= SESSION_ACTIONS:
        if rule.condition.commands is not None:
            raise ConfigError(f"{key}.condition.commands", "expected in rules for read, write or admin only")
        if not rule.kinds:
            raise ConfigError(f"{key}.content", "expected at least one kind of content")
        return
    if rule.content is not None:
        raise ConfigError(f"{key}.content", f"expected none: a rule for {family} is not about sessions")
    if rule.direction is not Direction.BOTH:
        raise ConfigError(f"{key}.direction", f"expected none: a rule for {family} goes from subject to resource")
    condition, usual = rule.condition, Condition()
    for name in _SESSION_CONDITIONS:
        if getattr(condition, name) != getattr(usual, name):
            raise ConfigError(f"{key}.condition.{name}", f"expected none: a rule for {family} is not about sessions")
    if rule.obligation != Obligation():
        raise ConfigError(f"{key}.obligation", f"expected none: a rule for {family} has no obligations")
    if condition.commands is not None and rule.actions == {Action.OBSERVE}:
        raise ConfigError(f"{key}.condition.commands", "expected in rules for read, write or admin only")


def _check_name(key: str, name: str) -> None:
    if not name or name == EVERYONE or name.startswith(GROUP):
        raise ConfigError(key, f"expected a name that is not empty, {EVERYONE!r} or begins with {GROUP!r}")
    if name == GATEWAY:
        raise ConfigError(key, f"expected another name: {GATEWAY!r} is reserved for the gateway itself")


def _check_names(policy: PolicySet) -> None:
    names: set[str] = set()
    claims: dict[tuple[str, str], str] = {}
    for subject in policy.subjects:
        key = f"subjects.{subject.name}"
        _check_name(key, subject.name)
        if subject.name in names:
            raise ConfigError(key, "expected a name of its own")
        other = claims.setdefault((subject.link, subject.claim), subject.name)
        if other != subject.name:
            raise ConfigError(key, f"expected an identity of its own, this one is {other!r}")
        names.add(subject.name)
    for group, members in policy.groups.items():
        _check_name(f"groups.{group}", group)
        for member in members:
            if member not in names:
                raise ConfigError(f"groups.{group}", f"expected names of subjects, {member!r} is none")
    aliases: set[str] = set()
    for resource in policy.resources:
        key = f"resources.{resource.name}"
        _check_name(key, resource.name)
        if resource.name in names or resource.name in aliases:
            raise ConfigError(key, "expected a name that no subject and no other resource has")
        if resource.subject not in names:
            raise ConfigError(key, f"expected the name of a subject, {resource.subject!r} is none")
        aliases.add(resource.name)


def _check_parties(
    policy: PolicySet, key: str, field_name: str, names: tuple[str, ...], known: Mapping[str, object]
) -> None:
    if not names:
        raise ConfigError(f"{key}.{field_name}", "expected at least one name")
    for name in names:
        group = name.removeprefix(GROUP)
        if name != EVERYONE and not (group in policy.groups if name.startswith(GROUP) else name in known):
            raise ConfigError(f"{key}.{field_name}", f"expected names that the policy defines, {name!r} is none")


def _rates(condition: Condition) -> dict[str, Rate | None]:
    return {
        "handshakes": condition.handshakes,
        "bytes": condition.bytes,
        "units": condition.units,
        "opens": condition.opens,
        "commands": condition.commands,
    }


def _amounts(condition: Condition) -> dict[str, float | None]:
    amounts: dict[str, float | None] = {
        "max_unit": condition.max_unit,
        "sessions": condition.sessions,
        "idle": condition.idle,
    }
    for name, rate in _rates(condition).items():
        amounts[name] = None if rate is None else min(rate.amount, rate.period)
    return amounts


def _check_condition(key: str, rule: Rule) -> None:
    condition = rule.condition
    for name, value in _amounts(condition).items():
        if value is not None and value <= 0:
            raise ConfigError(f"{key}.{name}", "expected more than zero")
    if condition.versions is not None and not (condition.versions and condition.versions <= VERSIONS):
        raise ConfigError(f"{key}.versions", f"expected some of {', '.join(sorted(VERSIONS))}")
    if condition.record_types is not None and not all(0 <= number <= 255 for number in condition.record_types):
        raise ConfigError(f"{key}.record_types", "expected numbers from 0 to 255")
    if condition.judges_units and Action.FORWARD not in rule.actions:
        raise ConfigError(key, "expected no conditions on units: the rule doesn't permit to forward any")
    for name in ("sessions", "opens"):
        if getattr(condition, name) is not None and Action.OPEN not in rule.actions:
            raise ConfigError(f"{key}.{name}", "expected in rules that permit to open only")
    if condition.reads_records and not rule.kinds <= RECORD_KINDS:
        expected = "expected a rule of its own for content whose records can't be seen (all but atls and adtls)"
        raise ConfigError(f"rules.{key.split('.')[1]}.content", expected)
    least = condition.require_link.min_version
    if least and not known_version(least):
        raise ConfigError(f"{key}.require_link.min_version", "expected tls1.2, tls1.3, dtls1.2 or dtls1.3")
