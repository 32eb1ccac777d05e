"""Who wants to hear of which device, and what each of them hears.

A subscription is judged when it begins to cover a device (as either of them comes), and again when the policy or the
hour changes; in between, an update is only copied. No adapter acknowledges an update, so nothing is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gateway.api.errors import UsageError
from gateway.api.model import (
    Accepted,
    Change,
    EnvelopeId,
    Reason,
    Refused,
    Sample,
    Subscribe,
    Unsubscribe,
    Update,
    Value,
    Verdict,
)
from gateway.engine.authorizer import Authorizer
from gateway.engine.decision import DEFAULT_RULE, Deny
from gateway.engine.device_twin import DeviceTwin
from gateway.engine.limits import LIMITS_RULE, EngineLimits, has_room
from gateway.engine.outputs import Outbox, PushUpdate
from gateway.engine.policy import Action
from gateway.engine.subscription import Subscription

Samples = tuple[tuple[str, Sample], ...]


class Subscriptions:
    """All watches; each device holds those that cover it (``DeviceTwin.watchers``)."""

    def __init__(self, limits: EngineLimits, outbox: Outbox, gate: Authorizer) -> None:
        self._limits = limits
        self._outbox = outbox
        self._gate = gate
        self._table: dict[EnvelopeId, Subscription] = {}
        self._of_all: dict[EnvelopeId, Subscription] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._table)

    # Subscriptions come and go

    def add(self, watch: Subscribe, twin: DeviceTwin | None, twins: Iterable[DeviceTwin], now: float) -> Verdict:
        """Begin a watch of ``twin``, or of all ``twins`` if the watch names none."""
        outbox, limits = self._outbox, self._limits
        asker = self._gate.name_of(watch.source)
        if not asker or (watch.to and (twin is None or twin.name == asker)):
            # One answer for strangers and for unknown devices: it reveals no names.
            return outbox.refuse(watch, Reason.DENIED, DEFAULT_RULE, self._gate.who(watch.source))
        if watch.id in self._table:
            raise UsageError("the id of an envelope is in use")
        watching = Subscription(watch, asker, twin.name if twin is not None else "")
        if twin is not None:
            decision = self._gate.permits(Action.OBSERVE, asker, twin.name, watch.source.link)
            if isinstance(decision, Deny) and not self._gate.shadow:
                return outbox.refuse(watch, decision.reason, decision.rule, asker)
            if watch.name and watch.name not in twin.specs and watch.name not in twin.events:
                return outbox.refuse(watch, Reason.UNKNOWN, "", asker)
        mine, free = self._count[asker], limits.max_watches - len(self._table)
        if mine >= limits.subject_watches or not has_room(mine, free):
            return outbox.refuse(watch, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        self._table[watch.id] = watching
        self._count[asker] += 1
        outbox.counters["accepted.watch"] += 1
        if twin is None:
            self._of_all[watch.id] = watching
        for each in twins if twin is None else (twin,):
            self._cover(watching, each, now)
        return Accepted()

    def remove(self, unwatch: Unsubscribe, twins: Iterable[DeviceTwin]) -> Verdict:
        watching = self._table.get(unwatch.subscription)
        if watching is None or watching.asker != self._gate.name_of(unwatch.source):
            return Refused(Reason.UNKNOWN)
        self._forget(watching, twins)
        return Accepted()

    def detach(self, scheme: str, twins: Iterable[DeviceTwin]) -> None:
        """An adapter is gone, and with it those who watched through it."""
        for watching in [each for each in self._table.values() if each.scheme == scheme]:
            self._forget(watching, twins)

    def judge_again(self, twins: Iterable[DeviceTwin], now: float) -> None:
        """The policy or the hour changed: send the whole state of what may be observed now, and GONE for what no longer
        may.
        """
        known = list(twins)
        for watching in list(self._table.values()):
            if self._gate.name_of(watching.source) != watching.asker:
                self._forget(watching, known)
                self._tell(watching, Change.ENDED, watching.device, now)
                continue
            for twin in known:
                if not watching.device or watching.device == twin.name:
                    self._cover_again(watching, twin, now)

    # Updates from devices

    def values(self, twin: DeviceTwin, samples: Samples, at: float) -> None:
        append, device = self._outbox.commands.append, twin.name
        for watching in twin.watchers:
            only = watching.name
            if not only:
                append(PushUpdate(watching.scheme, Update(watching.id, Change.VALUES, device, samples, at)))
                continue
            picked = tuple(item for item in samples if item[0] == only)
            if picked:
                append(PushUpdate(watching.scheme, Update(watching.id, Change.VALUES, device, picked, at)))

    def event(self, twin: DeviceTwin, name: str, data: Value | None, at: float) -> None:
        append, device = self._outbox.commands.append, twin.name
        for watching in twin.watchers:
            if not watching.name or watching.name == name:
                update = Update(watching.id, Change.EVENT, device, (), at, None, name, data)
                append(PushUpdate(watching.scheme, update))

    def stale(self, twin: DeviceTwin, samples: Iterable[tuple[str, Sample]], now: float) -> None:
        for watching in twin.watchers:
            self._tell_stale(watching, twin, samples, now)

    def presence(self, twin: DeviceTwin, now: float) -> None:
        for watching in twin.watchers:
            if not watching.name:
                self._tell(watching, Change.PRESENCE, twin.name, now, online=twin.online)

    def appear(self, twin: DeviceTwin, now: float) -> None:
        """A device is new."""
        for watching in list(self._of_all.values()):
            self._cover(watching, twin, now)

    def changed(self, twin: DeviceTwin, now: float) -> None:
        """A device's facts or properties are others. A watch of a property that it no longer has ends."""
        for watching in list(twin.watchers):
            if not watching.name:
                self._tell(watching, Change.DEVICE, twin.name, now, online=twin.online)
            elif watching.device and watching.name not in twin.specs and watching.name not in twin.events:
                self._forget(watching, (twin,))
                self._tell(watching, Change.GONE, twin.name, now)

    def vanish(self, twin: DeviceTwin, now: float) -> None:
        """A device is gone for all; the watches of this one device end."""
        for watching in list(twin.watchers):
            self._uncover(watching, twin, now)

    # Covering

    def _cover(self, watching: Subscription, twin: DeviceTwin, now: float) -> None:
        """Let a watch cover a device, if its owner may observe that, and send all that is known of it."""
        if twin.name == watching.asker:
            return
        decision = self._gate.permits(Action.OBSERVE, watching.asker, twin.name, watching.source.link)
        if isinstance(decision, Deny):
            if not self._gate.shadow:
                return
            about = ("observe", twin.name)
            self._outbox.shadow(watching.id, decision.reason, decision.rule, watching.asker, about)
        twin.watchers.append(watching)
        if not watching.name:
            self._tell(watching, Change.DEVICE, twin.name, now, online=twin.online)
            self._tell(watching, Change.PRESENCE, twin.name, now, online=twin.online)
        by_time: dict[float, list[tuple[str, Sample]]] = {}
        for name, sample in twin.samples.items():
            if not watching.name or watching.name == name:
                by_time.setdefault(sample.at, []).append((name, sample))
        for at in sorted(by_time):
            self._tell(watching, Change.VALUES, twin.name, at, samples=tuple(by_time[at]))
        self._tell_stale(watching, twin, [each for each in twin.samples.items() if each[0] not in twin.fresh], now)

    def _cover_again(self, watching: Subscription, twin: DeviceTwin, now: float) -> None:
        covered = watching in twin.watchers
        decision = self._gate.permits(Action.OBSERVE, watching.asker, twin.name, watching.source.link)
        may = self._gate.shadow or not isinstance(decision, Deny)
        if covered and not may:
            self._uncover(watching, twin, now)
        elif may and not covered:
            self._cover(watching, twin, now)

    def _uncover(self, watching: Subscription, twin: DeviceTwin, now: float) -> None:
        twin.watchers.remove(watching)
        if watching.device:
            self._forget(watching, ())
        self._tell(watching, Change.GONE, twin.name, now)

    def _forget(self, watching: Subscription, twins: Iterable[DeviceTwin]) -> None:
        del self._table[watching.id]
        self._of_all.pop(watching.id, None)
        self._count[watching.asker] -= 1
        if not self._count[watching.asker]:
            del self._count[watching.asker]
        for twin in twins:
            if watching in twin.watchers:
                twin.watchers.remove(watching)

    # Telling

    def _tell(
        self,
        watching: Subscription,
        change: Change,
        device: str,
        at: float,
        *,
        samples: Samples = (),
        online: bool | None = None,
    ) -> None:
        update = Update(watching.id, change, device, samples, at, online)
        self._outbox.commands.append(PushUpdate(watching.scheme, update))

    def _tell_stale(
        self, watching: Subscription, twin: DeviceTwin, samples: Iterable[tuple[str, Sample]], now: float
    ) -> None:
        stale = tuple(each for each in samples if not watching.name or watching.name == each[0])
        if stale:
            self._tell(watching, Change.STALE, twin.name, now, samples=stale)
