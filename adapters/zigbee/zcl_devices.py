"""The devices whose clusters the gateway understands: their reports, commands, setup and availability meet here.

Synchronous, without a queue: a frame is decoded and handed on when it comes, a transmit is carried out when it is
given. Only frames that come before the devices are known, while the radio starts, wait for ``up`` (bounded).
``running`` calls ``turn`` after every ``wake``, and at ``next_deadline``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.zigbee import cast_groups, command_execution, default_responses, device_model, polling, quirk_lane
from adapters.zigbee.availability import AvailabilityTable
from adapters.zigbee.cast_groups import CastGroups
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.command_execution import CommandExecution
from adapters.zigbee.config import PresenceTimes
from adapters.zigbee.debounce import Debounce
from adapters.zigbee.default_responses import DefaultResponses
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice, is_event
from adapters.zigbee.device_model import BASIC, GROUP, Model, Notes, Values, peer_of
from adapters.zigbee.device_options import AVAILABILITY, DeviceOptions
from adapters.zigbee.device_options import FILE as OPTIONS
from adapters.zigbee.device_view import Device
from adapters.zigbee.endings import Endings
from adapters.zigbee.frame_kinds import (
    FROM_SERVER,
    GENERAL,
    NO_DEFAULT_RESPONSE,
    REPORT,
    is_cluster_command,
    is_report_of_manufacturer,
    start_of,
)
from adapters.zigbee.leaving import leave
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.network_port import AWAY, FrameSender, Radio
from adapters.zigbee.polling import Polling
from adapters.zigbee.presses import UNICAST
from adapters.zigbee.quirk_device import QuirkDevice, Told
from adapters.zigbee.quirk_lane import QuirkLane
from adapters.zigbee.quirk_packages import ZHA, QuirkSource
from adapters.zigbee.radio_port import IncomingFrame
from adapters.zigbee.radio_port import SendOutcome as Sent
from adapters.zigbee.reporting_memory import MEMORY, ReportingMemory
from adapters.zigbee.reporting_setup import ReportingSetup
from adapters.zigbee.reports import happened, reported, told
from adapters.zigbee.sniffer import UnreadFrames
from adapters.zigbee.times import TIMES, ZigbeeTimes
from adapters.zigbee.transaction import Answer, Content, NoReply, Reply, Transaction
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General, Status
from carriage.zigbee.zcl import HEADER_LENGTH
from gateway.api.errors import PeerError
from gateway.api.model import (
    Address,
    EnvelopeId,
    Event,
    EventAffordance,
    Interaction,
    Join,
    Leave,
    Presence,
    Reading,
    Transmit,
)
from gateway.api.model import Value as PropertyValue
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

INBOX: Final = 1024
"""Frames that wait for the end of the radio's start; more are dropped and counted."""
COUNTERS: Final = (
    "reports",
    "reports_repeated",
    "reports_malformed",
    "events",
    "events_malformed",
    "events_repeated",
    "reports_unknown",
    "reports_dropped",
    *device_model.COUNTERS,
    *default_responses.COUNTERS,
    *polling.COUNTERS,
    *command_execution.COUNTERS,
    *cast_groups.COUNTERS,
    *quirk_lane.COUNTERS,
)

_BROADCAST_ENDPOINT: Final = 0xFF
_PING: Final = Content(General.READ, foundation.read([0x0000]), General.READ_RESPONSE)
"""The ZCL version, which every device has."""
_NOT_ASKED: Final = NoReply(Sent.BUSY)


