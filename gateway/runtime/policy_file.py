"""The layer-1 policy file: its form as pydantic models, and the way from there to the engine's values.

What a policy means is said in ``gateway.engine.policy``; only its spelling in YAML belongs here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, create_model

from gateway.api.errors import ConfigError
from gateway.api.hints import did_you_mean
from gateway.api.model import ContentKind, LinkRequirement
from gateway.api.vocabulary import Claim, MergedVocabulary
from gateway.engine import policy as engine
from gateway.engine import policy_check
from gateway.runtime import config_errors, device_names, plugins, vocabularies
from gateway.runtime.config_source import InvalidConfigError, Source, read_table
from gateway.runtime.config_types import (
    Duration,
    HoursText,
    MethodText,
    NameList,
    PathPatternText,
    RateText,
    Size,
    StrictTable,
    one_or_many,
)
from gateway.runtime.strict_yaml import Key

_T = TypeVar("_T")

_Version = Literal["tls1.2", "tls1.3", "dtls1.2", "dtls1.3"]
"""What two ends may agree on, as far as the gateway reads their records."""
_Action = Literal["open", "forward", "read", "observe", "write", "invoke", "admin", "proxy"]
_ONE_ACTION = {"enum": list(get_args(_Action))}
_Actions = Annotated[list[_Action], BeforeValidator(one_or_many), WithJsonSchema({
    "anyOf": [_ONE_ACTION, {"type": "array", "items": _ONE_ACTION, "minItems": 1}],
})]  # fmt: skip


_FIELD = "claim_"
"""How the fields of identities begin, so that no plug-in's word can be an attribute of the model."""


class SubjectTable(StrictTable):
    """A party of layer 1: the adapter that it comes through and the one identity that its link proves."""

    claim_keys: ClassVar[Mapping[str, Claim]] = {}
    """The keys of identities; ``subject_model`` fills them in."""
    expected_keys: ClassVar[str] = ""
    """The mistake of another key."""

    link: str = Field(description="The adapter, such as zigbee, coap or mqtt.")

    def proven(self) -> list[tuple[str, str]]:
        """The keys of identities that are given, each with the claim that it stands for."""
        values = ((claim, getattr(self, _FIELD + key)) for key, claim in self.claim_keys.items())
        return [(claim.key, f"{claim.prefix}:{value}") for claim, value in values if value is not None]


class GroupTable(StrictTable):
    """A group; a plain list of names is one that is not assignable."""

    members: list[str] = Field(default=[], description="Its subjects.")
    assignable: bool = Field(
        default=False, description="Whether `atls-gateway devices name` may put devices in this group."
    )


def _group(value: object) -> object:
    if not isinstance(value, list | dict):
        raise ValueError("expected a list of names, or a table with members and assignable")
    return {"members": value} if isinstance(value, list) else value


_Group = Annotated[GroupTable, BeforeValidator(_group), WithJsonSchema({
    "anyOf": [{"type": "array", "items": {"type": "string"}}, GroupTable.model_json_schema()],
})]  # fmt: skip


class ResourceTable(StrictTable):
    """Another name for an endpoint, to be used as ``to=``."""

    subject: str = Field(description="The subject that this name stands for.")


class LinkTable(StrictTable):
    """What both hops must be."""

    min_version: list[str] | None = Field(
        default=None, description="The least protocol version of a hop; of several families one each."
    )
    suites: list[str] = Field(default=[], description="The cipher suites allowed on a (D)TLS hop, by OpenSSL's names.")
    link_key: bool = Field(default=False, description="ZigBee frames must be under the APS link key.")


class ConditionTable(StrictTable):
    """What narrows a permit."""

    versions: list[_Version] | None = Field(
        default=None, min_length=1, description="End-to-end versions that may be agreed on."
    )
    record_types: list[Annotated[int, Field(ge=0, le=255)]] | None = Field(
        default=None, min_length=1, description="The visible record types that may pass."
    )
    max_unit: Size | None = Field(default=None, description="The largest unit.")
    handshakes: RateText | None = Field(default=None, description="New handshakes of each sender.")
    bytes: RateText | None = Field(default=None, description="Octets of each sender.")
    units: RateText | None = Field(default=None, description="Units of each sender.")
    sessions: int | None = Field(default=None, ge=1, description="Live sessions of each opener.")
    opens: RateText | None = Field(default=None, description="Sessions that each opener opens.")
    idle: Duration | None = Field(default=None, description="A session without a unit for so long is closed.")
    early_data: Literal["permit", "deny"] = Field(default="permit", description="Whether 0-RTT data may pass.")
    hours: HoursText | None = Field(default=None, description="The times of the day, local time.")
    require_link: LinkTable = Field(default=LinkTable(), description="What both hops must be.")
    commands: RateText | None = Field(default=None, description="Commands of each sender, to set or to ask a device.")
    methods: list[MethodText] | None = Field(default=None, min_length=1, description="Of proxy: the methods.")
    paths: list[PathPatternText] | None = Field(
        default=None, min_length=1, description="Of proxy: the paths; * is any one segment, /** at the end any rest."
    )
    exchanges: RateText | None = Field(default=None, description="Of proxy: requests of each sender.")


class ObligationTable(StrictTable):
    """What to do beside permitting."""

    on_excess: Literal["reject", "drop"] = Field(default="reject", description="What becomes of a unit above a rate.")


