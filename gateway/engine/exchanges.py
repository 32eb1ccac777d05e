"""Exchanges on their way: requests that the gateway proxies, from the verdict to the one final word on each.

States of an exchange, and who moves it: *on its way* from its verdict (``submit``), with which its adapter gets the
transmit; *over* by whichever comes first of its adapter's receipt (``settle``), its deadline (``tick``), a
policy or an hour that permits it no longer (``judge_again``), and the end of the adapter that submitted it
(``adapter_gone``). It is never sent again, never held and never stored: only its client knows whether it may be
carried out twice. A full table refuses with ``BUSY``; an asker that has many of its places gets none of the last ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from common.timers import Timers
from gateway.api.errors import UsageError
from gateway.api.exchanges import unfit, unfit_answer
from gateway.api.model import (
    Accepted,
    Address,
    Answer,
    EnvelopeId,
    Exchange,
    Outcome,
    Reason,
    Receipt,
    Transmit,
    Verdict,
)
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import DEFAULT_RULE, Deny, Grant
from gateway.engine.limits import LIMITS_RULE, EngineLimits, has_room
from gateway.engine.outputs import Outbox, final
from gateway.engine.policy import Action

_PROXY = Action.PROXY.value


@dataclass(slots=True)
class PendingExchange:
    """``asker`` and ``target``: subjects by the names of the policy in force; ``by`` and ``to``: their addresses."""

    exchange: Exchange
    asker: str
    by: Address
    target: str
    to: Address
    grant: Grant


class Exchanges:
    """All exchanges without a final receipt."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, authorizer: Authorizer) -> None:
        self._limits = limits
        self._outbox = outbox
        self._authorizer = authorizer
        self.pending: dict[EnvelopeId, PendingExchange] = {}
        """Those on their way, by the id of the exchange."""
        self._askers: Counter[str] = Counter()
        self._targets: Counter[str] = Counter()
        self._agenda: Timers[EnvelopeId] = Timers()

    def submit(self, exchange: Exchange, now: float) -> Verdict:
        """Judge an exchange, and transmit it. A target out of reach is refused as one that isn't there."""
        authorizer, limits, outbox = self._authorizer, self._limits, self._outbox
        asker, target = authorizer.name_of(exchange.source), authorizer.target_of(exchange.to)
        # The form before the target: a path is judged as it is, so it must be one that everybody reads in one way.
        if asker and (reason := unfit(exchange, limits.max_body)) is not None:
            return outbox.refuse(exchange, reason, LIMITS_RULE if reason is Reason.TOO_LARGE else "", asker)
        if not asker or not target or asker == target:
            return outbox.refuse(exchange, Reason.DENIED, DEFAULT_RULE, authorizer.who(exchange.source))
        decision = authorizer.judge_exchange(exchange, asker, target)
        if isinstance(decision, Deny):
            if not authorizer.shadow:
                return outbox.refuse(exchange, decision.reason, decision.rule, asker)
            outbox.shadow(exchange.id, decision.reason, decision.rule, asker, (_PROXY, target))
        if exchange.id in self.pending:
            raise UsageError("the id of an envelope is in use")
        if not exchange.deadline > now:  # NaN is no time either
            return outbox.refuse(exchange, Reason.EXPIRED, "", asker)
        if not self._room(asker, target):
            return outbox.refuse(exchange, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        grant: Grant | Refusal = SHADOW_GRANT
        if not isinstance(decision, Deny):
            grant = authorizer.pay_command(decision, asker, now, "exchanges")
        if isinstance(grant, Refusal):
            if not authorizer.shadow:
                return outbox.refuse(exchange, grant.reason, grant.rule, asker, retry_after=grant.retry_after)
            outbox.shadow(exchange.id, grant.reason, grant.rule, asker, (_PROXY, target))
            grant = SHADOW_GRANT
        self._take(exchange, asker, target, grant, now)
        return Accepted()

    def _room(self, asker: str, target: str) -> bool:
        """A target that never answers must not keep the places of all others."""
        limits, mine = self._limits, self._askers[asker]
        free = limits.max_exchanges - len(self.pending)
        return mine < limits.subject_exchanges and has_room(mine, free) and has_room(self._targets[target], free)

    def _take(self, exchange: Exchange, asker: str, target: str, grant: Grant, now: float) -> None:
        deadline = min(exchange.deadline, now + self._limits.exchange_timeout)
        sent = replace(exchange, to=target, sender=asker, deadline=deadline)
        policy = self._authorizer.policy
        pending = PendingExchange(sent, asker, policy.address_of(asker), target, policy.address_of(target), grant)
        self.pending[sent.id] = pending
        self._askers[asker] += 1
        self._targets[target] += 1
        self._agenda.plan(sent.id, deadline)
        if deadline < self._outbox.look_by:
            self._outbox.look_by = deadline
        self._outbox.counters["accepted.exchange"] += 1
        self._outbox.transmit(Transmit(sent, pending.to, grant.require))

    # Exchanges end

    def settle(self, receipt: Receipt, now: float) -> None:
        """The word of the target's adapter on an exchange that it has."""
        pending = self.pending[receipt.id]
        if receipt.outcome is Outcome.HELD:  # nothing of an exchange is kept for later
            self._outbox.counters["settle.unfit"] += 1
        elif receipt.outcome is Outcome.EXPIRED:
            self._lose(pending, Reason.EXPIRED)
        elif receipt.outcome is not Outcome.DELIVERED:
            self._lose(pending, receipt.reason or Reason.UNREACHABLE)
        elif receipt.answer is None:
            self._lose(pending, Reason.BROKEN)
        elif (reason := self._unwanted(pending, receipt.answer)) is not None:
            self._lose(pending, reason)
        else:
            self._outbox.counters["delivered.exchange"] += 1
            self._finish(pending, Receipt(receipt.id, Outcome.DELIVERED, answer=receipt.answer))

    def _unwanted(self, pending: PendingExchange, answer: Answer) -> Reason | None:
        """Why an answer is not passed on: its form, its size, or a sealed kind that no rule permits."""
        most = self._limits.max_body
        if pending.grant.condition.max_unit is not None:
            most = min(most, pending.grant.condition.max_unit)
        if (reason := unfit_answer(answer, most)) is not None:
            return reason
        if answer.content is None or answer.content == pending.exchange.content:
            return None
        asked = replace(pending.exchange, content=answer.content)
        denied = isinstance(self._authorizer.judge_exchange(asked, pending.asker, pending.target), Deny)
        return Reason.CONTENT if denied and not self._authorizer.shadow else None

    def _abandon(self, pending: PendingExchange, reason: Reason) -> None:
        """Give up on an exchange that its adapter has not settled."""
        self._outbox.withdraw(pending.to.scheme, pending.exchange.id)
        self._lose(pending, reason)

    def _lose(self, pending: PendingExchange, reason: Reason) -> None:
        receipt = final(pending.exchange.id, reason, None)
        self._finish(pending, receipt)
        self._outbox.lose(receipt, reason, pending.grant.rule, pending.asker, (_PROXY, pending.target))

    def _finish(self, pending: PendingExchange, receipt: Receipt) -> None:
        del self.pending[receipt.id]
        self._agenda.drop(receipt.id)
        for table, name in ((self._askers, pending.asker), (self._targets, pending.target)):
            table[name] -= 1
            if not table[name]:
                del table[name]
        self._outbox.notify(pending.exchange.source.scheme, receipt)

    # What happens to adapters and to the policy; time

    def adapter_gone(self, scheme: str) -> None:
        """Exchanges that this adapter submitted can no longer be answered: they are over."""
        asked = [each for each in self.pending.values() if each.exchange.source.scheme == scheme]
        for pending in asked:
            self._abandon(pending, Reason.UNREACHABLE)

    def judge_again(self) -> None:
        """Take back what is no longer permitted; the rest goes on under the present rules and names."""
        authorizer = self._authorizer
        for pending in list(self.pending.values()):
            exchange = pending.exchange
            asker, target = authorizer.policy.name_at(pending.by), authorizer.policy.name_at(pending.to)
            decision = None
            if asker and target and authorizer.name_of(exchange.source) == asker:
                decision = authorizer.judge_exchange(exchange, asker, target)
            if decision is None or (isinstance(decision, Deny) and not authorizer.shadow):
                self._abandon(pending, Reason.DENIED)
                continue
            self._rename(pending, asker, target)
            if not isinstance(decision, Deny):
                grants = decision.grants
                pending.grant = next((each for each in grants if each.rule == pending.grant.rule), grants[0])

    def _rename(self, pending: PendingExchange, asker: str, target: str) -> None:
        self._askers[pending.asker] -= 1
        self._targets[pending.target] -= 1
        pending.asker, pending.target = asker, target
        self._askers[asker] += 1
        self._targets[target] += 1
        self._askers, self._targets = +self._askers, +self._targets

    def tick(self, now: float) -> None:
        while (due := self._agenda.take_due(now)) is not None:
            self._abandon(self.pending[due], Reason.EXPIRED)

    def next_deadline(self) -> float | None:
        return self._agenda.next()
