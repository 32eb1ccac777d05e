"""A home and an application at a broker without TLS, logins and a list."""

from __future__ import annotations

import os
from pathlib import Path

from adapters.mqtt.adapter import MqttAdapter
from adapters.mqtt.devices.devices import DeviceTopics
from adapters.mqtt.plugin import MqttConfig, MqttPlugin
from adapters.mqtt.sessions import Sessions
from adapters.mqtt.times import TIMES, MqttTimes
from carriage.mqtt import messages as bodies
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token, Will
from gateway.engine.limits import EngineLimits
from tests.harness.gateway_in_loop import Gateway, until

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
  broker: {link: mqtt, broker: 127.0.0.1}
rules:
  - {id: home, effect: permit, subject: broker, resource: lamp, action: [read, observe, write]}
  - {id: app, effect: permit, subject: app, resource: lamp, content: [atls]}
"""


class PlainHome(Gateway):
    def __init__(self, folder: Path, port: int, policy: str = POLICY, grace: float = TIMES.grace) -> None:
        super().__init__(folder, "mqtt", policy, EngineLimits())
        times = MqttTimes(grace=grace, backoff_first=0.05, backoff_limit=0.2, connect_timeout=5.0)
        table = {"broker": f"127.0.0.1:{port}", "tls": False, "broker_acl": True, "devices": {}}
        adapter = MqttPlugin(times).configure(MqttConfig.model_validate(table), folder)
        assert isinstance(adapter, MqttAdapter)
        self.adapter = adapter

    @property
    def sessions(self) -> Sessions:
        assert self.adapter.running is not None and self.adapter.running.sessions is not None
        return self.adapter.running.sessions

    @property
    def devices(self) -> DeviceTopics:
        assert self.adapter.running is not None and self.adapter.running.devices is not None
        return self.adapter.running.devices


class OldUser:
    """An application of MQTT 3.1.1."""

    def __init__(self, port: int) -> None:
        self.messages: list[Message] = []
        self.granted = 0
        will = Will(topic="atls/app/atls/gone", payload=bodies.encode(bodies.Gone("a0" * 8)))
        options = MqttOptions(
            host="127.0.0.1",
            port=port,
            client_id="app",
            version=4,
            will=will,
            keepalive=10,
            backoff_first=0.05,
            backoff_limit=0.2,
        )
        self.client = MqttClient(options, self)

    def connected(self, session_present: bool) -> None:
        self.client.publish("atls/app/atls/gone", bodies.encode(bodies.Gone("a0" * 8, back=True)))

    def refused(self, code: int, reason: str) -> None:
        """A broker that is just starting may say so."""

    def disconnected(self, reason: str) -> None: ...

    def subscribed(self, topic_filter: str, code: int) -> None:
        self.granted += 1

    def message(self, message: Message) -> None:
        self.messages.append(message)

    def published(self, token: Token, code: int) -> None: ...

    def dropped(self, token: Token, reason: DropReason) -> None: ...

    def at(self, topic: str) -> list[bytes]:
        return [each.payload for each in self.messages if each.topic == topic]

    async def open(self, to: str) -> str:
        nonce = os.urandom(8).hex()
        self.client.publish("atls/app/atls/open", bodies.encode(bodies.OpenRequest(to, "atls", nonce)))
        topic = "atls/app/atls/status"
        await until(lambda: any(nonce.encode() in each for each in self.at(topic)), 30.0)
        answer = bodies.decode_answer(next(each for each in self.at(topic) if nonce.encode() in each))
        assert isinstance(answer, bodies.Opened), answer
        return answer.session
