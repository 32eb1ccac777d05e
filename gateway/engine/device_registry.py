"""The devices as the gateway knows them without asking: their affordances, their last values, and who may use them.

A device is here from its join to its leave, under the name of the policy's subject that its link proves. Joins of
strangers, and whether these can be reached, are kept for a while, for the policy may come to know them. No clock: time
enters as ``now`` in monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

from common.timers import Timers
from gateway.api.model import (
    Accepted,
    DeviceView,
    EnvelopeId,
    Event,
    Interaction,
    Join,
    Leave,
    Peer,
    Presence,
    Reading,
    Reason,
    Receipt,
    Refused,
    Sample,
    Subscribe,
    Unsubscribe,
    Verdict,
)
from gateway.api.schema import tellable
from gateway.engine.authorizer import Authorizer
from gateway.engine.decision import DEFAULT_RULE, Deny
from gateway.engine.device_commands import DeviceCommands
from gateway.engine.device_twin import MAX_PROPERTIES, DeviceTwin
from gateway.engine.limits import EngineLimits
from gateway.engine.outputs import Outbox, Refresh
from gateway.engine.policy import DEVICE_ACTIONS, Action
from gateway.engine.stored import Journal, StoredCommand, StoredSample
from gateway.engine.subscriptions import Subscriptions

MAX_STRANGERS: Final = 256
"""Joins kept of devices that no subject is; the oldest go first."""

_Stranger = tuple[Join, bool | None]
"""Its join, and whether it can be reached."""
_Samples = dict[str, Sample]

_ACCEPTED: Final = Accepted()
_UNKNOWN: Final = Refused(Reason.UNKNOWN)


class DeviceRegistry:
    """All devices of one gateway: at most one for each subject of the policy."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, authorizer: Authorizer, journal: Journal) -> None:
        self._journal = journal
        self._outbox = outbox
        self._authorizer = authorizer
        self._twins: dict[str, DeviceTwin] = {}
        self._strangers: OrderedDict[tuple[str, tuple[str, ...]], _Stranger] = OrderedDict()
        self._recalled: dict[str, _Samples] = {}
        """Values of devices from before the restart that have not joined since."""
        self._subscriptions = Subscriptions(limits, outbox, authorizer)
        self._commands = DeviceCommands(limits, outbox, authorizer, journal)
        self._stale: Timers[str] = Timers()

    # What devices report

    def device_changed(self, change: Join | Leave | Presence, now: float) -> None:
        """A device came, left, can be reached, can't be reached."""
        name, key = self._authorizer.name_of(change.source), (change.source.scheme, change.source.claims)
        stranger = self._strangers.get(key)
        if isinstance(change, Join):
            self._join(change, name, stranger[1] if stranger else None, now)
            return
        twin = self._twins.get(name)
        if isinstance(change, Leave):
            self._strangers.pop(key, None)
            if twin is not None:
                self._drop(twin, Reason.UNREACHABLE, now)
        elif twin is not None and twin.online is not change.online:
            twin.online = change.online
            self._subscriptions.presence(twin, now)
        elif twin is None and stranger is not None:
            self._strangers[key] = (stranger[0], change.online)

    def reading(self, reading: Reading, now: float) -> Verdict:
        """Keep what a device reported, and update its watchers. Called for each report of every device: stays cheap."""
        twin = self._twins.get(self._authorizer.name_of(reading.source))
        counters = self._outbox.counters
        if twin is None:
            counters["refused.reading"] += 1
            return _UNKNOWN
        values = reading.values
        for name, value in values:
            if not twin.takes(name, value):
                counters["ignored.value"] += 1
                values = tuple(item for item in reading.values if twin.takes(*item))
                break
        if not values:
            return _ACCEPTED
        samples, fresh = twin.samples, twin.fresh
        changed = tuple([(name, Sample(value, now)) for name, value in values])
        samples.update(changed)
        for name, _ in changed:
            if name not in fresh:
                fresh.add(name)
                self._plan_by(twin.name, now + twin.specs[name].lifetime)
        counters["accepted.reading"] += 1
        if self._journal.on:
            self._journal.devices.add(twin.name)
        self._subscriptions.values(twin, changed, now)
        return _ACCEPTED

    def event(self, event: Event, now: float) -> Verdict:
        """Pass on what happened at a device; one that it doesn't offer, or with other data, is counted and ignored."""
        twin = self._twins.get(self._authorizer.name_of(event.source))
        counters = self._outbox.counters
        if twin is None:
            counters["refused.event"] += 1
            return _UNKNOWN
        offered, data = twin.events.get(event.name), event.data
        if offered is None or (data is not None and (offered.data is None or not tellable(offered.data, data))):
            counters["ignored.event"] += 1
            return _ACCEPTED
        counters["accepted.event"] += 1
        self._subscriptions.event(twin, event.name, data, now)
        return _ACCEPTED

    # What peers want

    def interact(self, wanted: Interaction, now: float) -> Verdict:
        """Judge what a peer wants of a device, and pass it to the device's adapter."""
        asker, twin = self._authorizer.name_of(wanted.source), self._find(wanted.to)
        if not asker or twin is None or twin.name == asker:
            # One answer for strangers, unknown devices and oneself: it reveals no names.
            who = asker or next(iter(wanted.source.claims), "")
            return self._outbox.refuse(wanted, Reason.DENIED, DEFAULT_RULE, who)
        return self._commands.submit(wanted, asker, twin, now)

    def queues(self) -> dict[str, int]:
        """Commands without a final receipt, and those of them that wait for a device that sleeps."""
        return {"commands": len(self._commands), "commands_held": self._commands.held}

    def settle(self, receipt: Receipt, now: float) -> None:
        """The word of an adapter on a command that it has."""
        self._commands.settle(receipt, now)

    def subscribe(self, request: Subscribe, now: float) -> Verdict:
        return self._subscriptions.add(request, self._find(request.to), self._twins.values(), now)

    def unsubscribe(self, request: Unsubscribe, now: float) -> Verdict:
        return self._subscriptions.remove(request, self._twins.values())

    def devices(self, peer: Peer, now: float) -> Sequence[DeviceView]:
        """The devices that ``peer`` may read, observe or write, in name order."""
        found = ((self._twins[name], self._may(peer, name)) for name in sorted(self._twins))
        return [self._view(twin, may, now) for twin, may in found if may]

    def all_devices(self, now: float) -> Sequence[DeviceView]:
        """All of them, in name order, for the administrator of the gateway."""
        may = frozenset(action.value for action in DEVICE_ACTIONS)
        return [self._view(self._twins[name], may, now) for name in sorted(self._twins)]

    def device(self, peer: Peer, name: str, now: float) -> DeviceView | None:
        """The one of them that is called so."""
        twin = self._twins.get(name)
        may = self._may(peer, name) if twin is not None else frozenset()
        return self._view(twin, may, now) if twin is not None and may else None

    # What happens to adapters, to the policy, and with time

    def adapter_gone(self, scheme: str, now: float) -> set[EnvelopeId]:
        """The instance is gone: its watches are over, its devices are out of sight. What it held waits, by id."""
        self._subscriptions.detach(scheme, self._twins.values())
        self.out_of_sight(scheme, now)
        return self._commands.adapter_gone(scheme, now)

    def adapter_ready(self, scheme: str) -> None:
        """The adapter serves: it gets what waited for it."""
        self._commands.adapter_ready(scheme)

    def out_of_sight(self, scheme: str, now: float) -> None:
        """The adapter doesn't know which of its devices can be reached."""
        for twin in self._twins.values():
            if twin.peer.scheme == scheme and twin.online is not None:
                twin.online = None
                self._subscriptions.presence(twin, now)
        for key, (join, _) in self._strangers.items():
            if key[0] == scheme:
                self._strangers[key] = (join, None)

    def judge_again(self, now: float) -> None:
        """The policy or the hour changed: devices change names, watches end, commands without a permit are dropped."""
        authorizer = self._authorizer
        moved = [twin for name, twin in self._twins.items() if authorizer.name_of(twin.peer) != name]
        for twin in moved:
            self._drop(twin, None if authorizer.name_of(twin.peer) else Reason.DENIED, now)
        for name in [name for name in self._recalled if name not in authorizer.policy.by_name]:
            del self._recalled[name]
            self._journal.drop("samples", (name,))
        self._subscriptions.judge_again(self._twins.values(), now)
        self._commands.judge_again(now)
        for twin in moved:
            if name := authorizer.name_of(twin.peer):
                self._recalled[name] = twin.samples
            self._join(twin.last_join, name, twin.online, now)
            for row in self.samples(name):  # in the transaction that takes out those under the old name
                self._journal.put(row)
        for key, (join, online) in list(self._strangers.items()):
            if name := authorizer.name_of(join.source):
                del self._strangers[key]
                self._join(join, name, online, now, missed=True)

    def tick(self, now: float) -> None:
        """Values grow stale, commands expire."""
        while (name := self._stale.take_due(now)) is not None:
            twin = self._twins[name]
            if late := twin.outdated(now):
                self._subscriptions.stale(twin, late, now)
            self._plan(twin)
        self._commands.tick(now)

    def next_deadline(self) -> float | None:
        stale, command = self._stale.next(), self._commands.next_deadline()
        if stale is None or command is None:
            return command if stale is None else stale
        return min(stale, command)

    # The store

    def samples(self, device: str) -> Iterable[StoredSample]:
        """The last values of a device, to be stored; none if it is gone."""
        twin = self._twins.get(device)
        return () if twin is None else _rows(device, twin.samples)

    def snapshot(self) -> Iterable[StoredSample | StoredCommand]:
        """All last values and all commands that wait, to be stored."""
        for name, samples in self._recalled.items():
            yield from _rows(name, samples)
        for name, twin in self._twins.items():
            yield from _rows(name, twin.samples)
        yield from self._commands.snapshot()

    def stored(self, command: EnvelopeId) -> None:
        """The row of a command is in the store now."""
        self._commands.stored(command)

    def restore(self, samples: Iterable[StoredSample], commands: Iterable[StoredCommand]) -> None:
        """Take up what was stored before this start; commands in the order of their ids.

        The devices have not joined yet: each gets its values back when it does. What the policy no longer permits is
        dropped by the ``judge_again`` that must follow.
        """
        for row in samples:
            recalled = self._recalled.setdefault(row.device, {})
            if len(recalled) < MAX_PROPERTIES:
                recalled[row.name] = Sample(row.value, row.at)
        for command in commands:
            self._commands.restore(command)

    def end_unrepeatable(self, now: float) -> None:
        """After a restart: give up on commands that may have been carried out, and must not be a second time."""
        self._commands.end_unrepeatable("", now)

    def end_commands(self, reason: Reason, now: float) -> None:
        """Give up on every command that has no final receipt yet."""
        self._commands.end_all(reason, now)

    # Inside

    def _find(self, name: str) -> DeviceTwin | None:
        return self._twins.get(self._authorizer.target_of(name)) if name else None

    def _join(self, join: Join, name: str, online: bool | None, now: float, *, missed: bool = False) -> None:
        """``online``: whether it can be reached, as far as that is known of a device that had no twin by this name.

        ``missed``: it reported its values when the policy did not know it yet.
        """
        if not name:
            self._strangers[join.source.scheme, join.source.claims] = (join, online)
            if len(self._strangers) > MAX_STRANGERS:
                self._strangers.popitem(last=False)
            return
        others = self._authorizer.set_members(join.source, join.members)
        twin = self._twins.get(name)
        if twin is None:
            twin = self._twins[name] = DeviceTwin(name, join)
            twin.online = online
            twin.recall(self._recalled.pop(name, {}), now)
            self._plan(twin)
            self._subscriptions.appear(twin, now)
            # At a start its adapter reads a device that is always on. One that sleeps it read when it joined, which may
            # have been before the policy knew it.
            if not twin.samples and (missed or twin.sleepy):
                self._outbox.commands.append(Refresh(self._authorizer.policy.address_of(name)))
        elif twin.join(join):
            self._plan(twin)
            if others:  # who may use it is another question now
                self._subscriptions.judge_again((twin,), now)
                self._commands.judge_again(now)
            self._subscriptions.changed(twin, now)

    def _drop(self, twin: DeviceTwin, reason: Reason | None, now: float) -> None:
        """``reason``: why its commands end; None: they go along with it, to another name."""
        del self._twins[twin.name]
        self._stale.drop(twin.name)
        self._journal.devices.discard(twin.name)
        self._journal.drop("samples", (twin.name,))
        if reason is not None:
            self._authorizer.set_members(twin.peer, None)
            self._commands.device_gone(twin.name, reason, now)
        self._subscriptions.vanish(twin, now)

    def _plan(self, twin: DeviceTwin) -> None:
        when = twin.stale_by()
        self._stale.drop(twin.name)
        if when != float("inf"):
            self._plan_by(twin.name, when)

    def _plan_by(self, name: str, when: float) -> None:
        """Look at a device's values by then."""
        self._stale.plan_by(name, when)
        if when < self._outbox.look_by:
            self._outbox.look_by = when

    def _may(self, peer: Peer, device: str) -> frozenset[str]:
        """The actions that ``peer`` may take with the device."""
        authorizer = self._authorizer
        asker = authorizer.name_of(peer)
        if not asker or asker == device:
            return frozenset()
        judged = ((action, authorizer.permits(action, asker, device, peer.link)) for action in DEVICE_ACTIONS)
        return frozenset(action.value for action, found in judged if authorizer.shadow or not isinstance(found, Deny))

    def _view(self, twin: DeviceTwin, may: frozenset[str], now: float) -> DeviceView:
        names = twin.samples if Action.READ.value in may else ()
        samples = {name: sample for name in names if (sample := twin.sample(name, now)) is not None}
        return DeviceView(
            name=twin.name,
            address=self._authorizer.policy.address_of(twin.name),
            may=may,
            online=twin.online,
            sleepy=twin.sleepy,
            facts=twin.facts,
            properties=twin.properties,
            samples=samples,
            actions=tuple(twin.actions.values()),
            events=tuple(twin.events.values()),
            members=twin.members,
        )


def _rows(device: str, samples: _Samples) -> Iterable[StoredSample]:
    return (StoredSample(device=device, name=name, value=value, at=at) for name, (value, at, _) in samples.items())
