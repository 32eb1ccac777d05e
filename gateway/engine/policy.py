"""The layer-1 policy as plain values: who may open sessions to whom, what may flow in them, who may use a device.

What a rule says:

``subjects`` and ``resources`` name two parties. A resource is an endpoint: a subject's own name, an alias of it, a
``group:`` of subjects, or ``*``. The rule is about sessions *between* its parties:

- action ``open``: a subject of the rule may open sessions to a resource of the rule. Never the other way round.
- action ``forward``: units may flow between a subject and a resource of the rule, in either direction, whichever of the
  two opened the session.

``direction`` narrows both by where the act comes from and goes to, not by who opened:

- ``from-device``: the sender (of an open: the opener) is reached over a device network (such as ZigBee);
- ``to-device``: the receiver (of an open: the target) is;
- ``both``: no matter (the default).

The other actions are about devices that the gateway itself can read and set, and about the gateway. They go one way
only, from a subject of the rule to a resource of it, and none of them implies another:

- ``read``: ask for the device's last value, or ask the device itself.
- ``observe``: receive what the device reports, whether it can be reached, and that it came or left.
- ``write``: set what the device lets be set.
- ``invoke``: have the device do what it can do (``toggle``); being allowed to write doesn't imply it.
- ``admin``: give the gateway commands of an administrator. Its only resource is the reserved name ``gateway``.
- ``proxy``: have the gateway pass a request on to the resource, and its answer back (``gateway.api.exchanges``). A rule
  with ``content`` is about requests whose body is sealed and of one of these kinds; one without is about all others, a
  deny without is about every request.

A rule has actions of one of these families: sessions (open, forward), devices (read, observe, write, invoke), admin or
proxy.

So the whole rule for "the lamp may talk to the phone" is one permit with subject lamp7, resource phone, actions open
and forward. The phone may then answer within the lamp's sessions, but not open sessions itself.

Everything is denied that no permit allows, and a deny overrides every permit; the order of rules means nothing.
Conditions only narrow a permit. A permit whose conditions fail doesn't forbid what another permit allows.
``gateway.engine.policy_check`` says what a policy must be, ``gateway.engine.decision`` holds the judgement itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from gateway.api.link import LinkOrder
from gateway.api.model import ANY_LINK, Address, ContentKind, LinkRequirement, Peer
from gateway.api.vocabulary import NO_WORDS, MergedVocabulary
from gateway.engine.limits import Rate
from gateway.engine.path_pattern import PathPattern

EVERYONE = "*"
GROUP = "group:"
GATEWAY = "gateway"
"""The gateway itself as the resource of ``admin``; nothing else may have this name."""
READABLE_KINDS = frozenset({ContentKind.ATLS, ContentKind.ADTLS})
"""The kinds of content whose record headers ``gateway.engine.visible`` can read: no plug-in can declare others so."""


class Effect(Enum):
    PERMIT = "permit"
    DENY = "deny"


class Action(Enum):
    __hash__ = object.__hash__  # each judgement is looked up by it, and that of Enum is a Python function

    OPEN = "open"
    FORWARD = "forward"
    READ = "read"
    OBSERVE = "observe"
    WRITE = "write"
    INVOKE = "invoke"
    ADMIN = "admin"
    PROXY = "proxy"


SESSION_ACTIONS = frozenset({Action.OPEN, Action.FORWARD})
DEVICE_ACTIONS = frozenset({Action.READ, Action.OBSERVE, Action.WRITE, Action.INVOKE})
ADMIN_ACTIONS = frozenset({Action.ADMIN})
PROXY_ACTIONS = frozenset({Action.PROXY})


class Direction(Enum):
    FROM_DEVICE = "from-device"
    TO_DEVICE = "to-device"
    BOTH = "both"


class Mode(Enum):
    ENFORCE = "enforce"
    SHADOW = "shadow"
    """Decide and record, but let pass what the rules would deny. The gateway's own limits hold all the same."""


