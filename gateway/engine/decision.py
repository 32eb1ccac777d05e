"""The judgement: a request and a policy in, a permit or a denial out. Pure functions; they keep nothing.

A session's open and each of its two directions are decided once (``decide`` without a unit); what may change with
every unit is judged by ``unit_reason`` against the grants of that decision. Rates and counts are kept elsewhere
(``gateway.engine.limits``); a grant only says which ones hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.api.model import ANY_LINK, ContentKind, LinkRequirement, LinkSecurity, Reason
from gateway.engine.policy import (
    GATEWAY,
    Action,
    Condition,
    Direction,
    Effect,
    OnExcess,
    Parties,
    PolicySet,
    Rule,
)
from gateway.engine.visible import Visible

DEFAULT_RULE = "default"
"""The rule that a denial names if no rule of the policy denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """The facts of one judgement.

    ``sender`` and ``receiver`` are subjects by name: of a unit its two ends, of an open the opener and the target, of
    the other actions the asking subject and the device (or ``GATEWAY``). ``content``: of what is about sessions only.
    ``link`` is the sender's hop. ``minute``: local minute of the day (0-1439), None if the clock isn't known.
    ``octets``, ``visible``: a unit to judge along with it; ``version``: what the session's ServerHello chose so far;
    ``early``: whether its ClientHello announced early data. Of ``proxy``: ``method`` and ``path`` of the request,
    ``octets`` of its body, ``content`` if that is sealed.
    """

    action: Action
    sender: str
    receiver: str
    content: ContentKind | None
    link: LinkSecurity
    minute: int | None = None
    octets: int | None = None
    visible: Visible | None = None
    version: str = ""
    early: bool = False
    method: str | None = None
    path: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """One permit that holds, with what is still to be judged unit by unit and what the egress link must be.

    ``plain``: nothing is left to be judged, every unit passes.
    """

    rule: str
    condition: Condition
    on_excess: OnExcess
    require: LinkRequirement
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Permit:
    """Allowed by any one of ``grants`` (never empty).

    The one that asks the least of the receiver's hop comes first, then in the order of rule ids: the first that admits
    a unit takes it, and what it asks of that hop must not keep out what another one would let pass.

    ``each``: of a cast group the permits of its members; ``grants`` is then the one that stands for all of them.
    """

    grants: tuple[Grant, ...]
    each: tuple[Permit, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(grant.rule for grant in self.grants)


@dataclass(frozen=True, slots=True)
class Deny:
    """Not allowed; ``rule`` is the id of the rule that it failed at, or ``default``.

    ``forbidden``: a rule denies it, or can't be decided; else it is only that no rule permits it.
    """

    reason: Reason
    rule: str = DEFAULT_RULE
    forbidden: bool = field(default=False, compare=False)


Decision = Permit | Deny


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one rule about a request.

    ``note`` is empty if the rule holds; else it names what doesn't fit (``action``, ``parties``, ``direction``,
    ``methods``, ``paths``, ``content``: the rule is about something else) or which condition fails. ``reason`` is set
    if a permit that is about this request fails; ``undecidable``: a fact that the rule needs is missing, which denies.
    """

    rule: str
    effect: Effect
    note: str = ""
    reason: Reason | None = None
    undecidable: bool = False
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A request, what every rule found (in the order of rule ids), and the verdict that follows."""

    request: AccessRequest
    findings: tuple[Finding, ...]
    decision: Decision

    @property
    def matched(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.note)


def decide(request: AccessRequest, policy: PolicySet) -> Decision:
    """Judge ``request``. Whatever it raises (only on values that ``check`` would refuse) must be taken for a denial."""
    return _conclude([_find(rule, parties, request, policy) for rule, parties in policy.ordered])


def explain(request: AccessRequest, policy: PolicySet) -> Explanation:
    """Judge ``request``, with the reason."""
    findings = tuple(_find(rule, parties, request, policy) for rule, parties in policy.ordered)
    return Explanation(request, findings, _conclude(findings))


def unit_reason(condition: Condition, octets: int, visible: Visible | None, version: str, early: bool) -> Reason | None:
    """Why ``condition`` doesn't admit this unit, or None. ``visible`` None: records were expected and can't be read.

    ``BROKEN``: its kind can't be known, since it can't be read or came before the hello that shows its version.
    """
    if condition.max_unit is not None and octets > condition.max_unit:
        return Reason.TOO_LARGE
    if visible is None:
        return Reason.BROKEN if condition.reads_records else None
    if condition.record_types is not None and not visible.types <= condition.record_types:
        return Reason.DENIED
    if not condition.early_data and visible.client is not None and visible.client.early_data:
        return Reason.DENIED
    if condition.versions is not None:
        if visible.client is not None:
            early = early or visible.client.early_data
            if condition.versions.isdisjoint(visible.offered):
                return Reason.DENIED
        if visible.server is not None:
            version = visible.chosen
        if version:
            return None if version in condition.versions else Reason.DENIED
        # Early data comes before any ServerHello; whether it may is a separate condition.
        if visible.protected and not early:
            return Reason.BROKEN
    return None