class RuleTable(StrictTable):
    """One rule. Names are those of subjects or resources, ``group:NAME``, or ``*``; for admin the name ``gateway``."""

    id: str = Field(min_length=1, max_length=64, description="The rule's name in logs and answers.")
    effect: Literal["permit", "deny"] = Field(description="A deny overrides every permit.")
    subject: NameList = Field(description="Who acts: for open, who opens.")
    resource: NameList = Field(description="With whom, or which device: for open, who is opened to.")
    action: _Actions = Field(
        default=["open", "forward"],
        description="What they may do: open and forward; or read, observe, write and invoke; or admin; or proxy.",
    )
    direction: Literal["from-device", "to-device", "both"] = Field(
        default="both", description="Seen from the ZigBee side."
    )
    content: list[str] | None = Field(default=None, min_length=1, description="The kinds of content.")
    condition: ConditionTable = Field(default=ConditionTable(), description="What narrows a permit.")
    obligation: ObligationTable = Field(default=ObligationTable(), description="What to do beside permitting.")


class PolicyTable(StrictTable):
    """The policy of a gateway: who may open sessions to whom, what may flow in them, who may use a device. Layer 1."""

    layer: Literal[1] = Field(description="Always 1: an endpoint's policy is another file.")
    policy_version: Literal[1] = Field(alias="policy-version", description="The version of this format.")
    default: Literal["deny"] = Field(default="deny", description="What no rule permits is denied.")
    mode: Literal["enforce", "shadow"] = Field(
        default="enforce", description="shadow: decide and record, but let pass."
    )
    subjects: dict[str, SubjectTable] = Field(default={}, description="The parties by name.")
    groups: dict[str, _Group] = Field(default={}, description="Groups of subjects by name.")
    resources: dict[str, ResourceTable] = Field(default={}, description="Other names for endpoints.")
    rules: list[RuleTable] = Field(default=[], description="The rules; their order means nothing.")


def policy_model(words: MergedVocabulary) -> type[PolicyTable]:
    """The form of a policy for a gateway whose plug-ins declare these words."""
    subject: Any = subject_model(words)
    version: Any = _one_of([link.name for link in words.links.values() if link.least])
    kind: Any = _one_of([kind.name for kind in words.kinds.values()])
    one = {"enum": [link.name for link in words.links.values() if link.least], "type": "string"}
    several = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}
    versions = Annotated[list[version], Field(min_length=1), BeforeValidator(one_or_many), WithJsonSchema(several)]
    link: Any = _with(LinkTable, min_version=versions | None)
    condition: Any = _with(ConditionTable, require_link=link)
    rule: Any = _with(RuleTable, content=list[kind] | None, condition=condition)
    return _with(PolicyTable, subjects=dict[str, subject], rules=list[rule])


def subject_model(words: MergedVocabulary) -> type[SubjectTable]:
    """The form of a subject: a key for each claim that a plug-in declares."""
    identities: dict[str, Any] = {_FIELD + key: _identity(claim) for key, claim in words.claims.items()}
    made: type[SubjectTable] = create_model(
        SubjectTable.__name__, __base__=SubjectTable, __doc__=SubjectTable.__doc__, **identities
    )
    made.claim_keys = words.claims
    made.expected_keys = f"link or a claim that an adapter declares: {', '.join(words.claims)}"
    return made


def _identity(claim: Claim) -> tuple[Any, Any]:
    """The type and the field of an identity's key."""
    about: dict[str, Any] = {
        "default": None,
        "alias": claim.key,
        "title": claim.key.replace("_", " ").title(),
        "description": claim.description,
    }
    normalise = claim.normalise
    if normalise is None:
        return str | None, Field(min_length=1, max_length=128, **about)
    schema: dict[str, Any] = {"type": "string"}
    schema |= {"pattern": claim.pattern} if claim.pattern else {}
    schema |= {"examples": list(claim.examples)} if claim.examples else {}
    scalar = BeforeValidator(lambda value: normalise(value) if isinstance(value, str | int | float) else value)
    return Annotated[str, scalar, WithJsonSchema(schema)] | None, Field(**about)


def _one_of(names: list[str]) -> Any:
    return Literal[*names] if names else str  # which the check of the whole policy refuses then


def _with(model: type[Any], **types: Any) -> type[Any]:
    """The same table, with other types of some of its keys; a table as default is made again for each."""
    fields: dict[str, Any] = {}
    for name, annotation in types.items():
        field = copy(model.model_fields[name])
        if isinstance(field.default, BaseModel):
            field.default = annotation()
        fields[name] = (annotation, field)
    made: type[Any] = create_model(model.__name__, __base__=model, __doc__=model.__doc__, **fields)
    return made


@dataclass(frozen=True, slots=True)
class _Gaps:
    """What of a policy file is there by its name only, since its form has a mistake.

    So nobody who uses the name has another mistake. ``rules``: the positions of those that are there for their parties
    only. ``nameless``: not even all names are known.
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
        """All that is wrong with a policy whose form is right. ``names``: None where they can't be read."""
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

    Raises InvalidConfigError, in which everything is told, whether it is form or meaning.
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
    """What the subject proves; of one that has a mistake something that nobody proves."""
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
