"""The decision about an envelope and its outcome: verdicts, receipts, transmits. Only values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.api.exchanges import Answer, Exchange
from gateway.api.identity import ANY_LINK, Address, EnvelopeId, LinkRequirement, Reason, SessionId
from gateway.api.sessions import Close, Open, Unit
from gateway.api.things import Interaction, Value

MAX_RESULT = 8 * 1024
"""Octets of what a receipt carries back, as JSON; more is dropped as TOO_LARGE."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Taken on: a final ``Receipt`` follows for units, opens, closes, commands and exchanges. It is not delivery.

    ``duplicate``: the engine has had this one before; nothing is forwarded and no receipt follows. Of a command the
    outcome is reported again, under the id of its latest duplicate: at once, or when it is known.
    """

    session: SessionId | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Not taken on. ``retry_after`` in seconds where trying again then can help. No receipt follows."""

    reason: Reason
    retry_after: float | None = None


Verdict = Accepted | Refused


class Outcome(Enum):
    DELIVERED = "delivered"
    """The next hop took it: CoAP ACK or read, MQTT PUBACK, ZigBee APS ACK of every slice; of an interaction: it was
    done; of an exchange: it was answered."""
    SENT = "sent"
    """Of an interaction only: it is on the air, and no answer is to come (a group cast)."""
    DROPPED = "dropped"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """Of a write only: newer ones for the same properties of the device came before this one was on the air."""
    HELD = "held"
    """Not the final word, and said at most once before it. From an egress adapter: the peer sleeps, and gets it when
    it asks; a unit's, open's or interaction's usual times don't count while it is held, only its expiry. To the
    adapter that submitted it: it is in the gateway's store and survives its restart."""


@dataclass(frozen=True, slots=True)
class PropertyResult:
    """The result of one property of a read or a write. ``value``: the device's answer, of a read that succeeded."""

    name: str
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The final word on an envelope (but for ``HELD``); ``reason`` only if it was dropped.
    ``session``: the envelope's, if it has one.

    ``detail``: a device's own word for what went wrong (``UNSUPPORTED_ATTRIBUTE``), printable, at most 64 characters.
    ``properties``: of a read or a write of several, one result each, in the order of its names; empty: the receipt's
    own outcome is that of each. ``result``: what a read of one property or an action gave back. Both together are at
    most ``MAX_RESULT`` octets. ``answer``: of an exchange that was ``DELIVERED``, and only then. One that was not may
    have been carried out all the same: if the answer was lost, no adapter can know.

    A receipt with results says the worst of them: dropped before expired, sent and delivered.
    """

    id: EnvelopeId
    outcome: Outcome
    reason: Reason | None = None
    session: SessionId | None = None
    detail: str = ""
    result: Value | None = None
    properties: tuple[PropertyResult, ...] = ()
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Transmit:
    """The engine's order to an egress adapter: exactly one final ``Receipt`` for ``envelope.id`` must be settled."""

    envelope: Open | Unit | Close | Interaction | Exchange
    to: Address
    require: LinkRequirement = field(default=ANY_LINK)
