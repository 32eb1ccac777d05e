"""Units as they come: whether the session is there and the numbers go on, the limits have room, and the policy permits.

One that is taken on belongs to ``delivery``. A refused one that may come again holds up those after it in a TLS stream
(``Flow.put_off``); one that breaks the stream ends the session.
"""

from __future__ import annotations

from gateway.api.model import ContentKind, Reason, Refused, Unit, Verdict
from gateway.engine.authorizer import SHADOW_GRANT, Authorizer, Refusal
from gateway.engine.decision import Deny, Permit
from gateway.engine.delivery import Delivery
from gateway.engine.limits import LIMITS_RULE, EngineLimits, has_room
from gateway.engine.outputs import About, Audit, Outbox, final
from gateway.engine.sessions import Flow, Session, State
from gateway.engine.visible import NO_FLIGHT, StreamReader, Visible


class Admission:
    """Takes units on."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, authorizer: Authorizer, delivery: Delivery) -> None:
        self._limits = limits
        self._outbox = outbox
        self._authorizer = authorizer
        self._delivery = delivery
        self._sessions = delivery.sessions

    def take(self, unit: Unit, now: float) -> Verdict:
        """Take a unit on for its flow, or refuse it. UsageError: an id that is still in use."""
        session = self._sessions.get(unit.session)
        source, outbox = unit.source, self._outbox
        flow = None if session is None else session.flow_from(self._authorizer.name_of(source))
        if session is None or flow is None:
            return outbox.refuse(unit, Reason.UNKNOWN, "", self._authorizer.who(source))
        if unit.content is not session.content:
            return self._refuse(unit, Reason.CONTENT, "", flow)
        if unit.n < flow.next_n:
            outbox.counters["duplicate.unit"] += 1
            return session.duplicate
        if session.state is State.DRAINING:
            return self._refuse(unit, Reason.CLOSED, "", flow)
        if unit.n > flow.next_n and session.content is ContentKind.ATLS and not flow.gaps:
            if flow.put_off is not None:
                why, rule, wait = flow.put_off
                return self._refuse(unit, why, rule, flow, wait)
            self._delivery.end(session, Reason.BROKEN, now)
            return self._refuse(unit, Reason.BROKEN, "", flow)
        reason = self._bounds(unit, flow, now)
        if reason is not None:
            if reason is not Reason.BUSY:
                return self._refuse(unit, reason, LIMITS_RULE, flow)
            flow.put_off = (reason, LIMITS_RULE, self._limits.retry_after)
            return self._refuse(unit, reason, LIMITS_RULE, flow, self._limits.retry_after)
        self._delivery.check_id(unit.id)
        return self._judge(unit, session, flow, now)

    def _refuse(self, unit: Unit, reason: Reason, rule: str, flow: Flow, wait: float | None = None) -> Refused:
        session = flow.session.id
        return self._outbox.refuse(
            unit, reason, rule, flow.sender, session=session, retry_after=wait, about=_about(flow)
        )

    def _bounds(self, unit: Unit, flow: Flow, now: float) -> Reason | None:
        limits, octets = self._limits, len(unit.payload.octets)
        if octets > limits.max_unit or (octets > limits.max_datagram and unit.content is ContentKind.ADTLS):
            return Reason.TOO_LARGE
        if unit.expires_at is not None and unit.expires_at <= now:
            return Reason.EXPIRED
        if (
            len(flow.pending) >= limits.queue_units
            or flow.pending_octets + octets > limits.queue_octets
            or self._delivery.pending_octets + octets > limits.total_octets
        ):
            return Reason.BUSY
        free = limits.total_octets - self._delivery.pending_octets
        # No sender can have more than is free while half of it is: only then is it worth a look.
        if 2 * free < limits.total_octets and not has_room(self._sessions.octets_of(flow.sender), free):
            return Reason.BUSY
        return None

    def _judge(self, unit: Unit, session: Session, flow: Flow, now: float) -> Verdict:
        authorizer, limits = self._authorizer, self._limits
        decision = authorizer.judge_flow(flow, unit.source.link)
        if isinstance(decision, Deny) and not authorizer.shadow:
            return self._refuse(unit, decision.reason, decision.rule, flow)
        reader = flow.reader
        if unit.n > flow.next_n and not flow.resumed and isinstance(reader, StreamReader):
            reader.lose()
        visible = authorizer.read(flow, unit)
        if flow.resumed and isinstance(reader, StreamReader) and not reader.at_rest:
            reader.lose()  # the receiver may have had another unit under this number, which ended with a record
            visible = None
        if isinstance(decision, Permit):
            answer = authorizer.admit(flow, decision, len(unit.payload.octets), visible, now)
        else:
            answer = Refusal(decision.reason, decision.rule)
        if isinstance(answer, Refusal):
            if not authorizer.shadow:
                return self._turn_down(unit, session, flow, answer, visible, now)
            self._outbox.shadow(unit.id, answer.reason, answer.rule, flow.sender, _about(flow), session.id)
            answer = SHADOW_GRANT
        lifetime = limits.unit_lifetime
        if visible is not None and visible.handshake:
            lifetime = limits.handshake_lifetime
            before = session.handshake
            session.note_handshake(flow, visible)
            if session.handshake != before:
                self._delivery.write_behind.touch(session)
        expires_at = now + lifetime
        if unit.expires_at is not None and unit.expires_at < expires_at:
            expires_at = unit.expires_at
        flow.read_payload = flow.put_off = None
        if flow.gaps:
            flow.gaps -= 1
            if unit.n > flow.next_n:  # so far ahead of the row the sender is
                self._delivery.write_behind.touch(session)
        counters = self._outbox.counters
        counters["accepted.unit"] += 1
        counters["accepted.octets"] += len(unit.payload.octets)
        flight = NO_FLIGHT if visible is None else visible.flight
        self._delivery.take(unit, flow, answer, expires_at, now, flight)
        return session.accepted

    def _turn_down(
        self, unit: Unit, session: Session, flow: Flow, refusal: Refusal, visible: Visible | None, now: float
    ) -> Verdict:
        outbox = self._outbox
        if refusal.reason is Reason.BROKEN:
            return self._unreadable(unit, session, flow, refusal.rule, now)
        if refusal.drop:
            flow.next_n = unit.n + 1
            outbox.counters["accepted.unit"] += 1
            receipt = final(unit.id, refusal.reason, session.id)
            outbox.notify(unit.source.scheme, receipt)
            outbox.lose(receipt, refusal.reason, refusal.rule, flow.sender)
            if session.content is ContentKind.ATLS:
                self._delivery.end(session, Reason.BROKEN, now)
            return session.accepted
        wait = refusal.retry_after
        flow.put_off = None if wait is None else (refusal.reason, refusal.rule, wait)
        verdict = self._refuse(unit, refusal.reason, refusal.rule, flow, wait)
        if visible is not None and visible.server is not None and refusal.reason is Reason.DENIED:
            # The endpoints agreed on what the policy doesn't allow: nothing good can follow.
            self._delivery.end(session, Reason.DENIED, now)
        return verdict

    def _unreadable(self, unit: Unit, session: Session, flow: Flow, rule: str, now: float) -> Verdict:
        """A rule reads records, and this one can't be read: DTLS repairs the loss of a unit, TLS can't."""
        outbox = self._outbox
        if session.content is ContentKind.ATLS:
            self._delivery.end(session, Reason.BROKEN, now)
            return self._refuse(unit, Reason.BROKEN, rule, flow)
        flow.next_n = unit.n + 1
        flow.put_off = None
        outbox.counters["accepted.unit"] += 1
        outbox.counters["dropped.unreadable"] += 1
        # Its sender gets the reason of any loss that DTLS repairs: other reasons end sessions there.
        outbox.notify(unit.source.scheme, final(unit.id, Reason.EXPIRED, session.id, "unreadable"))
        outbox.commands.append(Audit("dropped", Reason.DENIED, rule, unit.id, session.id, flow.sender))
        return session.accepted


def _about(flow: Flow) -> About:
    return "forward", flow.receiver
