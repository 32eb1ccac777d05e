"""Sessions and units on their way to the store, and when: nothing of a unit that is delivered at once.

A unit that waits longer than ``limits.hold_after``, or whose receiver sleeps, is stored together with all that came
before it in its flow. A session's row is written when the session changes (opened, taken, renamed, closing; what its
handshake shows) and, for its numbers and counts alone, once a lease of units is used up. Rows are made when they are
taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.api.model import ContentKind, EnvelopeId
from gateway.engine.decision import Permit
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Outbox
from gateway.engine.sessions import Flow, QueuedUnit, Session, State
from gateway.engine.stored import Journal, StoredFlow, StoredSession, StoredUnit
from gateway.engine.visible import NOTHING_HELD, DatagramReader, StreamReader

LEASE = 64
"""Units that a session may take, both directions together, before its row is written again (RFC 8613 B.1.1).

A delivered unit costs 1/64 of a commit, 0.016, whatever the rate is. After a crash the numbers in the row are behind by
so many, and by those that came while it was written.
"""

SETTLED = 16
"""Units of a TLS stream by which its handshake, whose flights may be cut anywhere, should be over."""


class WriteBehind:
    """``look_at``: when a unit may have waited long enough; None: none waits.

    ``dirty``: the sessions whose rows are to be written.
    """

    __slots__ = ("_journal", "_limits", "_outbox", "_young", "dirty", "look_at")

    def __init__(self, limits: EngineLimits, outbox: Outbox, journal: Journal) -> None:
        self._limits = limits
        self._outbox = outbox
        self._journal = journal
        self.dirty: list[Session] = []
        self._young: dict[EnvelopeId, QueuedUnit] = {}
        self.look_at: float | None = None

    def touch(self, session: Session) -> None:
        """Something about a session changed."""
        if not session.dirty and self._journal.on:
            session.dirty = True
            self.dirty.append(session)

    def take(self, pending: QueuedUnit) -> None:
        """A unit begins to wait, and is one of its session's lease."""
        flow = pending.flow
        session = flow.session
        session.lease_used += 1
        if session.lease_used >= LEASE:
            self.touch(session)
        if session.content is ContentKind.ATLS:
            self._follow(pending)
        if self._journal.on and not pending.kept:
            self._young[pending.unit.id] = pending
            if self.look_at is None:
                self.look_at = due = pending.since + self._limits.hold_after
                if due < self._outbox.look_by:
                    self._outbox.look_by = due

    def _follow(self, pending: QueuedUnit) -> None:
        """Have the row say where a TLS stream is, as far as it stays true while the stream goes on."""
        flow = pending.flow
        reader = flow.reader
        if flow.units == 1 or (flow.units == SETTLED and _only_read(flow)):
            self.touch(flow.session)  # it has begun: a new reader would misread the rest; or it is settled
        if flow.whole and isinstance(reader, StreamReader) and not reader.at_rest:
            flow.whole, flow.cut = False, True
            pending.fenced = True
            self.keep(pending)

    def keep(self, pending: QueuedUnit) -> None:
        """Have a unit stored, with all that came before it in its flow."""
        if not self._journal.on:
            return
        for earlier in pending.flow.pending.values():
            if not earlier.kept or earlier is pending:
                earlier.kept = True
                self._young.pop(earlier.unit.id, None)
                self._journal.put(unit_row(earlier))
            if earlier is pending:
                break
        self._journal.urgent = True
        self.touch(pending.flow.session)

    def done(self, pending: QueuedUnit) -> None:
        """A unit no longer waits."""
        if pending.kept:
            self._journal.drop("units", (pending.unit.id,))
        else:
            self._young.pop(pending.unit.id, None)

    def tick(self, now: float) -> None:
        while self.look_at is not None and self.look_at <= now:
            self.look_at = None
            for pending in list(self._young.values()):
                due = pending.since + self._limits.hold_after
                if due > now:
                    self.look_at = due
                    break
                self.keep(pending)

    def flush(self) -> None:
        """Put the rows of all sessions that changed into the journal."""
        dirty, self.dirty = self.dirty, []
        for session in dirty:
            session.dirty = False
            if not session.ended:
                self._journal.put(session_row(session))

    def forget(self) -> None:
        """The store is gone."""
        for session in self.dirty:
            session.dirty = False
        self.dirty, self._young, self.look_at = [], {}, None

    def snapshot(self, sessions: Iterable[Session], *, ending: bool) -> list[StoredSession | StoredUnit]:
        """The rows of all there is; from now on all of it is kept. ``ending``: nothing comes after it."""
        self.forget()
        rows: list[StoredSession | StoredUnit] = []
        for session in sessions:
            for flow in (session.from_opener, session.from_target):
                for pending in flow.pending.values():
                    pending.kept = True
                    rows.append(unit_row(pending))
            rows.append(session_row(session, ending=ending))
        return rows


def unit_row(pending: QueuedUnit) -> StoredUnit:
    unit = pending.unit
    return StoredUnit(
        id=unit.id,
        session=unit.session,
        up=pending.flow is pending.flow.session.from_opener,
        n=unit.n,
        payload=unit.payload,
        rule=pending.grant.rule,
        asleep=pending.asleep,
        received_at=pending.since,
        expires_at=pending.expires_at,
        flight=pending.flight,
    )


def session_row(session: Session, *, ending: bool = False) -> StoredSession:
    session.lease_used = 0
    _, to, content, nonce = session.key
    closing = session.closing
    return StoredSession(
        id=session.id,
        opener=session.opener,
        target=session.target,
        ends=(session.from_target.to, session.from_opener.to),
        to=to,
        content=content,
        nonce=nonce,
        link=session.link,
        rule=session.rule,
        version=session.version,
        early=session.early,
        taken=not session.from_opener.blocked,
        asleep=session.open_asleep,
        closing="" if closing is None or session.state is not State.DRAINING else closing.sender,
        reason=None if session.close is None else session.close.reason,
        opened_at=session.opened_at,
        last_activity=session.last_activity,
        deadline=session.open_deadline,
        up=_flow_row(session.from_opener, ending),
        down=_flow_row(session.from_target, ending),
    )


def _flow_row(flow: Flow, ending: bool) -> StoredFlow:
    watermark, reader = flow.watermark, flow.reader
    stream = reader if isinstance(reader, StreamReader) else None
    exact = ending and watermark == flow.next_n and not flow.resumed
    if stream is not None and stream.at_rest and flow.units >= SETTLED and not flow.cut:
        flow.whole = flow.whole or _only_read(flow)
    return StoredFlow(
        watermark=watermark,
        next_out=flow.next_out,
        units=flow.units,
        octets=flow.octets,
        link=flow.link,
        random=flow.last_random,
        client=flow.sender == flow.session.client,
        connection_id=reader.connection_id if isinstance(reader, DatagramReader) else -1,
        half_read=reader.half_read if isinstance(reader, DatagramReader) else NOTHING_HELD,
        stream=stream.state if exact and stream is not None else None,
        whole=flow.whole and not exact,
    )


def _only_read(flow: Flow) -> bool:
    """Whether all rules that permit the flow read its records."""
    decision = flow.decision
    return isinstance(decision, Permit) and all(grant.condition.reads_records for grant in decision.grants)
