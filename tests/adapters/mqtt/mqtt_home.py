"""The MQTT adapter in a real gateway, at a real Mosquitto with TLS, logins and the access list that we ship."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509

from adapters.mqtt.adapter import MqttAdapter
from adapters.mqtt.devices.devices import DeviceTopics
from adapters.mqtt.plugin import MqttConfig, MqttPlugin
from adapters.mqtt.sessions import Sessions
from adapters.mqtt.times import TIMES, MqttTimes
from carriage.mqtt import messages as bodies
from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, TlsOptions, Token, Will
from gateway.api.model import GatewayView, SessionId
from gateway.engine.limits import EngineLimits
from tests.harness.gateway_in_loop import Gateway, until
from tests.harness.layer_pair import Authority
from tests.harness.mosquitto import Mosquitto

ROOT = Path(__file__).parents[3]
USERS = ("gateway", "app", "other", "nobody")
POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  app: {link: mqtt, user: app}
  other: {link: mqtt, user: other}
rules:
  - id: all
    effect: permit
    subject: "*"
    resource: "*"
    content: [atls, adtls, atls-data, oscore, edhoc]
"""
GATEWAY = "0123456789abcdef0123456789abcdef"
"""The gateway's id."""
ADTLS = bodies.CONTENT_TYPES["adtls"]


class Broker(Mosquitto):
    """With TLS (or without), a login for each of ``USERS`` and the access list ``acl``, by default the shipped one."""

    def __init__(
        self,
        folder: Path,
        authority: Authority,
        *,
        acl: str | None = None,
        tls: bool = True,
        lines: tuple[str, ...] = (),
    ) -> None:
        server = authority.issue("broker", x509.DNSName("localhost"), x509.DNSName("broker.example"))
        for name, content in (("ca.pem", authority.pem), ("broker.pem", server.chain), ("broker.key", server.key_pem)):
            (folder / name).write_bytes(content)
        passwords = folder / "passwords"
        passwords.write_text("".join(f"{user}:{user}-secret\n" for user in USERS))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, capture_output=True)
        listing = folder / "acl"
        listing.write_text((ROOT / "config" / "mosquitto.acl").read_text() if acl is None else acl)
        files = TLS_FILES if tls else ()
        super().__init__(
            folder,
            [
                "allow_anonymous false",
                f"password_file {passwords}",
                f"acl_file {listing}",
                *lines,
                *(f"{key} {folder / name}" for key, name in files),
            ],
        )


TLS_FILES = (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))


class User:
    """An application at the broker: remembers everything, and subscribes to what is its own.

    ``run``: it has a will that names this run, and says that it is there when it connects.
    """

    def __init__(
        self, home: MqttHome, name: str, *, client_id: str | None = None, run: str = "", **options: Any
    ) -> None:
        self.name = name
        self.run = run
        if run:
            options["will"] = Will(topic=f"atls/{name}/atls/gone", payload=bodies.encode(bodies.Gone(run)))
        self.home = home
        self.messages: list[Message] = []
        self.ends: dict[Token, int] = {}
        self.granted: dict[str, int] = {}
        self.connections = 0
        self.client = MqttClient(
            MqttOptions(
                host="localhost",
                port=home.broker.port,
                client_id=client_id or f"{name}-{secrets.token_hex(4)}",
                username=name,
                password=f"{name}-secret",
                tls=TlsOptions(ca_file=str(home.folder / "ca.pem")) if home.tls else None,
                backoff_first=0.05,
                backoff_limit=0.2,
                **options,
            ),
            self,
        )

    def connected(self, session_present: bool) -> None:
        self.connections += 1
        if self.run:
            self.client.publish(f"atls/{self.name}/atls/gone", bodies.encode(bodies.Gone(self.run, back=True)))

    def refused(self, code: int, reason: str) -> None:
        raise AssertionError(reason)

    def disconnected(self, reason: str) -> None:
        pass

    def subscribed(self, topic_filter: str, code: int) -> None:
        self.granted[topic_filter] = code

    def message(self, message: Message) -> None:
        self.messages.append(message)

    def published(self, token: Token, code: int) -> None:
        self.ends[token] = code

    def dropped(self, token: Token, reason: DropReason) -> None:
        self.ends[token] = -1

    def at(self, place: str) -> list[Message]:
        """What came to ``{prefix}/{name}/atls/{place}``, or to the bridge's state."""
        topic = "atls/bridge/state" if place == "bridge" else f"atls/{self.name}/atls/{place}"
        return [message for message in self.messages if message.topic == topic]

    async def say(self, place: str, payload: bytes, content_type: str | None = None, **more: Any) -> int:
        """Publish below the own level; the broker's reason code."""
        token = self.client.publish(f"atls/{self.name}/atls/{place}", payload, content_type=content_type, **more)
        await until(lambda: token in self.ends)
        return self.ends[token]

    async def ask(self, to: str, kind: str = "adtls", nonce: str | None = None, **more: Any) -> str:
        nonce = nonce or secrets.token_hex(8)
        body = bodies.encode(bodies.OpenRequest(to, kind, nonce))
        assert await self.say("open", body, bodies.JSON_TYPE, **more) < 0x80
        return nonce

    async def open(self, to: str, kind: str = "adtls", nonce: str | None = None) -> SessionId:
        nonce = await self.ask(to, kind, nonce)
        await until(lambda: self.answer(nonce))
        answer = self.answer(nonce)
        assert isinstance(answer, bodies.Opened), answer
        return SessionId(answer.session)

    def answer(self, nonce: str) -> bodies.Opened | bodies.Refused | None:
        found = [bodies.decode_answer(message.payload) for message in self.at("status")]
        return next((answer for answer in found if answer.nonce == nonce), None)

    def statuses(self, session: str) -> list[bodies.Status]:
        return [bodies.decode(bodies.Status, message.payload) for message in self.at(f"{session}/status")]

    def units(self, session: str) -> list[tuple[int, bytes]]:
        start = f"atls/{self.name}/atls/{session}/down/"
        return [(int(m.topic.removeprefix(start)), m.payload) for m in self.messages if m.topic.startswith(start)]

    def incoming(self) -> list[bodies.Incoming]:
        return [bodies.decode(bodies.Incoming, message.payload) for message in self.at("incoming")]

    def states(self) -> list[bodies.BridgeState]:
        return [bodies.decode(bodies.BridgeState, message.payload) for message in self.at("bridge")]


