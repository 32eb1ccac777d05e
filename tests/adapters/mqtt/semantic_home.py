"""A home with devices: the far side's lamp and sensor, and ordinary MQTT clients that the broker lets do it."""

from __future__ import annotations

import json
from typing import Any

from adapters.mqtt.devices import identity
from gateway.api.model import (
    Accepted,
    Address,
    DataType,
    EnvelopeId,
    Interaction,
    Join,
    Leave,
    Outcome,
    Peer,
    Presence,
    PropertyAffordance,
    Reading,
    Reason,
    Receipt,
    Scalar,
)
from tests.adapters.mqtt.mqtt_home import GATEWAY, MqttHome, User
from tests.harness.gateway_in_loop import FarEnd, until

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  sensor: {link: far, user: sensor}
  hidden: {link: far, user: hidden}
  broker: {link: mqtt, broker: localhost}
rules:
  - {id: home, effect: permit, subject: broker, resource: [lamp, sensor], action: [read, observe, write]}
"""
ACL = "user gateway\ntopic readwrite #\nuser app\ntopic readwrite #\nuser other\ntopic read #\n"
STATE = PropertyAffordance(
    name="state", type=DataType.BOOLEAN, writable=True, resource_type="urn:oma:lwm2m:ext:3311", lifetime=60.0
)
LEVEL = PropertyAffordance(name="brightness", type=DataType.NUMBER, writable=True, minimum=0, maximum=254)
TEMPERATURE = PropertyAffordance(
    name="temperature", type=DataType.NUMBER, unit="Cel", device_class="temperature", lifetime=1.0
)
CONTACT = PropertyAffordance(name="contact", type=DataType.BOOLEAN, device_class="door")


def object_id(user: str) -> str:
    """Of the discovery of the far side's device with this claim."""
    return identity.of_device(GATEWAY, Address(scheme="far", claim=f"user:{user}"))


def config_topic(user: str) -> str:
    return f"homeassistant/device/{object_id(user)}/config"


class House:
    """What the far side's devices do."""

    def __init__(self, far: FarEnd) -> None:
        self.far = far
        self._peers: dict[str, Peer] = {}

    def peer(self, name: str) -> Peer:
        return self._peers.setdefault(name, self.far.peer(name))

    def _next(self, name: str) -> dict[str, Any]:
        gateway = self.far.gateway
        return {"id": gateway.next_id(), "source": self.peer(name), "received_at": gateway.now()}

    def join(self, name: str, *properties: PropertyAffordance, sleepy: bool = False, **facts: str) -> None:
        verdict = self.far.gateway.submit(
            Join(**self._next(name), properties=properties, sleepy=sleepy, facts=tuple(facts.items()))
        )
        assert isinstance(verdict, Accepted)

    def tell(self, name: str, **values: Scalar | None) -> None:
        self.far.gateway.submit(Reading(**self._next(name), values=tuple(values.items())))

    def presence(self, name: str, online: bool) -> None:
        self.far.gateway.submit(Presence(**self._next(name), online=online))

    def leave(self, name: str) -> None:
        self.far.gateway.submit(Leave(**self._next(name)))

    @property
    def commands(self) -> list[Interaction]:
        return [order.envelope for order in self.far.orders if isinstance(order.envelope, Interaction)]

    def settle(
        self, command: EnvelopeId, outcome: Outcome = Outcome.DELIVERED, reason: Reason | None = None, detail: str = ""
    ) -> None:
        hub = self.far.gateway._hub
        if outcome is Outcome.HELD:
            hub.engine.snapshot()  # there is a store
        self.far.gateway.settle(Receipt(command, outcome, reason, detail=detail))
        if outcome is Outcome.HELD:
            hub.engine.stored(hub.engine.changes(samples=False), now=hub.now())
            hub.touch()


def bodies(user: User, topic: str) -> list[Any]:
    """What came to ``topic``, in order; None for an empty message."""
    return [json.loads(each.payload) if each.payload else None for each in user.messages if each.topic == topic]


def last(user: User, topic: str) -> Any:
    found = bodies(user, topic)
    return found[-1] if found else "nothing"


async def put(user: User, topic: str, payload: bytes | str, **more: Any) -> int:
    """Publish; the broker's reason code."""

    octets = payload if isinstance(payload, bytes) else payload.encode()
    token = user.client.publish(topic, octets, **more)
    await until(lambda: token in user.ends)
    return user.ends[token]


async def settled(home: MqttHome) -> None:
    """All that was published has been taken by the broker."""

    devices = home.devices
    client = devices._client
    await until(lambda: not client.outstanding and not devices._publisher.waiting)
