"""Closes on their way to ends that must learn of a session's end, each until it is settled or has lasted too long."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Set
from dataclasses import dataclass

from gateway.api.model import Address, Close, EnvelopeId, Outcome, Reason, Receipt, Transmit
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Outbox, final
from gateway.engine.stored import Journal, StoredClose


@dataclass(slots=True)
class _Closing:
    """``asked_by``: the scheme of the endpoint that asked for it, if one did. ``asleep``: its receiver sleeps."""

    close: Close
    to: Address
    deadline: float
    asked_by: str | None
    sent: bool = False
    asleep: bool = False
    held_reported: bool = False


class Closes:
    """At most two for each session that there may be. ``paused``: the schemes whose adapters are not there yet.

    If there are more, the receiver that most closes wait for loses its oldest one: sessions with one sleeper, opened
    and closed all day, push out no other receiver's closes.
    """

    def __init__(self, limits: EngineLimits, outbox: Outbox, journal: Journal, paused: Set[str]) -> None:
        self._limits = limits
        self._outbox = outbox
        self._journal = journal
        self._paused = paused
        # In each of the two the next deadline comes first.
        self._awake: OrderedDict[EnvelopeId, _Closing] = OrderedDict()
        self._asleep: OrderedDict[EnvelopeId, _Closing] = OrderedDict()

    def __contains__(self, envelope: object) -> bool:
        return envelope in self._awake or envelope in self._asleep

    def send(self, close: Close, to: Address, now: float, asked_by: str | None) -> None:
        while len(self._awake) + len(self._asleep) >= 2 * self._limits.max_sessions:
            self._give_up(self._oldest_of_most())
        closing = _Closing(close, to, now + self._limits.close_timeout, asked_by)
        self._awake[close.id] = closing
        self._plan(closing)
        self._transmit(closing)
        if self._journal.on:
            self._journal.put(_row(closing))

    def settle(self, receipt: Receipt, now: float) -> None:
        """The receipt of one that is in here; a sleeper has a day to fetch it."""
        if receipt.outcome is Outcome.HELD:
            closing = self._awake.pop(receipt.id, None)
            if closing is not None:
                closing.asleep, closing.deadline = True, now + self._limits.unit_lifetime
                self._asleep[receipt.id] = closing
                self._plan(closing)
                self._journal.put(_row(closing))
                self._journal.urgent = True
            return
        closing = self._pop(receipt.id)
        self._outbox.counters[receipt.outcome.value + ".close"] += 1
        if closing.asked_by is not None:
            outcome, reason = receipt.outcome, receipt.reason
            self._outbox.notify(closing.asked_by, Receipt(receipt.id, outcome, reason, closing.close.session))

    def stored(self, row: StoredClose) -> None:
        """A row is in the store: report ``held``, once, to the one that closed a session with a sleeper."""
        closing = self._asleep.get(row.id)
        if row.asleep and closing is not None and not closing.held_reported:
            closing.held_reported = True
            if closing.asked_by is not None:
                self._outbox.notify(closing.asked_by, Receipt(row.id, Outcome.HELD, None, row.session))

    def pause(self, scheme: str) -> Iterator[EnvelopeId]:
        """The adapter is gone: those it had wait for the next one."""
        for closing in self._all():
            if closing.sent and closing.to.scheme == scheme:
                closing.sent = False
                yield closing.close.id

    def put_back(self, envelope: EnvelopeId) -> None:
        """Its adapter has no link: it waits for ``resume``."""
        closing = self._awake.get(envelope) or self._asleep.get(envelope)
        if closing is not None:
            closing.sent = False

    def resume(self, scheme: str) -> None:
        for closing in self._all():
            if not closing.sent and closing.to.scheme == scheme:
                self._transmit(closing)

    def restore(self, row: StoredClose, now: float) -> None:
        close = Close(id=row.id, source=None, session=row.session, reason=row.reason, received_at=now)
        closing = _Closing(close, row.to, now + self._limits.close_timeout, None, asleep=row.asleep)
        if row.asleep:
            closing.deadline = row.expires_at
        (self._asleep if row.asleep else self._awake)[row.id] = closing
        self._plan(closing)

    def snapshot(self) -> Iterator[StoredClose]:
        return (_row(closing) for closing in self._all())

    def tick(self, now: float) -> None:
        for table in (self._awake, self._asleep):
            while table:
                envelope, closing = next(iter(table.items()))
                if closing.deadline > now:
                    break
                self._give_up(envelope)

    def next_deadline(self) -> float | None:
        if not self._awake and not self._asleep:
            return None
        return min(next(iter(table.values())).deadline for table in (self._awake, self._asleep) if table)

    def _plan(self, closing: _Closing) -> None:
        if closing.deadline < self._outbox.look_by:
            self._outbox.look_by = closing.deadline

    def _all(self) -> list[_Closing]:
        return [*self._awake.values(), *self._asleep.values()]

    def _oldest_of_most(self) -> EnvelopeId:
        most = Counter(closing.to for closing in self._all()).most_common(1)[0][0]
        return min(closing.close.id for closing in self._all() if closing.to == most)

    def _transmit(self, closing: _Closing) -> None:
        if closing.to.scheme not in self._paused:
            closing.sent = True
            self._outbox.transmit(Transmit(closing.close, closing.to))

    def _pop(self, envelope: EnvelopeId) -> _Closing:
        self._journal.drop("closes", (envelope,))
        return (self._awake if envelope in self._awake else self._asleep).pop(envelope)

    def _give_up(self, envelope: EnvelopeId) -> None:
        closing = self._pop(envelope)
        if closing.sent:
            self._outbox.withdraw(closing.to.scheme, envelope)
        self._outbox.counters["expired.close"] += 1
        if closing.asked_by is not None:
            self._outbox.notify(closing.asked_by, final(envelope, Reason.EXPIRED, closing.close.session))


def _row(closing: _Closing) -> StoredClose:
    close = closing.close
    return StoredClose(
        id=close.id,
        session=close.session,
        to=closing.to,
        reason=close.reason,
        asleep=closing.asleep,
        expires_at=closing.deadline,
    )