class MqttHome(Gateway):
    """See the module. ``serving`` runs it; ``user`` adds an application."""

    def __init__(
        self,
        folder: Path,
        policy: str,
        limits: EngineLimits,
        acl: str | None,
        table: dict[str, Any],
        times: MqttTimes = TIMES,
    ) -> None:
        self.times = times
        super().__init__(folder, "mqtt", policy, limits)
        self.hub.gateway = GatewayView(id=GATEWAY, name="cellar", version="9.9")
        self.authority = Authority("home")
        self.tls = table.get("tls", True)
        lines = table.pop("lines", ())
        self.broker = Broker(folder, self.authority, acl=acl, tls=table.pop("broker_tls", self.tls), lines=lines)
        for name, content in table.pop("files", {}).items():
            self.write(name, content, 0o600)
        self.write("gateway.password", b"gateway-secret\n", 0o600)
        self.table = (
            {
                "broker": f"localhost:{self.broker.port}",
                "user": "gateway",
                "password_file": "gateway.password",
                "broker_acl": True,
                "keepalive": 5,
            }
            | ({"ca_file": "ca.pem"} if self.tls else {})
            | table
        )
        self.adapter = self.configure()
        self._tasks: asyncio.TaskGroup | None = None
        self._users: list[User] = []

    @property
    def sessions(self) -> Sessions:
        assert self.adapter.running is not None and self.adapter.running.sessions is not None
        return self.adapter.running.sessions

    @property
    def devices(self) -> DeviceTopics:
        assert self.adapter.running is not None and self.adapter.running.devices is not None
        return self.adapter.running.devices

    def configure(self, **changed: Any) -> MqttAdapter:
        adapter = MqttPlugin(self.times).configure(MqttConfig.model_validate({**self.table, **changed}), self.folder)
        assert isinstance(adapter, MqttAdapter)
        return adapter

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[MqttHome]:
        try:
            async with self.running(self.adapter), asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                yield self
                for user in self._users:
                    await user.client.stop(drain=0.0)
        finally:
            self.broker.kill()

    async def user(self, name: str, *filters: str, subscribe: bool = True, **options: Any) -> User:
        assert self._tasks is not None
        user = User(self, name, **options)
        self._users.append(user)
        own = f"atls/{name}/atls"
        mine = (f"{own}/status", f"{own}/incoming", f"{own}/+/down/+", f"{own}/+/status", "atls/bridge/state")
        wanted = (*(mine if subscribe else ()), *filters)
        if wanted:
            user.client.subscribe(wanted)
        user.client.start(self._tasks)
        await until(lambda: user.connections and len(user.granted) == len(wanted))
        return user

    def check_empty(self) -> None:
        sessions = self.sessions
        assert not self.hub.engine.all_sessions() and not self.hub.engine.in_flight("mqtt")
        assert not len(sessions._outbound) and not len(sessions._submitted) and not sessions._ends


Start = Callable[..., Awaitable[MqttHome]]


@asynccontextmanager
async def started_again(home: MqttHome, **changed: Any) -> AsyncIterator[None]:
    """The adapter is another instance from now on."""
    home.tasks["mqtt"].cancel()
    await until(lambda: home.tasks["mqtt"].done())
    async with asyncio.TaskGroup() as tasks:
        home.adapter = home.configure(**changed)
        home.run(tasks, "mqtt", home.adapter)
        try:
            yield
        finally:
            home.tasks["mqtt"].cancel()


def state_file(home: MqttHome) -> Any:
    return json.loads((home.folder / "mqtt" / "devices.json").read_text())
