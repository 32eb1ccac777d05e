"""Pull mailboxes: opens, units and closes for peers that fetch them, until each transmit has its one receipt.

A unit is *waiting* (no peer was sent it), *pushed* (to the observer) or *shown* (in an answer): ``_push`` and
``_answer`` move it there. The peer's acknowledgement, its next unit or a read of a later one end it as delivered; if it
was shown the absence timer does too. When the observation ends, a pushed one is *waiting* again. A unit that no peer
fetched by ``MailboxLimits.absence``, or for which there is no room left, is dropped and the session closed in the
peer's name, so that the other end is notified. An open is *offered* until a peer connects, or that timer drops it.
``withdraw`` ends each state without a receipt. Of the units of a session only the lowest is ever pushed or shown; if it
is lost and the session ends with that, those behind it go without a receipt, for the engine gave them theirs.

A carriage brings what it answers by: ``Reader``, ``StandingReader`` and its own ``MailboxConnection``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Generic, cast

from gateway.api.link import meets
from gateway.api.model import (
    ANY_LINK,
    Close,
    ContentKind,
    EnvelopeId,
    LinkSecurity,
    Open,
    Outcome,
    Reason,
    Receipt,
    Reset,
    SessionId,
    SurvivingEnd,
    Transmit,
    Unit,
)
from gateway.api.ports import AdapterContext
from gateway.kit.fixed_timeout import FixedTimeout
from gateway.kit.mailbox_state import C, Downlink, Mailbox, MailboxLimits, R, StandingReader
from gateway.kit.mailbox_table import MailboxTable


class Mailboxes(Generic[C, R]):
    """What waits in all mailboxes of one adapter (``table``). ``begin`` is called before anything else.

    ``scheme``: the adapter's. ``kinds``: the content that the carriage can bring. ``changed`` is called with a mailbox
    whose list of offered sessions is another one now.

    ``counters``, for ``status``: ``notifications``: units that were pushed; ``unreachable``: sessions that ended since
    no peer fetched what waited; ``evicted``: those whose units had to make room; ``readers_evicted``: requests that had
    to make room for others.
    """

    context: AdapterContext

    def __init__(
        self,
        scheme: str,
        kinds: Container[ContentKind],
        limits: MailboxLimits,
        changed: Callable[[Mailbox[C]], object] = lambda box: None,
    ) -> None:
        self._kinds = kinds
        self._limits = limits
        self._changed = changed
        self.table: MailboxTable[C, R] = MailboxTable(scheme, lambda downlink: self.leave(downlink, Reason.UNKNOWN))
        self._absence: FixedTimeout[Downlink[C, R]] = FixedTimeout(limits.absence, self._absent)
        self._windows: FixedTimeout[R] = FixedTimeout(limits.reply_window, self._window_over)
        self._waits: dict[R, Downlink[C, R]] = {}
        self._unsettled: dict[EnvelopeId, Downlink[C, R]] = {}
        self._holding: dict[Downlink[C, R], None] = {}
        """Sessions with a unit here; the one whose lowest unit has been that for longest is the first."""
        self.octets = 0
        self.counters = dict.fromkeys(("notifications", "unreachable", "evicted", "readers_evicted"), 0)

    def begin(self, context: AdapterContext, ends: Iterable[SurvivingEnd]) -> None:
        """The adapter runs. Go on with the sessions of before: their units and opens come again from the engine."""
        self.context = self.table.context = context
        for end in ends:
            if end.content in self._kinds:  # else only its opener can have it
                downlink = self.table.downlink(self.table.of(end.claim), end.session, end.content)
                downlink.sender = None if end.opened else end.sender
                downlink.next_in, downlink.resumed = end.next_in, True

    def close(self) -> None:
        """The adapter ends. What it has not settled is the gateway's: the next instance may get it."""
        self._unsettled.clear()
        self._absence.close()
        self._windows.close()

    # Peers come and go

    def connect(self, connection: C) -> None:
        """A peer is there: it is given its mailboxes, and takes what was opened towards it."""
        self.table.attach(connection)
        for box in connection.boxes:
            for downlink in tuple(self.table.kept(box.claim).values()):
                if downlink.offer is not None and self.table.owned(connection, downlink.session) is box:
                    self._take(connection, downlink, downlink.offer)

    def disconnect(self, connection: C) -> None:
        """A peer's connection is gone: its requests need no answer, and what was pushed to it waits."""
        for box in connection.boxes:
            for downlink in self.table.kept(box.claim).values():
                if downlink.observer is not None and downlink.observer.connection is connection:
                    downlink.observer = None
                for reader in [each for each in downlink.waiting if each.connection is connection]:
                    downlink.waiting.remove(reader)
                    self._wait_over(reader)
        self.table.detach(connection)

    # Transmits of the engine

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        if isinstance(envelope, Close):
            self._end(transmit, envelope)
            return
        if not isinstance(envelope, Open | Unit) or envelope.session is None or envelope.content not in self._kinds:
            self._settle(transmit, None, Outcome.DROPPED, Reason.CONTENT)
            return
        downlink = self.table.downlink(self.table.of(transmit.to.claim), envelope.session, envelope.content)
        if isinstance(envelope, Unit):
            self._deliver(downlink, transmit, envelope)
        else:
            self._offer(downlink, transmit, envelope)

    def withdraw(self, envelope: EnvelopeId) -> None:
        downlink = self._unsettled.get(envelope)
        if downlink is None:
            return
        if downlink.offer is not None and downlink.offer.envelope.id == envelope:
            self._clear_offer(downlink)
            self._settle_all(downlink, Reason.CLOSED)
            self._forget(downlink)
        else:
            first = downlink.units[0].envelope.id == envelope
            self._clear(downlink, next(each for each in downlink.units if each.envelope.id == envelope))
            # In a session that is over the others are taken back as well.
            if first and self.context.owns(downlink.box.holder, downlink.session):
                self._go_on(downlink)

    def _offer(self, downlink: Downlink[C, R], transmit: Transmit, envelope: Open) -> None:
        """A session that a peer opens towards the holder of this mailbox: into its inbox."""
        box = downlink.box
        if downlink.offer is not None:  # the engine opens a session once
            self._settle(transmit, downlink.session, Outcome.DROPPED, Reason.BUSY)
            return
        downlink.sender = envelope.sender
        downlink.offer = transmit
        self._unsettled[envelope.id] = downlink
        self._absence.begin(downlink)
        there = [each for each in box.connections if self.table.owned(each, downlink.session) is box]
        if there:
            good = [each for each in there if meets(each.identity.link, transmit.require)]
            self._take((good or there)[0], downlink, transmit)
        if not downlink.over:
            self._changed(box)

    def _take(self, connection: C, downlink: Downlink[C, R], offer: Transmit) -> None:
        """The peer is there: the open has reached it, if its link is strong enough."""
        self._clear_offer(downlink)
        if meets(connection.identity.link, offer.require):
            self._settle(offer, downlink.session, Outcome.DELIVERED)
        else:
            self._settle(offer, downlink.session, Outcome.DROPPED, Reason.LINK)
            self.drop(downlink, Reason.LINK)

    def _deliver(self, downlink: Downlink[C, R], transmit: Transmit, unit: Unit) -> None:
        if len(downlink.units) >= self._limits.window:  # the engine keeps to it; one more would be lost silently
            self._settle(transmit, downlink.session, Outcome.DROPPED, Reason.BUSY)
            return
        downlink.units.append(transmit)
        self._unsettled[unit.id] = downlink
        self._holding.setdefault(downlink)
        self.octets += len(unit.payload.octets)
        if len(downlink.units) == 1:
            self._go_on(downlink)
        while self.octets > self._limits.octets:
            self.counters["evicted"] += 1
            self._give_up(next(iter(self._holding)))

    def _go_on(self, downlink: Downlink[C, R]) -> None:
        """Another unit is the lowest now: give it to the first reader that waits, and to all that ask for nothing else:
        the client may have given the first one up."""
        if not downlink.units:
            return
        self._absence.begin(downlink)
        if downlink.observer is not None:
            self._push(downlink)
            return
        for reader in tuple(downlink.waiting):
            if downlink.units and (reader.reads or not downlink.shown):
                downlink.waiting.remove(reader)
                self._wait_over(reader)
                self._answer(reader, downlink)

    def _end(self, transmit: Transmit, close: Close) -> None:
        """The session is over: requests that wait and the observer are answered so now, all others when they come."""
        box = self.table.get(transmit.to.claim)
        downlink = self.table.kept(transmit.to.claim).get(close.session)
        if downlink is not None:
            self.drop(downlink, close.reason)
        if box is not None and box.connections:
            self._settle(transmit, close.session, Outcome.DELIVERED)
        else:
            self._settle(transmit, close.session, Outcome.DROPPED, Reason.UNREACHABLE)

    # Ways out

    def observe(self, downlink: Downlink[C, R], observer: StandingReader) -> None:
        """From now on units of this session go to this observer, and to no earlier one."""
        if downlink.observer is not None:
            downlink.observer.replaced()
        downlink.observer = observer
        downlink.shown = False
        waiting, downlink.waiting = downlink.waiting, []
        for reader in waiting:
            self._wait_over(reader)
            self._answer(reader, downlink)
        self._go_on(downlink)

    def observation_ended(self, downlink: Downlink[C, R], observer: StandingReader) -> None:
        """A unit that was on its way waits for the peer to observe or read again, as long as it still may."""
        if downlink.observer is observer:
            downlink.observer = None

    def _push(self, downlink: Downlink[C, R]) -> None:
        observer = downlink.observer
        if observer is None or (unit := self._unit_for(observer.connection.identity.link, downlink)) is None:
            return
        if observer.push(unit):
            self.counters["notifications"] += 1
        else:
            downlink.observer = None

    def wait(self, reader: R, downlink: Downlink[C, R], *, timed: bool = True) -> None:
        """Answer a request: with the unit that is there, or with the next one if it comes within the reply window.

        ``timed`` False: however long that takes; the adapter ends it by ``cancel``.
        """
        if reader.connection.gone:
            return
        if downlink.units:
            self._answer(reader, downlink)
        elif downlink.over or downlink.observer is not None:
            reader.answer(None)
        else:
            downlink.waiting.append(reader)
            self._waits[reader] = downlink
            if timed:
                self._windows.begin(reader)
            if len(downlink.waiting) > self._limits.readers:
                self.counters["readers_evicted"] += 1
                self._window_over(downlink.waiting[0])

    def cancel(self, reader: R) -> None:
        """Its connection waits for it no longer; one that has its answer is fine."""
        downlink = self._waits.get(reader)
        if downlink is not None:
            downlink.waiting.remove(reader)
            self._wait_over(reader)

    def _window_over(self, reader: R) -> None:
        downlink = self._waits[reader]
        downlink.waiting.remove(reader)
        self._wait_over(reader)
        self._answer(reader, downlink)

    def _wait_over(self, reader: R) -> None:
        del self._waits[reader]
        self._windows.end(reader)

    def _answer(self, reader: R, downlink: Downlink[C, R]) -> None:
        """With the lowest unit that the peer hasn't acknowledged. One that observes may read it again, and gets none
        with another answer."""
        unit = None
        if reader.reads or downlink.observer is None:
            unit = self._unit_for(reader.connection.identity.link, downlink)
        if reader.answer(unit) and unit is not None:
            downlink.read = self._limits.named_reads and reader.reads and (downlink.read or not downlink.shown)
            downlink.shown = True
            self._absence.begin(downlink)

    def acknowledge(self, downlink: Downlink[C, R]) -> None:
        """The peer has the lowest unit."""
        if downlink.units:
            self._delivered(downlink)
            self._go_on(downlink)

    def acknowledge_below(self, downlink: Downlink[C, R], n: int) -> None:
        """The peer asks for unit ``n``: it has all before it, and is sent none of those again."""
        if downlink.units and cast(Unit, downlink.units[0].envelope).n < n:
            while downlink.units and cast(Unit, downlink.units[0].envelope).n < n:
                self._delivered(downlink)
            self._go_on(downlink)

    def _delivered(self, downlink: Downlink[C, R]) -> None:
        transmit = downlink.units[0]
        self._clear(downlink, transmit)
        self._settle(transmit, downlink.session, Outcome.DELIVERED)

    def _unit_for(self, link: LinkSecurity, downlink: Downlink[C, R]) -> Unit | None:
        """The lowest unit. Those that ask for a better link than this are dropped."""
        while downlink.units:
            transmit = downlink.units[0]
            if transmit.require is ANY_LINK or meets(link, transmit.require):
                return cast(Unit, transmit.envelope)
            self._lose(downlink, Reason.LINK)
        return None

    # Ends

    def _absent(self, downlink: Downlink[C, R]) -> None:
        """The time is up for what waits here."""
        if downlink.offer is not None:
            self.drop(downlink, Reason.UNREACHABLE)
        elif downlink.shown:
            # It went out with an answer, and the peer had reason to ask again and didn't: it has it.
            self.acknowledge(downlink)
        elif downlink.units:
            self.counters["unreachable"] += 1
            self._give_up(downlink)

    def _give_up(self, downlink: Downlink[C, R]) -> None:
        """Drop the units and close the session in the peer's name, which the other end learns."""
        self._settle_all(downlink, Reason.UNREACHABLE)
        context, source = self.context, downlink.box.holder
        context.submit(
            Close(
                id=context.next_id(),
                source=source,
                session=downlink.session,
                reason=Reason.UNREACHABLE,
                received_at=context.now(),
            )
        )
        self.drop(downlink, Reason.UNREACHABLE)

    def end_all(self, claim: str) -> None:
        """Shut out the peers with this claim: their sessions end in their name, which the other ends learn."""
        context, holder = self.context, self.table.holder(claim)
        context.submit(Reset(id=context.next_id(), source=holder, reason=Reason.DENIED, received_at=context.now()))
        for downlink in tuple(self.table.kept(claim).values()):
            self.leave(downlink, Reason.DENIED)

    def drop(self, downlink: Downlink[C, R], reason: Reason) -> None:
        """The session is over on this side: requests that wait and the observer are answered with the reason."""
        waiting, downlink.waiting = downlink.waiting, []
        for reader in waiting:
            self._wait_over(reader)
            reader.refuse(reason)
        if downlink.observer is not None:
            downlink.observer.end(reason)
        self._settle_all(downlink, reason)
        self._forget(downlink)

    def leave(self, downlink: Downlink[C, R], reason: Reason) -> None:
        """The same, if the session is over for the engine too: it has taken back what was on its way."""
        self._clear_offer(downlink)
        self._clear_all(downlink)
        self.drop(downlink, reason)

    def _settle_all(self, downlink: Downlink[C, R], reason: Reason) -> None:
        if (offer := downlink.offer) is not None:
            self._clear_offer(downlink)
            self._settle(offer, downlink.session, Outcome.DROPPED, reason)
        while downlink.units:
            self._lose(downlink, reason)

    def _lose(self, downlink: Downlink[C, R], reason: Reason) -> None:
        """Drop the lowest unit. A session that ends with it, such as one of TLS, has taken back those behind it."""
        transmit = downlink.units[0]
        self._clear(downlink, transmit)
        self._settle(transmit, downlink.session, Outcome.DROPPED, reason)
        if downlink.units and not self.context.owns(downlink.box.holder, downlink.session):
            self._clear_all(downlink)

    def _clear_all(self, downlink: Downlink[C, R]) -> None:
        for transmit in tuple(downlink.units):
            self._clear(downlink, transmit)

    def _clear(self, downlink: Downlink[C, R], transmit: Transmit) -> None:
        units = downlink.units
        lowest = transmit is units[0]
        units.remove(transmit)
        self.octets -= len(cast(Unit, transmit.envelope).payload.octets)
        self._unsettled.pop(transmit.envelope.id, None)
        if not lowest:
            return
        downlink.shown = False
        del self._holding[downlink]
        if units:
            self._holding[downlink] = None
        elif downlink.offer is None:
            self._absence.end(downlink)

    def _clear_offer(self, downlink: Downlink[C, R]) -> None:
        if downlink.offer is not None:
            self._unsettled.pop(downlink.offer.envelope.id, None)
            downlink.offer = None
            if not downlink.units:
                self._absence.end(downlink)

    def _forget(self, downlink: Downlink[C, R]) -> None:
        if downlink.over:
            return
        self.table.remove(downlink)
        if downlink.sender is not None:
            self._changed(downlink.box)

    def _settle(
        self, transmit: Transmit, session: SessionId | None, outcome: Outcome, reason: Reason | None = None
    ) -> None:
        self.context.settle(Receipt(transmit.envelope.id, outcome, reason, session))
