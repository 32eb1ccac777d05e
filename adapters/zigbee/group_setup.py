"""The groups and bindings that devices are asked to keep: the file says which, their answers which of them they have.

Each wish is stored first and carried out then (``device_jobs``), so that neither a restart nor a device that is away
loses one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_jobs import DeviceJob, DeviceJobs
from adapters.zigbee.group_store import ClusterBinding, DeviceEndpoint, Group, GroupStore
from adapters.zigbee.transaction import Answer, Content, Reply, Transaction
from adapters.zigbee.zcl_transactions import ZclTransactions
from carriage.zigbee import foundation, zdo
from carriage.zigbee import groups as zcl_groups
from carriage.zigbee.foundation import Status
from gateway.api.errors import PeerError

_LOG = logging.getLogger(__name__)

_NOT_IN: Final = frozenset(
    {
        Status.INSUFFICIENT_SPACE,
        Status.INVALID_FIELD,
        Status.INVALID_VALUE,
        Status.LIMIT_REACHED,
        Status.NOT_AUTHORIZED,
        Status.UNSUP_COMMAND,
        Status.UNSUPPORTED_CLUSTER,
    }
)
"""Answers of a device that is surely not in the group."""
_OUT: Final = frozenset({Status.SUCCESS, Status.NOT_FOUND, Status.INVALID_FIELD})
"""Answers of a device that is surely out of the group."""

Said = Callable[[int], None]
"""Gets the status that a device answered; 0: it is done."""


class GroupSetup:
    """``changed`` is called with a group whose members are others now; ``bound`` with one that a device is bound to."""

    def __init__(
        self,
        store: GroupStore,
        records: DeviceRecords,
        transactions: ZclTransactions,
        now: Callable[[], float],
        changed: Callable[[Group], None],
        bound: Callable[[int], None],
    ) -> None:
        self.store = store
        self.jobs = DeviceJobs(transactions, now)
        self._records = records
        self._changed = changed
        self._bound = bound

    def up(self) -> None:
        """The radio is up: what devices have not confirmed is asked of them."""
        store = self.store
        for group in tuple(store.groups.values()):
            for place in [place for place, done in group.members.items() if not done]:
                self.enter(group, place)
        for rest in tuple(store.rest):
            self.undo(rest)
        for binding, done in tuple(store.bindings.items()):
            if not done:
                self.bind(binding)
            elif isinstance(binding.to, int):
                self._bound(binding.to)
        self.jobs.up()

    # Devices that come and go --------------------------------------------------------------------------------------

    def joined(self, eui64: str) -> None:
        """A device has come into the network, and may have forgotten all."""
        store, others = self.store, set()
        for number, place in [each for each in store.former if each[1].eui64 == eui64]:
            del store.former[number, place]
            if number in store.groups:
                store.groups[number].members[place] = False
                others.add(number)
        memberships = tuple(store.of(eui64))
        for group, place in memberships:
            group.members[place] = False
        bindings = [each for each in store.bindings if each.source.eui64 == eui64]
        store.bindings.update(dict.fromkeys(bindings, False))
        if memberships or bindings:
            store.save()
        for group, place in memberships:
            self.enter(group, place)
        for binding in bindings:
            self.bind(binding)
        for number in others:
            self._changed(store.groups[number])

    def left(self, device: ZigbeeDevice) -> None:
        """A device has left: it is in no group, until it comes back."""
        eui64, store = device.eui64, self.store
        self.jobs.left(device)
        memberships = tuple(store.of(eui64))
        rest = [each for each in store.rest if _place_of(each).eui64 == eui64]
        for each in rest:
            del store.rest[each]
        for group, place in memberships:
            del group.members[place]
            store.former[group.number, place] = None
        if memberships or rest:
            store.save()
        numbers = {group.number for group, _ in memberships} | {
            each[0] for each in rest if not isinstance(each, ClusterBinding)
        }
        for number in numbers & store.groups.keys():
            self._changed(store.groups[number])

    def forget(self, eui64: str) -> None:
        """A device was removed: should it come back, it is a new one."""
        store = self.store
        for each in [each for each in store.former if each[1].eui64 == eui64]:
            del store.former[each]
        for binding in tuple(store.bindings):
            if binding.source.eui64 == eui64:
                del store.bindings[binding]
            elif isinstance(binding.to, DeviceEndpoint) and binding.to.eui64 == eui64:
                self.unbind(binding)
        store.save()

    # Wishes --------------------------------------------------------------------------------------------------------

    def add(self, group: Group, place: DeviceEndpoint, said: Said | None = None) -> None:
        """Put an endpoint into a group."""
        self.store.rest.pop((group.number, place), None)
        group.members[place] = False
        self.store.save()
        self._changed(group)
        self.enter(group, place, said)

    def take_out(self, group: Group, place: DeviceEndpoint, said: Said | None = None) -> None:
        """Take an endpoint out of a group. Until the device has confirmed that, casts reach it."""
        rest = (group.number, place)
        group.members.pop(place, None)
        self.store.rest[rest] = None
        self.store.save()
        if group.number in self.store.groups:
            self._changed(group)
        self.undo(rest, said)

    def unbind(self, binding: ClusterBinding, said: Said | None = None) -> None:
        self.store.bindings.pop(binding, None)
        self.store.rest[binding] = None
        self.store.save()
        self.undo(binding, said)

    # What devices are asked ----------------------------------------------------------------------------------------

    def enter(self, group: Group, place: DeviceEndpoint, said: Said | None = None) -> None:
        """Have a device enter a group that it is to be in. One that refuses is taken out."""
        number = group.number

        def done(status: int) -> None:
            if status in (Status.SUCCESS, Status.DUPLICATE_EXISTS):
                status = 0
                group.members[place] = True
            else:
                _LOG.warning("%s doesn't enter group %d: %s", place, number, foundation.status_name(status))
                group.members.pop(place, None)
            self.store.save()
            if status and status not in _NOT_IN:
                self.take_out(group, place)  # it may be in all the same, and casts reach it
            elif status and number in self.store.groups:
                self._changed(group)
            if said is not None:
                said(status)

        payload = zcl_groups.add_group(number)
        self._command(
            place,
            number,
            Content(zcl_groups.ADD_GROUP, payload, cluster_specific=True, response=zcl_groups.ADD_GROUP),
            done,
        )

    def undo(self, rest: tuple[int, DeviceEndpoint] | ClusterBinding, said: Said | None = None) -> None:
        """Rid a device of a membership or of a binding. One that refuses to leave a group counts as in it, and is asked
        again at the next start of the radio."""

        def done(status: int) -> None:
            if isinstance(rest, ClusterBinding) or status in _OUT:
                self.store.rest.pop(rest, None)
                self.store.save()
            if not isinstance(rest, ClusterBinding) and rest[0] in self.store.groups:
                self._changed(self.store.groups[rest[0]])
            if said is not None:
                said(0 if status in (Status.NOT_FOUND, Status.INVALID_FIELD, zdo.NO_ENTRY) else status)

        if isinstance(rest, ClusterBinding):
            self._bind(rest, done, undo=True)
            return
        number, place = rest
        payload = zcl_groups.remove_group(number)
        content = Content(zcl_groups.REMOVE_GROUP, payload, cluster_specific=True, response=zcl_groups.REMOVE_GROUP)
        self._command(place, number, content, done)

    def bind(self, binding: ClusterBinding, said: Said | None = None) -> None:
        """Have a device send what one of its clusters sends to another device or a group."""

        def done(status: int) -> None:
            if status:
                _LOG.warning("%s is not bound: %s", binding.source, zdo.status_name(status))
                self.store.bindings.pop(binding, None)
            elif binding in self.store.bindings:
                self.store.bindings[binding] = True
                if isinstance(binding.to, int):
                    self._bound(binding.to)
            self.store.save()
            if said is not None:
                said(status)

        self._bind(binding, done)

    def _command(self, place: DeviceEndpoint, group: int, content: Content, done: Said) -> None:
        def ask(transactions: ZclTransactions, device: ZigbeeDevice, answer: Callable[[Answer], None]) -> Any:
            return transactions.ask(device, place.endpoint, zcl_groups.GROUPS, content, answer)

        def status(reply: Reply) -> int:
            if reply.specific:
                return zcl_groups.status_for(group, reply.payload)
            refused = foundation.default_responded(reply.payload)[1]
            return refused or int(Status.UNSUP_COMMAND)  # the command has a response of its cluster, if it is known

        self.jobs.add(self._records.of(place.eui64), DeviceJob((group, place), ask, status, done))

    def _bind(self, binding: ClusterBinding, done: Said, *, undo: bool = False) -> None:
        source, to = binding.source, binding.to
        target = to if isinstance(to, int) else (int(to.eui64.replace(":", ""), 16), to.endpoint)

        def ask(
            transactions: ZclTransactions, device: ZigbeeDevice, answer: Callable[[Answer], None]
        ) -> Transaction | None:
            return transactions.bind_to(device, source.endpoint, binding.cluster, target, answer, undo=undo)

        def status(reply: Reply) -> int:
            if not reply.payload:
                raise PeerError("a ZDO response ends early")
            return reply.payload[0]

        self.jobs.add(self._records.of(source.eui64), DeviceJob(binding, ask, status, done))


def _place_of(rest: tuple[int, DeviceEndpoint] | ClusterBinding) -> DeviceEndpoint:
    return rest.source if isinstance(rest, ClusterBinding) else rest[1]
