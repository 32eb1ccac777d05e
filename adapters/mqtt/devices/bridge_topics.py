"""What zigbee2mqtt's users find below ``bridge/``: the list of devices, events of the network, and the health.

``{base}/bridge/devices``, retained: the devices that the policy lets the broker observe; published ``LIST_AFTER``
seconds after a change, so that a house that starts is one message. ``{base}/bridge/event``, not retained: devices that
come and go. ``{base}/bridge/health``, retained: each ``HEALTH_EVERY`` seconds and when it changes.

If the list is longer than the broker takes, it goes without ``definition``; if that is too long too, the client counts
it as unsent.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Container, Mapping
from operator import is_
from typing import Any, Final

from adapters.mqtt.devices.exposes import is_known, listed
from adapters.mqtt.devices.state_publisher import Shown
from adapters.mqtt.devices.topics import HomeSpace
from adapters.mqtt.news import News
from carriage.mqtt.client import MqttClient
from gateway.api.model import DeviceView
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

LIST_AFTER: Final = 2.0
HEALTH_EVERY: Final = 600.0
_ROOM: Final = 256
"""Octets of a PUBLISH packet beside its payload, at most."""


class BridgeTopics:
    """``later`` calls something after so many seconds. ``shown``: the devices as they stand at the broker."""

    def __init__(
        self,
        topics: HomeSpace,
        context: AdapterContext,
        client: MqttClient,
        news: News,
        shown: Mapping[str, Shown],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._topics = topics
        self._context = context
        self._client = client
        self._news = news
        self._shown = shown
        self._later = later
        self._listed: tuple[Shown, ...] = ()
        """Those of the latest list."""
        self._told = False
        """This connection has had it."""
        self._list_due = False
        self._healthy: bool | None = None
        self._begun = context.now()
        self._known: dict[str, tuple[str, bool]] = {}
        """By address the devices' names, and whether it is known what they are."""

    def connected(self) -> None:
        """The broker may have lost all."""
        self._told = False
        self._healthy = None
        self.changed()

    def changed(self) -> None:
        """Devices may have changed, or the gateway's health."""
        if not self._list_due:
            self._list_due = True
            self._later(LIST_AFTER, self._tell_list)
        if self._context.gateway().healthy != self._healthy:
            self._tell_health()

    def compared(self, expected: Container[str]) -> None:
        """The devices were compared with those that the gateway has. ``expected``: names and object ids of devices that
        an earlier run showed."""
        there = {shown.view.address.claim: shown for shown in self._shown.values()}
        for claim, (name, _) in list(self._known.items()):
            if claim not in there:
                del self._known[claim]
                self._event("device_leave", name, claim)
        for claim, shown in there.items():
            view, before = shown.view, self._known.get(claim)
            done = is_known(view)
            self._known[claim] = view.name, done
            is_new = before is None and view.name not in expected and shown.who.object_id not in expected
            if is_new:
                self._event("device_joined", view.name, claim)
                self._interview(view, "started")
            if done and (is_new or (before is not None and not before[1])):
                self._interview(view, "successful")

    def announced(self, view: DeviceView) -> None:
        """A device is back that could not be reached."""
        self._event("device_announce", view.name, view.address.claim)

    def _interview(self, view: DeviceView, status: str) -> None:
        found = listed(view)
        more = {"supported": found["supported"], "definition": found["definition"]} if status == "successful" else {}
        self._event("device_interview", view.name, view.address.claim, status=status, **more)

    def _event(self, kind: str, name: str, claim: str, **more: Any) -> None:
        address = claim.removeprefix("eui64:")
        ieee = "0x" + address.replace(":", "") if address != claim else claim
        body = {"type": kind, "data": {"friendly_name": name, "ieee_address": ieee, **more}}
        self._news.tell(self._topics.bridge("event"), _json(body))

    def _tell_list(self) -> None:
        self._list_due = False
        found = tuple(self._shown.values())
        same = len(found) == len(self._listed) and all(map(is_, found, self._listed))
        if (same and self._told) or not self._client.is_connected:
            return  # a new connection begins with it
        self._told = True
        self._listed = found
        devices = [listed(each.view) for each in found]
        body = _json(devices)
        largest = self._client.sender.largest
        if largest and len(body) + _ROOM > largest:
            _LOG.warning(
                "bridge/devices has %d octets, the broker takes %d: it goes without the devices' definitions",
                len(body),
                largest,
            )
            body = _json([each | {"definition": None} for each in devices])
        self._news.stand(self._topics.bridge("devices"), body)

    def _tell_health(self) -> None:
        self._later(HEALTH_EVERY, self._tell_health)
        if not self._client.is_connected:
            return
        self._healthy = self._context.gateway().healthy
        body = {
            "response_time": round(time.time() * 1000),
            "healthy": self._healthy,
            "process": {"uptime_sec": round(self._context.now() - self._begun)},
            "mqtt": {"connected": True, "queued": self._client.outstanding},
            "devices": {"shown": len(self._shown)},
        }
        self._news.stand(self._topics.bridge("health"), _json(body))


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
