"""Accepted units, opens and closes on their way out: queues and windows, receipts, expiry, and how sessions end.

This file decides nothing. It keeps the promise of one final receipt for every accepted unit, open and close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from gateway.api.errors import UsageError
from gateway.api.model import (
    Close,
    ContentKind,
    EnvelopeId,
    LinkRequirement,
    Open,
    Outcome,
    Reason,
    Receipt,
    Transmit,
    Unit,
)
from gateway.engine.allowance import Allowance
from gateway.engine.closes import Closes
from gateway.engine.decision import Grant
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Audit, Outbox, final
from gateway.engine.session_table import SessionTable
from gateway.engine.sessions import Flow, QueuedUnit, Session, State
from gateway.engine.stored import Changes, Journal, StoredClose, StoredSession, StoredUnit
from gateway.engine.visible import NO_FLIGHT, Flight, repeats
from gateway.engine.write_behind import WriteBehind

_GONE = frozenset({Reason.UNKNOWN, Reason.CLOSED, Reason.RESTARTED})
"""Reasons for a drop that say that the receiver no longer has the session."""


class Delivery:
    """Holds the live sessions and everything in them that has no final receipt yet.

    ``windows``: by scheme, how many units of one flow may be on their way (1 if nothing is set).
    ``pending_octets``: what all units without a final receipt add up to. ``paused``: the schemes whose adapters are not
    there yet although something that survived waits for them: nothing is given to them until ``resume``.
    """

    def __init__(
        self, limits: EngineLimits, outbox: Outbox, journal: Journal, next_id: Callable[[], EnvelopeId]
    ) -> None:
        self.sessions = SessionTable(limits, outbox, journal)
        self.write_behind = WriteBehind(limits, outbox, journal)
        self.pending_octets = 0
        self.windows: dict[str, int] = {}
        self.paused: dict[str, int] = {}
        """With the windows that they get back."""
        self._allowances: dict[str, Allowance] = {}
        """Of the schemes whose adapters say how many units they take in all."""
        self._limits = limits
        self._outbox = outbox
        self._journal = journal
        self._next_id = next_id
        self._units: dict[EnvelopeId, QueuedUnit] = {}
        self._opens: dict[EnvelopeId, Session] = {}
        self.closes = Closes(limits, outbox, journal, self.paused.keys())

    def check_id(self, envelope: EnvelopeId) -> None:
        if envelope in self._units or envelope in self._opens or envelope in self.closes:
            raise UsageError("the id of an envelope is in use")

    # Opens

    def open(self, session: Session, grant: Grant, now: float) -> None:
        """Send a new session's open to its target."""
        asked = session.open
        if asked is None:
            raise UsageError("a session opens once")
        session.open_deadline = now + self._limits.open_timeout
        session.open_require = grant.require
        session.from_opener.blocked = True
        self.sessions.add(session)
        self.sessions.schedule(session, min(session.open_deadline, now + session.idle))
        self._opens[asked.id] = session
        self.write_behind.touch(session)
        self._send_open(session)

    def _send_open(self, session: Session) -> None:
        to = session.from_opener.to
        if session.open is not None and not session.open_sent and to.scheme not in self.paused:
            session.open_sent = True
            self._outbox.transmit(Transmit(session.open, to, session.open_require))

    def require_of_open(self, session: Session, require: LinkRequirement) -> None:
        """Set what the target's hop must be for the open; an open that waits for a sleeper goes out again with that."""
        before, session.open_require = session.open_require, require
        if before != require and session.open is not None and session.open_sent and session.open_asleep:
            self._outbox.withdraw(session.from_opener.to.scheme, session.open.id)
            session.open_sent = False
            self._send_open(session)

    def opened(self, session: Session) -> None:
        """The target has taken the open: units that waited for that may go."""
        session.from_opener.blocked = False
        if session.state is State.OPENING:
            session.state = State.OPEN
        self.write_behind.touch(session)

    def settle_open(self, receipt: Receipt, now: float) -> None:
        """Apply the target adapter's receipt of an open that is on its way."""
        session = self._opens[receipt.id]
        if receipt.outcome is Outcome.HELD:
            if not session.open_asleep:
                session.open_asleep = True
                session.open_deadline = now + self._limits.unit_lifetime
                self.write_behind.touch(session)
                self._journal.urgent = True
            return
        del self._opens[receipt.id]
        session.open = None
        session.last_activity = now
        self._notify(session.from_target.to.scheme, receipt, session)
        if receipt.outcome is Outcome.DELIVERED:
            self._outbox.counters["delivered.open"] += 1
            self.opened(session)
            self.pump(session.from_opener, now)
            return
        reason = _reason(receipt)
        self._outbox.lose(receipt, reason, "", session.opener)
        # A target that has sent in the session knows it, even if the open was lost.
        self.end(
            session,
            reason,
            now,
            tell=(session.from_target,) if session.from_opener.blocked else (session.from_target, session.from_opener),
        )

    # Units

    def take(
        self, unit: Unit, flow: Flow, grant: Grant, expires_at: float, now: float, flight: Flight = NO_FLIGHT
    ) -> None:
        """Queue an accepted unit, or send it at once."""
        session = flow.session
        octets = len(unit.payload.octets)
        if flow.asleep:
            expires_at = self._latest(unit, now)
        if flight:
            self._supersede(flow, flight)
        pending = QueuedUnit(unit, flow, grant, expires_at, now, flight)
        flow.next_n = unit.n + 1
        flow.units += 1
        flow.octets += octets
        flow.pending_octets += octets
        self.pending_octets += octets
        flow.pending[unit.id] = self._units[unit.id] = pending
        session.last_activity = now
        session.other(flow).unreachable_since = None  # an end that sends is there
        due = now + session.idle
        if expires_at < due:
            due = expires_at
        if due < session.scheduled:
            self.sessions.schedule(session, due)
        if flow is session.from_target and session.from_opener.blocked:
            self.opened(session)
            self.pump(session.from_opener, now)
        self.write_behind.take(pending)
        waiting, scheme = flow.waiting, flow.to.scheme
        allowance = self._allowances.get(scheme) if self._allowances else None
        if flow.blocked or waiting or pending.fenced or len(flow.pending) > self.windows.get(scheme, 1):
            waiting.append(pending)
            if scheme in self.paused:
                self._missed(flow, now)
        elif allowance is not None and allowance.out >= allowance.most:
            waiting.append(pending)
            allowance.starved[flow] = None
        else:
            if allowance is not None:
                allowance.out += 1
            pending.sent = True
            if unit.n >= flow.next_out:  # else it went out before a restart
                flow.next_out = unit.n + 1
            self._outbox.transmit(Transmit(unit, flow.to, grant.require))

    def _latest(self, unit: Unit, since: float) -> float:
        """The latest time until which a unit may wait for a receiver that sleeps: a handshake as long as any other."""
        latest = since + self._limits.unit_lifetime
        return latest if unit.expires_at is None else min(latest, unit.expires_at)

    def _missed(self, flow: Flow, now: float) -> None:
        """A unit of ``flow`` can't reach its receiver, as things are: the session ends unless that changes in time."""
        if flow.unreachable_since is None and not flow.asleep:
            flow.unreachable_since = now
            self.sessions.schedule(flow.session, now + self._limits.unreachable_after)

    def _supersede(self, flow: Flow, flight: Flight) -> None:
        """Drop the handshake units that wait and that one with ``flight`` repeats, so that they don't pile up."""
        overtaken = []
        for old in flow.pending.values():
            waits = old.asleep or (not old.sent and (flow.asleep or old.kept))
            if old.flight and waits and repeats(flight, old.flight):
                overtaken.append(old)
        self.abandon(overtaken, Reason.EXPIRED, "superseded")

    def _sleeps(self, pending: QueuedUnit) -> None:
        """The receiver sleeps: what is on its way to it waits for as long as it may live, and in the store."""
        flow = pending.flow
        if pending.asleep:
            return
        pending.asleep = True
        flow.asleep += 1
        flow.unreachable_since = None
        for each in flow.pending.values():
            each.expires_at = self._latest(each.unit, each.since)
        self.write_behind.keep(pending)

    def settle_unit(self, receipt: Receipt, now: float) -> None:
        """Apply the egress adapter's receipt of a unit that is on its way."""
        pending = self._units[receipt.id]
        if receipt.outcome is Outcome.HELD:
            self._sleeps(pending)
            return
        flow = pending.flow
        session = flow.session
        self._forget(pending)
        session.last_activity = now
        self._notify(pending.unit.source.scheme, receipt, session)
        if receipt.outcome is Outcome.DELIVERED:
            self._outbox.counters["delivered.unit"] += 1
            flow.unreachable_since = None
        else:
            reason = _reason(receipt)
            self._outbox.lose(receipt, reason, pending.grant.rule, flow.sender)
            if session.content is ContentKind.ATLS:
                self.end(session, Reason.BROKEN, now)
                return
            if reason in _GONE:
                self.end(session, reason, now)
                return
            if reason is Reason.UNREACHABLE:
                self._missed(flow, now)
        if flow.waiting or session.close is not None:
            self.pump(flow, now)

    def pump(self, flow: Flow, now: float) -> None:
        """Send on what the window allows; finish a close once what it waits for is through."""
        waiting = flow.waiting
        if waiting and not flow.blocked:
            window, allowance = self.windows.get(flow.to.scheme, 1), self._allowances.get(flow.to.scheme)
            while waiting and not waiting[0].fenced and len(flow.pending) - len(waiting) < window:
                if allowance is not None and allowance.out >= allowance.most:
                    allowance.starved[flow] = None
                    break
                self._transmit_next(flow, allowance)
        session = flow.session
        if session.closing is flow and not flow.pending and not flow.blocked:
            self._finish(session, now)

    def _transmit_next(self, flow: Flow, allowance: Allowance | None) -> None:
        pending = flow.waiting.popleft()
        pending.sent = True
        if allowance is not None:
            allowance.out += 1
        if pending.unit.n >= flow.next_out:
            flow.next_out = pending.unit.n + 1
        self._outbox.transmit(Transmit(pending.unit, flow.to, pending.grant.require))

    def _feed(self, allowance: Allowance) -> None:
        """The flows that the allowance was too small for get what it has now, one unit each in turn."""
        starved = allowance.starved
        while starved and allowance.out < allowance.most:
            flow = next(iter(starved))
            del starved[flow]
            waiting, window = flow.waiting, self.windows.get(flow.to.scheme, 1)
            ready = waiting and not flow.blocked and not waiting[0].fenced
            if ready and len(flow.pending) - len(waiting) < window:
                self._transmit_next(flow, allowance)
                if waiting:
                    starved[flow] = None

    def allow(self, scheme: str, most: int, now: float) -> None:
        """The adapter of ``scheme`` takes so many units at once, of all flows together; 0: it has no link.

        With a link again it also gets the opens and closes that it put back without one.
        """
        allowance = self._allowances.get(scheme)
        if allowance is None:
            out = sum(pending.sent and pending.flow.to.scheme == scheme for pending in self._units.values())
            allowance = self._allowances[scheme] = Allowance(0, out)
        again, allowance.most = most > 0 and allowance.most == 0, most
        if again:
            self._give_all(scheme, now)
        self._feed(allowance)

    def put_back(self, envelope: EnvelopeId, scheme: str) -> None:
        """The adapter of ``scheme`` can't send this without a link: it waits here, in its order, until ``allow``."""
        transmit = self._outbox.transmits.get(envelope)
        if transmit is None or transmit.to.scheme != scheme or not isinstance(transmit.envelope, Open | Unit | Close):
            return
        del self._outbox.transmits[envelope]
        pending = self._units.get(envelope)
        if pending is not None:
            self._unsend(pending)
            flow = pending.flow
            flow.waiting = deque(each for each in flow.pending.values() if not each.sent)
            if (allowance := self._allowances.get(flow.to.scheme)) is not None:
                allowance.starved[flow] = None
        elif envelope in self._opens:
            self._opens[envelope].open_sent = False
        else:
            self.closes.put_back(envelope)

    def _unsend(self, pending: QueuedUnit) -> None:
        """Its adapter no longer has it."""
        pending.sent = False
        if (allowance := self._allowances.get(pending.flow.to.scheme)) is not None:
            allowance.out -= 1

    def regrant(self, pending: QueuedUnit, grant: Grant) -> None:
        """Another grant counts. What waits at an adapter for a sleeper, under another requirement, goes out again."""
        before, pending.grant = pending.grant, grant
        if before.require != grant.require and pending.sent and pending.asleep:
            flow = pending.flow
            self._outbox.withdraw(flow.to.scheme, pending.unit.id)
            self._unsend(pending)
            flow.waiting = deque(each for each in flow.pending.values() if not each.sent)

    def abandon(self, units: Collection[QueuedUnit], reason: Reason, detail: str = "") -> None:
        """Give up on units of a flow that have no receipt yet.

        Their adapter gives back the last one first, so that it doesn't begin with one that it is about to lose.
        """
        lost = tuple(units)
        for pending in reversed(lost):
            if pending.sent:
                self._outbox.withdraw(pending.flow.to.scheme, pending.unit.id)
            self._forget(pending)
        for pending in lost:
            unit, flow = pending.unit, pending.flow
            receipt = final(unit.id, reason, flow.session.id, detail)
            self._outbox.notify(unit.source.scheme, receipt)
            self._outbox.lose(receipt, reason, pending.grant.rule, flow.sender)

    def _forget(self, pending: QueuedUnit) -> None:
        unit, flow = pending.unit, pending.flow
        octets = len(unit.payload.octets)
        del self._units[unit.id], flow.pending[unit.id]
        flow.pending_octets -= octets
        self.pending_octets -= octets
        if pending.asleep:
            flow.asleep -= 1
        self.write_behind.done(pending)
        if not pending.sent:
            flow.waiting.remove(pending)
        elif self._allowances and (allowance := self._allowances.get(flow.to.scheme)) is not None:
            allowance.out -= 1
            if allowance.starved:
                self._feed(allowance)

    # Closes and ends

    def close(self, asked: Close, flow: Flow, now: float) -> None:
        """The sender of ``flow`` closes: units that it sent are delivered first, those on their way to it dropped."""
        session = flow.session
        session.state = State.DRAINING
        session.close, session.closing = asked, flow
        if flow is session.from_target:
            session.from_opener.blocked = False
        self.write_behind.touch(session)
        self.abandon(session.other(flow).pending.values(), Reason.CLOSED)
        self.pump(flow, now)

    def close_again(self, session: Session, flow: Flow, now: float) -> None:
        """A close in a session that drains already."""
        if session.closing is not flow and session.closing is not None:
            # The end that the rest drains to leaves too: no end is left to receive it.
            session.closing.blocked = False
            self.abandon(session.closing.pending.values(), Reason.CLOSED)
            self.pump(session.closing, now)

    def _finish(self, session: Session, now: float) -> None:
        asked, flow = session.close, session.closing
        if asked is None or flow is None or asked.source is None:
            raise UsageError("only an endpoint's close is drained for")
        session.close = session.closing = None
        self.closes.send(asked, flow.to, now, asked.source.scheme)
        self.end(session, asked.reason, now, tell=())

    def end(self, session: Session, reason: Reason, now: float, tell: tuple[Flow, ...] | None = None) -> None:
        """End a session at once; does nothing for one that has ended.

        ``tell``: the flows whose receivers are notified; None: both. An end that closed the session itself never is.
        """
        if self.sessions.get(session.id) is None:
            return
        self.sessions.remove(session, now)
        up, down, outbox = session.from_opener, session.from_target, self._outbox
        for flow in (up, down):
            self.abandon(flow.pending.values(), reason)
        asked, close, closing = session.open, session.close, session.closing
        session.open = session.close = session.closing = None
        if asked is not None:
            del self._opens[asked.id]
            if session.open_sent:
                outbox.withdraw(up.to.scheme, asked.id)
            outbox.notify(asked.source.scheme, final(asked.id, reason, session.id))
        if close is not None and close.source is not None:
            outbox.notify(close.source.scheme, final(close.id, reason, session.id))
        for flow in (down, up) if tell is None else tell:
            if closing is None or flow is closing:
                own = Close(id=self._next_id(), source=None, session=session.id, reason=reason, received_at=now)
                self.closes.send(own, flow.to, now, None)
        outbox.counters["closed." + reason.value] += 1
        outbox.commands.append(Audit("closed", reason, session.rule, None, session.id, session.opener))

    # Adapters that are gone, and what survives

    def set_window(self, scheme: str, window: int) -> None:
        (self.paused if scheme in self.paused else self.windows)[scheme] = window

    def pause(self, scheme: str) -> set[EnvelopeId]:
        """The adapter of ``scheme`` is gone; returns those of its transmits that wait for the next one."""
        self._allowances.pop(scheme, None)
        waiting = set(self.closes.pause(scheme))
        for session in self.sessions:
            if (
                session.open_asleep
                and session.open is not None
                and session.open_sent
                and session.from_opener.to.scheme == scheme
            ):
                session.open_sent = False
                waiting.add(session.open.id)
            for flow in (session.from_opener, session.from_target):
                if flow.to.scheme != scheme:
                    continue
                kept = [pending for pending in flow.pending.values() if pending.sent and pending.kept]
                for pending in kept:
                    pending.sent = False
                    waiting.add(pending.unit.id)
                if kept:
                    flow.waiting = deque(pending for pending in flow.pending.values() if not pending.sent)
        if waiting:
            self.hold_back(scheme)
        return waiting

    def hold_back(self, scheme: str) -> None:
        """Give nothing to the adapter of ``scheme`` until ``resume``."""
        if scheme not in self.paused:
            self.paused[scheme] = self.windows.get(scheme, 1)
            self.windows[scheme] = 0

    def resume(self, scheme: str, now: float) -> None:
        """The adapter of ``scheme`` is ready: it gets what waited for it, opens first."""
        window = self.paused.pop(scheme, None)
        if window is None:
            return
        self.windows[scheme] = window
        self._give_all(scheme, now)

    def _give_all(self, scheme: str, now: float) -> None:
        for session in self.sessions:
            if session.from_opener.to.scheme == scheme:
                self._send_open(session)
        for session in self.sessions:
            for flow in (session.from_opener, session.from_target):
                if flow.to.scheme == scheme:
                    self.pump(flow, now)
        self.closes.resume(scheme)

    # The store

    def snapshot(self, *, ending: bool) -> list[StoredSession | StoredUnit | StoredClose]:
        return [*self.write_behind.snapshot(self.sessions, ending=ending), *self.closes.snapshot()]

    def stored(self, changes: Changes, now: float) -> None:
        """A transaction is through: send the receipts that waited for it."""
        for row in changes.rows.values():
            if isinstance(row, StoredUnit):
                pending = self._units.get(row.id)
                if pending is not None and not pending.held_reported:
                    pending.held_reported = True
                    receipt = Receipt(row.id, Outcome.HELD, None, row.session)
                    self._outbox.notify(pending.unit.source.scheme, receipt)
                    if pending.fenced:
                        pending.fenced = False
                        self.pump(pending.flow, now)
            elif isinstance(row, StoredSession):
                session = self.sessions.get(row.id)
                if row.asleep and session is not None and session.open is not None and not session.open_reported:
                    session.open_reported = True
                    receipt = Receipt(session.open.id, Outcome.HELD, None, row.id)
                    self._outbox.notify(session.open.source.scheme, receipt)
            elif isinstance(row, StoredClose):
                self.closes.stored(row)

    def restore_session(self, session: Session, now: float) -> None:
        """Take up a session that was stored."""
        self.sessions.add(session)
        if session.open is not None:
            self._opens[session.open.id] = session
        for flow in (session.from_opener, session.from_target):
            self.hold_back(flow.to.scheme)
        self.sessions.schedule(session, self._due(session, now))

    def restore_close(self, row: StoredClose, now: float) -> None:
        """Take up a close that was on its way."""
        self.closes.restore(row, now)
        self.hold_back(row.to.scheme)

    def restore_unit(self, unit: Unit, row: StoredUnit, flow: Flow, grant: Grant, now: float) -> None:
        """Take up a unit that was stored; those of a flow come in the order of n."""
        pending = QueuedUnit(unit, flow, grant, row.expires_at, row.received_at, row.flight)
        pending.kept = pending.held_reported = True
        pending.asleep = row.asleep
        flow.asleep += row.asleep
        octets = len(unit.payload.octets)
        flow.pending_octets += octets
        self.pending_octets += octets
        flow.pending[unit.id] = self._units[unit.id] = pending
        flow.waiting.append(pending)
        # Its adapter has as long to be there as a target has to take an open.
        self._missed(flow, now + max(0.0, self._limits.open_timeout - self._limits.unreachable_after))
        self.sessions.schedule(flow.session, self._due(flow.session, now))

    # Time

    def tick(self, now: float) -> None:
        while (session := self.sessions.take_due(now)) is not None:
            self._look_at(session, now)
        self.closes.tick(now)
        self.write_behind.tick(now)

    def next_deadline(self) -> float | None:
        earliest = self.sessions.next_deadline()
        for deadline in (self.closes.next_deadline(), self.write_behind.look_at):
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
        return earliest

    def _look_at(self, session: Session, now: float) -> None:
        for flow in (session.from_opener, session.from_target):
            late = [pending for pending in flow.pending.values() if pending.expires_at <= now]
            self.abandon(late, Reason.EXPIRED)
            if late and session.content is ContentKind.ATLS:
                self.end(session, Reason.BROKEN, now)
            elif late:
                self.pump(flow, now)
        reason = self._overdue(session, now)
        if reason is not None:
            self.end(session, reason, now)
        if self.sessions.get(session.id) is not None:
            self.sessions.schedule(session, self._due(session, now))

    def _overdue(self, session: Session, now: float) -> Reason | None:
        """Why a session's time is up, if it is."""
        for flow in (session.from_opener, session.from_target):
            since = flow.unreachable_since
            if since is not None and not flow.asleep and since + self._limits.unreachable_after <= now:
                return Reason.UNREACHABLE
        if session.from_opener.blocked:
            return Reason.EXPIRED if session.open_deadline <= now else None
        busy = session.from_opener.pending or session.from_target.pending
        return Reason.EXPIRED if not busy and session.last_activity + session.idle <= now else None

    def _due(self, session: Session, now: float) -> float:
        """When to look again: the earliest of all that may happen to the session by then."""
        due = session.last_activity + session.idle
        if due <= now:
            due = now + session.idle
        if session.from_opener.blocked:
            due = min(due, session.open_deadline)
        for flow in (session.from_opener, session.from_target):
            for pending in flow.pending.values():
                due = min(due, pending.expires_at)
            if flow.unreachable_since is not None and not flow.asleep:
                due = min(due, flow.unreachable_since + self._limits.unreachable_after)
        return due

    def _notify(self, scheme: str, receipt: Receipt, session: Session) -> None:
        if receipt.session != session.id:
            receipt = Receipt(receipt.id, receipt.outcome, receipt.reason, session.id)
        self._outbox.notify(scheme, receipt)


def _reason(receipt: Receipt) -> Reason:
    if receipt.outcome is Outcome.EXPIRED:
        return Reason.EXPIRED
    return receipt.reason or Reason.UNREACHABLE
