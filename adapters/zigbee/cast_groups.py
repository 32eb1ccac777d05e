"""Cast groups at work: each is a Thing, its commands go out as one frame, and its members are read behind it.

A cast has no answers. So the members' values are taken to be what was set, and each member that has not reported them
itself soon after is read, one member after the other (``READ_PAUSE``), so that a full house doesn't flood the dongle.
Who is in a group is in ``group_store``, how devices come to know it in ``group_setup``; ``group_commands`` has what an
administrator can do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from adapters.zigbee.command_frames import CommandFrame, invoking, reading, writing
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_model import Model, Values
from adapters.zigbee.device_view import NETWORK_KEY
from adapters.zigbee.eager import begin
from adapters.zigbee.group_model import (
    CLAIM,
    RECALL,
    LiveGroup,
    Member,
    claim_of,
    members_names,
    model_of_group,
    peer_of,
)
from adapters.zigbee.group_setup import GroupSetup
from adapters.zigbee.group_store import FILE, DeviceEndpoint, Group, GroupStore
from adapters.zigbee.network_port import AWAY, Radio
from adapters.zigbee.radio_port import Frame, SendOutcome
from adapters.zigbee.reports import answered
from adapters.zigbee.transaction import Answer, NoReply
from adapters.zigbee.vocabulary import meets
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import ZclFrame
from common.timers import Timers
from gateway.api.model import (
    Address,
    Interaction,
    InvokeAction,
    Join,
    Leave,
    Outcome,
    Presence,
    Reading,
    ReadProperties,
    Reason,
    Receipt,
    Transmit,
    Value,
    WriteProperties,
)
from gateway.api.ports import AdapterContext
from layer.errors import UsageError

READ_AFTER: Final = 0.3
"""Seconds from a cast to the first question: what members report by themselves comes before."""
READ_PAUSE: Final = 0.03
"""Seconds from the question to one member to that to the next: 20 are read within 0.9 s."""
_ALL_ENDPOINTS: Final = 0xFF
COUNTERS: Final = ("casts", "casts_failed", "cast_reads")
_FAILED: Final = {
    SendOutcome.BUSY: (Reason.BUSY, ""),
    SendOutcome.TOO_LONG: (Reason.TOO_LARGE, ""),
    SendOutcome.FAILED: (Reason.UNREACHABLE, "not sent"),
}


class CastGroups:
    """All cast groups of one adapter. ``report`` submits values that a device is known to have, and when it had them;
    ``silent`` is called with a device that didn't answer."""

    def __init__(
        self,
        context: AdapterContext,
        records: DeviceRecords,
        transactions: ZclTransactions,
        counters: dict[str, int],
        wake: Callable[[], None],
        report: Callable[[Model, Values, float], None],
        silent: Callable[[ZigbeeDevice], None],
        online: Callable[[ZigbeeDevice], bool | None],
    ) -> None:
        self._context = context
        self.records = records
        self.transactions = transactions
        self.store = GroupStore(context.state_dir / FILE)
        self.setup = GroupSetup(self.store, records, transactions, context.now, self.changed, self._hear)
        self._counters = counters
        self._wake = wake
        self._report = report
        self._silent = silent
        self._online = online
        self.radio: Radio = AWAY
        self._live: dict[int, LiveGroup] = {}
        self.of_device: dict[str, list[tuple[LiveGroup, DeviceEndpoint]]] = {}
        """The memberships of each device that is in a group: who is not there costs nothing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._to_read: dict[str, tuple[float, set[str]]] = {}
        """By device the names of its properties that it is to be asked for, if it doesn't report them after this time.
        """
        self._reads: Timers[str] = Timers()

    # The radio, and the devices ------------------------------------------------------------------------------------

    def up(self, radio: Radio) -> None:
        """The radio is up, and the devices are known."""
        self.radio = radio
        for group in self.store.groups.values():
            self.changed(group)
        self.setup.up()

    def down(self) -> None:
        self.radio = AWAY
        self.setup.jobs.down()
        self._to_read.clear()
        for live in self._live.values():
            live.online = live.offered = None

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def device_known(self, eui64: str, *, joined: bool) -> None:
        """A device's model is another one. ``joined``: it has come into the network."""
        if joined:
            self.setup.joined(eui64)
        for live, _ in tuple(self.of_device.get(eui64, ())):
            self.changed(live.group)

    def left(self, device: ZigbeeDevice) -> None:
        self._to_read.pop(device.eui64, None)
        self.setup.left(device)

    def listens(self, place: DeviceEndpoint) -> bool:
        """Whether a device can answer now; false for one that sleeps."""
        return self.transactions.sender.listens(self.records.of(place.eui64))

    def _hear(self, group: int) -> None:
        """Devices are bound to a group: what they send to it is heard here, too."""
        self._begin(self._subscribe(group))

    async def _subscribe(self, group: int) -> None:
        await self.radio.subscribe(group)  # a dongle may have no room for it

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = begin(work)
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # The groups as Things ------------------------------------------------------------------------------------------

    def changed(self, group: Group) -> None:
        """Its members, its scenes, or what members offer: it joins again with what is so now."""
        live = self._live.get(group.number)
        if live is None:
            live = self._live[group.number] = LiveGroup(group)
        found = {place: self._model(place.eui64) for place in group.members}
        live.members = {place: model for place, model in found.items() if model is not None}
        members: dict[DeviceEndpoint, Member] = {
            place: (model, place.endpoint) for place, model in live.members.items()
        }
        live.model = model = model_of_group(group, tuple(members.values()))
        live.names = {place: members_names(model, member) for place, member in members.items()}
        live.own = {place: {theirs: own for own, theirs in names.items()} for place, names in live.names.items()}
        others = tuple(each for each in live.values.keep(group.members) if each[0] in model.slots)
        self._index()
        # A cast reaches those too that have not confirmed that they are out.
        hear = (*group.members, *self.store.leaving(group.number))
        addresses = tuple(
            Address(scheme="zigbee", claim=f"eui64:{eui64}") for eui64 in dict.fromkeys(place.eui64 for place in hear)
        )
        offered = (model.facts, model.properties, model.actions, addresses)
        if offered != live.offered:
            live.offered = offered
            context = self._context
            context.submit(
                Join(
                    id=context.next_id(),
                    source=model.peer,
                    received_at=context.now(),
                    facts=model.facts,
                    properties=model.properties,
                    actions=model.actions,
                    members=addresses,
                )
            )
        self._tell_presence(live)
        self._tell(live, others)

    def removed(self, group: Group) -> None:
        self._live.pop(group.number, None)
        self._index()
        context = self._context
        context.submit(Leave(id=context.next_id(), source=peer_of(group.number), received_at=context.now()))

    def _model(self, eui64: str) -> Model | None:
        device = self.records.get(eui64)
        return None if device is None else device.model

    def _index(self) -> None:
        self.of_device = {}
        for live in self._live.values():
            for place in live.group.members:
                self.of_device.setdefault(place.eui64, []).append((live, place))

    def presence_changed(self, eui64: str) -> None:
        for live, _ in self.of_device.get(eui64, ()):
            self._tell_presence(live)

    def _tell_presence(self, live: LiveGroup) -> None:
        """A group can be reached if a member can."""
        there = [self._online(self.records.of(place.eui64)) for place in live.members]
        online = True if True in there else None if None in there or not there else False
        if online is not None and online is not live.online:
            live.online = online
            context = self._context
            source = peer_of(live.group.number)
            context.submit(Presence(id=context.next_id(), source=source, online=online, received_at=context.now()))

    def values(self, model: Model, values: Values) -> None:
        """A member has reported values: those of its groups may be others now, and it needn't be asked for them."""
        asked = self._to_read.get(model.eui64)
        if asked is not None and self._context.now() >= asked[0]:
            asked[1].difference_update([name for name, _ in values])
        for live, place in self.of_device[model.eui64]:
            own = live.own.get(place, {})
            self._tell(live, live.values.take(place, tuple((own[name], each) for name, each in values if name in own)))

    def _tell(self, live: LiveGroup, values: Values) -> None:
        if values:
            context, source = self._context, peer_of(live.group.number)
            context.submit(Reading(id=context.next_id(), source=source, values=values, received_at=context.now()))

    # Commands to a group -------------------------------------------------------------------------------------------

    def carry_out(self, wanted: Interaction, transmit: Transmit) -> bool:
        """Carry out a transmit that is for a group; False: it is not."""
        claim = transmit.to.claim
        if not claim.startswith(CLAIM):
            return False
        live = next((each for each in self._live.values() if claim_of(each.group.number) == claim), None)
        model = None if live is None else live.model
        if live is None or model is None:
            self._drop(wanted, Reason.UNREACHABLE, "no such group")
        elif not meets(NETWORK_KEY, transmit.require):
            self._drop(wanted, Reason.LINK, "a group cast has no link key")
        elif isinstance(wanted, ReadProperties):
            self._read_soon(live, wanted.names, changes=False)
            self._context.settle(Receipt(wanted.id, Outcome.SENT))
        else:
            self._cast(live, model, wanted)
        return True

    def _cast(self, live: LiveGroup, model: Model, wanted: WriteProperties | InvokeAction) -> None:
        delay = 0.0
        try:
            if isinstance(wanted, WriteProperties):
                frames, unset = writing(model, wanted.values)
                frames = [
                    each if each.then is None else each.then(live.values.last(each.slots[0].property.name))
                    for each in frames  # a group can't be asked: its members have said it
                ]
                seconds = wanted.values.get("transition")
                names = {name for name in wanted.names if name in model.slots}
            else:
                deed = model.deeds[wanted.name]
                frames, unset = [each for each in invoking(model, deed, wanted.input) if not each.last], []
                seconds = wanted.input.get("transition") if isinstance(wanted.input, dict) else None
                cluster = deed.row.cluster
                others = wanted.name == RECALL  # which may change whatever there is
                names = {name for name, slot in model.slots.items() if others or slot.row.cluster == cluster}
            delay = float(seconds) if isinstance(seconds, int | float) else 0.0
        except KeyError:
            self._drop(wanted, Reason.UNKNOWN)
            return
        except UsageError:
            self._drop(wanted, Reason.CONTENT)
            return
        if not frames or unset:
            self._drop(wanted, Reason.CONTENT)
            return
        self._begin(self._carry(live, wanted, frames, names, delay))

    async def _carry(
        self, live: LiveGroup, wanted: Interaction, frames: list[CommandFrame], names: set[str], delay: float
    ) -> None:
        sent = await self._send(live, frames, names, delay)
        if sent is SendOutcome.DELIVERED:
            self._context.settle(Receipt(wanted.id, Outcome.SENT))
        else:
            self._drop(wanted, *_FAILED.get(sent, _FAILED[SendOutcome.FAILED]))

    async def recall(self, group: Group, scene: int, seconds: float | None) -> SendOutcome:
        """Have the members go to a scene."""
        live = self._live[group.number]
        model = live.model
        assert model is not None  # it has one since it is live
        given: dict[str, Value] = {"scene": f"{scene}"}
        if seconds is not None:
            given["transition"] = seconds
        frames = invoking(model, model.deeds[RECALL], given)
        return await self._send(live, frames, set(model.slots), seconds or 0.0)

    async def _send(self, live: LiveGroup, frames: list[CommandFrame], names: set[str], delay: float) -> SendOutcome:
        for frame in frames:
            live.sequence = (live.sequence + 1) & 0xFF
            content, command = frame.content, frame.content.command
            if command == General.WRITE and not content.cluster_specific:
                command = General.WRITE_NO_RESPONSE
            octets = ZclFrame(
                command,
                content.payload,
                live.sequence,
                cluster_specific=content.cluster_specific,
                manufacturer=content.manufacturer or None,
                disable_default_response=True,
            ).encode()
            cast = Frame(_ALL_ENDPOINTS, octets, False, _nobody_asks, cluster=frame.cluster)
            sent = await self.radio.cast(live.group.number, cast)
            if sent is not SendOutcome.DELIVERED:
                self._counters["casts_failed"] += 1
                return sent
            self._counters["casts"] += 1
            self._assume(live, frame.result)
        self._read_soon(live, names, delay)
        return SendOutcome.DELIVERED

    def _drop(self, wanted: Interaction, reason: Reason, detail: str = "") -> None:
        self._context.settle(Receipt(wanted.id, Outcome.DROPPED, reason, None, detail))

    def _assume(self, live: LiveGroup, values: Values) -> None:
        """What was set is so, as far as the gateway can know, with those that a cast reaches."""
        if not values:
            return
        for place, model in live.members.items():
            device = self.records.get(place.eui64)
            if device is not None and not model.sleepy and self._online(device) is not False:
                names = live.names[place]
                theirs = tuple((names[name], each) for name, each in values if name in names)
                self._report(model, theirs, self._context.now())

    def _read_soon(self, live: LiveGroup, names: Iterable[str], delay: float = 0.0, *, changes: bool = True) -> None:
        begins = self._context.now() + delay
        due = begins + (READ_AFTER if changes else 0.0)
        for place, model in live.members.items():
            theirs = {live.names[place][name] for name in names if name in live.names[place]}
            if theirs and not model.sleepy:
                _, before = self._to_read.get(place.eui64, (0.0, set()))
                self._to_read[place.eui64] = (begins, theirs | before)
                self._reads.plan(place.eui64, due)
                due += READ_PAUSE
        self._wake()

    # Time ----------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        return self._reads.next()

    def tick(self, now: float) -> None:
        while (eui64 := self._reads.take_due(now)) is not None:
            device, asked = self.records.get(eui64), self._to_read.pop(eui64, None)
            if device is not None and device.model is not None and asked is not None:
                self._read(device, device.model, asked[1])

    def _read(self, device: ZigbeeDevice, model: Model, names: set[str]) -> None:
        for frame in reading(model, sorted(name for name in names if name in model.slots)):
            self._counters["cast_reads"] += 1

            def done(answer: Answer, place: int = frame.place) -> None:
                if isinstance(answer, NoReply):
                    self._silent(device)
                elif answer.command == General.READ_RESPONSE and device.model is model:
                    values = answered(model, place, foundation.read_response(answer.payload)[0])
                    if values:
                        self._report(model, values, self._context.now())

            self.transactions.ask(device, frame.endpoint, frame.cluster, frame.content, done)


def _nobody_asks(outcome: SendOutcome) -> None:
    """A cast has its outcome from the call."""
