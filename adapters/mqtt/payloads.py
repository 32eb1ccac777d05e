"""Topics and bodies of the messages that the gateway publishes to clients at the broker. Values only."""

from __future__ import annotations

import hashlib
from typing import Final

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from gateway.api.model import Close, Open, Outcome, Reason, Receipt

_LOST: Final = {Outcome.DROPPED: bodies.StatusEvent.DROPPED, Outcome.EXPIRED: bodies.StatusEvent.EXPIRED}
_CLOSED: Final = {Reason.CLOSED: bodies.StatusEvent.CLOSED, Reason.EXPIRED: bodies.StatusEvent.EXPIRED}

UNREACHABLE: Final = bodies.Status(bodies.StatusEvent.BROKEN, reason=Reason.UNREACHABLE.value)
"""The session was given up since the broker didn't take what went in it."""


def message_of(user: str, envelope: Open | Close) -> tuple[t.Topic, bytes, str]:
    """Topic, payload and content type of an open or a close."""
    body: bodies.Body
    if isinstance(envelope, Open):
        assert envelope.session is not None
        sender = envelope.sender if bodies.valid_resource(envelope.sender) else "unnamed"
        body = bodies.Incoming(envelope.session, envelope.content.value, sender)
        return t.IncomingSessions(user), bodies.encode(body), bodies.JSON_TYPE
    body = bodies.Status(_CLOSED.get(envelope.reason, bodies.StatusEvent.BROKEN), reason=envelope.reason.value)
    return t.SessionStatus(user, envelope.session), bodies.encode(body), bodies.JSON_TYPE


def loss(n: int, receipt: Receipt) -> bodies.Status:
    """Unit ``n`` was taken and didn't arrive."""
    reason = receipt.reason.value if receipt.reason else receipt.outcome.value
    return bodies.Status(_LOST[receipt.outcome], n, reason)


def refusal(n: int | None, reason: Reason, after: float | None = None) -> bodies.Status:
    """Unit ``n`` (None: a close) was not taken."""
    return bodies.Status(bodies.StatusEvent.DROPPED, n, reason.value, seconds(after))


def seconds(after: float | None) -> int | None:
    return None if after is None else min(bodies.MAX_RETRY_AFTER, max(1, round(after)))


def epoch_number(epoch: str, losses: int) -> int:
    """The epoch of the bridge state: another one says that all sessions of before are gone.

    That is so after a start of the gateway, and each time that it gave up the sessions of a lost broker. 53 bits, so
    that every JSON reader keeps it exactly.
    """
    return int.from_bytes(hashlib.sha256(f"{epoch}/{losses}".encode()).digest()[:8], "big") & (2**53 - 1)
