"""The form of a layer-1 policy file: its tables as pydantic models, with the words that the plug-ins declare.

``policy_file`` reads a file; ``policy_values`` makes the engine's values of a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, create_model

from gateway.api.vocabulary import Claim, MergedVocabulary
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


_Group = Annotated[GroupTable, BeforeValidator(_group, json_schema_input_type=list[str] | GroupTable)]


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
