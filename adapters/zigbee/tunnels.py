"""All tunnels of one adapter: which conversation a frame, an order or a deadline belongs to, and what it has to send.

What comes in (frames, orders, deadlines) is queued and worked off by ``turn``, so that neither the radio's callback nor
the engine ever waits for the other, and neither is re-entered.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.coordinator import LINK_KEY_OVERHEAD
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.dongle import Link
from adapters.zigbee.radio_port import Frame, IncomingFrame
from adapters.zigbee.radio_port import SendOutcome as Sent
from adapters.zigbee.resume import resume
from adapters.zigbee.tunnel_bridge import TunnelBridge
from adapters.zigbee.tunnel_mapping import BridgeKey, TunnelMapping
from adapters.zigbee.tunnel_store import TunnelStore
from adapters.zigbee.vocabulary import meets
from carriage.zigbee.events import DeliveryMode, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunnel_table import TunnelIds
from carriage.zigbee.tunneling import TransferError
from common.timers import Timers
from gateway.api.model import Close, EnvelopeId, Open, Outcome, Reason, Receipt, SessionId, Transmit, Unit
from gateway.api.ports import AdapterContext

INBOX: Final = 1024
"""Frames from the dongle that wait for us; more are dropped and counted."""
BATCH: Final = 64
"""Frames worked off before anything else gets its turn."""
TUNNEL_IDS: Final = 1024
COUNTERS: Final = (
    "opened_by_devices", "opened_by_gateway", "refused", "closed", "units_in", "units_out", "units_refused",
    "units_incomplete", "overflows", "data_errors", "misbehaved", "delivered", "dropped", "inbox_drops", "held",
    "resumed",
)  # fmt: skip


class DeviceTunnels:
    """The conversations with all device endpoints. ``wake`` asks for a ``turn``."""

    def __init__(
        self,
        config: ZigbeeConfig,
        context: AdapterContext,
        records: DeviceRecords,
        counters: dict[str, int],
        wake: Callable[[], None],
    ) -> None:
        limits = config.limits
        self._config = config
        self._context = context
        self._records = records
        self._counters = counters
        self._wake = wake
        self._bridges: dict[BridgeKey, TunnelBridge] = {}
        self._sessions: dict[SessionId, tuple[BridgeKey, Handle]] = {}
        self._unsettled: dict[EnvelopeId, SessionId] = {}
        self._memory = TunnelStore(context.state_dir, limits.devices * limits.tunnels_per_device)
        self._shared = TunnelMapping(
            context=context,
            config=config,
            sessions=self._sessions,
            unsettled=self._unsettled,
            counters=counters,
            memory=self._memory,
            salt=secrets.token_hex(16),
        )
        self._ids = TunnelIds(TUNNEL_IDS, secrets.randbelow(0xFFFF))
        self._dirty: dict[BridgeKey, None] = {}
        """Bridges that may have something to report or to send."""
        self._calling: dict[BridgeKey, None] = {}
        """Bridges that wait for their device to be heard."""
        self._heard: dict[str, None] = {}
        """Sleeping devices that were heard since the last turn."""
        self._deadlines: Timers[BridgeKey] = Timers()
        self._inbox: deque[tuple[BridgeKey, bytes]] = deque()
        self._transmits: deque[Transmit] = deque()
        self._link: Link | None = None
        self._gone = False
        """The radio is away for so long that what has to be sent has failed."""

    @property
    def count(self) -> int:
        return sum(bridge.count for bridge in self._bridges.values())

    def resume(self) -> None:
        """Go on with the tunnels of the earlier run."""
        for key in resume(self._shared, self._bridge):
            self._touch(key)

    def close(self) -> None:
        self._memory.close()

    # The radio -----------------------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        self._link, self._gone = link, False
        for key, bridge in self._bridges.items():
            bridge.tunnels.maximum_payload_length = self._payload_length(link, key[2])
            self._touch(key)

    def link_down(self) -> None:
        self._link = None

    def link_gone(self) -> None:
        self._gone = True
        for key in self._bridges:
            self._touch(key)

    def _payload_length(self, link: Link, link_key: bool) -> int:
        return link.radio.max_payload - (LINK_KEY_OVERHEAD if link_key else 0)

    def frame(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        """A frame of the tunnelling cluster came."""
        if len(self._inbox) >= INBOX:
            self._counters["inbox_drops"] += 1
            return
        self._inbox.append(((device.eui64, frame.endpoint, frame.link_key), frame.payload))
        self._wake()

    def heard(self, device: ZigbeeDevice) -> None:
        """A frame of any kind came from a sleeping device."""
        if self._calling:
            self._heard[device.eui64] = None
            self._wake()

    def left(self, eui64: str, now: float) -> None:
        for key, bridge in self._bridges.items():
            if key[0] == eui64:
                bridge.discard(now)
                self._touch(key)

    # The engine ----------------------------------------------------------------------------------------------------

    def send(self, transmit: Transmit) -> None:
        self._transmits.append(transmit)
        self._wake()

    def withdraw(self, envelope: EnvelopeId) -> None:
        for transmit in self._transmits:
            if transmit.envelope.id == envelope:
                self._transmits.remove(transmit)
                return
        session = self._unsettled.pop(envelope, None)
        place = None if session is None else self._sessions.get(session)
        if place is not None:
            key, handle = place
            self._bridges[key].withdraw(handle, envelope, self._context.now())
            self._touch(key)

    def receipt(self, receipt: Receipt) -> None:
        place = None if receipt.session is None else self._sessions.get(receipt.session)
        if place is not None:
            key, handle = place
            self._bridges[key].receipt(handle, receipt, self._context.now())
            if receipt.outcome is not Outcome.DELIVERED:
                self._touch(key)

    def _carry_out(self, transmit: Transmit, now: float) -> None:
        envelope = transmit.envelope
        if isinstance(envelope, Open):
            self._open(transmit, envelope, now)
            return
        assert isinstance(envelope, Unit | Close)
        place = self._sessions.get(envelope.session)
        if place is None:
            self._shared.settle(envelope.id, Reason.UNKNOWN, envelope.session)
            return
        key, handle = place
        self._unsettled[envelope.id] = envelope.session
        self._bridges[key].send(transmit, handle, now)
        self._touch(key)

    def _open(self, transmit: Transmit, envelope: Open, now: float) -> None:
        key = self._place_of(transmit.to.claim, transmit.require.link_key)
        bridge = None if key is None else self._bridge(key)
        if bridge is None:
            self._shared.settle(envelope.id, Reason.UNREACHABLE, envelope.session)
        elif not meets(bridge.peer.link, transmit.require):
            self._shared.settle(envelope.id, Reason.LINK, envelope.session)
        else:
            assert envelope.session is not None
            self._unsettled[envelope.id] = envelope.session
            device, link = self._records.of(bridge.eui64), self._link
            asleep = link is not None and link.radio.asleep(device)
            bridge.open(envelope, now, DeliveryMode.KEPT if asleep else DeliveryMode.PUSHED, until_awake=asleep)
            if asleep and envelope.id in self._unsettled:
                self._shared.hold(envelope.id, envelope.session)
                if link is not None and link.sender.listens(device):
                    bridge.tunnels.heard(now)
            self._touch(bridge.key)

    def _place_of(self, claim: str, link_key: bool) -> BridgeKey | None:
        """The device's endpoint with the tunnelling cluster: by its interview, else the one that it last sent from."""
        kind, _, eui64 = claim.partition(":")
        device = self._link.radio.device(eui64) if kind == "eui64" and self._link is not None else None
        if device is None:
            return None
        if device.tunnel_endpoints:
            return eui64, device.tunnel_endpoints[0], link_key
        spoke = next((key for key in reversed(self._bridges) if key[0] == eui64), None)
        return None if spoke is None else (eui64, spoke[1], link_key)

    # The work ------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Frames are left for another turn."""
        return bool(self._inbox)

    def next_deadline(self) -> float | None:
        return self._deadlines.next()

    def _touch(self, key: BridgeKey) -> None:
        self._dirty[key] = None
        self._wake()

    def turn(self, now: float) -> None:
        heard, self._heard = self._heard, {}
        for key in [key for key in self._calling if key[0] in heard] if heard else ():
            self._bridges[key].tunnels.heard(now)
            self._dirty[key] = None
        for _ in range(min(BATCH, len(self._inbox))):
            key, payload = self._inbox.popleft()
            bridge = self._bridge(key)
            if bridge is not None:
                bridge.tunnels.receive(payload, now)
                self._dirty[key] = None
        while self._transmits:
            self._carry_out(self._transmits.popleft(), now)
        for key in self._deadlines.take(now):
            bridge = self._bridges.get(key)
            if bridge is not None:
                bridge.tick(now)
                self._dirty[key] = None
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            bridge = self._bridges.get(key)
            if bridge is not None:
                bridge.digest(now)
                self._send_frames(bridge, now)
                if bridge.tunnels.calling:
                    self._calling[key] = None
                else:
                    self._calling.pop(key, None)
                self._deadlines.plan_by(key, bridge.next_deadline())

    def _send_frames(self, bridge: TunnelBridge, now: float) -> None:
        if self._link is None:
            if self._gone:
                for out in list(bridge.tunnels.frames_to_send()):
                    bridge.tunnels.frame_failed(out.id, now)
                bridge.digest(now)
            return
        sender = self._link.sender
        for out in bridge.tunnels.frames_to_send():
            done = _Report(self, bridge, out.id)
            frame = Frame(bridge.endpoint, out.octets, bridge.link_key, done)
            sender.submit(self._records.of(bridge.eui64), frame)

    def frame_done(self, bridge: TunnelBridge, frame: int, outcome: Sent) -> None:
        """The outcome of a frame of a bridge's tunnels."""
        now = self._context.now()
        if outcome is Sent.DELIVERED:
            bridge.tunnels.frame_delivered(frame, now)
        else:
            bridge.tunnels.frame_failed(frame, now)
        self._touch(bridge.key)

    def _bridge(self, key: BridgeKey) -> TunnelBridge | None:
        """The bridge to a device endpoint; a new one takes the place of the oldest that is idle. None: no room."""
        bridge = self._bridges.get(key)
        if bridge is not None:
            return bridge
        limits = self._config.limits
        if len(self._bridges) >= limits.devices:
            idle = next((each for each, other in self._bridges.items() if other.idle), None)
            if idle is None:
                text = "no room for a tunnel with %s: %d device endpoints have tunnels"
                self._shared.note(logging.WARNING, text, key[0], limits.devices)
                return None
            del self._bridges[idle]
            self._deadlines.drop(idle)
            self._calling.pop(idle, None)
        manufacturer = self._config.manufacturer_code
        tunnels = TunnelEndpoint(
            limits=TunnelLimits(
                window=limits.device_window,
                max_tunnels=limits.tunnels_per_device,
                max_queued_units=limits.units_queued,
                idle_timeout=limits.idle,
                foreign_tunnel_error=TransferError.NO_SUCH_TUNNEL,  # no device learns which tunnels there are
            ),
            ids=self._ids,
            protocols=[(manufacturer, protocol) for protocol in sorted(self._config.routes(key[0]))],
            first_sequence=secrets.randbelow(256),
        )
        if self._link is not None:
            tunnels.maximum_payload_length = self._payload_length(self._link, key[2])
        bridge = self._bridges[key] = TunnelBridge(key, tunnels, self._shared)
        return bridge


class _Report:
    """Takes the outcome of one frame to its bridge."""

    __slots__ = ("_bridge", "_frame", "_tunnels")

    def __init__(self, tunnels: DeviceTunnels, bridge: TunnelBridge, frame: int) -> None:
        self._tunnels = tunnels
        self._bridge = bridge
        self._frame = frame

    def __call__(self, outcome: Sent) -> None:
        self._tunnels.frame_done(self._bridge, self._frame, outcome)
