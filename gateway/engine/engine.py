"""The engine: envelopes and receipts in, verdicts and commands out. It has no clock, no task and no I/O.

The runtime calls ``submit``, ``settle`` and ``tick`` one after the other, each with its ``now`` (monotonic seconds,
never going back), takes ``commands()`` after each, and calls ``tick`` again by ``look_by()``.

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
from gateway.engine.administration import Administration
from gateway.engine.admission import Admission
from gateway.engine.authorizer import Authorizer
from gateway.engine.delivery import Delivery
from gateway.engine.device_registry import DeviceRegistry
from gateway.engine.exchanges import Exchanges
from gateway.engine.limits import EngineLimits
from gateway.engine.opens import Opens
from gateway.engine.outputs import PEER_CHANGES, Audit, Outbox
from gateway.engine.policy import PolicySet
from gateway.engine.restoring import restore_sessions
from gateway.engine.session_judging import SessionJudging
from gateway.engine.sessions import State
from gateway.engine.stored import (
    Changes,
    Journal,
    StoredCommand,
    StoredRow,
    Unsaved,
)


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
        self._authorizer = Authorizer(policy, self._policy_raised)
        self._delivery = delivery = Delivery(limits, self._outbox, self._journal, next_id)
        self._sessions, self.allow, self.put_back = delivery.sessions, delivery.allow, delivery.put_back
        self.commands = self._outbox.take
        """The commands since the last call, in order."""
        self._opens = Opens(limits, self._outbox, self._authorizer, self._delivery, new_session)
        self._admission = Admission(limits, self._outbox, self._authorizer, self._delivery)
        self._registry = DeviceRegistry(limits, self._outbox, self._authorizer, self._journal)
        self._exchanges = Exchanges(limits, self._outbox, self._authorizer)
        self._administration = Administration(self._authorizer, self._outbox)
        self._judging = SessionJudging(self._authorizer, self._delivery, self._opens)
        self._settled_by: Mapping[type, Callable[[Receipt, float], None]] = {
            Unit: self._delivery.settle_unit,
            Open: self._delivery.settle_open,
            Close: self._delivery.closes.settle,
            Exchange: self._exchanges.settle,
            **dict.fromkeys(get_args(Interaction), self._registry.settle),
        }

    # What the runtime calls

    def submit(self, envelope: Envelope, *, now: float) -> Verdict:
        """Take an envelope on, or refuse it. UsageError: an id that is still in use."""
        if isinstance(envelope, Unit):
            return self._admission.take(envelope, now)
        if isinstance(envelope, Reading):
            return self._registry.reading(envelope, now)
        if isinstance(envelope, Open):
            return self._opens.take(envelope, now)
        if isinstance(envelope, Close):
            return self._close(envelope, now)
        if isinstance(envelope, Interaction):
            return self._registry.interact(envelope, now)
        if isinstance(envelope, Event):
            return self._registry.event(envelope, now)
        if isinstance(envelope, Subscribe):
            return self._registry.subscribe(envelope, now)
        if isinstance(envelope, Unsubscribe):
            return self._registry.unsubscribe(envelope, now)
        if isinstance(envelope, Exchange):
            return self._exchanges.submit(envelope, now)
        if isinstance(envelope, Presence):
            self._registry.device_changed(envelope, now)
            return Accepted()
        return self._peer_changed(envelope, now)

    def settle(self, receipt: Receipt, *, now: float, scheme: str = "") -> bool:
        """Apply an egress adapter's receipt of a ``Transmit``; of the adapter of ``scheme``, if one is given.

        False, and nothing happens: the adapter has no such transmit.
        """
        transmits = self._outbox.transmits
        transmit = transmits.get(receipt.id)
        if transmit is None or (scheme and scheme != transmit.to.scheme):
            self._outbox.counters["settle.unknown"] += 1
            return False
        if receipt.outcome is not Outcome.HELD:
            del transmits[receipt.id]
        self._settled_by[type(transmit.envelope)](receipt, now)
        return True

    def is_unsettled(self, transmit: Transmit) -> bool:
        """Whether it is neither settled nor withdrawn."""
        return self._outbox.transmits.get(transmit.envelope.id) is transmit

    def in_flight(self, scheme: str) -> int:
        """The number of transmits that the adapter of ``scheme`` has not settled yet."""
        return sum(transmit.to.scheme == scheme for transmit in self._outbox.transmits.values())

    def tick(self, *, now: float) -> None:
        """Do what is due: expire units and opens, end idle and unreachable sessions."""
        self._delivery.tick(now)
        self._registry.tick(now)
        self._exchanges.tick(now)
        self._outbox.look_by = float("inf") if (deadline := self.next_deadline()) is None else deadline

    def look_by(self) -> float:
        """When to call ``tick`` at the latest, in one look: the next deadline, or some time before it."""
        return self._outbox.look_by

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next; None: never, as things are. It is searched for: see ``look_by``."""
        found = (part.next_deadline() for part in (self._delivery, self._registry, self._exchanges))
        return min((each for each in found if each is not None), default=None)

    def set_window(self, scheme: str, window: int) -> None:
        """Set how many units of one flow the adapter of ``scheme`` takes before the first is settled (default 1)."""
        if window < 1:
            raise UsageError("a window is 1 or more")
        self._delivery.set_window(scheme, window)

    def adapter_ready(self, scheme: str, *, now: float) -> None:
        """The adapter of ``scheme`` serves: it gets what waited for it."""
        self._delivery.resume(scheme, now)
        self._registry.adapter_ready(scheme)

    def adapter_faulty(self, scheme: str, *, now: float) -> None:
        """The adapter lost its link: it is unknown which of its devices can be reached."""
        self._registry.out_of_sight(scheme, now)

    def adapter_gone(self, scheme: str, *, now: float) -> set[EnvelopeId]:
        """The instance is gone, and with it the watches that it submitted.

        Its transmits that are not settled are dropped as unreachable, but for those in the store: they wait for the
        next instance, and are returned.
        """
        self._exchanges.adapter_gone(scheme)
        waiting = self._registry.adapter_gone(scheme, now) | self._delivery.pause(scheme)
        transmits = self._outbox.transmits
        for envelope in waiting:
            del transmits[envelope]
        for envelope in [number for number, transmit in transmits.items() if transmit.to.scheme == scheme]:
            self.settle(Receipt(envelope, Outcome.DROPPED, Reason.UNREACHABLE), now=now)
        return waiting

    def set_minute(self, minute: int | None, *, now: float) -> None:
        """Set the local minute of the day (0-1439; None: not known), which rules with ``hours`` need."""
        if self._authorizer.set_minute(minute):
            self._judge_again(now)

    def replace_policy(self, policy: PolicySet, *, now: float) -> None:
        """Put another policy (which ``policy.check`` passes) in force.

        Sessions that it doesn't permit end at once, which is reported to both ends.
        """
        self._authorizer.replace(policy)
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
        return list(self._authorizer.targets(peer))

    def owns(self, peer: Peer, session: SessionId) -> bool:
        found = self._sessions.get(session)
        return found is not None and found.flow_from(self._authorizer.name_of(peer)) is not None

    def sessions(self, peer: Peer) -> list[SessionView]:
        return [session.view() for session in self._sessions.owned_by(self._authorizer.name_of(peer))]

    def all_sessions(self) -> list[SessionView]:
        return [session.view() for session in self._sessions]

    def queues(self) -> dict[str, int]:
        """Counts: units that wait or are on their way, their octets, those for sleepers and in the store; commands."""
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
            "stored": sum(unit.held_reported for unit in pending),
            **self._registry.queues(),
            "exchanges": len(self._exchanges.pending),
        }

    def surviving(self, scheme: str) -> list[SurvivingEnd]:
        """The ends of live sessions that the adapter of ``scheme`` reaches."""
        return [end for session in self._sessions for end in session.surviving(scheme)]

    def devices(self, peer: Peer, *, now: float) -> Sequence[DeviceView]:
        return self._registry.devices(peer, now)

    def all_devices(self, *, now: float) -> Sequence[DeviceView]:
        """Every device that a subject of the policy is, for the administrator."""
        return self._registry.all_devices(now)

    def device(self, peer: Peer, name: str, *, now: float) -> DeviceView | None:
        return self._registry.device(peer, name, now)

    def administer(self, peer: Peer, command: str, *, now: float) -> Refused | None:
        """See ``Administration.permit``."""
        return self._administration.permit(peer, command, now)

    def may_administer(self, peer: Peer) -> bool:
        return self._administration.may(peer)

    @property
    def policy(self) -> PolicySet:
        return self._authorizer.policy

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start by ``event.detail``, such as ``accepted.unit`` or ``refused.over-rate``."""
        return MappingProxyType(self._outbox.counters)

    # The store

    @property
    def unsaved(self) -> Unsaved:
        """The urgency with which ``changes`` should be taken."""
        journal = self._journal
        if journal.urgent:
            return Unsaved.URGENT
        if self._delivery.write_behind.dirty or journal.rows or journal.gone:
            return Unsaved.SOON
        return Unsaved.LATER if journal.devices else Unsaved.NOTHING

    def changes(self, *, samples: bool) -> Changes:
        """The changes since the last call, to be written in one transaction; last values only with ``samples``.

        When that is through call ``stored``; when it failed ``store_lost``.
        """
        self._delivery.write_behind.flush()
        if samples:
            devices, self._journal.devices = self._journal.devices, set()
            for device in devices:
                for sample in self._registry.samples(device):
                    self._journal.put(sample)
        return self._journal.take()

    def stored(self, changes: Changes, *, now: float) -> None:
        """These changes are in the store: report ``HELD`` to the senders that wait for that."""
        self._delivery.stored(changes, now)
        for row in changes.rows.values():
            if isinstance(row, StoredCommand):
                self._registry.stored(row.command.id)

    def snapshot(self, *, ending: bool = False) -> Changes:
        """All that is to be in the store. From now on ``changes`` has what comes after.

        ``ending``: nothing comes after it, as the daemon ends in good order: then the rows say where TLS streams are.
        """
        delivery = self._delivery.snapshot(ending=ending)
        found: list[StoredRow] = [*self._sessions.recent(), *delivery, *self._registry.snapshot()]
        rows = {(row.table, row.key): row for row in found}
        self._journal.begin(rows)
        return Changes(rows, whole=True)

    def store_lost(self) -> None:
        """Nothing can be stored: collect nothing for it, and report no ``HELD``."""
        self._journal.end()
        self._delivery.write_behind.forget()

    def restore(self, rows: Iterable[StoredRow], *, now: float, outdated: bool = False) -> None:
        """Take up what was stored before this start; to be called before anything else but ``set_minute``.

        Sessions that the policy doesn't permit, or no longer, end, which is reported to both ends. Nothing is
        transmitted to an adapter that something waits for until ``adapter_ready``.

        ``outdated``: the rows are from a backup. What passed since is not in them, so a session that went on could take
        a number twice, and a command could be carried out twice: all sessions and commands end with ``RESTARTED``.
        """
        samples, commands = restore_sessions(rows, self._delivery, self._limits, self._next_id, now)
        self._registry.restore(samples, sorted(commands, key=lambda row: row.command.id))
        self._registry.end_unrepeatable(now)
        if outdated:
            self._registry.end_commands(Reason.RESTARTED, now)
            for session in self._sessions:
                self._delivery.end(session, Reason.RESTARTED, now)
        self._judge_again(now)
        for session in self._sessions:
            self._judging.restored(session, now)

    # Closes, changes of peers and of the policy

    def _close(self, asked: Close, now: float) -> Verdict:
        session = self._sessions.get(asked.session)
        source, outbox = asked.source, self._outbox
        name = "" if source is None else self._authorizer.name_of(source)
        flow = None if session is None else session.flow_from(name)
        if session is None or flow is None or source is None:
            return outbox.refuse(asked, Reason.UNKNOWN, "", "" if source is None else self._authorizer.who(source))
        if session.state is State.DRAINING:
            outbox.counters["duplicate.close"] += 1
            self._delivery.close_again(session, flow, now)
            return session.duplicate
        self._delivery.check_id(asked.id)
        outbox.counters["accepted.close"] += 1
        self._delivery.close(asked, flow, now)
        return session.accepted

    def _peer_changed(self, change: Reset | Join | Leave, now: float) -> Verdict:
        kind, reason = PEER_CHANGES[type(change)]
        if isinstance(change, Reset):
            reason = change.reason
        else:
            self._registry.device_changed(change, now)
        self._outbox.counters["accepted." + kind] += 1
        self._outbox.commands.append(Audit(kind, reason, "", change.id, None, self._authorizer.who(change.source)))
        if reason is not None:
            name = self._authorizer.name_of(change.source)
            for session in self._sessions.owned_by(name):
                tell = session.flow_from(name)
                self._delivery.end(session, reason, now, tell=() if tell is None else (tell,))
        return Accepted()

    def _judge_again(self, now: float) -> None:
        """The policy or the hour changed."""
        self._registry.judge_again(now)
        self._exchanges.judge_again()
        self._judging.judge_again(now)

    def _policy_raised(self) -> None:
        self._outbox.counters["error.policy"] += 1
        self._outbox.commands.append(Audit("error"))
