"""The engine's values (``gateway.engine.policy``) from the tables of a policy file."""

from __future__ import annotations

from gateway.api.model import ContentKind, LinkRequirement
from gateway.api.vocabulary import MergedVocabulary
from gateway.engine import policy as engine
from gateway.runtime.policy_tables import ConditionTable, PolicyTable, RuleTable, SubjectTable


def to_engine(table: PolicyTable, words: MergedVocabulary) -> engine.PolicySet:
    """The engine's values of a validated file."""
    return engine.PolicySet(
        subjects=tuple(engine.Subject(name, s.link, _claim(name, s)) for name, s in table.subjects.items()),
        groups={name: tuple(group.members) for name, group in table.groups.items()},
        assignable=frozenset(name for name, group in table.groups.items() if group.assignable),
        resources=tuple(engine.Resource(name, r.subject) for name, r in table.resources.items()),
        rules=tuple(map(_rule, table.rules)),
        mode=engine.Mode(table.mode),
        vocabulary=words,
    )


def _claim(name: str, subject: SubjectTable) -> str:
    """The claim of a subject; of one that has a mistake, a claim that no peer proves."""
    proven = subject.proven()
    return proven[0][1] if len(proven) == 1 and subject.link != "?" else f"?{name}"


def _rule(table: RuleTable) -> engine.Rule:
    return engine.Rule(
        id=table.id,
        effect=engine.Effect(table.effect),
        subjects=tuple(table.subject),
        resources=tuple(table.resource),
        actions=frozenset(map(engine.Action, table.action)),
        direction=engine.Direction(table.direction),
        content=None if table.content is None else frozenset(map(ContentKind, table.content)),
        condition=_condition(table.condition),
        obligation=engine.Obligation(on_excess=engine.OnExcess(table.obligation.on_excess)),
    )


def _condition(table: ConditionTable) -> engine.Condition:
    link = table.require_link
    least, *others = link.min_version or ("",)
    return engine.Condition(
        versions=None if table.versions is None else frozenset(table.versions),
        record_types=None if table.record_types is None else frozenset(table.record_types),
        max_unit=table.max_unit,
        handshakes=table.handshakes,
        bytes=table.bytes,
        units=table.units,
        sessions=table.sessions,
        opens=table.opens,
        idle=table.idle,
        early_data=table.early_data == "permit",
        hours=table.hours,
        require_link=LinkRequirement(
            min_version=least, other_versions=tuple(others), suites=frozenset(link.suites), link_key=link.link_key
        ),
        commands=table.commands,
        methods=None if table.methods is None else frozenset(table.methods),
        paths=None if table.paths is None else tuple(table.paths),
        exchanges=table.exchanges,
    )
