"""The ZigBee adapter: keeps the dongle up, and moves frames between it and the conversations with the devices.

Everything that comes in (frames, orders, reports, deadlines) is queued and worked off by one task, so that neither
bellows' callback nor the engine ever waits for the other, and neither is re-entered.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from adapters.zigbee import zcl_devices
from adapters.zigbee.administration import COMMANDS
from adapters.zigbee.clusters import TABLE, ClusterTable
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.coordinator import LINK_KEY_OVERHEAD, Coordinator, recorded
from adapters.zigbee.doubts import doubts
from adapters.zigbee.members import FILE as MEMBERS
from adapters.zigbee.members import Members
from adapters.zigbee.network import ForeignNetworkError, described
from adapters.zigbee.radio_port import BlankDongleError, Device, RadioSettings
from adapters.zigbee.resume import resume
from adapters.zigbee.send_scheduler import Frame, SendScheduler
from adapters.zigbee.send_scheduler import SendOutcome as Sent
from adapters.zigbee.tunnel_bridge import TunnelBridge
from adapters.zigbee.tunnel_mapping import TunnelMapping
from adapters.zigbee.tunnel_store import TunnelStore
from adapters.zigbee.vocabulary import meets
from adapters.zigbee.zcl_devices import ZclDevices
from carriage.zigbee.events import DeliveryMode, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunnel_table import TunnelIds
from carriage.zigbee.tunneling import TransferError
from common.backoff import Backoff
from common.timers import Timers
from gateway.api.errors import NoCommandError, PeerError, TransportError
from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Address,
    EnvelopeId,
    Exchange,
    Interaction,
    Open,
    Outcome,
    Reason,
    Receipt,
    SessionId,
    Transmit,
    Update,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

DATABASE: Final = "zigbee.db"
INBOX: Final = 1024
"""Frames from the dongle that wait for us; more are dropped and counted."""
WINDOW: Final = 4
"""Units of one session that we ask for ahead: what we hold, the engine can't expire."""
BATCH: Final = 64
"""Frames worked off before anything else gets its turn."""
SETTLED: Final = 60.0
"""A dongle that stayed up for so long begins with the first waiting time again when it fails."""
AWAY: Final = 3.0
"""Seconds without the dongle after which frames count as not delivered, as on a dead radio: units fail in the end, and
both ends of a session hear of it."""
STOP_TIMEOUT: Final = 10.0
TUNNEL_IDS: Final = 1024

_BLANK: Final = (
    "the dongle holds no network. Set `form: if-blank` to let this adapter form one (or restore its last backup), or "
    "plug in the dongle that belongs here"
)
_JITTER = SystemRandom()

_Key = tuple[str, int, bool]


def settings_of(config: ZigbeeConfig, state_dir: Path) -> RadioSettings:
    """What a start of the dongle needs, of a config whose path is resolved."""
    return RadioSettings(
        path=config.path,
        baudrate=config.baudrate,
        flow_control=config.flow_control,
        channel=config.channel,
        database=state_dir / DATABASE,
        interview=config.limits.interview,
        start=config.limits.start,
    )