class OnExcess(Enum):
    """The treatment of a unit above a rate: refuse it (the sender may try again), or take it and drop it."""

    REJECT = "reject"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Subject:
    """A layer-1 party: ``link`` is the adapter's scheme, ``claim`` what it proves."""

    name: str
    link: str
    claim: str


@dataclass(frozen=True, slots=True)
class Resource:
    """Another name for the endpoint ``subject``, to be used as ``to=``. A subject's own name needs no resource."""

    name: str
    subject: str


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the day from ``start`` (included) to ``end`` (not included); may span midnight."""

    start: int
    end: int

    def hold(self, minute: int) -> bool:
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def parse_hours(text: str) -> Hours:
    """Read ``06:00-23:00`` or ``22:00-06:00``. ValueError says what was expected."""
    minutes = []
    for clock in text.split("-"):
        hour, _, minute = clock.strip().partition(":")
        if not (len(hour) == len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdigit()):
            break
        minutes.append(int(hour) * 60 + int(minute) if int(minute) < 60 else -1)
    if (
        len(minutes) != 2
        or text.count("-") != 1
        or not all(0 <= m <= 1440 for m in minutes)
        or minutes[0] == minutes[1]
    ):
        raise ValueError("expected two times of the day, such as 06:00-23:00")
    return Hours(minutes[0], minutes[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The conditions of a permit; None or a default leaves it open.

    ``versions`` (``dtls1.2``...): the ClientHello must offer one, the ServerHello must choose one, and nothing
    protected passes before that. ``record_types``: the visible content types. ``max_unit``: octets. ``handshakes``,
    ``bytes``, ``units``: rates of each sender under this rule. ``sessions``, ``opens``: live sessions of each opener
    under this rule, and how often it may open one. ``idle``: seconds. ``early_data``: False refuses 0-RTT. ``hours``:
    local time. ``require_link``: what both hops must be, version and suites on (D)TLS hops, ``link_key`` on ZigBee
    hops. ``commands``: rate of each sender of commands to devices (to set or to ask) or to the gateway.

    Of ``proxy``: ``methods`` and ``paths`` of the request, one of each must fit. ``exchanges``: rate of each sender.
    ``max_unit``: octets of the request's body and of the answer's.
    """

    versions: frozenset[str] | None = None
    record_types: frozenset[int] | None = None
    max_unit: int | None = None
    handshakes: Rate | None = None
    bytes: Rate | None = None
    units: Rate | None = None
    sessions: int | None = None
    opens: Rate | None = None
    idle: float | None = None
    early_data: bool = True
    hours: Hours | None = None
    require_link: LinkRequirement = ANY_LINK
    commands: Rate | None = None
    methods: frozenset[str] | None = None
    paths: tuple[PathPattern, ...] | None = None
    exchanges: Rate | None = None

    @property
    def reads_records(self) -> bool:
        """Whether this can only be judged from record headers."""
        return (
            self.versions is not None
            or self.record_types is not None
            or self.handshakes is not None
            or not self.early_data
        )

    @property
    def judges_units(self) -> bool:
        """Whether anything here depends on the single unit."""
        amounts = (self.max_unit, self.bytes, self.units)
        return self.reads_records or any(amount is not None for amount in amounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """The obligations of a permit."""

    on_excess: OnExcess = OnExcess.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; the module's docstring says what it means.

    Of conditions, a deny may have ``hours`` only, and one for ``proxy`` ``methods`` and ``paths`` as well.
    """

    id: str
    effect: Effect
    subjects: tuple[str, ...]
    resources: tuple[str, ...]
    actions: frozenset[Action] = SESSION_ACTIONS
    direction: Direction = Direction.BOTH
    content: frozenset[ContentKind] | None = None
    """None: of a permit the kinds whose records the gateway sees (ATLS and ADTLS), of a deny every kind; of ``proxy``
    see above.
    """
    condition: Condition = field(default_factory=Condition)
    obligation: Obligation = field(default_factory=Obligation)

    def is_about(self, content: ContentKind | None, record_kinds: frozenset[ContentKind]) -> bool:
        """Whether it says something of this kind, declared or not. ``record_kinds``: those of the vocabulary.

        None: what is judged carries nothing that has a kind.
        """
        if self.actions == PROXY_ACTIONS and self.content is None:
            return content is None or self.effect is Effect.DENY
        if content is None:
            return self.actions != PROXY_ACTIONS
        if self.content is not None:
            return content in self.content
        return self.effect is Effect.DENY or content in record_kinds


@dataclass(frozen=True, slots=True)
class Parties:
    """The two sides of a rule with groups, aliases and ``*`` resolved to subject names."""

    subjects: frozenset[str]
    resources: frozenset[str]

    def match(self, action: Action, sender: str, receiver: str) -> bool:
        if sender in self.subjects and receiver in self.resources:
            return True
        return action is Action.FORWARD and receiver in self.subjects and sender in self.resources


@dataclass(frozen=True, kw_only=True)
class PolicySet:
    """A whole policy. The default is deny; there is no other. ``policy_check.check`` it before it is put in force."""

    subjects: tuple[Subject, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    assignable: frozenset[str] = frozenset()
    """The groups that a device may be put in beside the policy file, by a subject that may name devices."""
    resources: tuple[Resource, ...] = ()
    rules: tuple[Rule, ...] = ()
    mode: Mode = Mode.ENFORCE
    vocabulary: MergedVocabulary = field(default=NO_WORDS, compare=False)
    """What the plug-ins of the gateway declare: the rules are judged by it. It changes with the adapters, not with what
    the policy says."""

    @cached_property
    def links(self) -> LinkOrder:
        """The order of the link protocols of all adapters."""
        return LinkOrder(self.vocabulary.links.values())

    @cached_property
    def by_name(self) -> dict[str, Subject]:
        return {subject.name: subject for subject in self.subjects}

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Every name that ``to=`` may carry, with the subject behind it."""
        return {s.name: s.name for s in self.subjects} | {r.name: r.subject for r in self.resources}

    @cached_property
    def ordered(self) -> tuple[tuple[Rule, Parties], ...]:
        """The rules by id, with their parties resolved: what the judgement walks, whatever the file's order was."""
        return tuple((rule, self._parties(rule)) for rule in sorted(self.rules, key=lambda rule: rule.id))

    @cached_property
    def has_hours(self) -> bool:
        return any(rule.condition.hours is not None for rule in self.rules)

    @cached_property
    def _by_claim(self) -> dict[tuple[str, str], str]:
        return {(subject.link, subject.claim): subject.name for subject in self.subjects}

    def name_of(self, peer: Peer) -> str:
        """The subject that ``peer`` is, by its most specific claim that the policy names; empty: a stranger."""
        for claim in peer.claims:
            name = self._by_claim.get((peer.scheme, claim))
            if name is not None:
                return name
        return ""

    def name_at(self, address: Address) -> str:
        """The subject that is reached there; empty: none is."""
        return self._by_claim.get((address.scheme, address.claim), "")

    def address_of(self, name: str) -> Address:
        """The address of the subject ``name``. KeyError: there is none."""
        subject = self.by_name[name]
        return Address(scheme=subject.link, claim=subject.claim)

    def _parties(self, rule: Rule) -> Parties:
        return Parties(self._resolve(rule.subjects), self._resolve(rule.resources))

    def _resolve(self, names: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        for name in names:
            if name == EVERYONE:
                found.update(self.by_name)
            elif name.startswith(GROUP):
                found.update(self.groups.get(name.removeprefix(GROUP), ()))
            else:
                found.add(self.aliases.get(name, name))
        return frozenset(found)
