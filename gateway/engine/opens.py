"""Opens as they come: who may open a session to whom, how many, and how often. One that is taken on begins it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from gateway.api.model import Accepted, Open, Reason, SessionId, Verdict
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import DEFAULT_RULE, Grant, Permit
from gateway.engine.delivery import Delivery
from gateway.engine.limits import LIMITS_RULE, Buckets, EngineLimits, has_room
from gateway.engine.outputs import Audit, Outbox
from gateway.engine.policy import Action
from gateway.engine.sessions import Session


class Opens:
    """Takes opens on. ``new_session`` gives 128 fresh random bits."""

    def __init__(
        self,
        limits: EngineLimits,
        outbox: Outbox,
        authorizer: Authorizer,
        delivery: Delivery,
        new_session: Callable[[], SessionId],
    ) -> None:
        self._limits = limits
        self._outbox = outbox
        self._authorizer = authorizer
        self._delivery = delivery
        self._sessions = delivery.sessions
        self._new_session = new_session
        self._rates = Buckets()

    def keep_senders(self, names: Container[str]) -> None:
        """The policy changed: rates of subjects that it no longer has begin again."""
        self._rates.keep_senders(names)

    def replace_limits(self, limits: EngineLimits) -> None:
        """These are about to be in force: with another rate of opens everybody begins again."""
        now = self._limits
        if (limits.subject_opens, limits.subject_opens_burst) != (now.subject_opens, now.subject_opens_burst):
            self._rates = Buckets()

    def idle(self, grant: Grant) -> float:
        """Seconds without a unit after which a session under this grant ends."""
        return self._limits.idle if grant.condition.idle is None else grant.condition.idle

    def take(self, asked: Open, now: float) -> Verdict:
        """Begin the session that is asked for, or refuse it. UsageError: an id that is still in use."""
        authorizer, limits, outbox = self._authorizer, self._limits, self._outbox
        opener = authorizer.name_of(asked.source)
        target = authorizer.target_of(asked.to)
        if not opener or not target or opener == target:
            # One answer for strangers, unknown names and oneself: it reveals no names.
            return outbox.refuse(asked, Reason.DENIED, DEFAULT_RULE, self._authorizer.who(asked.source))
        if len(asked.nonce) > limits.max_nonce:
            return outbox.refuse(asked, Reason.TOO_LARGE, LIMITS_RULE, opener)
        before = self._sessions.find_open((opener, asked.to, asked.content, asked.nonce), now)
        if before is not None:
            outbox.counters["duplicate.open"] += 1
            return Accepted(before, duplicate=True)
        self._delivery.check_id(asked.id)
        decision = authorizer.judge(Action.OPEN, opener, target, asked.content, asked.source.link)
        grants: tuple[Grant, ...] = (SHADOW_GRANT,)
        if isinstance(decision, Permit):
            grants = decision.grants
        elif authorizer.shadow:
            outbox.shadow(asked.id, decision.reason, decision.rule, opener, ("open", asked.to))
        else:
            return outbox.refuse(asked, decision.reason, decision.rule, opener)
        mine = self._sessions.opened_by(opener)
        free = limits.max_sessions - len(self._sessions)
        full = len(mine) >= limits.subject_sessions or not has_room(len(mine), free)
        silent = self._longest_silent(mine, now) if full else None
        if full and silent is None:
            return outbox.refuse(asked, Reason.BUSY, LIMITS_RULE, opener, retry_after=limits.retry_after)
        rate, burst = limits.subject_opens, limits.subject_opens_burst
        bucket = self._rates.get(LIMITS_RULE, "opens", opener, rate, now, burst)
        wait = bucket.wait(1, now)
        if wait > 0.0:
            return outbox.refuse(asked, Reason.OVER_RATE, LIMITS_RULE, opener, retry_after=wait)
        grant = self._grant_for(grants, mine, opener, now)
        if isinstance(grant, Refusal):
            if not authorizer.shadow:
                return outbox.refuse(asked, grant.reason, grant.rule, opener, retry_after=grant.retry_after)
            outbox.shadow(asked.id, grant.reason, grant.rule, opener, ("open", asked.to))
            grant = SHADOW_GRANT
        bucket.take(1)
        if silent is not None:
            outbox.counters["evicted.session"] += 1
            self._delivery.end(silent, Reason.EXPIRED, now)
        return self._start(asked, opener, target, grant, now)

    def _longest_silent(self, mine: Sequence[Session], now: float) -> Session | None:
        """The session that an opener loses if it has no room for another: a client that was killed, and begins again
        and again without a close, must not be locked out by what it left behind. None: all are in use.
        """
        latest = now - self._limits.close_timeout
        unused = [
            each
            for each in mine
            if not (each.open or each.close or each.from_opener.pending or each.from_target.pending)
        ]
        longest = min(unused, key=lambda each: each.last_activity, default=None)
        return None if longest is None or longest.last_activity > latest else longest

    def _grant_for(
        self, grants: Sequence[Grant], opened: Sequence[Session], opener: str, now: float
    ) -> Grant | Refusal:
        """The first grant that has room for one more session, its rate paid; else why the first one hasn't."""
        first: Refusal | None = None
        for grant in grants:
            refusal: Refusal | None = Refusal(Reason.BUSY, grant.rule, self._limits.retry_after)
            if _has_room(grant, opened):
                refusal = self._authorizer.pay_open(grant, opener, now)
            if refusal is None:
                return grant
            first = first or refusal
        return first or Refusal(Reason.DENIED, DEFAULT_RULE)

    def _start(self, asked: Open, opener: str, target: str, grant: Grant, now: float) -> Verdict:
        policy = self._authorizer.policy
        ends = (policy.address_of(opener), policy.address_of(target))
        name = self._new_session()
        session = Session(name, replace(asked, session=name, sender=opener), (opener, target), ends, now)
        session.rule = grant.rule
        session.idle = self.idle(grant)
        self._delivery.open(session, grant, now)
        self._outbox.counters["accepted.open"] += 1
        self._outbox.commands.append(Audit("opened", None, grant.rule, asked.id, name, opener))
        return session.accepted


def _has_room(grant: Grant, opened: Sequence[Session]) -> bool:
    most = grant.condition.sessions
    return most is None or sum(session.rule == grant.rule for session in opened) < most