class ZigbeeAdapter:
    """One dongle. See ``gateway.api.ports.Adapter``."""

    def __init__(self, config: ZigbeeConfig, table: ClusterTable = TABLE) -> None:
        self._config = config
        self._table = table
        self._semantics: ZclDevices | None = None
        self._context: AdapterContext | None = None
        self._shared: TunnelMapping | None = None
        self._radio: Coordinator | None = None
        self._sender: SendScheduler | None = None
        self._ids = TunnelIds(TUNNEL_IDS, secrets.randbelow(0xFFFF))
        self._conversations: dict[_Key, TunnelBridge] = {}
        self._sessions: dict[SessionId, tuple[_Key, Handle]] = {}
        self._held: dict[EnvelopeId, SessionId] = {}
        self._dirty: dict[_Key, None] = {}
        self._heard: dict[str, None] = {}
        """Sleeping devices that were heard since the last turn."""
        self._calling: dict[_Key, None] = {}
        """Conversations that wait for their device to be heard."""
        self._deadlines: Timers[_Key] = Timers()
        self._inbox: deque[tuple[_Key, bytes]] = deque()
        self._orders: deque[Transmit] = deque()
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._link = "down"
        self._foreign: ForeignNetworkError | None = None
        """The dongle held another network the last time."""
        self._trouble = "the dongle is being started"
        """Why it isn't known what the dongle holds; empty if it is blank."""
        self._away: asyncio.TimerHandle | None = None
        """Runs while the dongle is away, until that is for longer than ``AWAY``."""
        self._gone = False
        self._counters = dict.fromkeys(
            (
                "opened_by_devices", "opened_by_gateway", "refused", "closed", "units_in", "units_out", "units_refused",
                "units_incomplete", "overflows", "data_errors", "misbehaved", "delivered", "dropped", "inbox_drops",
                "attempts", "reconnects", "held", "resumed", *zcl_devices.COUNTERS,
            ),
            0,
        )  # fmt: skip

    @property
    def window(self) -> int:
        return min(WINDOW, self._config.limits.units_queued)

    # The dongle ----------------------------------------------------------------------------------------------------

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        limits = self._config.limits
        memory = TunnelStore(context.state_dir, limits.devices * limits.tunnels_per_device)
        self._shared = TunnelMapping(
            context=context,
            config=self._config,
            sessions=self._sessions,
            orders=self._held,
            counters=self._counters,
            memory=memory,
            salt=secrets.token_hex(16),
        )
        self._semantics = ZclDevices(context, self._table, self._config.presence, self._counters, self._wake.set)
        try:
            for key in resume(self._shared, self._conversation):
                self._touch(key)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(context))
                await self._keep_up(context)
        finally:
            self._radio_back()
            memory.close()

    async def _keep_up(self, context: AdapterContext) -> None:
        config, limits = self._config, self._config.limits
        settings = settings_of(config, context.state_dir)
        may_form = config.form == "if-blank"
        pauses = Backoff(limits.reconnect_first, limits.reconnect_most, _JITTER.random)
        while True:
            began = context.now()
            self._counters["attempts"] += 1
            try:
                radio = await Coordinator.start(settings, self, may_form=may_form)
            except BlankDongleError:
                self._fault(context, f"{config.path}: {_BLANK}")
                self._trouble = ""
            except ForeignNetworkError as failure:
                self._fault(context, str(failure), failure)
            except TransportError as failure:
                self._fault(context, str(failure))
            else:
                self._foreign = None
                may_form = False  # a dongle that comes back blank is a matter for its owner
                reason = await self._serve(context, radio)
                self._away = asyncio.get_running_loop().call_later(AWAY, self._radio_gone)
                self._counters["reconnects"] += 1
                self._fault(context, f"{reason}; connecting again")
                if context.now() - began >= SETTLED:
                    pauses.reset()
            await asyncio.sleep(pauses.next())

    def _radio_gone(self) -> None:
        self._gone = True
        for key in self._conversations:
            self._touch(key)

    def _radio_back(self) -> None:
        self._gone = False
        if self._away is not None:
            self._away.cancel()
            self._away = None

    def _fault(self, context: AdapterContext, text: str, foreign: ForeignNetworkError | None = None) -> None:
        self._link, self._trouble, self._foreign = "down", text, foreign
        _LOG.debug("%s", text)  # whoever runs us tells it once, not at each attempt
        context.fault(text)

    async def _serve(self, context: AdapterContext, radio: Coordinator) -> str:
        """Until the link is lost; why."""
        limits = self._config.limits
        sender = SendScheduler(
            radio.transmit,
            radio.asleep,
            in_flight=limits.in_flight,
            sleepy_in_flight=limits.sleepy_in_flight,
            device_window=limits.device_window,
            awake=limits.awake,
            jitter=_JITTER.random,
            now=context.now,
        )
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(sender.run())
                self._radio, self._sender, self._link = radio, sender, "up"
                self._radio_back()
                for key, conversation in self._conversations.items():
                    conversation.tunnels.maximum_payload_length = self._payload_length(key[2])
                    self._touch(key)
                _LOG.info("the ZigBee network is up: %s", ", ".join(f"{k} {v}" for k, v in radio.network.items()))
                assert self._semantics is not None
                self._semantics.up(sender, radio)
                context.ready()
                reason = await radio.wait_lost()
                self._semantics.down()
                self._sender = None
                serving.cancel()
        finally:
            self._radio = self._sender = None
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await radio.stop()
            except TimeoutError:
                _LOG.error("the dongle's connection could not be ended in time")
        return reason

    def _payload_length(self, link_key: bool) -> int:
        assert self._radio is not None
        return self._radio.max_payload - (LINK_KEY_OVERHEAD if link_key else 0)

    # What the radio tells ------------------------------------------------------------------------------------------

    def tunnel_frame(self, eui64: str, endpoint: int, payload: bytes, link_key: bool) -> None:
        if len(self._inbox) >= INBOX:
            self._counters["inbox_drops"] += 1
            return
        self._inbox.append(((eui64, endpoint, link_key), payload))
        self._wake.set()

    def heard(self, eui64: str, sleepy: bool) -> None:
        if sleepy and self._sender is not None:
            self._sender.heard(eui64)
        if sleepy and self._calling:
            self._heard[eui64] = None
            self._wake.set()
        if self._semantics is not None:
            self._semantics.heard(eui64, sleepy)

    def zcl_frame(
        self, eui64: str, endpoint: int, cluster: int, aps_counter: int, payload: bytes, link_key: bool, unicast: bool
    ) -> bool:
        assert self._semantics is not None
        return self._semantics.take(eui64, endpoint, cluster, aps_counter, payload, link_key, unicast)

    def device_asked(self, eui64: str) -> None:
        _LOG.info("%s joined, asking what it is", eui64)

    def device_joined(self, device: Device) -> None:
        assert self._semantics is not None
        if device.interviewed:
            what = (
                f"is {device.model or 'a device without a model'} of {device.manufacturer or 'an unnamed manufacturer'}"
            )
            _LOG.info("%s %s", device.eui64, what)
        else:
            _LOG.info("%s did not say what it is: asked again when it is heard", device.eui64)
        if device.sleepy and self._sender is not None:
            self._sender.heard(device.eui64)  # it has just answered, when nobody knew yet that it sleeps
        self._semantics.joined(device)

    def device_changed(self, device: Device) -> None:
        assert self._semantics is not None
        _LOG.info("%s has told of endpoints %s", device.eui64, [endpoint.number for endpoint in device.endpoints])
        self._semantics.changed(device)

    def device_restarted(self, device: Device) -> None:
        assert self._semantics is not None
        self._semantics.restarted(device)

    def device_left(self, eui64: str) -> None:
        assert self._context is not None and self._semantics is not None
        now = self._context.now()
        for key, conversation in self._conversations.items():
            if key[0] == eui64:
                conversation.discard(now)
                self._touch(key)
        _LOG.info("%s left the network", eui64)
        self._semantics.left(eui64, now)

    # What the engine orders ----------------------------------------------------------------------------------------

    def send(self, transmit: Transmit) -> None:
        if isinstance(transmit.envelope, Interaction) and self._semantics is not None:
            self._semantics.carry_out(transmit.envelope, transmit)  # without another turn of the loop
            return
        if isinstance(transmit.envelope, Exchange):  # no device of ZigBee takes requests
            if self._context is not None:
                self._context.settle(Receipt(transmit.envelope.id, Outcome.DROPPED, Reason.CONTENT))
            return
        self._orders.append(transmit)
        self._wake.set()

    def withdraw(self, envelope: EnvelopeId) -> None:
        if self._semantics is not None:
            self._semantics.withdraw(envelope)
        for transmit in self._orders:
            if transmit.envelope.id == envelope:
                self._orders.remove(transmit)
                return
        session = self._held.pop(envelope, None)
        place = None if session is None else self._sessions.get(session)
        if place is not None and self._context is not None:
            key, handle = place
            conversation = self._conversations[key]
            conversation.withdraw(handle, envelope, self._context.now())
            self._touch(key)

    def receipt(self, receipt: Receipt) -> None:
        if receipt.session is None or self._context is None:
            return
        place = self._sessions.get(receipt.session)
        if place is not None:
            key, handle = place
            conversation = self._conversations[key]
            conversation.receipt(handle, receipt, self._context.now())
            if receipt.outcome is not Outcome.DELIVERED:
                self._touch(conversation.key)

    def _carry_out(self, transmit: Transmit, now: float) -> None:
        envelope = transmit.envelope
        if isinstance(envelope, Open):
            self._open(transmit, envelope, now)
            return
        if isinstance(envelope, Interaction):
            assert self._semantics is not None
            self._semantics.carry_out(envelope, transmit)
            return
        assert not isinstance(envelope, Exchange)
        place = self._sessions.get(envelope.session)
        if place is None:
            self._settle(envelope.id, Reason.UNKNOWN, envelope.session)
            return
        key, handle = place
        conversation = self._conversations[key]
        self._held[envelope.id] = envelope.session
        conversation.send(transmit, handle, now)
        self._touch(conversation.key)

    def _open(self, transmit: Transmit, envelope: Open, now: float) -> None:
        link_key = transmit.require.link_key
        endpoint = self._endpoint_of(transmit.to.claim)
        conversation = None if endpoint is None else self._conversation((*endpoint, link_key))
        if conversation is None:
            self._settle(envelope.id, Reason.UNREACHABLE, envelope.session)
        elif not meets(conversation.peer.link, transmit.require):
            self._settle(envelope.id, Reason.LINK, envelope.session)
        else:
            assert envelope.session is not None
            assert self._shared is not None
            self._held[envelope.id] = envelope.session
            asleep = self._radio is not None and self._radio.asleep(conversation.eui64)
            conversation.open(envelope, now, DeliveryMode.KEPT if asleep else DeliveryMode.PUSHED, until_awake=asleep)
            if asleep and envelope.id in self._held:
                self._shared.hold(envelope.id, envelope.session)
                if self._sender is not None and self._sender.listens(conversation.eui64):
                    conversation.tunnels.heard(now)
            self._touch(conversation.key)

    def _endpoint_of(self, claim: str) -> tuple[str, int] | None:
        """Where a device has the tunnelling cluster: as it told in its interview, else where it last spoke from."""
        kind, _, eui64 = claim.partition(":")
        radio = self._radio
        device = radio.device(eui64) if kind == "eui64" and radio is not None else None
        if device is None:
            return None
        if device.tunnel_endpoints:
            return eui64, device.tunnel_endpoints[0]
        return next(((key[0], key[1]) for key in reversed(self._conversations) if key[0] == eui64), None)

    def _settle(self, envelope: EnvelopeId, reason: Reason, session: SessionId | None) -> None:
        assert self._shared is not None
        self._shared.settle(envelope, reason, session)

    # The work ------------------------------------------------------------------------------------------------------

    def _touch(self, key: _Key) -> None:
        self._dirty[key] = None
        self._wake.set()

    async def _work(self, context: AdapterContext) -> None:
        assert self._semantics is not None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._turn(context)
                self._set_timer(context)
                if self._inbox or self._semantics.busy:
                    self._wake.set()
                    await asyncio.sleep(0)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _turn(self, context: AdapterContext) -> None:
        assert self._semantics is not None
        now = context.now()
        self._semantics.turn(now)
        heard, self._heard = self._heard, {}
        for key in [key for key in self._calling if key[0] in heard]:
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
        sender = self._sender
        if sender is None:
            if self._gone:
                for out in list(conversation.tunnels.frames_to_send()):
                    conversation.tunnels.frame_failed(out.id, now)
                conversation.digest(now)
            return
        for out in conversation.tunnels.frames_to_send():
            sender.submit(
                Frame(
                    conversation.eui64,
                    conversation.endpoint,
                    out.octets,
                    conversation.link_key,
                    _Report(self, conversation, out.id),
                )
            )

    def frame_done(self, conversation: TunnelBridge, frame: int, outcome: Sent) -> None:
        """What became of a frame of a conversation's tunnels."""
        assert self._context is not None
        now = self._context.now()
        if outcome is Sent.DELIVERED:
            conversation.tunnels.frame_delivered(frame, now)
        else:
            conversation.tunnels.frame_failed(frame, now)
        self._touch(conversation.key)

    def _set_timer(self, context: AdapterContext) -> None:
        assert self._semantics is not None
        times = (self._deadlines.next(), self._semantics.next_deadline())
        due = min((time for time in times if time is not None), default=None)
        if due is None or (self._timer is not None and self._timer_due <= due):
            return  # to wake early does no harm
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - context.now()), self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._wake.set()

    def _conversation(self, key: _Key) -> TunnelBridge | None:
        """The conversation with a device endpoint; a new one pushes out the oldest that is idle. None: no room."""
        conversation = self._conversations.get(key)
        if conversation is not None:
            return conversation
        assert self._shared is not None
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
                foreign_tunnel_error=TransferError.NO_SUCH_TUNNEL,  # nobody learns which tunnels there are
            ),
            ids=self._ids,
            protocols=[(manufacturer, protocol) for protocol in sorted(self._config.routes(key[0]))],
            first_sequence=secrets.randbelow(256),
        )
        if self._radio is not None:
            tunnels.maximum_payload_length = self._payload_length(key[2])
        conversation = self._conversations[key] = TunnelBridge(key, tunnels, self._shared)
        return conversation

    # For the administrator -----------------------------------------------------------------------------------------

    def update(self, update: Update) -> None:
        """No watch was submitted, so none has news."""

    def refresh(self, device: Address) -> None:
        if self._semantics is not None:
            self._semantics.refresh(device)

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        return doubts(facts, self._config)

    def flush(self) -> None:
        """Its carriage has written already."""

    def status(self) -> Mapping[str, Any]:
        radio, sender = self._radio, self._sender
        return {
            "link": self._link,
            "network": {} if radio is None else radio.network,
            **({} if radio is None or not radio.note else {"note": radio.note}),
            "devices": 0 if radio is None else sum(1 for _ in radio.devices()),
            "reach": {} if self._semantics is None else self._semantics.reach(),
            "tunnels": sum(conversation.count for conversation in self._conversations.values()),
            "counters": {
                **self._counters,
                **({} if radio is None else {f"radio_{name}": count for name, count in radio.counters.items()}),
                **({} if sender is None else {f"frames_{name}": count for name, count in sender.counters.items()}),
            },
        }

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        radio = self._radio
        if name == "network":
            return self._network()
        if name not in COMMANDS:
            raise NoCommandError(f"the zigbee adapter knows {', '.join(sorted((*COMMANDS, 'network')))}")
        if radio is None or self._semantics is None:
            if name == "remove" and arguments.get("force") and self._semantics is not None:
                return self._forget(str(arguments.get("eui64")))
            raise PeerError(f"the dongle can't be used now: {self._trouble or 'the start is not done yet'}")
        answer = await COMMANDS[name](radio, self._semantics, arguments)
        return {**answer, "note": radio.note} if name == "devices" and radio.note else answer

    def _network(self) -> Mapping[str, Any]:
        radio, foreign = self._radio, self._foreign
        if foreign is not None:
            return described(foreign.ours, foreign.held)
        if radio is not None:
            return described(radio.identity, radio.identity)
        assert self._context is not None
        return described(recorded(self._context.state_dir / DATABASE), None, self._trouble)

    def _forget(self, eui64: str) -> Mapping[str, Any]:
        """Without the dongle: the device is taken out of zigpy's database when it is back."""
        assert self._context is not None
        Members(self._context.state_dir / MEMBERS).leave(eui64)
        self.device_left(eui64)
        return {"known": True, "left": False}


class _Report:
    """Takes the outcome of one frame to its conversation."""

    __slots__ = ("_adapter", "_conversation", "_frame")

    def __init__(self, adapter: ZigbeeAdapter, conversation: TunnelBridge, frame: int) -> None:
        self._adapter = adapter
        self._conversation = conversation
        self._frame = frame

    def __call__(self, outcome: Sent) -> None:
        self._adapter.frame_done(self._conversation, self._frame, outcome)
