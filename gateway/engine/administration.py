"""Administration: the peers that the policy lets do it, and the record of what they were permitted."""

from __future__ import annotations

from gateway.api.model import Peer, Reason, Refused
from gateway.engine.authorizer import Authorizer, Refusal
from gateway.engine.decision import Deny, Grant, Permit
from gateway.engine.outputs import Audit, Outbox
from gateway.engine.policy import GATEWAY, Action


class Administration:
    """Judges commands that peers give the gateway itself."""

    def __init__(self, authorizer: Authorizer, outbox: Outbox) -> None:
        self._authorizer = authorizer
        self._outbox = outbox

    def permit(self, peer: Peer, command: str, now: float) -> Refused | None:
        """Whether ``peer`` may give the gateway ``command`` (one of the gateway's names, for the log). None: it may.

        A policy in shadow mode makes no peer an administrator.
        """
        authorizer, outbox = self._authorizer, self._outbox
        asker = authorizer.name_of(peer)
        decision = authorizer.permits(Action.ADMIN, asker, GATEWAY, peer.link) if asker else Deny(Reason.DENIED)
        answer = authorizer.pay_command(decision, asker, now) if isinstance(decision, Permit) else decision
        if isinstance(answer, Grant):
            outbox.counters["accepted.admin"] += 1
            outbox.commands.append(Audit("administered", None, answer.rule, None, None, asker, command))
            return None
        outbox.counters["refused." + answer.reason.value] += 1
        who = self._authorizer.who(peer)
        about = (Action.ADMIN.value, GATEWAY)
        outbox.commands.append(Audit("refused", answer.reason, answer.rule, None, None, who, command, *about))
        return Refused(answer.reason, answer.retry_after if isinstance(answer, Refusal) else None)

    def may(self, peer: Peer) -> bool:
        """Whether ``permit`` would let this peer, but for its rate. Nothing is recorded."""
        asker = self._authorizer.name_of(peer)
        return bool(asker) and isinstance(self._authorizer.permits(Action.ADMIN, asker, GATEWAY, peer.link), Permit)
