"""Values one by one, for consumers of Thing Descriptions: a topic for each property and each event, with what its data
schema describes and nothing else. Only if the config advertises the broker: it is a message more for each value.

A value goes from the broker when its lifetime is over (Message Expiry Interval; in MQTT 3.1.1 only when the gateway
says so), since it can't state its age.
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
    """``view``: a device as it is now. ``retain``: the broker keeps the last value of a property for readers that come
    later."""

    def __init__(
        self,
        topics: HomeSpace,
        client: MqttClient,
        news: News,
        view: Callable[[str], DeviceView | None],
        *,
        retain: bool,
    ) -> None:
        self._topics = topics
        self._client = client
        self._news = news
        self._view = view
        self._retain = retain
        self._shown: dict[str, frozenset[str]] = {}
        """The properties of each device that have a topic."""

    def connected(self) -> None:
        """The broker may have lost what it had, and missed what was reported meanwhile."""
        self._shown.clear()

    def compared(self, shown: Mapping[str, Shown], now: float) -> None:
        """These devices there are now."""
        if not self._client.is_connected:
            return
        for device, each in shown.items():
            properties = frozenset(name for name, affordance in each.properties.items() if affordance.readable)
            before = self._shown.get(device)
            self._shown[device] = properties
            if before is None:
                view = self._view(device)
                self.values(each, {} if view is None else view.samples, now)
            else:
                self._empty(device, before - properties)
        for name in [name for name in self._shown if name not in shown]:
            self._empty(name, self._shown.pop(name))

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
