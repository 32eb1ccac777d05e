"""Live sessions judged again: after a change of the policy, at an hour that begins or ends, after a restart."""

from __future__ import annotations

from gateway.api.model import ContentKind, Reason, SessionId
from gateway.engine.authorizer import Authorizer
from gateway.engine.decision import Deny, Grant, Permit
from gateway.engine.delivery import Delivery
from gateway.engine.opens import Opens
from gateway.engine.policy import Action
from gateway.engine.sessions import Flow, Session
from gateway.engine.visible import StreamReader


class SessionJudging:
    """Judges live sessions, and what waits in them, again."""

    def __init__(self, authorizer: Authorizer, delivery: Delivery, opens: Opens) -> None:
        self._authorizer = authorizer
        self._delivery = delivery
        self._sessions = delivery.sessions
        self._opens = opens

    def judge_again(self, now: float) -> None:
        """The policy or the hour changed: end what is no longer permitted, drop what waits without a permit."""
        policy, authorizer = self._authorizer.policy, self._authorizer
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
                self._delivery.write_behind.touch(session)
            if not authorizer.shadow:
                decision = authorizer.judge(Action.OPEN, session.opener, session.target, session.content, session.link)
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
        decision = self._authorizer.judge_flow(flow, flow.link)
        grants = decision.grants if isinstance(decision, Permit) else ()
        denied = []
        for pending in flow.pending.values():
            # The rule that took the unit, or one that takes any: the others would have to judge it as it came.
            octets = len(pending.unit.payload.octets)
            grant = next((grant for grant in grants if _takes_on(grant, pending.grant.rule, octets)), None)
            if grant is not None:
                self._delivery.regrant(pending, grant)
            else:
                denied.append(pending)
        if denied and flow.session.content is ContentKind.ATLS:
            self._delivery.abandon(denied[:1], Reason.DENIED)
            self._delivery.end(flow.session, Reason.BROKEN, now)
            return
        self._delivery.abandon(denied, Reason.DENIED)
        self._delivery.pump(flow, now)

    def restored(self, session: Session, now: float) -> None:
        """Judge a restored session by the policy: its open or its flows get the requirements of the rules now."""
        if session.open is not None:
            decision = self._authorizer.judge(
                Action.OPEN, session.opener, session.target, session.content, session.link
            )
            if isinstance(decision, Permit):
                grant = next((grant for grant in decision.grants if grant.rule == session.rule), decision.grants[0])
                self._delivery.require_of_open(session, grant.require)
        for flow in (session.from_opener, session.from_target):
            if isinstance(flow.reader, StreamReader) and flow.link is not None:
                decision = self._authorizer.judge_flow(flow, flow.link)  # which the flow keeps for its next unit
                grants = decision.grants if isinstance(decision, Permit) else ()
                reads = all(grant.condition.reads_records for grant in grants)
                if flow.reader.lost and reads and not self._authorizer.shadow:
                    self._delivery.end(session, Reason.RESTARTED, now)  # where its records begin is no longer known
                    return


def _takes_on(grant: Grant, rule: str, octets: int) -> bool:
    """Whether a grant takes on a unit that ``rule`` took before the policy or the hour changed."""
    most = grant.condition.max_unit
    return grant.plain or (grant.rule == rule and (most is None or octets <= most))
