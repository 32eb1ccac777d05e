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
        self._conversations: dict[BridgeKey, TunnelBridge] = {}
        self._sessions: dict[SessionId, tuple[BridgeKey, Handle]] = {}
        self._held: dict[EnvelopeId, SessionId] = {}
        self._memory = TunnelStore(context.state_dir, limits.devices * limits.tunnels_per_device)
        self._shared = TunnelMapping(
            context=context,
            config=config,
            sessions=self._sessions,
            orders=self._held,
            counters=counters,
            memory=self._memory,
            salt=secrets.token_hex(16),
        )
        self._ids = TunnelIds(TUNNEL_IDS, secrets.randbelow(0xFFFF))
        self._dirty: dict[BridgeKey, None] = {}
        """Conversations that may have something to report or to send."""
        self._calling: dict[BridgeKey, None] = {}
        """Conversations that wait for their device to be heard."""
        self._heard: dict[str, None] = {}
        """Sleeping devices that were heard since the last turn."""
        self._deadlines: Timers[BridgeKey] = Timers()
        self._inbox: deque[tuple[BridgeKey, bytes]] = deque()
        self._orders: deque[Transmit] = deque()
        self._link: Link | None = None
        self._gone = False
        """The radio is away for so long that what has to be sent has failed."""

    @property
    def count(self) -> int:
        return sum(conversation.count for conversation in self._conversations.values())

    def resume(self) -> None:
        """Go on with the tunnels of before."""
        for key in resume(self._shared, self._conversation):
            self._touch(key)

    def close(self) -> None:
        self._memory.close()

    # The radio -----------------------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        self._link, self._gone = link, False
        for key, conversation in self._conversations.items():
            conversation.tunnels.maximum_payload_length = self._payload_length(link, key[2])
            self._touch(key)

    def link_down(self) -> None:
        self._link = None

    def link_gone(self) -> None:
        self._gone = True
        for key in self._conversations:
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
        for key, conversation in self._conversations.items():
            if key[0] == eui64:
                conversation.discard(now)
                self._touch(key)

    # The engine ----------------------------------------------------------------------------------------------------

    def send(self, transmit: Transmit) -> None:
        self._orders.append(transmit)
        self._wake()

    def withdraw(self, envelope: EnvelopeId) -> None:
        for transmit in self._orders:
            if transmit.envelope.id == envelope:
                self._orders.remove(transmit)
                return
        session = self._held.pop(envelope, None)
        place = None if session is None else self._sessions.get(session)
        if place is not None:
            key, handle = place
            self._conversations[key].withdraw(handle, envelope, self._context.now())
            self._touch(key)

    def receipt(self, receipt: Receipt) -> None:
        place = None if receipt.session is None else self._sessions.get(receipt.session)
        if place is not None:
            key, handle = place
            self._conversations[key].receipt(handle, receipt, self._context.now())
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
        self._held[envelope.id] = envelope.session
        self._conversations[key].send(transmit, handle, now)
        self._touch(key)

    def _open(self, transmit: Transmit, envelope: Open, now: float) -> None:
        key = self._place_of(transmit.to.claim, transmit.require.link_key)
        conversation = None if key is None else self._conversation(key)
        if conversation is None:
            self._shared.settle(envelope.id, Reason.UNREACHABLE, envelope.session)
        elif not meets(conversation.peer.link, transmit.require):
            self._shared.settle(envelope.id, Reason.LINK, envelope.session)
        else:
            assert envelope.session is not None
            self._held[envelope.id] = envelope.session
            device, link = self._records.of(conversation.eui64), self._link
            asleep = link is not None and link.radio.asleep(device)
            conversation.open(envelope, now, DeliveryMode.KEPT if asleep else DeliveryMode.PUSHED, until_awake=asleep)
            if asleep and envelope.id in self._held:
                self._shared.hold(envelope.id, envelope.session)
                if link is not None and link.sender.listens(device):
                    conversation.tunnels.heard(now)
            self._touch(conversation.key)

    def _place_of(self, claim: str, link_key: bool) -> BridgeKey | None:
        """Where a device has the tunnelling cluster: by its interview, else the endpoint it last sent from."""
        kind, _, eui64 = claim.partition(":")
        device = self._link.radio.device(eui64) if kind == "eui64" and self._link is not None else None
        if device is None:
            return None
        if device.tunnel_endpoints:
            return eui64, device.tunnel_endpoints[0], link_key
        spoke = next((key for key in reversed(self._conversations) if key[0] == eui64), None)
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
            self._conversations[key].tunnels.heard(now)
            self._dirty[key] = None
        for _ in range(min(BATCH, len(self._inbox))):
            key, payload = self._inbox.popleft()
            conversation = self._conversation(key)
            if conversation is not None:
                conversation.tunnels.receive(payload, now)
                self._dirty[key] = None
        while self._orders:
            self._carry_out(self._orders.popleft(), now)
        for key in self._deadlines.take(now):
            conversation = self._conversations.get(key)
            if conversation is not None:
                conversation.tick(now)
                self._dirty[key] = None
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            conversation = self._conversations.get(key)
            if conversation is not None:
                conversation.digest(now)
                self._send_frames(conversation, now)
                if conversation.tunnels.calling:
                    self._calling[key] = None
                else:
                    self._calling.pop(key, None)
                self._deadlines.plan_by(key, conversation.next_deadline())

    def _send_frames(self, conversation: TunnelBridge, now: float) -> None:
        if self._link is None:
            if self._gone:
                for out in list(conversation.tunnels.frames_to_send()):
                    conversation.tunnels.frame_failed(out.id, now)
                conversation.digest(now)
            return
        sender = self._link.sender
        for out in conversation.tunnels.frames_to_send():
            done = _Report(self, conversation, out.id)
            frame = Frame(conversation.endpoint, out.octets, conversation.link_key, done)
            sender.submit(self._records.of(conversation.eui64), frame)

    def frame_done(self, conversation: TunnelBridge, frame: int, outcome: Sent) -> None:
        """What became of a frame of a conversation's tunnels."""
        now = self._context.now()
        if outcome is Sent.DELIVERED:
            conversation.tunnels.frame_delivered(frame, now)
        else:
            conversation.tunnels.frame_failed(frame, now)
        self._touch(conversation.key)

    def _conversation(self, key: BridgeKey) -> TunnelBridge | None:
        """The conversation with a device endpoint; a new one pushes out the oldest that is idle. None: no room."""
        conversation = self._conversations.get(key)
        if conversation is not None:
            return conversation
        limits = self._config.limits
        if len(self._conversations) >= limits.devices:
            idle = next((each for each, other in self._conversations.items() if other.idle), None)
            if idle is None:
                text = "no room for a tunnel with %s: %d device endpoints have tunnels"
                self._shared.note(logging.WARNING, text, key[0], limits.devices)
                return None
            del self._conversations[idle]
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
        conversation = self._conversations[key] = TunnelBridge(key, tunnels, self._shared)
        return conversation


class _Report:
    """Takes the outcome of one frame to its conversation."""

    __slots__ = ("_conversation", "_frame", "_tunnels")

    def __init__(self, tunnels: DeviceTunnels, conversation: TunnelBridge, frame: int) -> None:
        self._tunnels = tunnels
        self._conversation = conversation
        self._frame = frame

    def __call__(self, outcome: Sent) -> None:
        self._tunnels.frame_done(self._conversation, self._frame, outcome)
