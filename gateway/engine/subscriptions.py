"""The subscriptions of peers to devices, and the updates that each gets.

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

    def __init__(self, limits: EngineLimits, outbox: Outbox, authorizer: Authorizer) -> None:
        self._limits = limits
        self._outbox = outbox
        self._authorizer = authorizer
        self._table: dict[EnvelopeId, Subscription] = {}
        self._of_all: dict[EnvelopeId, Subscription] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._table)

    # Subscriptions come and go

    def add(self, request: Subscribe, twin: DeviceTwin | None, twins: Iterable[DeviceTwin], now: float) -> Verdict:
        """Begin a watch of ``twin``, or of all ``twins`` if the watch names none."""
        outbox, limits = self._outbox, self._limits
        asker = self._authorizer.name_of(request.source)
        if not asker or (request.to and (twin is None or twin.name == asker)):
            # One answer for strangers and for unknown devices: it reveals no names.
            return outbox.refuse(request, Reason.DENIED, DEFAULT_RULE, self._authorizer.who(request.source))
        if request.id in self._table:
            raise UsageError("the id of an envelope is in use")
        subscription = Subscription(request, asker, twin.name if twin is not None else "")
        if twin is not None:
            decision = self._authorizer.permits(Action.OBSERVE, asker, twin.name, request.source.link)
            if isinstance(decision, Deny) and not self._authorizer.shadow:
                return outbox.refuse(request, decision.reason, decision.rule, asker)
            if request.name and request.name not in twin.specs and request.name not in twin.events:
                return outbox.refuse(request, Reason.UNKNOWN, "", asker)
        mine, free = self._count[asker], limits.max_watches - len(self._table)
        if mine >= limits.subject_watches or not has_room(mine, free):
            return outbox.refuse(request, Reason.BUSY, LIMITS_RULE, asker, retry_after=limits.retry_after)
        self._table[request.id] = subscription
        self._count[asker] += 1
        outbox.counters["accepted.watch"] += 1
        if twin is None:
            self._of_all[request.id] = subscription
        for each in twins if twin is None else (twin,):
            self._cover(subscription, each, now)
        return Accepted()

    def remove(self, request: Unsubscribe, twins: Iterable[DeviceTwin]) -> Verdict:
        subscription = self._table.get(request.subscription)
        if subscription is None or subscription.asker != self._authorizer.name_of(request.source):
            return Refused(Reason.UNKNOWN)
        self._forget(subscription, twins)
        return Accepted()

    def detach(self, scheme: str, twins: Iterable[DeviceTwin]) -> None:
        """An adapter is gone, and with it those who watched through it."""
        for subscription in [each for each in self._table.values() if each.scheme == scheme]:
            self._forget(subscription, twins)

    def judge_again(self, twins: Iterable[DeviceTwin], now: float) -> None:
        """The policy or the hour changed: send the whole state of what may be observed now, and GONE for what no longer
        may.
        """
        known = list(twins)
        for subscription in list(self._table.values()):
            if self._authorizer.name_of(subscription.source) != subscription.asker:
                self._forget(subscription, known)
                self._tell(subscription, Change.ENDED, subscription.device, now)
                continue
            for twin in known:
                if not subscription.device or subscription.device == twin.name:
                    self._cover_again(subscription, twin, now)

    # Updates from devices

    def values(self, twin: DeviceTwin, samples: Samples, at: float) -> None:
        append, device = self._outbox.commands.append, twin.name
        for subscription in twin.subscriptions:
            only = subscription.name
            if not only:
                append(PushUpdate(subscription.scheme, Update(subscription.id, Change.VALUES, device, samples, at)))
                continue
            picked = tuple(item for item in samples if item[0] == only)
            if picked:
                append(PushUpdate(subscription.scheme, Update(subscription.id, Change.VALUES, device, picked, at)))

    def event(self, twin: DeviceTwin, name: str, data: Value | None, at: float) -> None:
        append, device = self._outbox.commands.append, twin.name
        for subscription in twin.subscriptions:
            if not subscription.name or subscription.name == name:
                update = Update(subscription.id, Change.EVENT, device, (), at, None, name, data)
                append(PushUpdate(subscription.scheme, update))

    def stale(self, twin: DeviceTwin, samples: Iterable[tuple[str, Sample]], now: float) -> None:
        for subscription in twin.subscriptions:
            self._tell_stale(subscription, twin, samples, now)

    def presence(self, twin: DeviceTwin, now: float) -> None:
        for subscription in twin.subscriptions:
            if not subscription.name:
                self._tell(subscription, Change.PRESENCE, twin.name, now, online=twin.online)

    def appear(self, twin: DeviceTwin, now: float) -> None:
        """A device is new."""
        for subscription in list(self._of_all.values()):
            self._cover(subscription, twin, now)

    def changed(self, twin: DeviceTwin, now: float) -> None:
        """A device's facts or properties are others. A watch of a property that it no longer has ends."""
        for subscription in list(twin.subscriptions):
            if not subscription.name:
                self._tell(subscription, Change.DEVICE, twin.name, now, online=twin.online)
            elif subscription.device and subscription.name not in twin.specs and subscription.name not in twin.events:
                self._forget(subscription, (twin,))
                self._tell(subscription, Change.GONE, twin.name, now)

    def vanish(self, twin: DeviceTwin, now: float) -> None:
        """A device is gone for all; the watches of this one device end."""
        for subscription in list(twin.subscriptions):
            self._uncover(subscription, twin, now)

    # Covering

    def _cover(self, subscription: Subscription, twin: DeviceTwin, now: float) -> None:
        """Let a watch cover a device, if its owner may observe that, and send all that is known of it."""
        if twin.name == subscription.asker:
            return
        decision = self._authorizer.permits(Action.OBSERVE, subscription.asker, twin.name, subscription.source.link)
        if isinstance(decision, Deny):
            if not self._authorizer.shadow:
                return
            about = ("observe", twin.name)
            self._outbox.shadow(subscription.id, decision.reason, decision.rule, subscription.asker, about)
        twin.subscriptions.append(subscription)
        if not subscription.name:
            self._tell(subscription, Change.DEVICE, twin.name, now, online=twin.online)
            self._tell(subscription, Change.PRESENCE, twin.name, now, online=twin.online)
        by_time: dict[float, list[tuple[str, Sample]]] = {}
        for name, sample in twin.samples.items():
            if not subscription.name or subscription.name == name:
                by_time.setdefault(sample.at, []).append((name, sample))
        for at in sorted(by_time):
            self._tell(subscription, Change.VALUES, twin.name, at, samples=tuple(by_time[at]))
        self._tell_stale(subscription, twin, [each for each in twin.samples.items() if each[0] not in twin.fresh], now)

    def _cover_again(self, subscription: Subscription, twin: DeviceTwin, now: float) -> None:
        covered = subscription in twin.subscriptions
        decision = self._authorizer.permits(Action.OBSERVE, subscription.asker, twin.name, subscription.source.link)
        may = self._authorizer.shadow or not isinstance(decision, Deny)
        if covered and not may:
            self._uncover(subscription, twin, now)
        elif may and not covered:
            self._cover(subscription, twin, now)

    def _uncover(self, subscription: Subscription, twin: DeviceTwin, now: float) -> None:
        twin.subscriptions.remove(subscription)
        if subscription.device:
            self._forget(subscription, ())
        self._tell(subscription, Change.GONE, twin.name, now)

    def _forget(self, subscription: Subscription, twins: Iterable[DeviceTwin]) -> None:
        del self._table[subscription.id]
        self._of_all.pop(subscription.id, None)
        self._count[subscription.asker] -= 1
        if not self._count[subscription.asker]:
            del self._count[subscription.asker]
        for twin in twins:
            if subscription in twin.subscriptions:
                twin.subscriptions.remove(subscription)

    # Updates

    def _tell(
        self,
        subscription: Subscription,
        change: Change,
        device: str,
        at: float,
        *,
        samples: Samples = (),
        online: bool | None = None,
    ) -> None:
        update = Update(subscription.id, change, device, samples, at, online)
        self._outbox.commands.append(PushUpdate(subscription.scheme, update))

    def _tell_stale(
        self, subscription: Subscription, twin: DeviceTwin, samples: Iterable[tuple[str, Sample]], now: float
    ) -> None:
        stale = tuple(each for each in samples if not subscription.name or subscription.name == each[0])
        if stale:
            self._tell(subscription, Change.STALE, twin.name, now, samples=stale)
