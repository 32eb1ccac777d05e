"""A gateway's MQTT side as a script: a client of a real broker that says what the test has it say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from carriage.mqtt import messages as bodies
from carriage.mqtt import topics as t
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token
from layer.errors import TransportError

PREFIX = "atls"
USER = "app"
EPOCH = 7


@dataclass
class Gateway:
    """``answers``: whether opens are granted; ``on_unit`` sees each unit and may refuse it."""

    port: int
    password: str
    user: str = "gateway"
    answers: bool = True
    opens: list[bodies.OpenRequest] = field(default_factory=list)
    up: list[tuple[str, int, bytes, str | None]] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    gone: list[bodies.Gone] = field(default_factory=list)
    on_unit: Callable[[t.Up], None] = lambda topic: None
    names: int = 0
    nonces: dict[str, str] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    client: MqttClient | None = None
    space: t.TopicSpace = field(default_factory=lambda: t.TopicSpace(PREFIX))

    def start(self, tasks: asyncio.TaskGroup) -> None:
        options = MqttOptions(
            host="127.0.0.1",
            port=self.port,
            client_id="gateway",
            username=self.user,
            password=self.password,
            session_expiry=0,
            backoff_first=0.05,
            backoff_limit=0.2,
        )
        self.client = MqttClient(options, self)
        self.client.subscribe(self.space.gateway_filters())
        self.client.start(tasks)

    def units(self, session: str) -> list[tuple[int, bytes]]:
        return [(n, octets) for name, n, octets, _ in self.up if name == session]

    # What a test says

    def say(self, topic: t.Topic, payload: bytes, *, retain: bool = False, content_type: str | None = None) -> None:
        assert self.client is not None
        try:
            self.client.publish(self.space.build(topic), payload, retain=retain, content_type=content_type)
        except TransportError as error:
            raise AssertionError(error) from None

    def state(self, state: bodies.State = bodies.State.ONLINE, epoch: int = EPOCH) -> None:
        self.say(t.BridgeStateTopic(), bodies.encode(bodies.BridgeState(epoch, state)), retain=True)

    def down(self, session: str, n: int, payload: bytes, kind: str = "adtls") -> None:
        self.say(t.Down(USER, session, n), payload, content_type=bodies.CONTENT_TYPES[kind])

    def status(
        self, session: str, event: str, n: int | None = None, reason: str = "", retry_after: int | None = None
    ) -> None:
        body = bodies.Status(bodies.StatusEvent(event), n, reason, retry_after)
        self.say(t.SessionStatus(USER, session), bodies.encode(body))

    def offer(self, session: str, kind: str = "adtls", sender: str = "lamp7") -> None:
        self.say(t.IncomingSessions(USER), bodies.encode(bodies.Incoming(session, kind, sender)))

    def grant(self, nonce: str) -> str:
        if nonce not in self.nonces:
            self.names += 1
            self.nonces[nonce] = f"{self.names:032x}"
        self.say(t.OpenStatus(USER), bodies.encode(bodies.Opened(nonce, self.nonces[nonce])))
        return self.nonces[nonce]

    def refuse(self, nonce: str, reason: str, retry_after: int | None = None) -> None:
        self.say(t.OpenStatus(USER), bodies.encode(bodies.Refused(nonce, reason, retry_after)))

    # carriage.mqtt.options.MqttHandler

    def connected(self, session_present: bool) -> None:
        pass

    def refused(self, code: int, reason: str) -> None:
        raise AssertionError(reason)

    def disconnected(self, reason: str) -> None:
        self.ready.clear()

    def subscribed(self, topic_filter: str, code: int) -> None:
        assert code < 0x80
        self.ready.set()

    def published(self, token: Token, code: int) -> None:
        pass

    def dropped(self, token: Token, reason: DropReason) -> None:
        pass

    def message(self, message: Message) -> None:
        assert not message.retained
        topic = self.space.parse(message.topic)
        if isinstance(topic, t.Up):
            self.up.append((topic.session, topic.n, message.payload, message.content_type))
            self.on_unit(topic)
        elif isinstance(topic, t.Close):
            self.closes.append(topic.session)
        elif isinstance(topic, t.Gone):
            self.gone.append(bodies.decode_gone(message.payload))
        elif isinstance(topic, t.Open):
            request = bodies.decode(bodies.OpenRequest, message.payload)
            self.opens.append(request)
            if self.answers:
                self.grant(request.nonce)
