"""The ZigBee link of a device: its carriage sessions are tunnels of cluster 0x0704 with the gateway.

The device stands behind a virtual network's attachment socket; on real hardware this file's part is the firmware's.

States: *joining* from ``run`` on, *joined* when the network has let it in (``ready``), and over when it is removed from
the network (``_on_left``) or the socket ends. A sleepy one polls by its ``PollSchedule`` while joined. The tunnels'
states are those of ``carriage.zigbee.tunnel``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from carriage.zigbee import attach, events, tunneling
from carriage.zigbee.attach_client import AttachClient
from carriage.zigbee.segmentation import DTLS_UNIT_LIMIT, TLS_UNIT_LIMIT
from carriage.zigbee.tunnel import TunnelEndpoint
from endpoint.transports.gateway_link import CarriageSession, Kind
from endpoint.transports.poll_schedule import PollSchedule
from endpoint.transports.zigbee_session import FEED, TunnelSession
from layer.errors import TransportError

_LOG = logging.getLogger(__name__)

HA_PROFILE: Final = 0x0104
INCOMING: Final[dict[int, tuple[Kind, events.DeliveryMode]]] = {
    250: ("adtls", events.DeliveryMode.PUSHED),
    251: ("atls", events.DeliveryMode.PUSHED),
    252: ("adtls", events.DeliveryMode.FETCHED),
    253: ("atls", events.DeliveryMode.FETCHED),
}
"""The tunnel protocol ids by which a gateway opens sessions towards devices (its config key ``incoming``)."""

_UNIT_LIMITS: Final[dict[Kind, int]] = {"adtls": DTLS_UNIT_LIMIT, "atls": TLS_UNIT_LIMIT}
_REFUSALS: Final = {
    tunneling.TunnelStatus.BUSY: "busy",
    tunneling.TunnelStatus.NO_MORE_IDS: "busy",
    tunneling.TunnelStatus.PROTOCOL_NOT_SUPPORTED: "denied",
}
PROTOCOLS: Final = range(200, 255)
"""Protocol ids of the Tunneling cluster that are the manufacturer's (Smart Energy, Tunneling, ProtocolId)."""


