"""The engine: envelopes and receipts in, verdicts and commands out. It has no clock, no task and no I/O.

The runtime calls ``submit``, ``settle`` and ``tick`` one after the other, each with its ``now`` (monotonic seconds,
never going back), takes ``commands()`` after each, and calls ``tick`` again by ``next_deadline()``.

What holds:
- Every unit, open, close and exchange that was accepted and is no duplicate ends in exactly one ``Notify``; reset,
  join and leave end with the verdict.
- Every ``Transmit`` is over when its receipt is settled or when a ``Withdraw`` names it; a receipt that comes after
  that is counted and ignored.
- Units towards the target wait until the target has taken the open (its receipt, or anything the target sends in the
  session). They leave in order, with at most ``set_window`` units of one flow on their way.
- Payloads go out as the very objects that came in.
- A peer that doesn't own a session gets for it what an unknown id gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from types import MappingProxyType
from typing import get_args

from gateway.api.errors import UsageError
from gateway.api.model import (
    Accepted,
    Close,
    ContentKind,
    DeviceView,
    Envelope,
    EnvelopeId,
    Event,
    Exchange,
    Interaction,
    Join,
    Leave,
    Open,
    Outcome,
    Peer,
    Presence,
    Reading,
    Reason,
    Receipt,
    Refused,
    Reset,
    SessionId,
    SessionView,
    Subscribe,
    SurvivingEnd,
    Transmit,
    Unit,
    Unsubscribe,
    Verdict,
)
from gateway.engine.admission import Admission
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import Deny, Grant, Permit
from gateway.engine.delivery import Delivery
from gateway.engine.device_registry import DeviceRegistry
from gateway.engine.exchanges import Exchanges
from gateway.engine.limits import EngineLimits
from gateway.engine.opens import Opens
from gateway.engine.outputs import Audit, AuditKind, Outbox, Output
from gateway.engine.policy import GATEWAY, Action, PolicySet
from gateway.engine.restoring import session_of, unit_of
from gateway.engine.sessions import Flow, Session, State
from gateway.engine.stored import (
    Changes,
    Journal,
    StoredClose,
    StoredCommand,
    StoredOpen,
    StoredRow,
    StoredSample,
    StoredSession,
    StoredUnit,
    Unsaved,
)
from gateway.engine.visible import StreamReader


class Engine:
    """One gateway's engine. Not for threads."""

    def __init__(
        self,
        policy: PolicySet,
        limits: EngineLimits,
        new_session: Callable[[], SessionId],
        next_id: Callable[[], EnvelopeId],
    ) -> None:
        """``new_session`` gives 128 fresh random bits, ``next_id`` the ids of the engine's own envelopes."""
        limits = replace(limits)  # a copy: ``replace_limits`` changes it for all parts that hold it
        self._limits = limits
        self._next_id = next_id
        self._outbox = Outbox()
        self._journal = Journal()
        self._gate = Authorizer(policy, self._policy_raised)
        self._delivery = Delivery(limits, self._outbox, self._journal, next_id)
        self._sessions = self._delivery.sessions
        self._opens = Opens(limits, self._outbox, self._gate, self._delivery, new_session)
        self._units = Admission(limits, self._outbox, self._gate, self._delivery)
        self._twins = DeviceRegistry(limits, self._outbox, self._gate, self._journal)
        self._exchanges = Exchanges(limits, self._outbox, self._gate)
        self._settled_by: Mapping[type, Callable[[Receipt, float], None]] = {
            Unit: self._delivery.settle_unit,
            Open: self._delivery.settle_open,
            Close: self._delivery.closes.settle,
            Exchange: self._exchanges.settle,
            **dict.fromkeys(get_args(Interaction), self._twins.settle),
        }

    # What the runtime calls

    def submit(self, envelope: Envelope, *, now: float) -> Verdict:
        """Take an envelope on, or refuse it. UsageError: an id that is still in use."""
        if isinstance(envelope, Unit):
            return self._units.take(envelope, now)
        if isinstance(envelope, Reading):
            return self._twins.reading(envelope, now)
        if isinstance(envelope, Open):
            return self._opens.take(envelope, now)
        if isinstance(envelope, Close):
            return self._close(envelope, now)
        if isinstance(envelope, Interaction):
            return self._twins.interact(envelope, now)
        if isinstance(envelope, Event):
            return self._twins.event(envelope, now)
        if isinstance(envelope, Subscribe):
            return self._twins.watch(envelope, now)
        if isinstance(envelope, Unsubscribe):
            return self._twins.unwatch(envelope, now)
        if isinstance(envelope, Exchange):
            return self._exchanges.submit(envelope, now)
        if isinstance(envelope, Presence):
            self._twins.news(envelope, now)
            return Accepted()
        return self._peer_news(envelope, now)

    def settle(self, receipt: Receipt, *, now: float, scheme: str = "") -> bool:
        """The word of an egress adapter on a ``Transmit``; of the adapter of ``scheme``, if it says so.

        False, and nothing happens: it has no such order.
        """
        orders = self._outbox.orders
        transmit = orders.get(receipt.id)
        if transmit is None or (scheme and scheme != transmit.to.scheme):
            self._outbox.counters["settle.unknown"] += 1
            return False
        if receipt.outcome is not Outcome.HELD:
            del orders[receipt.id]
        self._settled_by[type(transmit.envelope)](receipt, now)
        return True

    def is_ordered(self, transmit: Transmit) -> bool:
        """Whether it is neither settled nor withdrawn."""
        return self._outbox.orders.get(transmit.envelope.id) is transmit

    def in_flight(self, scheme: str) -> int:
        """How many orders the adapter of ``scheme`` has not settled yet."""
        return sum(transmit.to.scheme == scheme for transmit in self._outbox.orders.values())

    def tick(self, *, now: float) -> None:
        """Do what is due: expire units and opens, end idle and unreachable sessions."""
        self._delivery.tick(now)
        self._twins.tick(now)
        self._exchanges.tick(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next (it may turn out to be nothing); None: never, as things are."""
        sessions, devices = self._delivery.next_deadline(), self._twins.next_deadline()
        earliest = sessions if devices is None or (sessions is not None and sessions < devices) else devices
        if not self._exchanges.pending:
            return earliest
        exchanges = self._exchanges.next_deadline()
        return earliest if exchanges is None or (earliest is not None and earliest < exchanges) else exchanges

    def commands(self) -> list[Output]:
        """The commands since the last call, in order."""
        return self._outbox.take()

    def set_window(self, scheme: str, window: int) -> None:
        """How many units of one flow the adapter of ``scheme`` takes before the first is settled (default 1)."""
        if window < 1:
            raise UsageError("a window is 1 or more")
        self._delivery.set_window(scheme, window)

    def adapter_ready(self, scheme: str, *, now: float) -> None:
        """The adapter of ``scheme`` serves: it gets what waited for it."""
        self._delivery.resume(scheme, now)
        self._twins.adapter_ready(scheme)

    def adapter_faulty(self, scheme: str, *, now: float) -> None:
        """The adapter lost its link: it is unknown which of its devices can be reached."""
        self._twins.out_of_sight(scheme, now)

    def adapter_gone(self, scheme: str, *, now: float) -> set[EnvelopeId]:
        """The instance is gone, and with it the watches that it submitted.

        What it was ordered and has not settled is dropped as unreachable, but for what is in the store: that waits for
        the next instance, and is returned.
        """
        self._exchanges.adapter_gone(scheme)
        waiting = self._twins.adapter_gone(scheme, now) | self._delivery.pause(scheme)
        orders = self._outbox.orders
        for envelope in waiting:
            del orders[envelope]
        for envelope in [number for number, transmit in orders.items() if transmit.to.scheme == scheme]:
            self.settle(Receipt(envelope, Outcome.DROPPED, Reason.UNREACHABLE), now=now)
        return waiting

    def set_minute(self, minute: int | None, *, now: float) -> None:
        """Set the local minute of the day (0-1439; None: not known), which rules with ``hours`` need."""
        if self._gate.set_minute(minute):
            self._judge_again(now)

    def replace_policy(self, policy: PolicySet, *, now: float) -> None:
        """Put another policy (which ``policy.check`` passes) in force.

        Sessions that it doesn't permit end at once, which is reported to both ends.
        """
        self._gate.replace(policy)
        self._opens.keep_senders(policy.by_name)
        self._judge_again(now)

    def replace_limits(self, limits: EngineLimits) -> None:
        """Put other limits in force for what comes from now on. What is there stays, with the times that it has."""
        self._opens.replace_limits(limits)
        for limit in fields(limits):
            setattr(self._limits, limit.name, getattr(limits, limit.name))

    # What adapters and administrators ask

    def targets(self, peer: Peer) -> list[str]:
        """The aliases that this peer may open for some kind of content, in name order."""
        return list(self._gate.targets(peer))

    def owns(self, peer: Peer, session: SessionId) -> bool:
        found = self._sessions.get(session)
        return found is not None and found.flow_from(self._gate.name_of(peer)) is not None

    def sessions(self, peer: Peer) -> list[SessionView]:
        return [session.view() for session in self._sessions.owned_by(self._gate.name_of(peer))]

    def all_sessions(self) -> list[SessionView]:
        return [session.view() for session in self._sessions]

    def queues(self) -> dict[str, int]:
        """What waits or is on its way: units, their octets, those for sleepers, those in the store; commands, held."""
        pending = [
            unit
            for session in self._sessions
            for flow in (session.from_opener, session.from_target)
            for unit in flow.pending.values()
        ]
        return {
            "units": len(pending),
            "octets": self._delivery.pending_octets,
            "asleep": sum(unit.asleep for unit in pending),
            "stored": sum(unit.told for unit in pending),
            **self._twins.queues(),
            "exchanges": len(self._exchanges.pending),
        }

    def surviving(self, scheme: str) -> list[SurvivingEnd]:
        """The ends of live sessions that the adapter of ``scheme`` reaches."""
        return [end for session in self._sessions for end in session.surviving(scheme)]

    def devices(self, peer: Peer, *, now: float) -> Sequence[DeviceView]:
        return self._twins.devices(peer, now)

    def all_devices(self, *, now: float) -> Sequence[DeviceView]:
        """Every device that a subject of the policy is, for the administrator."""
        return self._twins.all_devices(now)

    def device(self, peer: Peer, name: str, *, now: float) -> DeviceView | None:
        return self._twins.device(peer, name, now)

    def administer(self, peer: Peer, command: str, *, now: float) -> Refused | None:
        """Whether ``peer`` may give the gateway ``command`` (one of the gateway's names, for the log). None: it may.

        A policy in shadow mode makes no peer an administrator.
        """
        gate, outbox = self._gate, self._outbox
        asker = gate.name_of(peer)
        decision = gate.permits(Action.ADMIN, asker, GATEWAY, peer.link) if asker else Deny(Reason.DENIED)
        answer = gate.pay_command(decision, asker, now) if isinstance(decision, Permit) else decision
        if isinstance(answer, Grant):
            outbox.counters["accepted.admin"] += 1
            outbox.commands.append(Audit("administered", None, answer.rule, None, None, asker, command))
            return None
        outbox.counters["refused." + answer.reason.value] += 1
        who = self._gate.who(peer)
        about = (Action.ADMIN.value, GATEWAY)
        outbox.commands.append(Audit("refused", answer.reason, answer.rule, None, None, who, command, *about))
        return Refused(answer.reason, answer.retry_after if isinstance(answer, Refusal) else None)

    def may_administer(self, peer: Peer) -> bool:
        """Whether ``administer`` would let this peer, but for its rate. Nothing is recorded."""
        asker = self._gate.name_of(peer)
        return bool(asker) and isinstance(self._gate.permits(Action.ADMIN, asker, GATEWAY, peer.link), Permit)

    @property
    def policy(self) -> PolicySet:
        return self._gate.policy

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start by ``event.detail``, such as ``accepted.unit`` or ``refused.over-rate``."""
        return MappingProxyType(self._outbox.counters)

    # The store

    @property
    def unsaved(self) -> Unsaved:
        """How soon ``changes`` should be taken."""
        journal = self._journal
        if journal.urgent:
            return Unsaved.URGENT
        if self._delivery.keeping.dirty or journal.rows or journal.gone:
            return Unsaved.SOON
        return Unsaved.LATER if journal.devices else Unsaved.NOTHING

    def changes(self, *, samples: bool) -> Changes:
        """What changed since the last call, to be written in one transaction; last values only with ``samples``.

        When that is through call ``stored``; when it failed ``store_lost``.
        """
        self._delivery.keeping.flush()
        if samples:
            devices, self._journal.devices = self._journal.devices, set()
            for device in devices:
                for sample in self._twins.samples(device):
                    self._journal.put(sample)
        return self._journal.take()

    def stored(self, changes: Changes, *, now: float) -> None:
        """These changes are in the store: report ``HELD`` to the senders that wait for that."""
        self._delivery.stored(changes)
        for row in changes.rows.values():
            if isinstance(row, StoredCommand):
                self._twins.stored(row.command.id)

    def snapshot(self) -> Changes:
        """All that is to be in the store. From now on ``changes`` has what comes after."""
        found: list[StoredRow] = [*self._sessions.recent(), *self._delivery.snapshot(), *self._twins.snapshot()]
        rows = {(row.table, row.key): row for row in found}
        self._journal.begin(rows)
        return Changes(rows, whole=True)

    def store_lost(self) -> None:
        """Nothing can be stored: collect nothing for it, and report no ``HELD``."""
        self._journal.end()
        self._delivery.keeping.forget()

    def restore(self, rows: Iterable[StoredRow], *, now: float, outdated: bool = False) -> None:
        """Take up what was stored before this start; to be called before anything else but ``set_minute``.

        Sessions that the policy doesn't permit, or no longer, end, which is reported to both ends. Nothing is
        transmitted to an adapter that something waits for until ``adapter_ready``.

        ``outdated``: the rows are from a backup. What passed since is not in them, so a session that went on could take
        a number twice, and a command could be carried out twice: all sessions and commands end with ``RESTARTED``.
        """
        units: list[StoredUnit] = []
        samples: list[StoredSample] = []
        commands: list[StoredCommand] = []
        for row in rows:
            if isinstance(row, StoredSession):
                session = session_of(row, self._next_id, self._limits.queue_units, now)
                session.idle = self._limits.idle
                self._delivery.restore_session(session, now)
            elif isinstance(row, StoredUnit):
                units.append(row)
            elif isinstance(row, StoredClose):
                self._delivery.restore_close(row, now)
            elif isinstance(row, StoredOpen):
                key = (row.opener, row.to, row.content, row.nonce)
                self._sessions.remember(key, row.session, row.expires_at)
            elif isinstance(row, StoredSample):
                samples.append(row)
            else:
                commands.append(row)
        for unit in sorted(units, key=lambda row: row.n):
            self._restore_unit(unit, now)
        self._twins.restore(samples, sorted(commands, key=lambda row: row.command.id))
        self._twins.end_unrepeatable(now)
        if outdated:
            self._twins.end_commands(Reason.RESTARTED, now)
            for session in self._sessions:
                self._delivery.end(session, Reason.RESTARTED, now)
        self._judge_again(now)
        for session in self._sessions:
            self._restored(session, now)

    def _restore_unit(self, row: StoredUnit, now: float) -> None:
        session = self._sessions.get(row.session)
        if session is not None:
            flow = session.from_opener if row.up else session.from_target
            # The rule's own grant takes the place of this one when the whole policy is judged.
            grant = replace(SHADOW_GRANT, rule=row.rule)
            self._delivery.restore_unit(unit_of(row, session), row, flow, grant, now)

    def _restored(self, session: Session, now: float) -> None:
        """What a restored session needs of a policy that permits it."""
        if session.open is not None:
            decision = self._gate.judge(Action.OPEN, session.opener, session.target, session.content, session.link)
            if isinstance(decision, Permit):
                grant = next((grant for grant in decision.grants if grant.rule == session.rule), decision.grants[0])
                self._delivery.require_of_open(session, grant.require)
        for flow in (session.from_opener, session.from_target):
            if isinstance(flow.reader, StreamReader) and flow.reader.lost and flow.link is not None:
                decision = self._gate.judge_flow(flow, flow.link)
                grants = decision.grants if isinstance(decision, Permit) else ()
                if not self._gate.shadow and all(grant.condition.reads_records for grant in grants):
                    self._delivery.end(session, Reason.RESTARTED, now)  # its records can no longer be told apart
                    return

    # Closes, changes of peers and of the policy

    def _close(self, asked: Close, now: float) -> Verdict:
        session = self._sessions.get(asked.session)
        source, outbox = asked.source, self._outbox
        name = "" if source is None else self._gate.name_of(source)
        flow = None if session is None else session.flow_from(name)
        if session is None or flow is None or source is None:
            return outbox.refuse(asked, Reason.UNKNOWN, "", "" if source is None else self._gate.who(source))
        if session.state is State.DRAINING:
            outbox.counters["duplicate.close"] += 1
            self._delivery.close_again(session, flow, now)
            return session.duplicate
        self._delivery.check_id(asked.id)
        outbox.counters["accepted.close"] += 1
        self._delivery.close(asked, flow, now)
        return session.accepted

    def _peer_news(self, news: Reset | Join | Leave, now: float) -> Verdict:
        kind: AuditKind = "reset"
        reason: Reason | None = None
        if isinstance(news, Join):
            kind = "joined"
        elif isinstance(news, Leave):
            kind, reason = "left", Reason.UNREACHABLE
        else:
            reason = news.reason
        if not isinstance(news, Reset):
            self._twins.news(news, now)
        self._outbox.counters["accepted." + kind] += 1
        self._outbox.commands.append(Audit(kind, reason, "", news.id, None, self._gate.who(news.source)))
        if reason is not None:
            name = self._gate.name_of(news.source)
            for session in self._sessions.owned_by(name):
                tell = session.flow_from(name)
                self._delivery.end(session, reason, now, tell=() if tell is None else (tell,))
        return Accepted()

    def _judge_again(self, now: float) -> None:
        """The policy or the hour changed: end what is no longer permitted, drop what waits without a permit."""
        self._twins.judge_again(now)
        self._exchanges.judge_again()
        policy, gate = self._gate.policy, self._gate
        renamed: dict[SessionId, tuple[str, str]] = {}
        for session in self._sessions:
            opener, target = policy.name_at(session.from_target.to), policy.name_at(session.from_opener.to)
            if not opener or not target:
                self._delivery.end(session, Reason.DENIED, now)
            elif (opener, target) != (session.opener, session.target):
                renamed[session.id] = (opener, target)
        self._sessions.rename(renamed)
        for session in self._sessions:
            up, down = session.from_opener, session.from_target
            if session.id in renamed:
                self._delivery.keeping.touch(session)
            if not gate.shadow:
                decision = gate.judge(Action.OPEN, session.opener, session.target, session.content, session.link)
                if isinstance(decision, Deny):
                    self._delivery.end(session, Reason.DENIED, now)
                    continue
                grant = next((grant for grant in decision.grants if grant.rule == session.rule), decision.grants[0])
                session.rule, session.idle = grant.rule, self._opens.idle(grant)
                self._delivery.require_of_open(session, grant.require)
                self._sessions.schedule(session, max(now, session.last_activity + session.idle))
                self._judge_pending(up, now)
                self._judge_pending(down, now)

    def _judge_pending(self, flow: Flow, now: float) -> None:
        if not flow.pending or flow.link is None:
            return
        decision = self._gate.judge_flow(flow, flow.link)
        grants = decision.grants if isinstance(decision, Permit) else ()
        for pending in list(flow.pending.values()):
            # The rule that took the unit, or one that takes any: the others would have to judge it as it came.
            octets = len(pending.unit.payload.octets)
            grant = next((grant for grant in grants if _takes_on(grant, pending.grant.rule, octets)), None)
            if grant is not None:
                self._delivery.regrant(pending, grant)
                continue
            self._delivery.abandon(pending, Reason.DENIED)
            if flow.session.content is ContentKind.ATLS:
                self._delivery.end(flow.session, Reason.BROKEN, now)
                return
        self._delivery.pump(flow, now)

    def _policy_raised(self) -> None:
        self._outbox.counters["error.policy"] += 1
        self._outbox.commands.append(Audit("error"))


def _takes_on(grant: Grant, rule: str, octets: int) -> bool:
    """Whether a grant takes on a unit that ``rule`` took before the policy or the hour changed."""
    most = grant.condition.max_unit
    return grant.plain or (grant.rule == rule and (most is None or octets <= most))
