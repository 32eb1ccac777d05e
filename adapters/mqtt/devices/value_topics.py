"""Values one by one, for consumers of Thing Descriptions: a topic for each property and each event, with what its data
schema describes and nothing else. Only if the config advertises the broker: it is a message more for each value.

A value goes from the broker when its lifetime is over (Message Expiry Interval; in MQTT 3.1.1 only when the gateway
says so), since it can't state its age; and when its property does, or the broker's right to see it, which may be while
the gateway or the broker is away: so which topics have values is in the file of the published devices.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from math import ceil

from adapters.mqtt.devices.state_publisher import Shown
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.news import News
from carriage.mqtt.client import MqttClient
from gateway.api.model import DeviceView, Sample, Value


class ValueTopics:
    """``view``: a device as it is now. ``standing``: by device the properties that may have a value at the broker;
    ``keep`` is called once they are others. ``retain``: the broker keeps the last value of a property for readers that
    come later."""

    def __init__(
        self,
        topics: HomeSpace,
        client: MqttClient,
        news: News,
        view: Callable[[str], DeviceView | None],
        standing: dict[str, frozenset[str]],
        keep: Callable[[], None],
        *,
        retain: bool,
    ) -> None:
        self._topics = topics
        self._client = client
        self._news = news
        self._view = view
        self._retain = retain
        self._standing = standing
        self._keep = keep
        self._told: set[str] = set()
        """The devices whose values went out on this connection."""

    def connected(self) -> None:
        """The broker may have lost what it had, and missed what was reported meanwhile."""
        self._told.clear()

    def compared(self, shown: Mapping[str, Shown], missing: Callable[[str], bool], now: float) -> None:
        """These devices there are now. ``missing``: whether one of an earlier run may still come."""
        if not self._client.is_connected:
            return
        changed = False
        for device, each in shown.items():
            properties = frozenset(name for name, affordance in each.properties.items() if affordance.readable)
            before = self._standing.get(device, frozenset())
            self._empty(device, before - properties)
            if before != properties:
                self._standing[device], changed = properties, True
            # What is new may have been reported in the turn in which it came.
            untold = properties - before if device in self._told else properties
            self._told.add(device)
            if untold:
                view = self._view(device)
                samples = {} if view is None else {name: view.samples[name] for name in untold & view.samples.keys()}
                self._empty(device, (before & untold) - samples.keys())
                self.values(each, samples, now)
        for name in [name for name in self._standing if name not in shown and not missing(name)]:
            self._empty(name, self._standing.pop(name))
            self._told.discard(name)
            changed = True
        if changed and self._retain:
            self._keep()

    def values(self, shown: Shown, samples: Mapping[str, Sample], now: float) -> None:
        """Without a connection they are left out: all that counts then goes out when there is one."""
        if not self._client.is_connected:
            return
        device = shown.view.name
        for name, sample in samples.items():
            affordance = shown.properties.get(name)
            if affordance is None or not affordance.readable:
                continue
            left = ceil(sample.at + affordance.lifetime - now)
            if sample.stale or left <= 0:
                self._empty(device, (name,))
            elif self._retain:
                self._news.stand(self._topics.value(device, name), _json(sample.value), left)
            else:
                self._news.tell(self._topics.value(device, name), _json(sample.value))

    def event(self, shown: Shown, event: str, data: Value | None) -> None:
        """Unless a property is called so: its topic has the property's value."""
        if event not in shown.properties:
            self._news.tell(self._topics.value(shown.view.name, event), _json(data))

    def _empty(self, device: str, properties: Iterable[str]) -> None:
        if self._retain:
            for name in properties:
                self._news.stand(self._topics.value(device, name), b"")


def _json(value: Value | None) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
