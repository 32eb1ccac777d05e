"""The devices whose clusters the gateway understands, and what happens to them: where reports, commands, the setting up
of devices and their presence meet.

Synchronous; ``adapter`` calls ``turn`` after every wake. What comes in is queued by ``take`` (bounded) so that bellows'
callback never waits for the engine. An order is carried out at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from adapters.zigbee import command_execution, default_responses, reports
from adapters.zigbee.availability import AvailabilityTable
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.command_execution import CommandExecution
from adapters.zigbee.config import PresenceTimes
from adapters.zigbee.default_responses import DefaultResponses
from adapters.zigbee.radio_port import Device, Radio
from adapters.zigbee.reporting_memory import MEMORY, ReportingMemory
from adapters.zigbee.reporting_setup import ReportingSetup
from adapters.zigbee.reports import BASIC, Model, Notes, Values, happened, model_of, peer_of, reported
from adapters.zigbee.send_scheduler import SendOutcome as Sent
from adapters.zigbee.send_scheduler import SendScheduler
from adapters.zigbee.zcl_transactions import Answer, Content, NoReply, Reply, Transaction, ZclTransactions
from carriage.zigbee import foundation, zdo
from carriage.zigbee.foundation import General, Status
from gateway.api.errors import PeerError
from gateway.api.model import (
    Address,
    EnvelopeId,
    Event,
    Interaction,
    Join,
    Leave,
    Presence,
    Reading,
    Transmit,
)
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

INBOX: Final = 1024
"""Frames that wait to be decoded; more are dropped and counted."""
BATCH: Final = 64
"""Frames decoded before anything else gets its turn."""
COUNTERS: Final = (
    "reports",
    "reports_repeated",
    "reports_malformed",
    "events",
    "events_malformed",
    "reports_unknown",
    "reports_dropped",
    *reports.COUNTERS,
    *default_responses.COUNTERS,
    *command_execution.COUNTERS,
)

_GENERAL: Final = 0x07
"""Frame type and manufacturer bit of the ZCL frame control: zero in a general frame of the standard."""
_OF_MANUFACTURER: Final = 0x04
_CLUSTER_COMMAND: Final = 0x01
_FROM_SERVER: Final = 0x08
"""The direction bit of the ZCL frame control (ZCL8, 2.4.1.1.3)."""
"""The same bits of a general frame of a manufacturer, whose code comes before the sequence number."""
_NO_DEFAULT_RESPONSE: Final = 0x10
_BROADCAST_ENDPOINT: Final = 0xFF
_REPORT: Final = int(General.REPORT)
_PING: Final = Content(General.READ, foundation.read([0x0000]), General.READ_RESPONSE)
"""The ZCL version, which every device has."""
_NOT_ASKED: Final = NoReply(Sent.BUSY)
_SILENT: Final = "it doesn't answer"


class ZclDevices:
    """All devices of one adapter. ``wake`` asks for a ``turn``."""

    def __init__(
        self,
        context: AdapterContext,
        table: ClusterTable,
        presence: PresenceTimes,
        counters: dict[str, int],
        wake: Callable[[], None],
    ) -> None:
        self._context = context
        self._table = table
        self._counters = counters
        self._wake = wake
        self._models: dict[str, Model] = {}
        self._endpoints: dict[str, set[int]] = {}
        """Of each device those that it listed, and those that it was asked for."""
        self._unread: set[str] = set()
        """Devices to be read when the radio is back."""
        self._notes = Notes(counters, self._changed)
        self._inbox: deque[tuple[str, int, int, bytes, bool, bool, Transaction | None]] = deque()
        self._presence = AvailabilityTable(always_on=presence.always_on, sleepy=presence.sleepy)
        self._requests = ZclTransactions(context.now, wake)
        self._responses = DefaultResponses(counters)
        self._orders = CommandExecution(context, self._requests, counters, self._silent)
        self._memory = ReportingMemory(context.state_dir / MEMORY)
        self._setup = ReportingSetup(self._requests, self._memory, context.now, self._tell, self._silent)

    # The radio -----------------------------------------------------------------------------------------------------

    def up(self, sender: SendScheduler, radio: Radio) -> None:
        """The radio is up."""
        self._requests.sender = self._responses.sender = sender
        self._setup.radio = radio
        wall = time.time()
        for device in radio.devices():
            self._known(device, None if device.last_seen is None else max(0.0, wall - device.last_seen), anew=False)
        self._wake()

    def down(self) -> None:
        """The radio is lost. What is held for sleeping devices is kept."""
        while self._inbox:
            self._digest(*self._inbox.popleft(), self._context.now())
        self._orders.radio_lost()
        self._requests.sender = None
        self._responses.clear()
        self._setup.clear()
        self._setup.radio = None
        self._presence.clear()

    def joined(self, device: Device) -> None:
        """A device has come into the network, and its interview is over."""
        self._known(device, 0.0, anew=True)

    def changed(self, device: Device) -> None:
        """A device has told of another endpoint."""
        self._known(device, 0.0, anew=False)

    def restarted(self, device: Device) -> None:
        """A device that is always on was without power."""
        model = self._models.get(device.eui64)
        if model is not None and self._requests.sender is not None:
            self._setup.restarted(model)

    def _known(self, device: Device, silent: float | None, *, anew: bool) -> None:
        eui64 = device.eui64
        if not device.interviewed:
            self._join(eui64, device.sleepy)
            return
        model = model_of(device, self._table, self._notes)
        if not anew:
            self._memory.recall(model)
        self._join(eui64, device.sleepy, model)
        self._models[eui64] = model
        self._endpoints[eui64] = {endpoint.number for endpoint in device.endpoints}
        now = self._context.now()
        self._presence.add(eui64, sleepy=device.sleepy, silent=silent, now=now)
        if anew:
            self._presence.heard(eui64, now)
        self._setup.add(model, anew=anew, missing=device.missing)
        if eui64 in self._unread:
            self._unread.discard(eui64)
            self._setup.read(model)
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
        if self._models.get(model.eui64) is model:  # else this is a late word about a device that left or came anew
            self._memory.remember(model)
            self._join(model.eui64, model.sleepy, model)

    def left(self, eui64: str, now: float) -> None:
        self._models.pop(eui64, None)
        self._endpoints.pop(eui64, None)
        self._unread.discard(eui64)
        self._presence.remove(eui64)
        self._setup.left(eui64)
        self._requests.forget(eui64)
        self._orders.left(eui64)
        self._context.submit(Leave(id=self._context.next_id(), source=peer_of(eui64), received_at=now))

    async def leave(self, eui64: str) -> None:
        """Ask a device to leave the network, and wait for its word; one that sleeps is asked when it is heard.

        PeerError: it refuses. A device that says nothing has to be given up by the caller.
        """
        said: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        question = self._requests.leave(eui64, lambda answer: None if said.done() else said.set_result(answer))
        try:
            answer = await said
        finally:
            if question is not None:
                self._requests.unsent(question)
        if isinstance(answer, NoReply):
            raise PeerError(_SILENT)
        if status := zdo.leave_response(answer.payload):
            raise PeerError(f"it refuses to leave: {zdo.status_name(status)}")

    def heard(self, eui64: str, sleepy: bool) -> None:
        """A frame of any kind came; told before the frame itself."""
        if self._presence.heard(eui64, self._context.now()):
            self._back(eui64)
        if sleepy:
            self._orders.heard(eui64)
        if self._setup.jobs:
            self._setup.heard(eui64)

    def _back(self, eui64: str) -> None:
        """A device that was offline, or not heard since the start, is there: what it tells may be another now."""
        model = self._models[eui64]
        if eui64 in self._setup.jobs:
            self._setup.heard(eui64, at_once=True)
        else:
            self._setup.add(model, anew=False)
        self._wake()

    def take(
        self, eui64: str, endpoint: int, cluster: int, aps_counter: int, payload: bytes, link_key: bool, unicast: bool
    ) -> bool:
        """See ``air.RadioEvents.zcl_frame``."""
        if len(payload) < (3 if endpoint else 2):
            return False
        question, ours = None, cluster in self._table.of  # from others zigpy learns the model of some sleeping devices
        if not endpoint or payload[2] != _REPORT or payload[0] & _GENERAL:
            question = self._requests.find(eui64, endpoint, cluster, payload, link_key) if unicast else None
            ours = question is not None
            if not ours and not (endpoint and (_reports(payload) or self._event(eui64, endpoint, cluster, payload))):
                if endpoint and unicast:
                    self._not_ours(eui64, endpoint << 16 | cluster, payload, link_key)
                return False
        if len(self._inbox) >= INBOX:
            self._counters["reports_dropped"] += 1
            return ours
        self._inbox.append((eui64, endpoint << 16 | cluster, aps_counter, payload, link_key, unicast, question))
        self._wake()
        return ours

    def _event(self, eui64: str, endpoint: int, cluster: int, payload: bytes) -> bool:
        """Whether a frame is a command of a cluster that the device's events know. It may come by a group cast."""
        if payload[0] & _GENERAL != _CLUSTER_COMMAND:
            return False
        model = self._models.get(eui64)
        key = (endpoint << 16 | cluster, payload[2], not payload[0] & _FROM_SERVER)
        return model is not None and key in model.events

    def _not_ours(self, eui64: str, at: int, payload: bytes, link_key: bool) -> None:
        """zigpy gets a frame. It says nothing to one from a cluster that the device's interview didn't tell of."""
        model = self._models.get(eui64)
        if model is not None and at not in model.clusters:
            self._responses.answer(eui64, at, payload, link_key, Status.UNSUPPORTED_CLUSTER)

    # The gateway ---------------------------------------------------------------------------------------------------

    def carry_out(self, wanted: Interaction, transmit: Transmit) -> None:
        kind, _, eui64 = transmit.to.claim.partition(":")
        self._orders.carry_out(wanted, transmit, self._models.get(eui64) if kind == "eui64" else None)

    def refresh(self, device: Address) -> None:
        """Read a device's values: at once, or when it is heard where it sleeps."""
        kind, _, eui64 = device.claim.partition(":")
        model = self._models.get(eui64) if kind == "eui64" else None
        if model is None:
            return  # it is read after its interview
        if self._requests.sender is None:
            self._unread.add(eui64)
        else:
            self._setup.read(model)

    def withdraw(self, envelope: EnvelopeId) -> None:
        self._orders.withdraw(envelope)

    def reach(self) -> dict[str, int]:
        """How many devices can be reached, can't be, and of how many nobody knows."""
        found = [self._presence.online(eui64) for eui64 in self._models]
        return {"online": found.count(True), "offline": found.count(False), "not_known": found.count(None)}

    def shown(self, eui64: str) -> dict[str, Any]:
        """For the administrator: what is known of a device here."""
        model = self._models.get(eui64)
        properties = () if model is None else model.properties
        return {
            "online": self._presence.online(eui64),
            "properties": [{"name": one.name, "unit": one.unit, "writable": one.writable} for one in properties],
            "commands_held": self._orders.waiting(eui64),
            "reporting": self._setup.states(eui64),
            "setup_steps_left": self._setup.left_over(eui64),
        }

    # The work ------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Frames are left for another turn. Those that come while the radio starts wait until its devices are known."""
        return bool(self._inbox) and self._requests.sender is not None

    def next_deadline(self) -> float | None:
        times = (self._requests.next_deadline(), self._presence.next_deadline())
        return min((time for time in times if time is not None), default=None)

    def turn(self, now: float) -> None:
        inbox = self._inbox
        for _ in range(min(BATCH, len(inbox)) if self._requests.sender is not None else 0):
            self._digest(*inbox.popleft(), now)
        self._requests.tick(now)
        self._presence.tick(now)
        if self._presence.stirs:
            self._tell_presence(now)

    def _tell_presence(self, now: float) -> None:
        for eui64 in self._presence.asks():
            self._ping(eui64)
        for news in self._presence.news():
            _LOG.info("%s is %s", news.eui64, "online" if news.online else "offline")
            self._context.submit(
                Presence(id=self._context.next_id(), source=peer_of(news.eui64), online=news.online, received_at=now)
            )

    def _digest(
        self,
        eui64: str,
        at: int,
        aps_counter: int,
        payload: bytes,
        link_key: bool,
        unicast: bool,
        question: Transaction | None,
        now: float,
    ) -> None:
        if question is not None:
            self._requests.answered(question, payload)
            if question.endpoint and not payload[0] & _NO_DEFAULT_RESPONSE:
                self._responses.answer(eui64, at, payload, link_key, Status.SUCCESS)
            return
        model = self._models.get(eui64)
        if model is not None and model.repeated((aps_counter, at, link_key, payload), now):
            self._counters["reports_repeated"] += 1
            return
        if model is not None and payload[0] & _GENERAL == _CLUSTER_COMMAND:
            self._happened(model, at, payload, link_key, unicast, now)
            return
        values: Values = ()
        if model is None or payload[0] & _GENERAL:  # whose clusters, or whose attributes, nobody knows
            _, fault = foundation.reported(payload[5:] if payload[0] & _GENERAL else payload[3:])
        else:
            values, fault = reported(model, at, payload[3:])
        if unicast and (fault or not payload[0] & _NO_DEFAULT_RESPONSE):
            status = Status.MALFORMED_COMMAND if fault else Status.SUCCESS
            self._responses.answer(eui64, at, payload, link_key, status)
        if fault:
            self._counters["reports_malformed"] += 1
        if model is None or not values:
            self._counters["reports_unknown"] += not fault
            if model is not None and at not in model.clusters:
                self._look(model, at >> 16)
            return
        self._counters["reports"] += 1
        context = self._context
        context.submit(
            Reading(
                id=context.next_id(),
                source=model.peer_link_key if link_key else model.peer,
                values=values,
                received_at=now,
            )
        )

    def _happened(self, model: Model, at: int, payload: bytes, link_key: bool, unicast: bool, now: float) -> None:
        """A device sent a cluster command that is an event."""
        status = Status.SUCCESS
        try:
            found = happened(model, at, payload[2], not payload[0] & _FROM_SERVER, payload[3:])
        except PeerError:
            found, status = None, Status.MALFORMED_COMMAND
            self._counters["events_malformed"] += 1
        if unicast and (status or not payload[0] & _NO_DEFAULT_RESPONSE):
            self._responses.answer(model.eui64, at, payload, link_key, status)
        if found is None:
            return
        event, data, values = found
        self._counters["events"] += 1
        context, source = self._context, model.peer_link_key if link_key else model.peer
        if values:
            context.submit(Reading(id=context.next_id(), source=source, values=values, received_at=now))
        context.submit(Event(id=context.next_id(), source=source, name=event.name, data=data, received_at=now))

    def _look(self, model: Model, endpoint: int) -> None:
        """Something came that the device didn't say it has: it is asked about an endpoint that it didn't list, once."""
        known = self._endpoints[model.eui64]
        if endpoint not in known and 0 < endpoint < _BROADCAST_ENDPOINT:
            known.add(endpoint)
            self._setup.look(model, endpoint)

    def _tell(self, model: Model, values: Values) -> None:
        context = self._context
        context.submit(Reading(id=context.next_id(), source=model.peer, values=values, received_at=context.now()))

    def _ping(self, eui64: str) -> None:
        model = self._models.get(eui64)

        def done(answer: Answer) -> None:
            there = None if answer == _NOT_ASKED else isinstance(answer, Reply)
            self._presence.asked(eui64, there, self._context.now())
            self._wake()

        assert model is not None  # who is asked is in the table, and who is there has a model
        self._requests.ask(eui64, model.endpoint, BASIC, _PING, done)

    def _silent(self, model: Model) -> None:
        """Something could not be delivered to a device."""
        if self._requests.sender is not None:
            self._presence.doubt(model.eui64)
            self._wake()


def _reports(payload: bytes) -> bool:
    """Whether a frame is a report of a manufacturer's own attributes. ``payload`` has three octets at least."""
    return payload[0] & _GENERAL == _OF_MANUFACTURER and payload[4:5] == bytes((_REPORT,))