class ZclDevices:
    """All devices of one adapter. ``wake`` asks for a ``turn``."""

    def __init__(
        self,
        context: AdapterContext,
        records: DeviceRecords,
        table: ClusterTable,
        presence: PresenceTimes,
        counters: dict[str, int],
        wake: Callable[[], None],
        times: ZigbeeTimes = TIMES,
        *,
        quirks: QuirkSource | None = ZHA,
        by_quirk: Mapping[str, bool] | None = None,
    ) -> None:
        self._context = context
        self._table = table
        self._counters = counters
        self._wake = wake
        self._is_up = False
        """The radio is up, and its devices are known."""
        self._records = records
        self._notes = Notes(counters, self._changed)
        self._inbox: deque[tuple[ZigbeeDevice, IncomingFrame, Transaction | None]] = deque()
        self._presence = AvailabilityTable(always_on=presence.always_on, sleepy=presence.sleepy)
        self._transactions = ZclTransactions(context.now, wake, times.answer)
        self._responses = DefaultResponses(counters)
        self.groups = CastGroups(
            context, records, self._transactions, counters, wake, self._tell, self._silent, self._presence.online
        )
        self._commands = CommandExecution(context, self._transactions, counters, self._silent, self._tell)
        self._memory = ReportingMemory(context.state_dir / MEMORY)
        self._options = DeviceOptions(context.state_dir / OPTIONS)
        self._debounce = Debounce()
        self.sniffer = UnreadFrames(context.now)
        self._quirks = QuirkLane(table, counters, self._by_quirk, self._rebuilt, quirks, by_quirk)
        self._endings = Endings()
        self._polling = Polling(self._transactions, self._memory, counters, self._read, self._silent, wake, times.poll)
        self._setup = ReportingSetup(
            self._transactions, self._memory, context.now, self._read, self._silent, self._rebuilt, self._polled, times
        )
        self._timed = (
            self._transactions, self._presence, self.groups, self._debounce, self._endings, self._polling, self._setup,
        )  # fmt: skip

    # The radio -----------------------------------------------------------------------------------------------------

    def up(self, sender: FrameSender, radio: Radio) -> None:
        """The radio is up."""
        self._is_up = True
        self._transactions.sender = self._responses.sender = sender
        self._setup.radio = radio
        wall = time.time()
        for found in radio.devices():
            self._known(found, None if found.last_seen is None else max(0.0, wall - found.last_seen), joined=False)
        self.groups.up(radio)
        now = self._context.now()
        while self._inbox:
            device, frame, transaction = self._inbox.popleft()
            if transaction is not None or not is_cluster_command(frame.payload) or is_event(device, frame):
                self._digest(device, frame, transaction, now)
        self._wake()

    def down(self) -> None:
        """The radio is lost. What is held for sleeping devices is kept."""
        for device in self._records:
            self._quirks.forget(device)
        self._commands.radio_lost()
        self.groups.down()
        self._is_up = False
        self._transactions.sender = self._responses.sender = AWAY
        self._setup.clear()
        self._polling.clear()
        self._setup.radio = AWAY
        self._presence.clear()

    def close(self) -> None:
        """The adapter ends."""
        for device in self._records:
            self._quirks.forget(device)
        self._quirks.close()
        self.groups.close()

    def joined(self, found: Device) -> None:
        """A device has come into the network, and its interview is over."""
        self._known(found, 0.0, joined=True)

    def changed(self, found: Device) -> None:
        """A device has described another endpoint."""
        self._known(found, 0.0, joined=False)

    def _rebuilt(self, device: ZigbeeDevice) -> None:
        """What a device's rows depend on is known."""
        found = self._setup.radio.device(device.eui64)
        if found is not None:
            self._known(found, 0.0, joined=False)

    def restarted(self, device: ZigbeeDevice) -> None:
        """A device that is always on was without power."""
        if device.model is not None and self._is_up:
            self._setup.restarted(device)

    def _known(self, found: Device, silent: float | None, *, joined: bool) -> None:
        device = self._records.of(found.eui64)
        if not found.interviewed:
            self._join(found.eui64, found.sleepy)
            return
        found = self._quirks.seen(device, found, self._setup.radio, joined=joined)
        constants = {} if joined else self._memory.constants(found.eui64)
        model = model_of(found, self._table, self._notes, constants, self._options.of(found.eui64))
        if not joined:
            self._memory.recall(model)
        self._join(found.eui64, found.sleepy, model)
        device.model = model
        if model.ends:  # what began before this start ends as well
            self._endings.heard(model, tuple((name, True) for name in model.ends), self._context.now())
        device.endpoints = {endpoint.number for endpoint in found.endpoints}
        now = self._context.now()
        self._presence.add(device, sleepy=found.sleepy, silent=silent, now=now)
        self._presence.limit(device, self._options.number(found.eui64, AVAILABILITY), now)
        if joined:
            self._presence.heard(device, now)
        self._setup.add(device, joined=joined, missing=found.missing)
        if device.unread:
            device.unread = False
            self._setup.read(device)
        self.groups.device_known(found.eui64, joined=joined)
        self._wake()

    def _join(self, eui64: str, sleepy: bool, model: Model | None = None) -> None:
        context = self._context
        context.submit(
            Join(
                id=context.next_id(),
                source=peer_of(eui64),
                received_at=context.now(),
                facts=() if model is None else model.facts,
                properties=() if model is None else model.properties,
                actions=() if model is None else model.actions,
                events=() if model is None else model.offered_events,
                sleepy=sleepy,
            )
        )

    def _changed(self, model: Model) -> None:
        """A device doesn't have a property that its clusters promise, or has it after all."""
        device = self._records.get(model.eui64)
        if device is not None and device.model is model:  # else a late answer of a device that left or joined again
            self._memory.remember(model)
            self._join(model.eui64, model.sleepy, model)
            self.groups.device_known(model.eui64, joined=False)

    def left(self, device: ZigbeeDevice, now: float) -> None:
        device.model = None
        self._quirks.left(device)
        self._records.drop(device)
        self._presence.remove(device)
        self._options.left(device.eui64)
        self._debounce.forget(device.eui64)
        self._endings.forget(device.eui64)
        self._polling.forget(device)
        self._setup.left(device.eui64)
        self._transactions.forget(device)
        self._commands.left(device)
        self.groups.left(device)
        self._context.submit(Leave(id=self._context.next_id(), source=peer_of(device.eui64), received_at=now))

    async def leave(self, eui64: str) -> None:
        """See ``leaving.leave``."""
        await leave(self._transactions, self._records.of(eui64))

    def model(self, eui64: str) -> Model | None:
        """None: it isn't known, or not interviewed yet."""
        device = self._records.get(eui64)
        return None if device is None else device.model

    def configure(self, eui64: str) -> None:
        """Set a device up as if it had just joined."""
        found, quirk = self._setup.radio.device(eui64), self._records.of(eui64).quirk
        if quirk is not None:
            quirk.configure()
        self._setup.add(self._records.of(eui64), joined=True, missing=() if found is None else found.missing)
        self._wake()

    def steps_left(self, eui64: str) -> int:
        """The steps of its setup that are not done yet."""
        return self._setup.left_over(eui64)

    async def ask(self, eui64: str, endpoint: int, cluster: int, content: Content) -> Answer:
        """The answer of a device to a request."""
        device = self._records.of(eui64)
        return await self._said(device, lambda done: self._transactions.ask(device, endpoint, cluster, content, done))

    async def neighbours(self, eui64: str, start: int) -> Answer:
        """The answer of a router about its neighbours from an index on."""
        device = self._records.of(eui64)
        return await self._said(device, lambda done: self._transactions.neighbours(device, start, done))

    async def _said(
        self, device: ZigbeeDevice, ask: Callable[[Callable[[Answer], None]], Transaction | None]
    ) -> Answer:
        """The answer to a request, which is taken back if its caller no longer waits."""
        said: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        transaction = ask(lambda answer: None if said.done() else said.set_result(answer))
        try:
            return await said
        finally:
            if transaction is not None:
                self._transactions.unsent(device, transaction)

    def heard(self, device: ZigbeeDevice, now: float) -> None:
        """A frame of any kind came; called before the frame is handed on."""
        if self._presence.heard(device, now):
            self._back(device)
        if device.held:
            self._commands.heard(device)
        if self._setup.jobs:
            self._setup.heard(device.eui64)
        if self.groups.setup.jobs.waiting:
            self.groups.setup.jobs.heard(device)

    def _back(self, device: ZigbeeDevice) -> None:
        """A device that was offline, or not heard since the start, is there: its values may have changed."""
        if device.eui64 in self._setup.jobs:
            self._setup.heard(device.eui64, at_once=True)
        else:
            self._setup.add(device, joined=False)
        self._wake()

    def take(self, device: ZigbeeDevice, frame: IncomingFrame, now: float) -> bool:
        """See ``network_port.RadioEvents.zcl_frame``."""
        payload, endpoint = frame.payload, frame.endpoint
        if self.sniffer.watched:
            self._sniff(device, frame)
        if len(payload) < (3 if endpoint else 2):
            return False
        if device.quirk is not None and device.model is not None:
            return self._take_by_quirk(device, device.model, device.quirk, frame, now)
        transaction, ours = None, frame.cluster in self._table.clusters
        # Of clusters that we have no use for zigpy learns the model of some sleeping devices.
        if not endpoint or payload[2] != REPORT or payload[0] & GENERAL:
            transaction = self._transactions.find(device, frame) if frame.unicast else None
            event = transaction is None and endpoint != 0 and is_event(device, frame, not self._is_up)
            if transaction is None and not event and not (endpoint and is_report_of_manufacturer(payload)):
                if endpoint and frame.unicast:
                    self._not_ours(device, frame)
                return False
            # zigpy would answer an event too; what is none yet, while the radio starts, may be zigpy's.
            ours = transaction is not None or (event and device.model is not None)
        if self._is_up:
            self._digest(device, frame, transaction, now)
        elif len(self._inbox) < INBOX:
            self._inbox.append((device, frame, transaction))
        else:
            self._counters["reports_dropped"] += 1
        return ours

    def _sniff(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        whole = len(frame.payload) >= HEADER_LENGTH and frame.unicast
        self.sniffer.saw(device, frame, answers=whole and self._transactions.find(device, frame) is not None)

    def _take_by_quirk(
        self, device: ZigbeeDevice, model: Model, quirk: QuirkDevice, frame: IncomingFrame, now: float
    ) -> bool:
        """``take`` of a device that goes by its quirk, which answers what it takes."""
        if frame.unicast and (transaction := self._transactions.find(device, frame)) is not None:
            self._digest(device, frame, transaction, now)
            return True
        if quirk_lane.is_for_zigpy_too(frame):
            quirk.take(frame)
            return False
        if is_event(device, frame) and not quirk.carries(frame.endpoint, frame.cluster):
            self._digest(device, frame, None, now)
        elif model.repeated((frame.counter, frame.at, frame.link_key, frame.payload), now):
            self._counters["reports_repeated"] += 1
        else:
            self._by_quirk(device, quirk.take(frame), link_key=frame.link_key)
        return True

    def _by_quirk(self, device: ZigbeeDevice, told: list[Told], *, link_key: bool = False) -> None:
        """What comes from a quirk, by a frame or a timer: the rows read it as if the device had sent it."""
        model, now = device.model, self._context.now()
        if model is None:
            return
        values, events, malformed = quirk_lane.readings_of(model, told)
        self._counters["reports_malformed"] += malformed
        self._counters["reports_unknown"] += not values and not events and not malformed
        self._events(model, events, now, link_key=link_key)
        if values:
            self._values(model, values, now, link_key=link_key)

    def _not_ours(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        """zigpy gets a frame. It answers none from a cluster that isn't in the device's interview."""
        if self._is_up and device.model is not None and frame.at not in device.model.clusters:
            self._responses.answer(device, frame.at, frame.payload, frame.link_key, Status.UNSUPPORTED_CLUSTER)

    # The gateway ---------------------------------------------------------------------------------------------------

    def carry_out(self, wanted: Interaction, transmit: Transmit) -> None:
        device = self._records.claimed(transmit.to.claim)
        if device is not None or not self.groups.carry_out(wanted, transmit):
            self._commands.carry_out(wanted, transmit, device)

    def refresh(self, address: Address) -> None:
        """Read a device's values: at once, or when it is heard if it sleeps."""
        device = self._records.claimed(address.claim)
        if device is None or device.model is None:
            return  # it is read after its interview
        if self._is_up:
            self._setup.read(device)
        else:
            device.unread = True

    def withdraw(self, envelope: EnvelopeId) -> None:
        self._commands.withdraw(envelope)

    def reach(self) -> dict[str, int]:
        """The number of devices that can be reached, that can't be, and of which that is unknown."""
        found = [self._presence.online(device) for device in self._records if device.model is not None]
        return {"online": found.count(True), "offline": found.count(False), "not_known": found.count(None)}

    def shown(self, eui64: str) -> dict[str, Any]:
        """For the administrator: what is known of a device here."""
        device = self._records.of(eui64)
        properties = () if device.model is None else device.model.properties
        return {
            "online": self._presence.online(device),
            "properties": [{"name": one.name, "unit": one.unit, "writable": one.writable} for one in properties],
            "commands_held": len(device.held),
            "options": dict(self._options.of(eui64)),
            **self._quirks.shown(device),
            "polled": [] if device.model is None else sorted(device.model.polled),
            "reporting": self._setup.states(eui64),
            "setup_steps_left": self._setup.left_over(eui64),
        }

    def options(self, eui64: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Set options of a device (None: as usual again), at once; what they were, are, and may be. PeerError: no."""
        device = self._records.get(eui64)
        model = None if device is None else device.model
        if device is None or model is None:
            raise PeerError(f"{eui64}: not in the network, or it did not say yet what it is")
        answer = self._options.asked(eui64, changes, model.properties, model.clusters, self._table.options)
        if changes:
            self._debounce.forget(eui64)
            self._rebuilt(device)
        return answer

    # The work ------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        due = None
        for part in self._timed:
            other = part.next_deadline()
            if due is None or (other is not None and other < due):
                due = other
        return due

    def turn(self, now: float) -> None:
        self._transactions.tick(now)
        self._presence.tick(now)
        self.groups.tick(now)
        for model, values, link_key in self._debounce.take(now):
            self._tell(model, values, now, link_key=link_key)
        for model, name in self._endings.take(now):
            self._tell(model, ((name, False),), now)
        self._polling.tick(now)
        self._setup.tick(now)
        if self._presence.stirs:
            self._tell_presence(now)

    def _tell_presence(self, now: float) -> None:
        for device in self._presence.asks():
            self._ping(device)
        for news in self._presence.news():
            eui64 = news.device.eui64
            _LOG.info("%s is %s", eui64, "online" if news.online else "offline")
            self._context.submit(
                Presence(id=self._context.next_id(), source=peer_of(eui64), online=news.online, received_at=now)
            )
            self.groups.presence_changed(eui64)

    def _digest(self, device: ZigbeeDevice, frame: IncomingFrame, transaction: Transaction | None, now: float) -> None:
        payload, at, link_key = frame.payload, frame.at, frame.link_key
        if transaction is not None:
            self._transactions.answered(transaction, payload)
            if transaction.endpoint and not payload[0] & NO_DEFAULT_RESPONSE:
                self._responses.answer(device, at, payload, link_key, Status.SUCCESS)
            return
        model = device.model
        if model is not None and model.repeated((frame.counter, at, link_key, payload), now):
            self._counters["reports_repeated"] += 1
            return
        if model is not None and payload[0] & GENERAL and is_cluster_command(payload):
            self._happened(device, model, frame, now)
            return
        values: Values = ()
        if model is None:  # its clusters are unknown
            _, fault = foundation.reported(payload[start_of(payload) :])
        elif payload[0] & GENERAL:
            values, fault = reported(model, model.known_place(frame), payload[start_of(payload) :])
        else:
            values, fault = reported(model, at, payload[3:])
        if frame.unicast and (fault or not payload[0] & NO_DEFAULT_RESPONSE):
            status = Status.MALFORMED_COMMAND if fault else Status.SUCCESS
            self._responses.answer(device, at, payload, link_key, status)
        if fault:
            self._counters["reports_malformed"] += 1
        events = 0
        if model is not None and model.reported_events:
            happenings = told(model, model.known_place(frame), payload[start_of(payload) :])
            events = self._events(model, happenings, now, link_key=link_key)
        if model is None or not values:
            self._counters["reports_unknown"] += not fault and not events
            if model is not None and at not in model.clusters:
                self._look(device, frame.endpoint)
            return
        self._values(model, values, now, link_key=link_key)

    def _values(self, model: Model, values: Values, now: float, *, link_key: bool) -> None:
        """Values came by themselves."""
        self._counters["reports"] += 1
        if model.polled:
            model.polled.update((name, now) for name, _ in values if name in model.polled)
        if model.debounce:
            self._tell_later(model, values, now, link_key=link_key)
        else:
            self._tell(model, values, now, link_key=link_key)

    def _happened(self, device: ZigbeeDevice, model: Model, frame: IncomingFrame, now: float) -> None:
        """A device sent a cluster command that is an event."""
        payload, status = frame.payload, Status.SUCCESS
        start, by_client = start_of(payload), not payload[0] & FROM_SERVER
        reply = None
        try:
            found = happened(model, frame.place, payload[start - 1], by_client, payload[start:])
            if found is not None and found[3] is not None:
                reply = found[3](payload[start:], bool(device.held or device.transactions.open))
        except PeerError:
            found, status = None, Status.MALFORMED_COMMAND
            self._counters["events_malformed"] += 1
        if frame.unicast and reply is not None:
            self._responses.reply(device, frame.at, payload, frame.link_key, *reply)
        elif frame.unicast and (status or not payload[0] & NO_DEFAULT_RESPONSE):
            self._responses.answer(device, frame.at, payload, frame.link_key, status)
        if found is None:
            return
        way = UNICAST if frame.unicast else frame.group
        content = hash((frame.place, frame.link_key, payload[start - 1 :]))
        numbered = model.events[frame.place, payload[start - 1], by_client][1].numbered
        number = payload[start if numbered else start - 2]
        if (by_client or numbered) and model.pressed(frame.endpoint, number, content, way, now):
            self._counters["events_repeated"] += 1
            return
        event, data, values, _ = found
        self._counters["events"] += event is None
        if values:
            self._tell(model, values, now, link_key=frame.link_key)
        if event is not None:
            if frame.group:
                data = {**data, GROUP: frame.group} if isinstance(data, dict) else {GROUP: frame.group}
            self._events(model, [(event, data)], now, link_key=frame.link_key)

    def _events(
        self, model: Model, events: list[tuple[EventAffordance, PropertyValue | None]], now: float, *, link_key: bool
    ) -> int:
        """Hand events on; how many they are."""
        context, source = self._context, model.peer_link_key if link_key else model.peer
        for event, data in events:
            context.submit(Event(id=context.next_id(), source=source, name=event.name, data=data, received_at=now))
        self._counters["events"] += len(events)
        return len(events)

    def _look(self, device: ZigbeeDevice, endpoint: int) -> None:
        """Something came that the device didn't say it has: it is asked about an endpoint that it didn't list, once."""
        if endpoint not in device.endpoints and 0 < endpoint < _BROADCAST_ENDPOINT:
            device.endpoints.add(endpoint)
            self._setup.look(device, endpoint)

    def _tell(self, model: Model, values: Values, now: float, *, link_key: bool = False) -> None:
        context = self._context
        source = model.peer_link_key if link_key else model.peer
        context.submit(Reading(id=context.next_id(), source=source, values=values, received_at=now))
        if model.ends:
            self._endings.heard(model, values, now)
            self._wake()
        if model.eui64 in self.groups.of_device:
            self.groups.values(model, values)

    def _tell_later(self, model: Model, values: Values, now: float, *, link_key: bool) -> None:
        """What can't be set waits for what comes soon; what can be is passed on at once, lest it undo a write."""
        slots = model.slots
        if at_once := tuple(each for each in values if slots[each[0]].property.writable):
            self._tell(model, at_once, now, link_key=link_key)
        if later := tuple(each for each in values if not slots[each[0]].property.writable):
            self._debounce.add(model, later, now, link_key=link_key)
            self._wake()

    def _polled(self, device: ZigbeeDevice) -> None:
        """A device is set up: what it can't report is polled."""
        self._polling.plan(device, self._context.now())

    def _read(self, device: ZigbeeDevice, values: Values) -> None:
        """Values were read while a device was set up."""
        if device.model is not None:
            self._tell(device.model, values, self._context.now())

    def _ping(self, device: ZigbeeDevice) -> None:
        model = device.model

        def done(answer: Answer) -> None:
            there = None if answer == _NOT_ASKED else isinstance(answer, Reply)
            self._presence.asked(device, there, self._context.now())
            self._wake()

        assert model is not None  # who is asked is in the table, and who is there has a model
        self._transactions.ask(device, model.endpoint, BASIC, _PING, done)

    def _silent(self, device: ZigbeeDevice) -> None:
        """Something could not be delivered to a device."""
        if self._is_up:
            self._presence.doubt(device)
            self._wake()
