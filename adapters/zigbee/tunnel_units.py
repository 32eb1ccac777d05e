"""Units that a device sends through its tunnels, handed to the engine, and the answer to the device if one is refused.

A unit that is refused for the moment is *held*: flow control stops the device, and the unit and those after it in its
session are offered again, in order, at ``resume_at``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from adapters.zigbee.tunnel_mapping import DEFAULT_PAUSE, HELD_UNITS, SUBMITTED, TunnelMapping, TunnelSession
from carriage.zigbee.events import UnitIncomplete, UnitReceived
from carriage.zigbee.transfer import LossReason
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunneling import TransferError
from gateway.api.model import Close, ContentKind, Peer, Reason, Refused, Sealed, Unit


class IncomingUnits:
    """Of all tunnels with one endpoint of one device, ``peer``."""

    def __init__(self, tunnels: TunnelEndpoint, eui64: str, peer: Peer, shared: TunnelMapping) -> None:
        self._tunnels = tunnels
        self._eui64 = eui64
        self._peer = peer
        self._shared = shared
        self._context = shared.context

    def received(self, session: TunnelSession, event: UnitReceived, now: float) -> None:
        """A unit came whole."""
        if session.held:
            if len(session.held) < HELD_UNITS:
                session.held.append((event.n, Sealed(event.data)))
            else:
                # By its number: an error names none, and its receiver would give up the one that it is sending.
                self._shared.counters["overflows"] += 1
                self._tunnels.report_loss(event.handle, event.n, LossReason.BUSY, now)
            return
        self._submit_unit(session, event.n, Sealed(event.data), now)

    def _submit_unit(self, session: TunnelSession, n: int, payload: Sealed, now: float) -> bool:
        """Hand one unit to the engine. False: it is held for another try."""
        envelope = self._context.next_id()
        verdict = self._context.submit(
            Unit(
                id=envelope,
                source=self._peer,
                session=session.session,
                content=session.content,
                n=n,
                payload=payload,
                received_at=now,
            )
        )
        if not isinstance(verdict, Refused):
            self._shared.counters["units_in"] += 1
            if not verdict.duplicate:
                if len(session.submitted) >= SUBMITTED:
                    del session.submitted[next(iter(session.submitted))]
                session.submitted[envelope] = n
            return True
        self._shared.counters["units_refused"] += 1
        text = "unit %d of %s from %s is refused: %s"
        self._shared.note(logging.INFO, text, n, session.session, self._eui64, verdict.reason.value)
        return _UNIT_REFUSALS.get(verdict.reason, IncomingUnits._overflow)(self, session, n, payload, verdict, now)

    def _overflow(self, session: TunnelSession, n: int, payload: Sealed, verdict: Refused, now: float) -> bool:
        self._tunnels.data_error(session.handle, TransferError.DATA_OVERFLOW, now)
        return True

    def _hold(self, session: TunnelSession, n: int, payload: Sealed, verdict: Refused, now: float) -> bool:
        if not self._tunnels.pause(session.handle, now):
            return self._overflow(session, n, payload, verdict, now)
        session.held.appendleft((n, payload))
        session.resume_at = now + (DEFAULT_PAUSE if verdict.retry_after is None else verdict.retry_after)
        return False

    def _end(self, session: TunnelSession, n: int, payload: Sealed, verdict: Refused, now: float) -> bool:
        self.report_end(session, verdict.reason, now)
        self.abort(session, now)
        return True

    def _over(self, session: TunnelSession, n: int, payload: Sealed, verdict: Refused, now: float) -> bool:
        self.abort(session, now)
        return True

    def _disown(self, session: TunnelSession, n: int, payload: Sealed, verdict: Refused, now: float) -> bool:
        self._tunnels.data_error(session.handle, TransferError.NO_SUCH_TUNNEL, now)
        self.abort(session, now)
        return True

    def abort(self, session: TunnelSession, now: float) -> None:
        """End a tunnel at once; the engine knows why."""
        session.ended_here = True
        session.held.clear()
        session.resume_at = None
        self._tunnels.abort(session.handle, now)

    def resume(self, session: TunnelSession, now: float) -> None:
        session.resume_at = None
        while session.held:
            if not self._submit_unit(session, *session.held.popleft(), now):
                return
        self._tunnels.resume(session.handle, now)

    def incomplete(self, session: TunnelSession, event: UnitIncomplete, now: float) -> None:
        """Not all of a unit came."""
        if session.content is ContentKind.ATLS:
            self.report_end(session, Reason.BROKEN, now)
            self.abort(session, now)
        else:  # DTLS goes on without a datagram
            self._tunnels.report_loss(event.handle, event.n, LossReason.OTHER, now)

    def report_end(self, session: TunnelSession, reason: Reason, now: float) -> None:
        """The session ends with its tunnel: submit its Close with the reason."""
        session.ended_here = True
        self._context.submit(
            Close(
                id=self._context.next_id(),
                source=self._peer,
                session=session.session,
                reason=reason,
                received_at=now,
            )
        )


_UNIT_REFUSALS: Final[Mapping[Reason, Callable[[IncomingUnits, TunnelSession, int, Sealed, Refused, float], bool]]] = {
    Reason.OVER_RATE: IncomingUnits._hold,
    Reason.BUSY: IncomingUnits._hold,
    Reason.DENIED: IncomingUnits._end,
    Reason.CONTENT: IncomingUnits._end,
    Reason.LINK: IncomingUnits._end,
    Reason.BROKEN: IncomingUnits._over,
    Reason.CLOSED: IncomingUnits._over,
    Reason.RESTARTED: IncomingUnits._over,
    Reason.UNKNOWN: IncomingUnits._disown,
}
"""How a refused unit is handled; for every other reason the device gets a data overflow."""
