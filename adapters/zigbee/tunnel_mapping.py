"""Shared by the tunnel bridges of all devices: the session of a tunnel, the tables, and the maps of reasons."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.tunnel_store import TunnelStore
from carriage.zigbee.events import CloseReason, DeliveryMode, FailReason, Handle
from carriage.zigbee.segmentation import DTLS_UNIT_LIMIT, TLS_UNIT_LIMIT
from carriage.zigbee.transfer import LossReason
from carriage.zigbee.tunneling import TunnelStatus
from common.log_rate import LogRate
from gateway.api.model import (
    ContentKind,
    EnvelopeId,
    Open,
    Outcome,
    Reason,
    Receipt,
    Sealed,
    SessionId,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

BridgeKey = tuple[str, int, bool]
"""The device's EUI64, its endpoint, and whether frames go under the device's own link key."""

HELD_UNITS: Final = 16
"""Units kept for another try while flow control holds the sender back, with those that were on the air before: a device
that sends all that it has is some ten ahead. More are lost, which it learns."""
SUBMITTED: Final = 256
"""Units of a device in one session that have no final receipt yet."""
DEFAULT_PAUSE: Final = 1.0
"""Seconds, if the refusal doesn't say."""

REFUSALS: Final[Mapping[Reason, TunnelStatus]] = {
    Reason.BUSY: TunnelStatus.BUSY,
    Reason.OVER_RATE: TunnelStatus.BUSY,
    Reason.UNREACHABLE: TunnelStatus.BUSY,
    Reason.EXPIRED: TunnelStatus.BUSY,
}
"""Reasons that pass; every other one is status 3, protocol not supported."""
ENDINGS: Final[Mapping[CloseReason, Reason]] = {
    CloseReason.CLOSED: Reason.CLOSED,
    CloseReason.IDLE: Reason.EXPIRED,
    CloseReason.UNKNOWN_THERE: Reason.RESTARTED,
    CloseReason.NO_ANSWER: Reason.UNREACHABLE,
    CloseReason.UNDELIVERABLE: Reason.UNREACHABLE,
    CloseReason.NOT_DECIDED: Reason.BUSY,
}
FAILURES: Final[Mapping[FailReason, Reason]] = {
    FailReason.UNDELIVERABLE: Reason.UNREACHABLE,
    FailReason.OVERFLOW: Reason.TOO_LARGE,
    FailReason.STALLED: Reason.EXPIRED,
    FailReason.CLOSED: Reason.CLOSED,
}
REFUSED_THERE: Final[Mapping[TunnelStatus, Reason]] = {
    TunnelStatus.BUSY: Reason.BUSY,
    TunnelStatus.NO_MORE_IDS: Reason.BUSY,
    TunnelStatus.PROTOCOL_NOT_SUPPORTED: Reason.DENIED,
    TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED: Reason.CONTENT,
}
LOSSES: Final[Mapping[Reason, LossReason]] = {
    Reason.EXPIRED: LossReason.EXPIRED,
    Reason.UNREACHABLE: LossReason.UNREACHABLE,
    Reason.TOO_LARGE: LossReason.TOO_LARGE,
    Reason.BUSY: LossReason.BUSY,
    Reason.OVER_RATE: LossReason.BUSY,
    Reason.DENIED: LossReason.DENIED,
    Reason.CONTENT: LossReason.DENIED,
    Reason.LINK: LossReason.DENIED,
    Reason.REJECTED: LossReason.OTHER,
}
"""The loss that the gateway reports to a device for a unit that was lost later; for other reasons the tunnel ends."""
_UNIT_LIMITS: Final = {ContentKind.ATLS: TLS_UNIT_LIMIT}


def unit_limit(content: ContentKind) -> int:
    """Octets of the longest unit of a session."""
    return _UNIT_LIMITS.get(content, DTLS_UNIT_LIMIT)


@dataclass(slots=True, eq=False)
class TunnelSession:
    """One tunnel and the session that it carries."""

    handle: Handle
    session: SessionId
    content: ContentKind
    asked: EnvelopeId
    """The Open: submitted by us if the device asked for the tunnel, else the engine's."""
    opening: Open | None = None
    """The engine's Open that isn't settled yet."""
    flow_control: bool = True
    until_awake: bool = False
    mode: DeliveryMode = DeliveryMode.PUSHED
    submitted: dict[EnvelopeId, int] = field(default_factory=dict)
    """Numbers of the device's units that have no final receipt yet."""
    units: dict[int, EnvelopeId] = field(default_factory=dict)
    """Units under way to the device, by their number."""
    closing: EnvelopeId | None = None
    """The engine's Close that isn't settled yet."""
    ended_here: bool = False
    """The engine knows of the end already."""
    held: deque[tuple[int, Sealed]] = field(default_factory=deque)
    resume_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelMapping:
    """Shared by all tunnel bridges of one adapter."""

    context: AdapterContext
    config: ZigbeeConfig
    sessions: dict[SessionId, dict[str, tuple[BridgeKey, Handle]]]
    """The ends of each session that are devices, by EUI64: the bridge that carries it, and its tunnel there."""
    unsettled: dict[EnvelopeId, SessionId]
    """The engine's transmits that tunnels hold, so that one can be withdrawn."""
    counters: dict[str, int]
    memory: TunnelStore
    """The open tunnels, for the next start."""
    salt: str
    """Drawn at each start."""
    lines: LogRate = field(default_factory=LogRate)

    def enter(self, session: SessionId, key: BridgeKey, handle: Handle) -> None:
        """A device has an end of a session."""
        self.sessions.setdefault(session, {})[key[0]] = (key, handle)

    def leave(self, session: SessionId, key: BridgeKey, handle: Handle) -> bool:
        """Its tunnel is gone. False: an open that was withdrawn and given again has another one by now."""
        ends = self.sessions.get(session, {})
        if ends.get(key[0], (key, handle)) != (key, handle):
            return False
        ends.pop(key[0], None)
        if not ends:
            self.sessions.pop(session, None)
        return True

    def note(self, level: int, text: str, *values: object) -> None:
        """A log line about what a device can cause as often as it likes; counters have the rest."""
        if self.lines.permits(self.context.now()):
            _LOG.log(level, text, *values)

    def hold(self, envelope: EnvelopeId, session: SessionId | None) -> None:
        """The device sleeps: a transmit waits until the device asks. The final receipt comes later."""
        self.counters["held"] += 1
        self.context.settle(Receipt(envelope, Outcome.HELD, None, session))

    def settle(self, envelope: EnvelopeId, reason: Reason | None, session: SessionId | None = None) -> None:
        """The final receipt of a transmit: delivered if there is no reason."""
        self.unsettled.pop(envelope, None)
        outcome = Outcome.DELIVERED if reason is None else Outcome.DROPPED
        self.counters["delivered" if reason is None else "dropped"] += 1
        if reason is not None:
            self.note(logging.INFO, "envelope %d dropped: %s", envelope, reason.value)
        self.context.settle(Receipt(envelope, outcome, reason, session))
