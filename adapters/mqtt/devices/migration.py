"""The one move from version 0.1.0, which made Home Assistant's ids of base and name, to ids of the devices themselves.

A device that stood at the broker under an old id (``PublishedDevices.first``) goes through these states; only this
module moves them. A broken connection puts all back to *waiting*: nothing counts as done that the broker may lack.

=========  ============================================================================================================
waiting    its old discovery is retained; it has not been seen yet, or there is no connection
let go     Home Assistant was asked to let go of its entities without forgetting them; for ``pause`` its new discovery
           is held back, since two entities of one unique id would be at odds
announced  its new discovery is on its way; with the broker's acknowledgement the old one is emptied
cleared    the empty message is on its way; with its acknowledgement the file forgets the old discovery: done
=========  ============================================================================================================
"""

from __future__ import annotations

import asyncio

from adapters.mqtt.devices import identity
from adapters.mqtt.devices.discovery import LET_GO, Discovery
from adapters.mqtt.devices.published_devices import PublishedDevices
from adapters.mqtt.devices.state_publisher import StatePublisher
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import Token
from gateway.api.errors import TransportError
from gateway.api.model import DeviceView


class Migration:
    """``base`` is the topics', ``pause`` in seconds. It publishes from ``connected`` to ``disconnected`` only."""

    def __init__(
        self,
        base: str,
        client: MqttClient,
        names: PublishedDevices,
        publisher: StatePublisher,
        discovery: Discovery,
        pause: float,
    ) -> None:
        self._pause = pause
        self._base = base
        self._client = client
        self._names = names
        self._publisher = publisher
        self._discovery = discovery
        self._open = False
        self._under_way: dict[str, asyncio.TimerHandle] = {}
        self._gone: set[str] = set()
        self._cleared: dict[Token, str] = {}

    def connected(self) -> None:
        self._open = True
        for shown in list(self._publisher.shown.values()):
            self.seen(shown.view)
        for name in self._gone:
            self._clear(name)

    def disconnected(self) -> None:
        self._open = False
        for timer in self._under_way.values():
            timer.cancel()
        self._under_way.clear()
        self._cleared.clear()

    def adopt(self, view: DeviceView) -> None:
        """Before a device is shown: one of an old name keeps its old id."""
        names = self._names
        if view.name in names.unseen:
            names.unseen.discard(view.name)
            names.former.setdefault(view.address.claim, identity.of_version_0_1(self._base, view.name))

    def seen(self, view: DeviceView) -> None:
        """A device is shown."""
        name = view.name
        if name not in self._names.first or name in self._under_way:
            return
        self._publisher.hold(name)
        if not self._open:
            return
        try:
            self._client.publish(self._topic(name), LET_GO, qos=1)
        except TransportError:
            return  # there is no room now: with the next connection
        self._under_way[name] = asyncio.get_running_loop().call_later(self._pause, self._announce, name)

    def gone(self, name: str) -> None:
        """A device is gone for good, under its old name at least."""
        if name in self._names.first:
            self._gone.add(name)
            self._clear(name)

    def acknowledged(self, name: str) -> None:
        """The broker has the discovery of a device."""
        if name in self._under_way:
            self._clear(name)

    def published(self, token: Token, code: int) -> bool:
        """The broker has a message. Whether an old discovery is gone with it, which the caller must then keep."""
        name = self._cleared.pop(token, None)
        if name is None or code >= 0x80:
            return False
        self._under_way.pop(name, None)
        self._gone.discard(name)
        self._names.first.discard(name)
        return True

    def _announce(self, name: str) -> None:
        shown = self._publisher.shown.get(name)
        if shown is None or not shown.announced:
            self._clear(name)  # a device without entities: there is nothing to wait for
        self._publisher.release(name)

    def _clear(self, name: str) -> None:
        if not self._open or name in self._cleared.values():
            return
        try:
            self._cleared[self._client.publish(self._topic(name), b"", qos=1, retain=True)] = name
        except TransportError:
            pass  # with the next connection

    def _topic(self, name: str) -> str:
        return self._discovery.topic(identity.of_version_0_1(self._base, name))