_TUNNEL_LIMITS: Final = events.TunnelLimits(max_queued_units=2 * FEED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZigbeeLimits:
    """Times in seconds, and those of tunnels."""

    open_for: float = 28.0
    """For the gateway to answer an open, however slow the radio is."""
    unreachable_after: float = 10.0
    """After a unit could not be delivered something must come through within this time, or the session is over. With
    the tunnel's tries before it, both ends learn of it within 30 s."""
    tunnels: events.TunnelLimits = _TUNNEL_LIMITS


class ZigbeeLink:
    """One device on the virtual network. Sessions that are opened have ``kind``, the layer-0 policy's.

    ``sleepy``: seconds between its polls, if it sleeps in between. It asks the gateway as seldom while nothing
    happens, and the tunnels that it opens are mailbox tunnels.
    """

    def __init__(
        self,
        path: str,
        eui64: str,
        *,
        kind: Kind,
        endpoint_number: int = 1,
        manufacturer: str = "ATLS",
        model: str = "atls-endpoint",
        sleepy: float | None = None,
        join_timeout: float = 60.0,
        limits: ZigbeeLimits = ZigbeeLimits(),
    ) -> None:
        self._limits = limits
        self._path = path
        self._kind = kind
        self._join_timeout = join_timeout
        self._attach = attach.Attach(
            eui64=attach.parse_eui64(eui64),
            endpoint=endpoint_number,
            profile=HA_PROFILE,
            input_clusters=(tunneling.CLUSTER_ID,),
            output_clusters=(tunneling.CLUSTER_ID,),
            manufacturer=manufacturer,
            model=model,
            sleepy=sleepy is not None,
            poll_interval=sleepy or 0.0,
        )
        self._endpoint = endpoint_number
        # A first sequence number at random, so that a restarted device's request is no repetition of an old one.
        self._tunnels = TunnelEndpoint(limits=limits.tunnels, first_sequence=secrets.randbelow(256))
        self._sessions: dict[events.Handle, TunnelSession] = {}
        self._opening: dict[events.Handle, asyncio.Future[CarriageSession]] = {}
        self._incoming: Callable[[CarriageSession], None] | None = None
        self._client: AttachClient | None = None
        self._gateway_endpoint = 1
        self._sleepy = sleepy
        self._polls: PollSchedule | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self._left = False
        self._tunnel_gone = asyncio.Event()

    async def run(self, ready: Callable[[], None], incoming: Callable[[CarriageSession], None]) -> None:
        self._incoming = incoming
        client = await AttachClient.connect(
            self._path, self._attach, on_received=self._on_received, on_left=self._on_left
        )
        self._client = client
        try:
            await (client.rejoin(self._join_timeout) if client.nwk is not None else client.join(self._join_timeout))
            _LOG.info("joined as 0x%04x", client.nwk or 0)
            if self._sleepy is not None:
                self._polls = PollSchedule(self._sleepy, asyncio.get_running_loop().time())
                self.flush()
            ready()
            await client.wait_closed()
        finally:
            client.close()
            if self._timer is not None:
                self._timer.cancel()
        why = "the device was removed from the network" if self._left else "the virtual network is gone"
        raise TransportError(why, transient=not self._left)

    async def open(self, to: str, kind: Kind, first: bytes = b"") -> CarriageSession:
        session = await self._open(to, kind)
        if first:
            session.send((first,))
        return session

    async def _open(self, to: str, kind: Kind) -> CarriageSession:
        protocol = protocol_id(to)
        loop = asyncio.get_running_loop()
        handle = self._tunnels.open(
            protocol,
            tunneling.ANY_MANUFACTURER,
            loop.time(),
            unit_limit=_UNIT_LIMITS[kind],
            mode=events.DeliveryMode.PUSHED if self._sleepy is None else events.DeliveryMode.FETCHED,
        )
        session = TunnelSession(self, handle, kind, f"protocol {protocol}", self._limits.unreachable_after)
        self._sessions[handle] = session
        waiting: asyncio.Future[CarriageSession] = loop.create_future()
        self._opening[handle] = waiting
        self.flush()
        try:
            async with asyncio.timeout(self._limits.open_for):
                return await waiting
        except TimeoutError:
            self.abort(handle)
            raise TransportError(events.CloseReason.NO_ANSWER.value, transient=True) from None

    async def drain(self) -> None:
        while any(session.closing for session in self._sessions.values()):
            self._tunnel_gone.clear()
            await self._tunnel_gone.wait()

    # The tunnels' side

    def queue(self, handle: events.Handle, n: int, unit: bytes) -> None:
        self._activity()
        self._tunnels.send_unit(handle, n, unit, asyncio.get_running_loop().time())

    def close(self, handle: events.Handle) -> None:
        self._tunnels.close(handle, asyncio.get_running_loop().time())
        self.flush()

    def abort(self, handle: events.Handle) -> None:
        """Close without what waits."""
        self._tunnels.abort(handle, asyncio.get_running_loop().time())
        self.flush()

    def flush(self) -> None:
        """Send what may go, take what happened, set the timer: after every call to the tunnels."""
        if self._flushing:
            return
        self._flushing = True
        try:
            moved = True
            while moved:
                moved = False
                while (event := self._tunnels.next_event()) is not None:
                    moved = True
                    self._on_event(event)
                for frame in self._tunnels.frames_to_send():
                    moved = True
                    self._send(frame.id, frame.octets)
        finally:
            self._flushing = False
        deadline = self._tunnels.next_deadline()
        if self._polls is not None:
            deadline = self._polls.due if deadline is None else min(deadline, self._polls.due)
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return  # early is harmless, and a timer for each frame is not cheap
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._on_timer)

    def _send(self, frame: int, octets: bytes) -> None:
        loop = asyncio.get_running_loop()

        def settle(delivered: bool) -> None:
            report = self._tunnels.frame_delivered if delivered else self._tunnels.frame_failed
            report(frame, loop.time())
            self.flush()

        try:
            assert self._client is not None
            self._client.send_soon(
                octets, settle, cluster=tunneling.CLUSTER_ID, destination_endpoint=self._gateway_endpoint
            )
        except TransportError:
            loop.call_soon(settle, False)

    def _on_timer(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._tunnels.tick(now)
        if self._polls is not None and self._polls.due <= now:
            self._polls.asked(now)
            self._ask(now)
        self.flush()

    def _ask(self, now: float) -> None:
        """The device woke up: fetch what waits, and without a tunnel send a frame, so that the gateway notices it."""
        for handle in self._sessions:
            self._tunnels.fetch(handle, now)
        if not self._sessions:
            self._tunnels.announce(now)

    def _activity(self) -> None:
        if self._polls is not None:
            self._polls.activity(asyncio.get_running_loop().time())

    def _on_received(self, received: attach.Received) -> None:
        if received.cluster == tunneling.CLUSTER_ID:
            self._gateway_endpoint = received.source_endpoint
            self._tunnels.receive(received.payload, asyncio.get_running_loop().time())
            self.flush()

    def _on_left(self) -> None:
        """Removed from the network: the gateway is out of reach for good."""
        self._left = True
        self._tunnels.discard(asyncio.get_running_loop().time())
        self.flush()
        if self._client is not None:
            self._client.close()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.TunnelRequested(handle=handle, protocol=protocol):
                self._on_requested(handle, protocol)
            case events.TunnelOpened(handle=handle):
                self._activity()
                self._resolve(handle)
            case events.TunnelRefused(handle=handle, status=status):
                self._resolve(handle, _REFUSALS.get(status, status.name.lower()))
            case events.UnitReceived(handle=handle, n=n, data=data):
                self._activity()
                if (session := self._sessions.get(handle)) is not None:
                    session.received(n, data)
            case events.UnitSent(handle=handle):
                if (session := self._sessions.get(handle)) is not None:
                    session.settled()
            case events.UnitIncomplete(handle=handle, n=n):
                if (session := self._sessions.get(handle)) is not None:
                    session.incomplete(n)
            case events.UnitFailed(handle=handle, n=n, reason=reason):
                if (session := self._sessions.get(handle)) is not None:
                    session.lost(n, reason.value)
            case events.UnitLost(handle=handle, n=n, reason=loss):
                if (session := self._sessions.get(handle)) is not None:
                    session.lost_behind(n, loss.name.lower().replace("_", "-"))
            case events.DataError(handle=handle, status=status):
                if (session := self._sessions.get(handle)) is not None:
                    session.refused(status)
            case events.TunnelClosed(handle=handle, reason=close_reason):
                self._resolve(handle, close_reason.value)
                if (session := self._sessions.pop(handle, None)) is not None:
                    session.report_end(close_reason.value)
                self._tunnel_gone.set()
            case events.MailboxLacking(protocol=protocol):
                text = "the gateway sends while we sleep: does protocol %d have mailbox: true in its gateway.yaml?"
                _LOG.warning(text, protocol)
            case events.PeerMisbehaved(reason=text):
                _LOG.warning("the gateway broke the tunnel protocol: %s", text)

    def _resolve(self, handle: events.Handle, refusal: str | None = None) -> None:
        waiting = self._opening.pop(handle, None)
        if waiting is None or waiting.done():
            return
        if refusal is None:
            waiting.set_result(self._sessions[handle])
        else:
            self._sessions.pop(handle, None)
            self._tunnel_gone.set()
            waiting.set_exception(TransportError(refusal, transient=refusal == "busy"))

    def _on_requested(self, handle: events.Handle, protocol: int) -> None:
        now = asyncio.get_running_loop().time()
        offer = INCOMING.get(protocol)
        if offer is None or self._incoming is None:
            self._tunnels.refuse(handle, tunneling.TunnelStatus.PROTOCOL_NOT_SUPPORTED, now)
            return
        kind, mode = offer
        self._tunnels.accept(handle, now, unit_limit=_UNIT_LIMITS[kind], mode=mode)
        session = TunnelSession(self, handle, kind, "gateway", self._limits.unreachable_after)
        self._sessions[handle] = session
        self._incoming(session)


def protocol_id(text: str) -> int:
    """The tunnel protocol id that a device opens. TransportError if it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) in PROTOCOLS):
        raise TransportError(f"expected a protocol id from {PROTOCOLS[0]} to {PROTOCOLS[-1]}", transient=False)
    return int(text)
