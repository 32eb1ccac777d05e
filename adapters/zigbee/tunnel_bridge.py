"""Tunnels with one device endpoint, as sessions of the gateway: tunnel events become envelopes, transmits use tunnels.

States of a tunnel, and who moves it: *opening* by the engine's Open (``open``) until ``_opened`` or ``_refused``, then
*open*, as is one that a device asked for once the engine accepts it (``_requested``); *closing* by the engine's Close,
after the queued units; *ended here* if the engine knows of its end and gets nothing else of it; ``_closed`` removes it.
No I/O, no timer: ``tunnels`` moves the frames and watches the clock. ``tunnel_units`` hands on the device's units.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY
from adapters.zigbee.tunnel_mapping import (
    ENDINGS,
    FAILURES,
    LOSSES,
    REFUSALS,
    REFUSED_THERE,
    BridgeKey,
    TunnelMapping,
    TunnelSession,
    unit_limit,
)
from adapters.zigbee.tunnel_store import StoredTunnel
from adapters.zigbee.tunnel_units import IncomingUnits
from adapters.zigbee.vocabulary import meets
from carriage.zigbee.events import (
    DataError,
    DeliveryMode,
    Event,
    Fetched,
    Handle,
    MailboxLacking,
    PeerMisbehaved,
    TunnelClosed,
    TunnelOpened,
    TunnelRefused,
    TunnelRequested,
    UnitFailed,
    UnitIncomplete,
    UnitLost,
    UnitReceived,
    UnitSent,
)
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunneling import TunnelStatus
from gateway.api.errors import TransportError
from gateway.api.model import (
    Close,
    ContentKind,
    EnvelopeId,
    Open,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Refused,
    SurvivingEnd,
    Transmit,
    Unit,
)

_LOG = logging.getLogger(__name__)

_NO_ENVELOPE: Final = EnvelopeId(-1)


class TunnelBridge:
    """All tunnels with one endpoint of one device under one kind of key; the two kinds never mix.

    After every call, and after every call to ``tunnels``: ``digest``, send what ``tunnels`` has to send, and call
    ``tick`` at ``next_deadline``.
    """

    def __init__(self, key: BridgeKey, tunnels: TunnelEndpoint, shared: TunnelMapping) -> None:
        """``key``: EUI64, the device's endpoint, and whether its frames are under the APS link key."""
        self.key = key
        self.eui64, self.endpoint, self.link_key = key
        self.tunnels = tunnels
        self.peer = Peer(
            scheme="zigbee", claims=(f"eui64:{self.eui64}",), link=LINK_KEY if self.link_key else NETWORK_KEY
        )
        self._shared = shared
        self._context = shared.context
        self._units = IncomingUnits(tunnels, self.eui64, self.peer, shared)
        self._by_handle: dict[Handle, TunnelSession] = {}

    @property
    def idle(self) -> bool:
        """No tunnel: it may be forgotten."""
        return not self._by_handle

    @property
    def count(self) -> int:
        return len(self._by_handle)

    # From the device -----------------------------------------------------------------------------------------------

    def digest(self, now: float) -> None:
        """Turn what the tunnels report into envelopes and receipts."""
        while (event := self.tunnels.next_event()) is not None:
            _HANDLERS[type(event)](self, event, now)

    def tick(self, now: float) -> None:
        self.tunnels.tick(now)
        for session in list(self._by_handle.values()):
            if session.resume_at is not None and session.resume_at <= now:
                self._units.resume(session, now)

    def next_deadline(self) -> float | None:
        times = [session.resume_at for session in self._by_handle.values()]
        times.append(self.tunnels.next_deadline())
        return min((time for time in times if time is not None), default=None)

    def discard(self, now: float) -> None:
        """The device is gone for good; the engine learns it from its Leave."""
        for session in self._by_handle.values():
            session.ended_here = True
        self.tunnels.discard(now)

    def _requested(self, event: TunnelRequested, now: float) -> None:
        config = self._shared.config
        target = config.routes(self.eui64).get(event.protocol)
        if target is None or event.manufacturer != config.manufacturer_code:
            self._refuse(event.handle, TunnelStatus.PROTOCOL_NOT_SUPPORTED, "no such protocol", now)
            return
        envelope = Open(
            id=self._context.next_id(),
            source=self.peer,
            to=target.to,
            content=target.kind,
            nonce=self._nonce(event.handle),
            received_at=now,
        )
        verdict = self._context.submit(envelope)
        if isinstance(verdict, Refused):
            status = REFUSALS.get(verdict.reason, TunnelStatus.PROTOCOL_NOT_SUPPORTED)
            self._refuse(event.handle, status, verdict.reason.value, now)
            return
        assert verdict.session is not None
        session = TunnelSession(event.handle, verdict.session, target.kind, envelope.id, mode=target.mode)
        self._add(session)
        self.tunnels.accept(event.handle, now, unit_limit=unit_limit(target.kind), mode=target.mode)
        self._remember(session)  # before the device has the answer
        self._shared.counters["opened_by_devices"] += 1

    def _refuse(self, handle: Handle, status: TunnelStatus, why: str, now: float) -> None:
        self._shared.counters["refused"] += 1
        text = "a tunnel that %s asked for is refused with status %d: %s"
        self._shared.note(logging.INFO, text, self.eui64, status, why)
        self.tunnels.refuse(handle, status, now)

    def _nonce(self, handle: Handle) -> bytes:
        """A repeated request keeps its handle, so it keeps the nonce, and gets the same session.

        After a restart handles begin again, but sessions may have survived it: so each start has another salt.
        """
        text = f"{self._shared.salt} {self.eui64} {self.endpoint} {self.link_key} {handle}"
        return hashlib.sha256(text.encode()).digest()[:16]

    def _opened(self, event: TunnelOpened, now: float) -> None:
        session = self._by_handle.get(event.handle)
        if session is None or session.opening is None:
            return
        opening, session.opening = session.opening, None
        self._remember(session)
        self._shared.counters["opened_by_gateway"] += 1
        self._shared.settle(opening.id, None, session.session)

    def _refused(self, event: TunnelRefused, now: float) -> None:
        session = self._remove(event.handle)
        if session is None or session.opening is None:
            return
        if event.status is TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED and session.flow_control:
            self.open(session.opening, now, session.mode, until_awake=session.until_awake, flow_control=False)
            return
        if event.status is TunnelStatus.PROTOCOL_NOT_SUPPORTED and session.mode is DeliveryMode.KEPT:
            self.open(session.opening, now, until_awake=session.until_awake)  # it sleeps, and has no mailbox to ask
            return
        self._shared.note(logging.INFO, "%s refuses a tunnel with status %d", self.eui64, event.status)
        self._shared.settle(session.opening.id, REFUSED_THERE[event.status], session.session)

    def _received(self, event: UnitReceived, now: float) -> None:
        session = self._by_handle.get(event.handle)
        if session is not None and not session.ended_here:
            self._units.received(session, event, now)

    def _incomplete(self, event: UnitIncomplete, now: float) -> None:
        session = self._by_handle.get(event.handle)
        self._shared.counters["units_incomplete"] += 1
        if session is not None and not session.ended_here:
            self._units.incomplete(session, event, now)

    def _sent(self, event: UnitSent, now: float) -> None:
        self._settle_unit(event.handle, event.n, None)

    def _failed(self, event: UnitFailed, now: float) -> None:
        self._settle_unit(event.handle, event.n, FAILURES[event.reason])

    def _settle_unit(self, handle: Handle, n: int, reason: Reason | None) -> None:
        session = self._by_handle.get(handle)
        envelope = None if session is None else session.units.pop(n, None)
        if session is not None and envelope is not None:
            self._shared.settle(envelope, reason, session.session)

    def _closed(self, event: TunnelClosed, now: float) -> None:
        session = self._remove(event.handle)
        if session is None:
            return
        _LOG.debug("a tunnel with %s ended: %s", self.eui64, event.reason.value)
        self._shared.counters["closed"] += 1
        ending = ENDINGS[event.reason]
        if session.opening is not None:
            self._shared.settle(session.opening.id, ending, session.session)
            session.ended_here = True
        for envelope in session.units.values():
            self._shared.settle(envelope, Reason.CLOSED, session.session)
        if session.closing is not None:
            self._shared.settle(session.closing, None, session.session)
        if not session.ended_here:
            self._units.report_end(session, ending, now)

    def _data_error(self, event: DataError, now: float) -> None:
        self._shared.counters["data_errors"] += 1
        _LOG.debug("%s reports data error %d", self.eui64, event.status)

    def _ignore(self, event: Event, now: float) -> None:
        """Events that only a device gets."""

    def _misbehaved(self, event: PeerMisbehaved, now: float) -> None:
        self._shared.counters["misbehaved"] += 1
        self._shared.note(logging.WARNING, "%s: %s", self.eui64, event.reason)

    def _lacking(self, event: MailboxLacking, now: float) -> None:
        text = "%s sleeps, and its tunnel of protocol %d has no mailbox: set mailbox: true in adapters.zigbee.protocols"
        self._shared.note(logging.WARNING, text, self.eui64, event.protocol)

    # From the engine -----------------------------------------------------------------------------------------------

    def open(
        self,
        envelope: Open,
        now: float,
        mode: DeliveryMode = DeliveryMode.PUSHED,
        *,
        until_awake: bool = False,
        flow_control: bool = True,
    ) -> None:
        """Open a tunnel to the device for a session; ``until_awake``: the device sleeps, and is asked when heard."""
        assert envelope.session is not None
        config = self._shared.config
        protocol = config.incoming.protocol(envelope.content, mode)
        if protocol is None:
            self._shared.settle(envelope.id, Reason.CONTENT, envelope.session)
            return
        try:
            handle = self.tunnels.open(
                protocol,
                config.manufacturer_code,
                now,
                flow_control=flow_control,
                unit_limit=unit_limit(envelope.content),
                mode=mode,
                until_awake=until_awake,
            )
        except TransportError:
            self._shared.settle(envelope.id, Reason.BUSY, envelope.session)
            return
        session = TunnelSession(handle, envelope.session, envelope.content, envelope.id, opening=envelope, mode=mode)
        session.flow_control, session.until_awake = flow_control, until_awake
        self._add(session)

    def send(self, transmit: Transmit, handle: Handle, now: float) -> None:
        """Carry out a transmit for one of these tunnels."""
        session = self._by_handle[handle]
        match transmit.envelope:
            case Unit() as unit:
                self._send_unit(session, transmit, unit, now)
            case Close() as close:
                self._close(session, close, now)
            case Open() as again:
                self._shared.settle(again.id, Reason.BUSY, again.session)

    def _send_unit(self, session: TunnelSession, transmit: Transmit, unit: Unit, now: float) -> None:
        if not meets(self.peer.link, transmit.require):
            self._shared.settle(unit.id, Reason.LINK, unit.session)
            return
        try:
            self.tunnels.send_unit(session.handle, unit.n, unit.payload.octets, now)
        except TransportError as failure:
            self._shared.settle(unit.id, Reason.BUSY if failure.transient else Reason.CLOSED, unit.session)
            return
        session.units[unit.n] = unit.id
        self._shared.counters["units_out"] += 1
        if session.mode is DeliveryMode.KEPT:
            self._shared.hold(unit.id, unit.session)

    def _close(self, session: TunnelSession, close: Close, now: float) -> None:
        session.ended_here = True
        session.closing = close.id
        if session.mode is DeliveryMode.KEPT:
            self._shared.hold(close.id, close.session)
        if close.reason is Reason.CLOSED:
            self.tunnels.close(session.handle, now)  # what is queued goes first
        else:
            self._units.abort(session, now)

    def withdraw(self, handle: Handle, envelope: EnvelopeId, now: float) -> None:
        """Forget a transmit: no receipt. What is on its way stays so."""
        session = self._by_handle.get(handle)
        if session is None:
            return
        if session.opening is not None and session.opening.id == envelope:
            session.opening = None
            self._units.abort(session, now)
        if session.closing == envelope:
            session.closing = None
        for n in [n for n, unit in session.units.items() if unit == envelope]:
            del session.units[n]
            self.tunnels.withdraw_unit(handle, n, now)

    def receipt(self, handle: Handle, receipt: Receipt, now: float) -> None:
        """The outcome of an envelope of this adapter: the tunnel of a failed Open ends, a lost unit is named to the
        device.
        """
        session = self._by_handle.get(handle)
        if session is None or receipt.outcome is Outcome.HELD:
            return
        n = session.submitted.pop(receipt.id, None)
        if receipt.outcome is Outcome.DELIVERED or session.ended_here:
            return
        if session.asked == receipt.id:
            self._units.abort(session, now)
        reason = LOSSES.get(Reason.EXPIRED if receipt.reason is None else receipt.reason)
        if n is not None and reason is not None:
            self.tunnels.report_loss(handle, n, reason, now)

    # After a restart -----------------------------------------------------------------------------------------------

    def restore(self, known: StoredTunnel, end: SurvivingEnd, now: float) -> bool:
        """Go on with a tunnel whose session survived. False if that can't be done."""
        handle = self.tunnels.restore(
            known.record, next_in=end.next_in, next_out=end.next_out, now=now, unit_limit=unit_limit(end.content)
        )
        if handle is None:
            return False
        self._add(TunnelSession(handle, end.session, end.content, _NO_ENVELOPE, mode=known.record.mode))
        return True

    def retire(self, known: StoredTunnel, now: float) -> bool:
        """Close a tunnel whose session is gone. False if the tunnel is gone as well."""
        handle = self.tunnels.restore(known.record, next_in=0, next_out=0, now=now)
        if handle is None:
            return False
        self._by_handle[handle] = TunnelSession(
            handle, known.session, ContentKind.ADTLS, _NO_ENVELOPE, mode=known.record.mode, ended_here=True
        )
        self.tunnels.abort(handle, now)
        return True

    # -----------------------------------------------------------------------------------------------------------------

    def _add(self, session: TunnelSession) -> None:
        self._by_handle[session.handle] = session
        self._shared.sessions[session.session] = (self.key, session.handle)

    def _remove(self, handle: Handle) -> TunnelSession | None:
        session = self._by_handle.pop(handle, None)
        # An open that was withdrawn and given again has another tunnel by now.
        here = (self.key, handle)
        if session is not None and self._shared.sessions.get(session.session, here) == here:
            self._shared.sessions.pop(session.session, None)
            self._shared.memory.drop(session.session)
        return session

    def _remember(self, session: TunnelSession) -> None:
        record = self.tunnels.record(session.handle)
        if record is not None:
            self._shared.memory.put(StoredTunnel(session.session, *self.key, record))


_HANDLERS: Final[Mapping[type[Event], Callable[[TunnelBridge, Any, float], None]]] = {
    TunnelRequested: TunnelBridge._requested,
    TunnelOpened: TunnelBridge._opened,
    TunnelRefused: TunnelBridge._refused,
    UnitReceived: TunnelBridge._received,
    UnitIncomplete: TunnelBridge._incomplete,
    UnitSent: TunnelBridge._sent,
    UnitFailed: TunnelBridge._failed,
    TunnelClosed: TunnelBridge._closed,
    DataError: TunnelBridge._data_error,
    MailboxLacking: TunnelBridge._lacking,
    PeerMisbehaved: TunnelBridge._misbehaved,
    UnitLost: TunnelBridge._ignore,
    Fetched: TunnelBridge._ignore,
}
