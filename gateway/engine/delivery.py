"""What was accepted on its way out: queues and windows, receipts, expiry, and how sessions end.

Nothing is decided here. What was promised is kept here: one final receipt for every accepted unit, open and close.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.api.errors import UsageError
from gateway.api.model import (
    Address,
    Close,
    ContentKind,
    EnvelopeId,
    Outcome,
    Reason,
    Receipt,
    SessionId,
    Transmit,
    Unit,
)
from gateway.engine.commands import Audit, Outbox, Withdraw, final
from gateway.engine.decision import Grant
from gateway.engine.limits import EngineLimits
from gateway.engine.sessions import Flow, Pending, Session, SessionTable, State

_GONE = frozenset({Reason.UNKNOWN, Reason.CLOSED, Reason.RESTARTED})
"""Why a unit was dropped, where that says that the receiver no longer has the session."""


@dataclass(slots=True)
class _Closing:
    """A close on its way to ``scheme``; ``asked_by``: the scheme of the endpoint that asked for it, if one did."""

    scheme: str
    session: SessionId
    deadline: float
    asked_by: str | None


class Delivery:
    """Holds the live sessions and everything in them that has no final receipt yet.

    ``windows``: by scheme, how many units of one flow may be on their way (1 where nothing is set).
    ``pending_octets``: what all units without a final receipt add up to.
    """

    def __init__(self, limits: EngineLimits, outbox: Outbox, next_id: Callable[[], EnvelopeId]) -> None:
        self.sessions = SessionTable(limits)
        self.pending_octets = 0
        self.windows: dict[str, int] = {}
        self._limits = limits
        self._outbox = outbox
        self._next_id = next_id
        self._units: dict[EnvelopeId, Pending] = {}
        self._opens: dict[EnvelopeId, Session] = {}
        self._closes: OrderedDict[EnvelopeId, _Closing] = OrderedDict()

    def check_id(self, envelope: EnvelopeId) -> None:
        if envelope in self._units or envelope in self._opens or envelope in self._closes:
            raise UsageError("the id of an envelope is in use")

    # Opens

    def open(self, session: Session, grant: Grant, now: float) -> None:
        """Send a new session's open to its target."""
        asked = session.open
        if asked is None:
            raise UsageError("a session opens once")
        session.open_deadline = now + self._limits.open_timeout
        session.up.held = True
        self.sessions.add(session)
        self.sessions.schedule(session, min(session.open_deadline, now + session.idle))
        self._opens[asked.id] = session
        self._outbox.commands.append(Transmit(asked, session.up.to, grant.require))

    def opened(self, session: Session) -> None:
        """The target has taken the open: what waited for that may go."""
        session.up.held = False
        if session.state is State.OPENING:
            session.state = State.OPEN

    def _settle_open(self, session: Session, receipt: Receipt, now: float) -> None:
        session.open = None
        session.last_activity = now
        self._notify(session.down.to.scheme, receipt, session)
        if receipt.outcome is Outcome.DELIVERED:
            self._outbox.counters["delivered.open"] += 1
            self.opened(session)
            self.pump(session.up, now)
            return
        reason = _reason(receipt)
        self._outbox.lose(receipt, reason, "", session.opener)
        # A target that has spoken in the session knows it, whatever became of the open.
        self.end(session, reason, now, tell=(session.down,) if session.up.held else (session.down, session.up))

    # Units

    def take(self, unit: Unit, flow: Flow, grant: Grant, expires_at: float, now: float) -> None:
        """Queue an accepted unit, or send it at once."""
        session = flow.session
        octets = len(unit.payload.octets)
        pending = Pending(unit, flow, grant, expires_at)
        flow.next_n = unit.n + 1
        flow.units += 1
        flow.octets += octets
        flow.pending_octets += octets
        self.pending_octets += octets
        flow.pending[unit.id] = self._units[unit.id] = pending
        session.last_activity = now
        session.other(flow).unreachable_since = None  # whoever sends is there
        due = now + session.idle
        if expires_at < due:
            due = expires_at
        if due < session.scheduled:
            self.sessions.schedule(session, due)
        if flow is session.down and session.up.held:
            self.opened(session)
            self.pump(session.up, now)
        waiting = flow.waiting
        if flow.held or waiting or len(flow.pending) > self.windows.get(flow.to.scheme, 1):
            waiting.append(pending)
        else:
            pending.sent = True
            self._outbox.commands.append(Transmit(unit, flow.to, grant.require))

    def settle(self, receipt: Receipt, now: float) -> None:
        pending = self._units.get(receipt.id)
        if pending is not None and pending.sent:
            self._settle_unit(pending, receipt, now)
        elif receipt.id in self._opens:
            self._settle_open(self._opens.pop(receipt.id), receipt, now)
        elif receipt.id in self._closes:
            self._settle_close(receipt)
        else:
            self._outbox.counters["settle.unknown"] += 1

    def _settle_unit(self, pending: Pending, receipt: Receipt, now: float) -> None:
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
            if reason is Reason.UNREACHABLE and flow.unreachable_since is None:
                flow.unreachable_since = now
                self.sessions.schedule(session, now + self._limits.unreachable_after)
        if flow.waiting or session.close is not None:
            self.pump(flow, now)

    def pump(self, flow: Flow, now: float) -> None:
        """Send on what the window allows; finish a close once what it waits for is through."""
        waiting = flow.waiting
        if waiting and not flow.held:
            window = self.windows.get(flow.to.scheme, 1)
            while waiting and len(flow.pending) - len(waiting) < window:
                pending = waiting.popleft()
                pending.sent = True
                self._outbox.commands.append(Transmit(pending.unit, flow.to, pending.grant.require))
        session = flow.session
        if session.closing is flow and not flow.pending and not flow.held:
            self._finish(session, now)

    def abandon(self, pending: Pending, reason: Reason) -> None:
        """Give up on a unit that its adapter has not settled."""
        unit, flow = pending.unit, pending.flow
        if pending.sent:
            self._outbox.commands.append(Withdraw(flow.to.scheme, unit.id))
        self._forget(pending)
        receipt = final(unit.id, reason, flow.session.id)
        self._outbox.notify(unit.source.scheme, receipt)
        self._outbox.lose(receipt, reason, pending.grant.rule, flow.sender)

    def _forget(self, pending: Pending) -> None:
        unit, flow = pending.unit, pending.flow
        octets = len(unit.payload.octets)
        del self._units[unit.id], flow.pending[unit.id]
        flow.pending_octets -= octets
        self.pending_octets -= octets
        if not pending.sent:
            flow.waiting.remove(pending)

    def _abandon_all(self, flow: Flow, reason: Reason) -> None:
        for pending in list(flow.pending.values()):
            self.abandon(pending, reason)

    # Closes and ends

    def close(self, asked: Close, flow: Flow, now: float) -> None:
        """The sender of ``flow`` closes: what it sent before goes through first, what is on its way to it does not."""
        session = flow.session
        session.state = State.DRAINING
        session.close, session.closing = asked, flow
        if flow is session.down:
            session.up.held = False
        self._abandon_all(session.other(flow), Reason.CLOSED)
        self.pump(flow, now)

    def close_again(self, session: Session, flow: Flow, now: float) -> None:
        """A close in a session that drains already."""
        if session.closing is not flow and session.closing is not None:
            # The end that the rest drains to leaves too: nobody is left to hear it.
            session.closing.held = False
            self._abandon_all(session.closing, Reason.CLOSED)
            self.pump(session.closing, now)

    def _finish(self, session: Session, now: float) -> None:
        asked, flow = session.close, session.closing
        if asked is None or flow is None or asked.source is None:
            raise UsageError("only an endpoint's close is drained for")
        session.close = session.closing = None
        self._send_close(asked, flow.to, now, asked.source.scheme)
        self.end(session, asked.reason, now, tell=())

    def end(self, session: Session, reason: Reason, now: float, tell: tuple[Flow, ...] | None = None) -> None:
        """End a session at once; does nothing for one that has ended.

        ``tell``: the flows whose receivers hear of it; None: both. An end that closed the session itself never does.
        """
        if self.sessions.get(session.id) is None:
            return
        self.sessions.remove(session, now)
        up, down, outbox = session.up, session.down, self._outbox
        self._abandon_all(up, reason)
        self._abandon_all(down, reason)
        asked, close, closing = session.open, session.close, session.closing
        session.open = session.close = session.closing = None
        if asked is not None:
            del self._opens[asked.id]
            outbox.commands.append(Withdraw(up.to.scheme, asked.id))
            outbox.notify(asked.source.scheme, final(asked.id, reason, session.id))
        if close is not None and close.source is not None:
            outbox.notify(close.source.scheme, final(close.id, reason, session.id))
        for flow in (down, up) if tell is None else tell:
            if closing is None or flow is closing:
                own = Close(id=self._next_id(), source=None, session=session.id, reason=reason, received_at=now)
                self._send_close(own, flow.to, now, None)
        outbox.counters["closed." + reason.value] += 1
        outbox.commands.append(Audit("closed", reason, session.rule, None, session.id, session.opener))

    def _send_close(self, close: Close, to: Address, now: float, asked_by: str | None) -> None:
        while len(self._closes) >= 2 * self._limits.max_sessions:
            self._give_up_close(next(iter(self._closes)))
        self._closes[close.id] = _Closing(to.scheme, close.session, now + self._limits.close_timeout, asked_by)
        self._outbox.commands.append(Transmit(close, to))

    def _settle_close(self, receipt: Receipt) -> None:
        closing = self._closes.pop(receipt.id)
        self._outbox.counters[receipt.outcome.value + ".close"] += 1
        if closing.asked_by is not None:
            outcome, reason = receipt.outcome, receipt.reason
            self._outbox.notify(closing.asked_by, Receipt(receipt.id, outcome, reason, closing.session))

    def _give_up_close(self, envelope: EnvelopeId) -> None:
        closing = self._closes.pop(envelope)
        self._outbox.commands.append(Withdraw(closing.scheme, envelope))
        self._outbox.counters["expired.close"] += 1
        if closing.asked_by is not None:
            self._outbox.notify(closing.asked_by, final(envelope, Reason.EXPIRED, closing.session))

    # Time

    def tick(self, now: float) -> None:
        while (session := self.sessions.take_due(now)) is not None:
            self._look_at(session, now)
        while self._closes:
            envelope, closing = next(iter(self._closes.items()))
            if closing.deadline > now:
                break
            self._give_up_close(envelope)

    def next_deadline(self) -> float | None:
        deadline = self.sessions.next_deadline()
        if not self._closes:
            return deadline
        close = next(iter(self._closes.values())).deadline
        return close if deadline is None or close < deadline else deadline

    def _look_at(self, session: Session, now: float) -> None:
        for flow in (session.up, session.down):
            late = [pending for pending in flow.pending.values() if pending.expires_at <= now]
            for pending in late:
                self.abandon(pending, Reason.EXPIRED)
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
        for flow in (session.up, session.down):
            if flow.unreachable_since is not None and flow.unreachable_since + self._limits.unreachable_after <= now:
                return Reason.UNREACHABLE
        if session.up.held:
            return Reason.EXPIRED if session.open_deadline <= now else None
        busy = session.up.pending or session.down.pending
        return Reason.EXPIRED if not busy and session.last_activity + session.idle <= now else None

    def _due(self, session: Session, now: float) -> float:
        """When to look again: the earliest of all that may happen to the session by then."""
        due = session.last_activity + session.idle
        if due <= now:
            due = now + session.idle
        if session.up.held:
            due = min(due, session.open_deadline)
        for flow in (session.up, session.down):
            for pending in flow.pending.values():
                due = min(due, pending.expires_at)
            if flow.unreachable_since is not None:
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
