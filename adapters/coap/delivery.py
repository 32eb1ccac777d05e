"""Towards clients: units, opens and closes, in notifications and in answers, until each transmit has its one receipt.

A session's unit is *waiting* (no client was sent it), *notified* or *shown* (in an answer): ``_notify`` and ``answer``
move it there. The client's acknowledgement, its next unit or a read of a later one end it as delivered; if it was shown
the absence timer does too. When the observation ends, a notified one is *waiting* again. A unit that no client fetched
by ``Timeouts.absence`` is dropped and the session closed in the client's name, so that the other end is notified.
An open is *offered* until a client connects, or that timer drops it. ``withdraw`` ends each state without a receipt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, cast

from adapters.coap.client_state import ClientConnection, ClientMailbox, ClientMailboxes, ClientSession, PendingRequest
from adapters.coap.inboxes import Inboxes
from adapters.coap.links import FORMATS
from adapters.coap.timeouts import Timeouts
from carriage.coap import atls
from carriage.coap.atls_format import Kind
from carriage.coap.connection import Answer
from carriage.coap.exchange import Response
from gateway.api.link import meets
from gateway.api.model import (
    ANY_LINK,
    Close,
    ContentKind,
    EnvelopeId,
    Open,
    Outcome,
    Peer,
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

SWEEP: Final = 256
"""The number of downlinks from which on those of ended sessions are looked for."""


class UnitDelivery:
    """All mailboxes of one adapter. ``context`` is set before anything else is called."""

    context: AdapterContext

    def __init__(self, timeouts: Timeouts) -> None:
        self.boxes = ClientMailboxes(lambda holder, session: self.context.owns(holder, session))
        self.inboxes = Inboxes(self.boxes)
        self.counters = {"notifications": 0, "unreachable": 0}
        self._absence: FixedTimeout[ClientSession] = FixedTimeout(timeouts.absence, self._not_taken)
        self._windows: FixedTimeout[PendingRequest] = FixedTimeout(timeouts.reply_window, self._window_over)
        self._unsettled: dict[EnvelopeId, ClientSession] = {}
        self.sessions = 0
        """Ends of sessions that something is kept for."""
        self._sweep_at = SWEEP

    def restore(self, ends: Iterable[SurvivingEnd]) -> None:
        """Go on with the sessions of an earlier instance. Their units and opens come again from the engine."""
        for end in ends:
            box = self.boxes.of(end.claim)
            if end.content in FORMATS:
                downlink = self.downlink(box, end.session, end.content)
                downlink.sender = None if end.opened else end.sender
            else:  # only its opener can have it: others get no session of this kind
                self.boxes.forget(box)

    def close(self) -> None:
        """The adapter ends. What it has not settled is the gateway's: the next instance may get it."""
        self._unsettled.clear()
        self._absence.close()
        self._windows.close()

    # What is kept of a session

    def enter(self, connection: ClientConnection, session: SessionId, content: ContentKind) -> ClientSession | None:
        """What is kept of a session that the engine has just said to be this client's; made if there is nothing yet."""
        boxes = connection.boxes
        box = boxes[0] if len(boxes) == 1 else self.boxes.owned(connection, session)
        return None if box is None else box.downlinks.get(session) or self.downlink(box, session, content)

    def downlink(self, box: ClientMailbox, session: SessionId, content: ContentKind) -> ClientSession:
        downlink = box.downlinks.get(session)
        if downlink is None:
            if self.sessions >= self._sweep_at:
                self._sweep()
            downlink = box.downlinks[session] = ClientSession(session, content, box)
            self.sessions += 1
        return downlink

    def _sweep(self) -> None:
        """A client that comes back to a session that it has closed leaves a downlink behind that nothing else ends."""
        for box in self.boxes:
            for downlink in list(box.downlinks.values()):
                if not self.context.owns(box.holder, downlink.session):
                    self.leave(downlink, Reason.UNKNOWN)
        self._sweep_at = max(SWEEP, 2 * self.sessions)

    # Clients come and go

    def connect(self, connection: ClientConnection) -> None:
        for box in connection.boxes:
            for downlink in list(box.downlinks.values()):
                if downlink.offer is not None and self.boxes.owned(connection, downlink.session) is box:
                    self._take(connection, downlink, downlink.offer)

    def disconnect(self, connection: ClientConnection) -> None:
        for box in connection.boxes:
            for downlink in box.downlinks.values():
                if downlink.observer is connection:
                    downlink.observer = downlink.notification = None
                for pending in [each for each in downlink.waiting if each.connection is connection]:
                    downlink.waiting.remove(pending)
                    self._windows.end(pending)
        self.boxes.disconnect(connection)

    # Transmits of the engine

    def send(self, transmit: Transmit) -> None:
        envelope = transmit.envelope
        if isinstance(envelope, Close):
            self._end(transmit, envelope)
            return
        if not isinstance(envelope, Open | Unit) or envelope.session is None or envelope.content not in FORMATS:
            self._settle(transmit, None, Outcome.DROPPED, Reason.CONTENT)
            return
        downlink = self.downlink(self.boxes.of(transmit.to.claim), envelope.session, envelope.content)
        if isinstance(envelope, Unit):
            self._deliver(downlink, transmit)
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
            self._clear(downlink)

    def _offer(self, downlink: ClientSession, transmit: Transmit, envelope: Open) -> None:
        """A session that a peer opens towards the client: into its inbox."""
        box = downlink.box
        downlink.sender = envelope.sender
        downlink.offer = transmit
        self._unsettled[envelope.id] = downlink
        self._absence.begin(downlink)
        there = [each for each in box.connections if self.boxes.owned(each, downlink.session) is box]
        if there:
            good = (each for each in there if meets(each.identity.link, transmit.require))
            self._take(next(good, there[0]), downlink, transmit)
        if not downlink.over:
            self.inboxes.changed(box)

    def _take(self, connection: ClientConnection, downlink: ClientSession, offer: Transmit) -> None:
        """The client is there: the open has reached it, if its link is strong enough."""
        self._clear_offer(downlink)
        if meets(connection.identity.link, offer.require):
            self._settle(offer, downlink.session, Outcome.DELIVERED)
        else:
            self._settle(offer, downlink.session, Outcome.DROPPED, Reason.LINK)
            self.drop(downlink, Reason.LINK)

    def _deliver(self, downlink: ClientSession, transmit: Transmit) -> None:
        if downlink.transmit is not None:  # the engine keeps to our window; a second one would be lost silently
            self._settle(transmit, downlink.session, Outcome.DROPPED, Reason.BUSY)
            return
        downlink.transmit = transmit
        self._unsettled[transmit.envelope.id] = downlink
        self._absence.begin(downlink)
        if downlink.observer is not None:
            self._notify(downlink)
            return
        waiting = downlink.waiting
        while waiting and downlink.transmit is transmit and not downlink.shown:
            pending = waiting.pop(0)
            self._windows.end(pending)
            self.answer(pending, downlink)

    def _end(self, transmit: Transmit, close: Close) -> None:
        """The session is over: requests that wait and the observer are answered so now, all others when they come."""
        box = self.boxes.get(transmit.to.claim)
        downlink = None if box is None else box.downlinks.get(close.session)
        if downlink is not None:
            self.drop(downlink, close.reason)
        if box is not None and box.connections:
            self._settle(transmit, close.session, Outcome.DELIVERED)
        else:
            self._settle(transmit, close.session, Outcome.DROPPED, Reason.UNREACHABLE)

    # Ways out: notifications

    def observe(self, connection: ClientConnection, exchange: int, downlink: ClientSession) -> None:
        """From now on units of this session go to this observation, and to no earlier one."""
        if downlink.observer is not None:
            downlink.observer.observed.pop(downlink.exchange, None)
        connection.observed[exchange] = downlink
        downlink.observer, downlink.exchange = connection, exchange
        downlink.notification = None
        downlink.shown = False
        waiting, downlink.waiting = downlink.waiting, []
        for pending in waiting:
            self._windows.end(pending)
            self.answer(pending, downlink)
        if downlink.transmit is not None:
            self._absence.begin(downlink)
            self._notify(downlink)

    def _notify(self, downlink: ClientSession) -> None:
        connection = downlink.observer
        if connection is None or (unit := self._unit_for(connection, downlink)) is None:
            return
        sent = connection.peer.notify(downlink.exchange, _response(unit))
        if isinstance(sent, int):
            downlink.notification = sent
            self.counters["notifications"] += 1
        else:  # the observation is over, or can't go on: the unit waits for the next one
            connection.observed.pop(downlink.exchange, None)
            downlink.observer = None

    def acknowledged(self, connection: ClientConnection, exchange: int, notification: int) -> None:
        found = connection.observed.get(exchange)
        if isinstance(found, ClientSession):
            if found.notification == notification:
                self.acknowledge(found)
        elif found is not None:
            self.inboxes.acknowledged(found, notification)

    def observation_ended(self, connection: ClientConnection, exchange: int) -> None:
        found = connection.observed.pop(exchange, None)
        if isinstance(found, ClientSession):
            # A unit that was on its way waits for the client to observe or read again, as long as it still may.
            found.observer = found.notification = None

    # Ways out: answers

    def taken(self, pending: PendingRequest, downlink: ClientSession) -> None:
        """The next hop has the request's unit: answer now, or wait a moment for a unit that goes back with it."""
        if pending.connection.gone:
            return
        if downlink.over or downlink.transmit is not None or downlink.observer is not None:
            self.answer(pending, downlink)
            return
        pending.downlink = downlink
        downlink.waiting.append(pending)
        self._windows.begin(pending)

    def _window_over(self, pending: PendingRequest) -> None:
        downlink = pending.downlink
        if downlink is not None and pending in downlink.waiting:
            downlink.waiting.remove(pending)
            self.answer(pending, downlink)

    def answer(self, pending: PendingRequest, downlink: ClientSession) -> None:
        """2.01 or 2.04 (2.05 for a read), with the lowest unit that the client hasn't acknowledged.

        A client that observes gets none with the answer to a POST, but may read one again.
        """
        unit = None
        if downlink.transmit is not None and (pending.read or downlink.observer is None):
            unit = self._unit_for(pending.connection, downlink)
        shown = None if unit is None else _response(unit)
        if pending.read:
            response = shown or atls.no_unit()
        elif pending.location is not None:
            response = atls.opened(pending.location, shown)
        else:
            response = atls.taken(shown)
        sent = pending.connection.peer.respond(pending.exchange, response)
        if unit is not None and sent is Answer.SENT:
            downlink.shown = True
            self._absence.begin(downlink)

    def acknowledge(self, downlink: ClientSession) -> None:
        transmit = downlink.transmit
        self._clear(downlink)
        if transmit is not None:
            self._settle(transmit, downlink.session, Outcome.DELIVERED)

    def acknowledge_below(self, downlink: ClientSession, n: int) -> None:
        """The client asks for unit ``n``: it has all before it."""
        transmit = downlink.transmit
        if transmit is not None and isinstance(transmit.envelope, Unit) and transmit.envelope.n < n:
            self.acknowledge(downlink)

    def _unit_for(self, connection: ClientConnection, downlink: ClientSession) -> Unit | None:
        """The unit that waits, unless this link isn't what its route asks for: then it is dropped."""
        transmit = downlink.transmit
        if transmit is None or not isinstance(transmit.envelope, Unit):
            return None
        if transmit.require is not ANY_LINK and not meets(connection.identity.link, transmit.require):
            self._clear(downlink)
            self._settle(transmit, downlink.session, Outcome.DROPPED, Reason.LINK)
            return None
        return transmit.envelope

    # Ends

    def _not_taken(self, downlink: ClientSession) -> None:
        """The time is up for what waits here."""
        if downlink.offer is not None:
            self.drop(downlink, Reason.UNREACHABLE)
        elif downlink.shown:
            # It went out with an answer, and the client had reason to ask again and didn't: it has it.
            self.acknowledge(downlink)
        elif downlink.transmit is not None:
            self._unreachable(downlink)

    def _unreachable(self, downlink: ClientSession) -> None:
        """The client doesn't read: drop the unit and close the session in its name, which the other end learns."""
        self.counters["unreachable"] += 1
        self._settle_all(downlink, Reason.UNREACHABLE)
        context = self.context
        context.submit(
            Close(
                id=context.next_id(),
                source=downlink.box.holder,
                session=downlink.session,
                reason=Reason.UNREACHABLE,
                received_at=context.now(),
            )
        )
        self.drop(downlink, Reason.UNREACHABLE)

    def end_all(self, holder: Peer) -> None:
        """Shut out the clients with this claim: their sessions end in their name, which the other ends learn."""
        context = self.context
        context.submit(Reset(id=context.next_id(), source=holder, reason=Reason.DENIED, received_at=context.now()))
        box = self.boxes.get(holder.claims[0])
        for downlink in () if box is None else tuple(box.downlinks.values()):
            self.leave(downlink, Reason.DENIED)

    def drop(self, downlink: ClientSession, reason: Reason) -> None:
        """The session is over on this side: requests that wait and the observer are answered with the reason."""
        over = atls.refusal(reason.value)
        waiting, downlink.waiting = downlink.waiting, []
        for pending in waiting:
            self._windows.end(pending)
            pending.connection.peer.respond(pending.exchange, over)
        if downlink.observer is not None:
            # Behind a unit that is on its way. The connection reports when the client has that.
            downlink.observer.peer.notify(downlink.exchange, over)
        self._settle_all(downlink, reason)
        self._forget(downlink)

    def leave(self, downlink: ClientSession, reason: Reason) -> None:
        """The same, if the session is over for the engine too: it has taken back what was on its way."""
        self._clear_offer(downlink)
        self._clear(downlink)
        self.drop(downlink, reason)

    def _settle_all(self, downlink: ClientSession, reason: Reason) -> None:
        for transmit in (downlink.offer, downlink.transmit):
            if transmit is not None:
                self._settle(transmit, downlink.session, Outcome.DROPPED, reason)
        self._clear_offer(downlink)
        self._clear(downlink)

    def _clear(self, downlink: ClientSession) -> None:
        if downlink.transmit is not None:
            self._unsettled.pop(downlink.transmit.envelope.id, None)
        downlink.transmit = downlink.notification = None
        downlink.shown = False
        if downlink.offer is None:
            self._absence.end(downlink)

    def _clear_offer(self, downlink: ClientSession) -> None:
        if downlink.offer is not None:
            self._unsettled.pop(downlink.offer.envelope.id, None)
            downlink.offer = None
            if downlink.transmit is None:
                self._absence.end(downlink)

    def _forget(self, downlink: ClientSession) -> None:
        box = downlink.box
        if downlink.over:
            return
        downlink.over = True
        del box.downlinks[downlink.session]
        self.sessions -= 1
        if downlink.sender is not None:
            self.inboxes.changed(box)
        self.boxes.forget(box)

    def _settle(
        self, transmit: Transmit, session: SessionId | None, outcome: Outcome, reason: Reason | None = None
    ) -> None:
        self.context.settle(Receipt(transmit.envelope.id, outcome, reason, session))


def _response(unit: Unit) -> Response:
    return atls.unit(unit.n, cast(Kind, unit.content.value), unit.payload.octets)
