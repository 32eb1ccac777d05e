"""The retained state, availability and discovery of each device at the broker, kept up to date as cheaply as can be.

A device has its topics under its name, and its discovery under an id that stays when the name changes. What a device no
longer has is emptied after what it has now is published: Home Assistant removes a device whose discovery is emptied,
and one that was renamed must keep its entities.

A device's state goes out the moment it changes. Values that are the same as before are published again only ``QUIET``
seconds later, with the time, or if the state has to answer a set or get: so the answer to a command and the device's
own report of it, moments after, are one publication. While the connection is down or slow only the names of what
changed are kept, so that each device's last state goes out once it can, and nothing piles up. If the broker doesn't
retain states, a client that learns of a device by its discovery needs the state after it: the state is published once
the broker has the discovery.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntFlag
from types import MappingProxyType
from typing import Final

from adapters.mqtt.devices.discovery import Discovery
from adapters.mqtt.devices.discovery_components import LAST_SEEN
from adapters.mqtt.devices.identity import Identity
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.devices.values import fragment
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import Token
from carriage.mqtt.packets import publish_head
from gateway.api.errors import TransportError
from gateway.api.model import ActionAffordance, DeviceView, PropertyAffordance, Sample, Update, Value

MAX_OUTSTANDING: Final = 256
"""Messages with QoS 1 that wait for the broker; what is rare goes slowly, answers need the rest of the queue."""

QUIET: Final = 5.0
"""Seconds after a publication of a device in which the same values are no news."""
MAX_GONE: Final = 64
"""Properties that one device no longer has and that are published as gone."""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_OF_SCENES: Final = frozenset({"recall", "store"})

COUNTERS: Final = ("states", "coalesced", "unchanged")


class Part(IntFlag):
    """The parts of a device that are to be published."""

    STATE = 1
    AVAILABILITY = 2
    DISCOVERY = 4


@dataclass(slots=True)
class Shown:
    """A device as it stands at the broker. ``fragments``: property to its part of the JSON. ``components``: those
    of its discovery, with their platforms; ``gone``: those that it had before; ``lost``: those that
    Home Assistant has to take away before the others are announced."""

    view: DeviceView
    who: Identity
    properties: dict[str, PropertyAffordance]
    actions: dict[str, ActionAffordance]
    head: bytes
    online: bool | None
    reported_at: float | None = None
    published_at: float | None = None
    """``reported_at`` of the latest publication; None: the next is published though it may be the same."""
    fragments: dict[str, bytes] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    components: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def announced(self) -> bool:
        """Whether it has a discovery: without properties it would be a device without entities. One that is being
        interviewed again has none for a while, and must not lose its entities for that."""
        return bool(self.properties)


class StatePublisher:
    """``now`` is the clock of ``Update.at``. Nothing is published before ``open``. ``discovery`` None: nothing is
    published for Home Assistant."""

    def __init__(
        self,
        topics: HomeSpace,
        client: MqttClient,
        now: Callable[[], float],
        discovery: Discovery | None,
        *,
        retain: bool,
    ) -> None:
        self._topics = topics
        self._client = client
        self._now = now
        self._discovery = discovery
        self._retain = retain
        client.sender.on_room = self.flush
        self._open = False
        self._changing = False
        self._due: dict[str, Part] = {}
        self._second, self._stamp = 0, ""
        self._announced: dict[Token, str] = {}
        """Discovery that the broker doesn't have yet, with its device."""
        self._held: set[str] = set()
        """Devices whose discovery is not to go out yet."""
        self._emptied: dict[str, None] = {}
        """Topics to be emptied, unless they are in use again by then."""
        self.replaced: set[str] = set()
        """Devices of which Home Assistant is taking components away before others are announced: they are held, and the
        owner of the timers releases them."""
        self.shown: dict[str, Shown] = {}
        self.counters = dict.fromkeys(COUNTERS, 0)

    @property
    def waiting(self) -> int:
        return len(self._due) + len(self._emptied)

    def open(self) -> None:
        """The connection is there: all of it goes out, since the broker may have lost what it had."""
        self._open = True
        self._announced.clear()
        version = self._client.version
        for name, shown in self.shown.items():
            shown.head = publish_head(self._topics.state(name), version)
        self.again(self.shown)

    def close(self) -> None:
        self._open = False

    def again(self, names: Iterable[str], parts: Part = Part.STATE | Part.AVAILABILITY | Part.DISCOVERY) -> None:
        for name in names:
            self._due[name] = self._due.get(name, Part(0)) | parts
        self.flush()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Several devices change together: publish at the end of the block."""
        self._changing = True
        try:
            yield
        finally:
            self._changing = False
            self.flush()

    def hold(self, name: str) -> None:
        """The discovery of a device waits for ``release``."""
        self._held.add(name)

    def release(self, name: str) -> None:
        self._held.discard(name)
        if name in self.shown:
            self.again((name,), Part.DISCOVERY)

    def show(self, view: DeviceView, who: Identity, earlier: Mapping[str, str] = _NOTHING) -> None:
        """A device is new, or another than it was. ``earlier``: the components that an earlier run announced."""
        known = self.shown.get(view.name)
        properties = {each.name: each for each in view.properties}
        actions = {each.name: each for each in view.actions}
        head = publish_head(self._topics.state(view.name), self._client.version)
        shown = Shown(view, who, properties, actions, head, view.online)
        if self._discovery is not None:
            shown.components = self._discovery.forms(view, who)
        shown.fragments = {name: fragment(name, None, each) for name, each in properties.items() if each.readable}
        for name, sample in view.samples.items():
            shown.fragments[name] = fragment(name, sample.value, properties.get(name))
            if sample.stale:
                shown.stale.add(name)
            if shown.reported_at is None or sample.at > shown.reported_at:
                shown.reported_at = sample.at
        if known is not None and known.who != who:  # another device has the name now
            self._empty_discovery(known.who.object_id)
        before = dict(earlier) if known is None else known.gone | known.components if known.who == who else {}
        if before and shown.components:
            shown.gone = {name: each for name, each in list(before.items())[-MAX_GONE:] if name not in shown.components}
            stays = {name for name, each in shown.components.items() if before.get(name) == each} - {LAST_SEEN}
            lost = {name: each for name, each in before.items() if shown.components.get(name) != each}
            if not stays or any(name in shown.components for name in lost):
                shown.lost = lost
        self.shown[view.name] = shown
        parts = Part.STATE | Part.AVAILABILITY
        if (
            known is None
            or known.who != who
            or known.view.facts != view.facts
            or known.view.may != view.may
            or known.properties != properties
        ):
            parts |= Part.DISCOVERY
        self.again((view.name,), parts)

    def remove(self, name: str, object_id: str = "") -> None:
        """The device is gone, or not ours to show: nothing of it stays at the broker. ``object_id``: of a device that
        only an earlier run showed."""
        shown = self.shown.pop(name, None)
        self._held.discard(name)
        self._due.pop(name, None)
        if shown is not None and not object_id:
            object_id = shown.who.object_id
        self._empty_discovery(object_id)  # first, since its readers subscribe to the other two
        for topic in (self._topics.availability(name), self._topics.state(name)):
            self._emptied[topic] = None
        self.flush()

    def _empty_discovery(self, object_id: str) -> None:
        if self._discovery is not None and object_id:
            self._emptied[self._discovery.topic(object_id)] = None

    def values(self, shown: Shown, samples: tuple[tuple[str, Sample], ...], at: float) -> None:
        fragments, news = shown.fragments, shown.published_at is None or at >= shown.published_at + QUIET
        for name, sample in samples:
            fresh = fragment(name, sample.value, shown.properties.get(name))
            if fragments.get(name) != fresh:
                fragments[name] = fresh
                news = True
            if shown.stale and name in shown.stale:
                shown.stale.discard(name)
                news = True
        shown.reported_at = at
        if not news:
            self.counters["unchanged"] += 1
            return
        name = shown.view.name
        if not (self._open and not self._due and self._state(shown)):
            before = self._due.get(name, Part(0))
            self.counters["coalesced"] += Part.STATE in before
            self._due[name] = before | Part.STATE

    def asked(self, name: str) -> None:
        """A set or get is on its way: the device's next report is published in any case."""
        shown = self.shown.get(name)
        if shown is not None:
            shown.published_at = None

    def answered(self, name: str) -> None:
        """A get was delivered: its value is in the state, which is published unless it was since ``asked``."""
        shown = self.shown.get(name)
        if shown is not None and shown.published_at is None:
            self.again((name,), Part.STATE)

    def stale(self, shown: Shown, update: Update) -> None:
        shown.stale.update(name for name, _ in update.samples)
        self.again((update.device,), Part.STATE)

    def presence(self, shown: Shown, online: bool | None) -> None:
        shown.online = online
        self.again((shown.view.name,), Part.AVAILABILITY)

    def flush(self) -> None:
        """Publish what is due, as far as the connection takes it."""
        if self._changing:
            return
        while self._due and self._open:
            name, parts = next(iter(self._due.items()))
            shown = self.shown.get(name)
            if shown is None:
                del self._due[name]
                continue
            if parts == Part.STATE:
                if not self._state(shown):
                    return
                del self._due[name]
                continue
            if parts & Part.DISCOVERY:
                if not self._discover(name, shown):
                    return
                self._due[name] = parts = parts & ~Part.DISCOVERY  # not once more, if the rest has to wait
            if parts & Part.AVAILABILITY:
                if not self._available(name, shown):
                    return
                self._due[name] = parts = parts & ~Part.AVAILABILITY
            # The state goes last: a client that learns of the device by the discovery has subscribed by then. It may
            # follow the broker's answer.
            if not parts or (not self._retain and name in self._announced.values()):
                del self._due[name]
        if self._emptied and self._open:
            self._empty()

    def published(self, token: Token) -> str | None:
        """The broker has a message: the device of which that was the discovery. Its state is out then."""
        name = self._announced.pop(token, None) if self._announced else None
        if name is not None and not self._retain:
            self.again((name,), Part.STATE)
        return name

    def _empty(self) -> None:
        used = {topic for name in self.shown for topic in (self._topics.availability(name), self._topics.state(name))}
        if self._discovery is not None:
            used.update(self._discovery.topic(shown.who.object_id) for shown in self.shown.values())
        while self._emptied:
            topic = next(iter(self._emptied))
            if topic not in used and not self._publish(topic, b"", None):
                return
            del self._emptied[topic]

    def _state(self, shown: Shown) -> bool:
        taken = self._client.publish_at_once(shown.head, self.state_of(shown), retain=self._retain)
        if taken:
            self.counters["states"] += 1
            shown.published_at = shown.reported_at
        return taken

    def happened(self, shown: Shown, event: str, data: Value | None) -> None:
        """Publish an event as zigbee2mqtt does: as ``action``, with its data as ``action_...``, beside the state in one
        message that is not retained. One that the connection doesn't take is left out."""
        if not self._open:
            return
        fields: dict[str, Value] = data if isinstance(data, dict) else {} if data is None else {"value": data}
        action: dict[str, Value] = {"action": _word(event, fields)}
        for name, value in fields.items():
            action[f"action_{name}"] = value
        state = self.state_of(shown)[:-1]
        between = b"," if len(state) > 1 else b""
        body = state + between + json.dumps(action, separators=(",", ":")).encode()[1:]
        self._client.publish_at_once(shown.head, body, retain=False)

    def state_of(self, shown: Shown) -> bytes:
        parts = list(shown.fragments.values())
        if shown.reported_at is not None:
            parts.append(b'"last_seen":"' + self._time(shown.reported_at) + b'"')
        if shown.stale:
            parts.append(b'"stale":[' + ",".join(f'"{name}"' for name in sorted(shown.stale)).encode() + b"]")
        return b"{" + b",".join(parts) + b"}"

    def _time(self, at: float) -> bytes:
        """The wall clock's time of a monotonic moment, as RFC 3339 in whole seconds; the clock may have been set."""
        second = int(time.time() + at - self._now())
        if second != self._second or not self._stamp:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        return self._stamp.encode()

    # What changes seldom goes with QoS 1, so that a refusal shows. False: later.

    def _discover(self, name: str, shown: Shown) -> bool:
        discovery = self._discovery
        if discovery is None or not shown.announced or name in self._held:
            return True
        topic = discovery.topic(shown.who.object_id)
        if not shown.lost:
            return self._publish(topic, discovery.device(shown.view, shown.who, shown.gone), name)
        # A device that loses its last entity is removed, and its discovery emptied by Home Assistant itself.
        if not self._publish(topic, discovery.without(shown.who, shown.lost), None):
            return False
        shown.lost = {}
        self.replaced.add(name)
        self.hold(name)
        return True

    def _available(self, name: str, shown: Shown) -> bool:
        if shown.online is None:
            return True
        word = b"online" if shown.online else b"offline"
        return self._publish(self._topics.availability(name), b'{"state":"' + word + b'"}', None)

    def _publish(self, topic: str, payload: bytes, announced: str | None) -> bool:
        """With QoS 1 and retained. ``announced``: the device of which it is the discovery. False: later."""
        if self._client.outstanding > MAX_OUTSTANDING:
            return False
        try:
            token = self._client.publish(topic, payload, qos=1, retain=True)
        except TransportError as error:
            return not error.transient  # else it is too long for the broker, now and later
        if announced is not None:
            self._announced[token] = announced
        return True


def _word(event: str, fields: Mapping[str, Value]) -> str:
    """zigbee2mqtt's word for an event, which has the scene in it: ``recall_3``, of another endpoint ``recall_3_2``."""
    base, _, endpoint = event.partition("_")
    if base not in _OF_SCENES or "scene" not in fields:
        return event
    return f"{base}_{fields['scene']}" + (f"_{endpoint}" if endpoint else "")
