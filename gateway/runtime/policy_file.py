"""Reading the layer-1 policy file: every mistake in it at its line, whether it is form or meaning.

Its form is in ``policy_tables``; what a policy means is said in ``gateway.engine.policy``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gateway.api.errors import ConfigError
from gateway.api.hints import did_you_mean
from gateway.api.vocabulary import MergedVocabulary
from gateway.engine import policy as engine
from gateway.engine import policy_check
from gateway.runtime import config_errors, device_names, plugins, vocabularies
from gateway.runtime.config_source import InvalidConfigError, Source, read_table
from gateway.runtime.policy_tables import PolicyTable, policy_model
from gateway.runtime.policy_values import to_engine
from gateway.runtime.strict_yaml import Key

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Gaps:
    """The parts of a policy file that are known by name only, since their form has a mistake.

    So no rule that uses the name has another mistake. ``rules``: the positions of those that are there for their
    parties only. ``nameless``: not even all names are known.
    """

    subjects: frozenset[str] = frozenset()
    rules: frozenset[int] = frozenset()
    nameless: bool = False


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy file. ``policy``: what it comes to, without devices that it doesn't name itself."""

    source: Source
    policy: engine.PolicySet
    gaps: _Gaps = _Gaps()

    def with_names(self, names: device_names.DeviceNames) -> engine.PolicySet:
        """The whole policy, to be put in force. Raises InvalidConfigError."""
        if found := list(self.contradictions(names)):
            raise InvalidConfigError(found)
        return device_names.merged(self.policy, self.source, names)

    def contradictions(self, names: device_names.DeviceNames | None) -> Iterator[ConfigError]:
        """All that is wrong with a policy whose form is right. ``names``: None if they can't be read."""
        policy, nameless = self.policy, self.gaps.nameless or names is None
        if names is not None:
            try:
                policy = device_names.merged(policy, self.source, names)
            except InvalidConfigError as error:
                yield from error.errors
                unclear = (engine.Subject(name, "?", f"?{name}") for name in names.devices.keys() - policy.aliases)
                policy = replace(policy, subjects=(*policy.subjects, *unclear))
        found = [] if nameless else list(policy_check.name_mistakes(policy))
        for index, rule in enumerate(policy.rules):
            if not nameless:
                found += policy_check.party_mistakes(policy, index, rule)
            if index not in self.gaps.rules:
                found += policy_check.rule_mistakes(policy, index, rule)
        yield from (self.source.mistake(key, expected) for key, expected in found)


def load(path: Path, schemes: Collection[str], names: Path | None = None) -> engine.PolicySet:
    """Read a policy file for a gateway with these adapters, and its file of names. Raises InvalidConfigError."""
    file, found = read(path, schemes, names)
    return file.with_names(found)


def read(
    path: Path, schemes: Collection[str], names: Path | None = None, words: MergedVocabulary | None = None
) -> tuple[PolicyFile, device_names.DeviceNames]:
    """Both files, each of the right form; whether they go together is said by ``with_names``.

    ``words``: what the plug-ins declare, if the caller knows it already.

    Raises InvalidConfigError with all mistakes, of form and of meaning.
    """
    if words is None:
        try:
            words = vocabularies.known_to(schemes, plugins.installed())
        except ConfigError as error:
            raise InvalidConfigError([error]) from None
    known, found = words, list[ConfigError]()
    named = _tried(lambda: device_names.read(names) if names is not None else device_names.NONE, found)
    file = _tried(lambda: _read(path, schemes, known, found), found)
    if found or named is None or file is None:
        meanings = () if file is None else file.contradictions(named)
        raise InvalidConfigError(sorted((*found, *meanings), key=lambda mistake: (mistake.file, mistake.line)))
    return file, named


def _tried(reading: Callable[[], _T], found: list[ConfigError]) -> _T | None:
    try:
        return reading()
    except InvalidConfigError as error:
        found.extend(error.errors)
        return None


def _read(path: Path, schemes: Collection[str], words: MergedVocabulary, found: list[ConfigError]) -> PolicyFile | None:
    """The file as far as its form is right; what isn't is added to ``found``."""
    try:
        source = read_table(path)
    except ConfigError as error:
        raise InvalidConfigError([error]) from None
    model = policy_model(words)
    table, wrong = config_errors.read(model, source.data, source)
    found += [*source.found, *(mistake for _, mistake in wrong)]
    gaps = _Gaps()
    if table is None:
        table, gaps = _sketch(model, source.data, [key for key, _ in wrong])
    if table is None:
        return None
    found += _subject_mistakes(table, gaps, source, schemes, words)
    return PolicyFile(source, to_engine(table, words), gaps)


def _sketch(
    model: type[PolicyTable], data: Mapping[str, Any], wrong: Collection[Key]
) -> tuple[PolicyTable | None, _Gaps]:
    """A policy without what is ``wrong`` in it, so that the rest can be checked as well."""
    entries = {key[:2] for key in wrong if len(key) > 1}
    tops = {key[0] for key in wrong if len(key) == 1}
    left = {name: data[name] for name in PolicyTable.model_fields if name in data and name not in tops}
    left |= {"layer": 1, "policy-version": 1}
    for name in ("subjects", "groups", "resources"):
        if name in left:
            left[name] = {k: v for k, v in left[name].items() if (name, k) not in entries}
    names = {str(key[1]) for key in entries if key[0] in ("subjects", "resources")}
    if names:
        taken = left.get("subjects", {})
        left["subjects"] = {**taken, **{name: {"link": "?"} for name in names - taken.keys()}}
    if groups := {key[1] for key in entries if key[0] == "groups"}:
        left["groups"] = {**left.get("groups", {}), **{group: [] for group in groups}}
    rules = {int(key[1]) for key in entries if key[0] == "rules"}
    if "rules" in left:
        left["rules"] = [_parties(rule, i, wrong) if i in rules else rule for i, rule in enumerate(left["rules"])]
    table, _ = config_errors.read(model, left, Source(Path(), left, {}, {}))
    unnamed = tops - {"layer", "policy-version", "default", "mode", "rules"}
    return table, _Gaps(frozenset(names), frozenset(rules), bool(unnamed))


def _parties(rule: Any, index: int, wrong: Collection[Key]) -> dict[str, Any]:
    """A rule with a mistake, as one that has nothing but its parties."""
    fields = {key[2] for key in wrong if key[:2] == ("rules", index) and len(key) > 2}
    known = rule if isinstance(rule, dict) else {}
    parties = {name: "*" if name in fields else known.get(name, "*") for name in ("subject", "resource")}
    return {"id": f"?{index}", "effect": "deny", **parties}


def _subject_mistakes(
    table: PolicyTable, gaps: _Gaps, source: Source, schemes: Collection[str], words: MergedVocabulary
) -> Iterator[ConfigError]:
    for name, subject in table.subjects.items():
        if name in gaps.subjects:
            continue
        key = ("subjects", name)
        if subject.link not in schemes:
            expected = f"expected one of the gateway's adapters: {', '.join(sorted(schemes))}"
            yield source.mistake((*key, "link"), expected + did_you_mean(subject.link, schemes))
        fitting = words.proves(subject.link) or tuple(words.claims)
        proven = subject.proven()
        if len(proven) != 1:
            yield source.mistake(key, f"expected exactly one of {', '.join(words.claims)}")
        elif proven[0][0] not in fitting:
            expected = f"expected what a {subject.link} peer proves: {', '.join(fitting)}"
            yield source.mistake((*key, proven[0][0]), expected)
