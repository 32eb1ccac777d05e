"""Holds the policy in force and judges with it: who a peer is, opens, flows (kept) and single units (with rates)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.api.errors import PeerError
from gateway.api.model import ANY_LINK, Address, ContentKind, Exchange, LinkSecurity, Peer, Reason, Unit
from gateway.engine.cast_rights import MAX_MEMBERS, for_all, of_every_member
from gateway.engine.decision import DEFAULT_RULE, AccessRequest, Decision, Deny, Grant, Permit, decide, unit_reason
from gateway.engine.limits import Bucket, Buckets, Rate
from gateway.engine.policy import Action, Condition, Mode, OnExcess, PolicySet
from gateway.engine.sessions import Flow
from gateway.engine.visible import OPAQUE, StreamReader, Visible

SHADOW_GRANT = Grant("shadow", Condition(), OnExcess.REJECT, ANY_LINK, plain=True)
"""The grant under which a unit passes that the rules would deny, while the policy only watches."""

_PEERS = 4096


class Refusal(NamedTuple):
    """Why a unit, an open or a command isn't taken. ``drop``: the rule wants it taken and dropped instead."""

    reason: Reason
    rule: str
    retry_after: float | None = None
    drop: bool = False


class Authorizer:
    """The policy in force. ``on_error`` is called when judging raised: that is taken for a denial. ``permits``: how
    many judgements of actions are kept."""

    def __init__(self, policy: PolicySet, on_error: Callable[[], None], permits: int = 16_384) -> None:
        self.policy = policy
        self.minute: int | None = None
        self.version = 0
        """Changes with all that a kept decision depends on, but for the sender's link."""
        self._on_error = on_error
        self._buckets = Buckets()
        self._names: dict[int, tuple[Peer, str]] = {}
        self._targets: dict[tuple[str, LinkSecurity], tuple[str, ...]] = {}
        self._targets_of = -1
        self._permits: dict[tuple[Action, str, str, LinkSecurity], Decision] = {}
        self._permits_of = -1
        self._most_permits = permits
        self._members: dict[Address, tuple[Address, ...]] = {}
        """The members of each cast group, by its address."""

    @property
    def shadow(self) -> bool:
        return self.policy.mode is Mode.SHADOW

    def replace(self, policy: PolicySet) -> None:
        unchanged = set(policy.rules) & set(self.policy.rules)
        self._buckets.keep(rule.id for rule in unchanged)
        self.policy = policy
        self._names.clear()
        self.version += 1

    def set_minute(self, minute: int | None) -> bool:
        """Set the local minute of the day; true if that changes what a rule says."""
        before, self.minute = self.minute, minute
        if not self.policy.has_hours or before == minute:
            return False
        for rule in self.policy.rules:
            hours = rule.condition.hours
            if hours is None:
                continue
            if before is None or minute is None or hours.hold(before) != hours.hold(minute):
                self.version += 1
                return True
        return False

    def name_of(self, peer: Peer) -> str:
        """The subject that the peer is; empty for a stranger. Adapters keep one ``Peer`` value for each peer."""
        known = self._names.get(id(peer))
        if known is not None:
            return known[1]
        try:
            name = self.policy.name_of(peer)
        except Exception:
            self._on_error()
            return ""
        if len(self._names) >= _PEERS:
            self._names.clear()
        # The peer is kept along, so that its id can't come to be another's.
        self._names[id(peer)] = (peer, name)
        return name

    def who(self, peer: Peer) -> str:
        """The name of a peer for the log, or the claim of a stranger."""
        return self.name_of(peer) or (peer.claims[0] if peer.claims else "")

    def target_of(self, alias: str) -> str:
        """The subject behind ``to=``; empty if there is none."""
        try:
            return self.policy.aliases.get(alias, "")
        except Exception:
            self._on_error()
            return ""

    def judge(
        self, action: Action, sender: str, receiver: str, content: ContentKind | None, link: LinkSecurity
    ) -> Decision:
        """The static judgement. A policy that raises denies."""
        request = AccessRequest(
            action=action, sender=sender, receiver=receiver, content=content, link=link, minute=self.minute
        )
        return self._decide(request)

    def _decide(self, request: AccessRequest) -> Decision:
        try:
            return decide(request, self.policy)
        except Exception:
            self._on_error()
            return Deny(Reason.DENIED, "error", forbidden=True)

    def permits(self, action: Action, sender: str, receiver: str, link: LinkSecurity) -> Decision:
        """The judgement of an action on a device or on the gateway, kept as long as it holds."""
        if self._permits_of != self.version or len(self._permits) >= self._most_permits:
            self._permits_of, self._permits = self.version, {}
        key = (action, sender, receiver, link)
        known = self._permits.get(key)
        if known is None:
            known = self._permits[key] = self._judge_thing(action, sender, receiver, link)
        return known

    def set_members(self, group: Peer, members: tuple[Address, ...] | None) -> bool:
        """Set who is in a cast group; None: it is none, or no longer there. True if that is another answer."""
        if members is not None and len(members) > MAX_MEMBERS:
            members = ()
        places = [Address(scheme=group.scheme, claim=claim) for claim in group.claims]
        if all(self._members.get(place) == members for place in places):
            return False
        for place in places:
            self._members.pop(place, None)
            if members is not None:
                self._members[place] = members
        self.version += 1
        return True

    def _judge_thing(self, action: Action, sender: str, receiver: str, link: LinkSecurity) -> Decision:
        """The judgement of a device, or of a cast group: a rule for the name of that can forbid it, not permit it."""
        own = self.judge(action, sender, receiver, None, link)
        if isinstance(own, Deny) and own.forbidden:
            return own
        policy = self.policy
        subject = policy.by_name.get(receiver)
        if subject is None:
            return own
        members = self._members.get(Address(scheme=subject.link, claim=subject.claim))
        if members is None:
            claim = policy.vocabulary.claim_of(subject.claim)
            return Deny(Reason.DENIED) if claim is not None and claim.cast else own
        names = [policy.name_at(member) for member in members]
        if not all(names) or sender in names:  # a device that no row of the policy names, or the asker itself
            return Deny(Reason.DENIED)
        return of_every_member([self.judge(action, sender, name, None, link) for name in names])

    def pay_open(self, grant: Grant, opener: str, now: float) -> Refusal | None:
        """The rate of opens of a grant, paid; or why it isn't."""
        rate = grant.condition.opens
        if rate is None:
            return None
        bucket = self._buckets.get(grant.rule, "opens", opener, rate, now)
        wait = bucket.wait(1, now)
        if wait > 0.0:
            return Refusal(Reason.OVER_RATE, grant.rule, wait)
        bucket.take(1)
        return None

    def judge_exchange(self, exchange: Exchange, sender: str, receiver: str) -> Decision:
        """The judgement of a request that is to be proxied; nothing of it is kept."""
        request = AccessRequest(
            action=Action.PROXY,
            sender=sender,
            receiver=receiver,
            content=exchange.content,
            link=exchange.source.link,
            minute=self.minute,
            octets=len(exchange.body),
            method=exchange.method,
            path=exchange.path,
        )
        return self._decide(request)

    def pay_command(self, decision: Permit, sender: str, now: float, kind: str = "commands") -> Grant | Refusal:
        """The first grant whose rate of this kind (``commands``, ``exchanges``) has room, the rate paid; else why the
        first one hasn't. For a cast group there has to be one for each member, and each rule is paid once.
        """
        if not decision.each:
            found = self._with_room(decision, sender, now, kind)
            if isinstance(found, Refusal):
                return found
            if found[1] is not None:
                found[1].take(1)
            return found[0]
        due: dict[str, tuple[Grant, Bucket | None]] = {}
        for permit in decision.each:
            found = self._with_room(permit, sender, now, kind)
            if isinstance(found, Refusal):
                return found
            due[found[0].rule] = found
        grant = for_all([grant for grant, _ in due.values()])
        if grant is None:
            return Refusal(Reason.LINK, decision.grants[0].rule)
        for _, bucket in due.values():
            if bucket is not None:
                bucket.take(1)
        return grant

    def _with_room(self, permit: Permit, sender: str, now: float, kind: str) -> tuple[Grant, Bucket | None] | Refusal:
        first: Refusal | None = None
        for grant in permit.grants:
            rate: Rate | None = getattr(grant.condition, kind)
            if rate is None:
                return grant, None
            bucket = self._buckets.get(grant.rule, kind, sender, rate, now)
            wait = bucket.wait(1, now)
            if wait <= 0.0:
                return grant, bucket
            first = first or Refusal(Reason.OVER_RATE, grant.rule, wait)
        return first or Refusal(Reason.DENIED, DEFAULT_RULE)

    def targets(self, peer: Peer) -> tuple[str, ...]:
        """The aliases that the peer may open for some kind of content, in name order."""
        name = self.name_of(peer)
        if not name:
            return ()
        if self._targets_of != self.version or len(self._targets) >= _PEERS:
            self._targets_of, self._targets = self.version, {}
        known = self._targets.get((name, peer.link))
        if known is None:
            aliases = sorted(self.policy.aliases.items())
            known = tuple(alias for alias, subject in aliases if self._may_open(name, subject, peer.link))
            self._targets[name, peer.link] = known
        return known

    def _may_open(self, opener: str, target: str, link: LinkSecurity) -> bool:
        if opener == target:
            return False
        judged = (self.judge(Action.OPEN, opener, target, content, link) for content in self.policy.vocabulary.kinds)
        return self.shadow or any(isinstance(decision, Permit) for decision in judged)

    def judge_flow(self, flow: Flow, link: LinkSecurity) -> Decision:
        """The decision for a flow whose sender is behind ``link``, kept as long as it holds."""
        known = flow.decision
        if known is not None and flow.decided == self.version and (flow.link is link or flow.link == link):
            return known
        decision = self.judge(Action.FORWARD, flow.sender, flow.receiver, flow.session.content, link)
        flow.decision, flow.decided, flow.link = decision, self.version, link
        if isinstance(decision, Permit):
            idles = [grant.condition.idle for grant in decision.grants if grant.condition.idle is not None]
            if len(idles) == len(decision.grants):
                flow.session.idle = min(flow.session.idle, max(idles))
        return decision

    def read(self, flow: Flow, unit: Unit) -> Visible | None:
        """The visible part of a unit; None if records were expected and can't be read, or can be read in two ways.

        A stream is read once, and a unit that was refused may come again. If it comes as other octets, what was read
        is not what goes out: the stream counts as unreadable from then on.
        """
        reader = flow.reader
        if reader is None:
            return OPAQUE
        payload = unit.payload
        if flow.read_n == unit.n and flow.read_payload is not None:
            if flow.read_payload.octets == payload.octets:
                return flow.read_visible
            if isinstance(reader, StreamReader):
                reader.lose()
        try:
            visible: Visible | None = reader.read(payload.octets)
        except PeerError:
            visible = None
        if visible is not None and visible.server is not None:
            visible = flow.session.suiting(flow, visible)
            if visible is None and isinstance(reader, StreamReader):
                reader.lose()
        flow.read_n, flow.read_payload, flow.read_visible = unit.n, payload, visible
        return visible

    def admit(self, flow: Flow, decision: Permit, octets: int, visible: Visible | None, now: float) -> Grant | Refusal:
        """The first grant that takes the unit, its rates paid; else why the first one didn't."""
        first: Refusal | None = None
        if visible is not None and visible.server is not None:
            # A ServerHello speaks for both directions, so it has to suit the rules of both.
            rule = _fails_at(flow.session.other(flow), visible.chosen)
            if rule:
                return Refusal(Reason.DENIED, rule)
        for grant in decision.grants:
            if grant.plain:
                return grant
            session = flow.session
            try:
                reason = unit_reason(grant.condition, octets, visible, session.version, session.early)
                refusal = Refusal(reason, grant.rule) if reason else self._pay(flow, grant, octets, visible, now)
            except Exception:
                self._on_error()
                return Refusal(Reason.DENIED, "error")
            if refusal is None:
                return grant
            if first is None or first.reason is Reason.BROKEN:  # another rule may read it, or need not
                first = refusal
        return first or Refusal(Reason.DENIED, DEFAULT_RULE)

    def _pay(self, flow: Flow, grant: Grant, octets: int, visible: Visible | None, now: float) -> Refusal | None:
        condition = grant.condition
        begun = 0
        if visible is not None and visible.client is not None:
            begun = flow.owed + (visible.client.random != flow.last_random)
        due = []
        for kind, rate, cost in (
            ("bytes", condition.bytes, octets),
            ("units", condition.units, 1),
            ("handshakes", condition.handshakes, begun),
        ):
            if rate is not None and cost:
                due.append((self._buckets.get(grant.rule, kind, flow.sender, rate, now), cost))
        wait = 0.0
        for bucket, cost in due:
            wait = max(wait, bucket.wait(cost, now))
        if wait > 0.0:
            return Refusal(Reason.OVER_RATE, grant.rule, wait, grant.on_excess is OnExcess.DROP)
        for bucket, cost in due:
            bucket.take(cost)
        return None


def _fails_at(flow: Flow, version: str) -> str:
    """The id of the rule that a version fails at in a flow that was decided; empty if it suits."""
    decision = flow.decision
    if not isinstance(decision, Permit):
        return ""
    allowed = [grant.condition.versions for grant in decision.grants]
    if any(versions is None or version in versions for versions in allowed):
        return ""
    return decision.grants[0].rule