def _conclude(findings: list[Finding] | tuple[Finding, ...]) -> Decision:
    for finding in findings:
        if finding.undecidable or (finding.effect is Effect.DENY and not finding.note):
            return Deny(finding.reason or Reason.DENIED, finding.rule, forbidden=True)
    grants = [finding.grant for finding in findings if finding.grant is not None]
    if grants:
        return Permit(tuple(sorted(grants, key=_demand)))
    failed = [finding for finding in findings if finding.reason is not None]
    # "Wrong kind of content" only if nothing more telling failed.
    failed.sort(key=lambda finding: finding.reason is Reason.CONTENT)
    return Deny(failed[0].reason or Reason.DENIED, failed[0].rule) if failed else Deny(Reason.DENIED)


def _demand(grant: Grant) -> tuple[bool, str, float]:
    """A sort key: of two requirements on the receiver's hop that can be compared, the lesser comes first."""
    require = grant.require
    return require.link_key, require.min_version[-3:], -len(require.suites) if require.suites else float("-inf")


def _find(rule: Rule, parties: Parties, request: AccessRequest, policy: PolicySet) -> Finding:
    if request.action not in rule.actions:
        return Finding(rule.id, rule.effect, "action")
    if not parties.match(request.action, request.sender, request.receiver):
        return Finding(rule.id, rule.effect, "parties")
    if not _direction_fits(rule.direction, request, policy):
        return Finding(rule.id, rule.effect, "direction")
    differs, missing = _unlike(rule.condition, request)
    if differs:
        return Finding(rule.id, rule.effect, differs, Reason.DENIED if missing else None, missing)
    if not rule.is_about(request.content, policy.vocabulary.record_kinds):
        # The reason "content" (415) reveals that something would be permitted, so only a permit gives it.
        permitted = rule.effect is Effect.PERMIT and request.content is not None
        return Finding(rule.id, rule.effect, "content", Reason.CONTENT if permitted else None)
    hours = rule.condition.hours
    if hours is not None:
        if request.minute is None:
            return Finding(rule.id, rule.effect, "hours (the time of day is not known)", Reason.DENIED, True)
        if not hours.hold(request.minute):
            reason = Reason.DENIED if rule.effect is Effect.PERMIT else None
            return Finding(rule.id, rule.effect, "hours", reason)
    return Finding(rule.id, rule.effect) if rule.effect is Effect.DENY else _grant(rule, request, policy)


def _grant(rule: Rule, request: AccessRequest, policy: PolicySet) -> Finding:
    condition = rule.condition
    if condition.reads_records and request.content not in policy.vocabulary.record_kinds:
        return Finding(rule.id, rule.effect, "records (this content shows none)", Reason.DENIED, True)
    sender = policy.by_name[request.sender]
    if not policy.links.meets(request.link, _narrowed(condition.require_link, sender.link, policy)):
        return Finding(rule.id, rule.effect, "require_link", Reason.LINK)
    if request.octets is not None:
        reason = unit_reason(condition, request.octets, request.visible, request.version, request.early)
        if reason is not None:
            return Finding(rule.id, rule.effect, f"unit ({reason.value})", reason)
    require = ANY_LINK
    if request.receiver != GATEWAY:
        require = _narrowed(condition.require_link, policy.by_name[request.receiver].link, policy)
    plain = not condition.judges_units and condition.commands is None
    return Finding(rule.id, rule.effect, grant=Grant(rule.id, condition, rule.obligation.on_excess, require, plain))


def _unlike(condition: Condition, request: AccessRequest) -> tuple[str, bool]:
    """The condition that doesn't fit, empty if all do; and whether that is because the request lacks the fact."""
    if condition.methods is not None and request.method not in condition.methods:
        return "methods", request.method is None
    if condition.paths is not None:
        if request.path is None:
            return "paths", True
        if not any(pattern.matches(request.path) for pattern in condition.paths):
            return "paths", False
    return "", False


def _direction_fits(direction: Direction, request: AccessRequest, policy: PolicySet) -> bool:
    if direction is Direction.BOTH:
        return True
    end = request.sender if direction is Direction.FROM_DEVICE else request.receiver
    subject = policy.by_name.get(end)
    return subject is not None and subject.link in policy.vocabulary.device_networks


def _narrowed(require: LinkRequirement, link: str, policy: PolicySet) -> LinkRequirement:
    """The part of a requirement that concerns a hop of this kind: version and suites, or the link key."""
    if require == ANY_LINK:
        return ANY_LINK
    if link in policy.vocabulary.link_key_networks:
        return LinkRequirement(link_key=require.link_key)
    return LinkRequirement(min_version=_least(require, link, policy), suites=require.suites)


def _least(require: LinkRequirement, link: str, policy: PolicySet) -> str:
    """Of the versions that a policy asks for the one that a hop of this kind can be compared to, else the first."""
    if require.other_versions:
        families = policy.vocabulary.families(link)
        for name in (require.min_version, *require.other_versions):
            if policy.vocabulary.links[name].family in families:
                return name
    return require.min_version
