"""The sample configuration and ACL for Mosquitto, run as they are but for paths, and attacked with a second login."""

from __future__ import annotations

import os
import pwd
import queue
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.harness.broker_process import BrokerProcess
from tests.harness.free_port import free_port
from tests.harness.mosquitto import MOSQUITTO

CONFIG = Path(__file__).parents[2] / "config"
SESSION = "0123456789abcdef" * 2
USERS = ("gateway", "home-assistant", "alice", "bob", "+")
NOT_AUTHORIZED = 0x87
NEVER = ("gateway", b"the end of the test")


class Login:
    """One connection of MQTT 5, with what it heard."""

    def __init__(self, port: int, ca: Path, user: str, **will: Any) -> None:
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.codes: queue.Queue[int] = queue.Queue()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"c-{USERS.index(user)}", protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.tls_set(ca_certs=str(ca))
        self.client.username_pw_set(user, user * 2)
        if will:
            self.client.will_set(**will)
        ready: queue.Queue[Any] = queue.Queue()
        self.granted: queue.Queue[Any] = queue.Queue()
        self.client.on_connect = lambda _, __, ___, reason, ____: ready.put(reason)
        self.client.on_subscribe = lambda *_: self.granted.put(None)
        self.client.on_publish = lambda _, __, ___, reason, ____: self.codes.put(reason.value)
        self.client.on_message = lambda _, __, message: self.heard.put((message.topic, message.payload))
        self.client.connect("localhost", port)
        self.client.loop_start()
        self.reason = ready.get(timeout=20)

    def subscribe(self, *filters: str) -> None:
        self.client.subscribe([(name, mqtt.SubscribeOptions(qos=1)) for name in filters])
        self.granted.get(timeout=20)

    def say(self, topic: str, payload: bytes = b"forged", *, retain: bool = False) -> int:
        properties = Properties(PacketTypes.PUBLISH)
        self.client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        return self.codes.get(timeout=20)

    def hears(self) -> tuple[str, bytes]:
        return self.heard.get(timeout=20)

    def vanish(self) -> None:
        """Without a word, so that its will is published."""
        found = self.client.socket()
        assert found is not None
        self.client.loop_stop()
        found.close()

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path, broker_certificate: tuple[bytes, bytes]) -> Iterator[int]:
    """Mosquitto from our sample, with its own port, certificates and passwords; yields the port."""
    port = free_port()
    (tmp_path / "broker.pem").write_bytes(broker_certificate[0])
    (tmp_path / "broker.key").write_bytes(broker_certificate[1])
    passwords = tmp_path / "passwords"
    acl = tmp_path / "mosquitto.acl"
    for each in (passwords, acl):
        each.touch(mode=0o600)  # Mosquitto 2.0.21 warns of others
    acl.write_text((CONFIG / "mosquitto.acl").read_text())
    passwords.write_text("".join(f"{user}:{user * 2}\n" for user in USERS))
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, capture_output=True)
    text = (CONFIG / "mosquitto.conf").read_text()
    for old, new in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/broker.", f"{tmp_path}/broker."),
        ("/etc/mosquitto/passwords\nacl", f"{passwords}\nacl"),
        ("/etc/mosquitto/mosquitto.acl", str(acl)),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "atls-gateway.conf").write_text(text)
    debian = Path("/etc/mosquitto/mosquitto.conf").read_text()  # which says some things already
    for place in ("/run/mosquitto", "/var/lib/mosquitto", "/var/log/mosquitto", "/etc/mosquitto"):
        debian = debian.replace(f" {place}/", f" {tmp_path}/")
    (tmp_path / "m.conf").write_text(f"user {pwd.getpwuid(os.getuid()).pw_name}\n{debian}")
    process = BrokerProcess([MOSQUITTO, "-c", tmp_path / "m.conf"], port, tmp_path / "log")
    try:
        log_text = (tmp_path / "mosquitto.log").read_text()
        # The probe of the port above is logged as an "OpenSSL Error".
        assert "recommended" not in log_text and ": Error" not in log_text
        assert [line for line in log_text.splitlines() if "Warning" in line and "atls/bridge/state" not in line] == []
        yield port
    finally:
        process.stop()


@pytest.fixture
def login(broker: int, tmp_path: Path) -> Iterator[Callable[..., Login]]:
    logins: list[Login] = []

    def connect(user: str, *filters: str, **will: Any) -> Login:
        found = Login(broker, tmp_path / "broker.pem", user, **will)
        logins.append(found)
        if filters:
            found.subscribe(*filters)
        return found

    yield connect
    for each in logins:
        each.leave()


ALICE = "atls/alice/atls"
FOREIGN = [
    *(f"{ALICE}/{place}" for place in ("open", "gone", "status", "incoming", f"{SESSION}/up/0", f"{SESSION}/close")),
    *(f"{ALICE}/{SESSION}/{place}" for place in ("down/0", "status")),
    "atls/bridge/state",
    "atls/bob/atls/status",  # what the gateway says to bob himself
    f"atls/bob/atls/{SESSION}/down/0",
    "atls/bob/other",
    "home/lamp",
    "home/lamp/availability",
    "home/lamp/set",
    "home/lamp/answer",
    "home/bridge/state",
    "home/bridge/info",
    "home/bridge/groups",
    "home/bridge/request/permit_join",
    "home/bridge/response/permit_join",
    "homeassistant/device/atls_0123456789ab_000d6f000b5de3b6/config",
    "homeassistant/status",
    "$SYS/broker/version",
    "$share/x/atls/alice/atls/open",
    "elsewhere",
]


def test_a_login_writes_its_own_topics_only(login: Callable[..., Login]) -> None:
    gateway = login("gateway", "atls/#", "home/#", "homeassistant/#")
    alice, bob = login("alice"), login("bob")
    for topic in FOREIGN:
        assert bob.say(topic) == NOT_AUTHORIZED, topic
        assert bob.say(topic, retain=True) == NOT_AUTHORIZED, topic
    for user, place in ((alice, ALICE), (bob, "atls/bob/atls")):
        for name in ("open", "gone", f"{SESSION}/up/0", f"{SESSION}/close"):
            assert user.say(f"{place}/{name}", b"mine") == 0
            assert gateway.hears() == (f"{place}/{name}", b"mine")  # and nothing forged before it


def test_a_login_reads_its_own_topics_only(login: Callable[..., Login]) -> None:
    gateway = login("gateway")
    eavesdropper = login("bob", "#", "+/+/+/#", "atls/#", "atls/+/atls/+/down/+", "home/#", "home/+", "homeassistant/#",
                         "$share/x/atls/alice/#", *(topic for topic in FOREIGN if "$" not in topic))  # fmt: skip
    for topic in FOREIGN:
        if "$" not in topic:
            gateway.say(topic, b"secret")
    heard = set()
    gateway.say("atls/bob/atls/incoming", NEVER[1])
    while (found := eavesdropper.hears())[1] != NEVER[1]:
        heard.add(found[0])
    assert heard == {"atls/bridge/state", "atls/bob/atls/status", f"atls/bob/atls/{SESSION}/down/0"}


def test_a_login_that_is_a_wildcard_is_no_client(login: Callable[..., Login]) -> None:
    gateway, wild = login("gateway", "atls/#"), login("+", "atls/#", "atls/+/atls/status")
    for topic in (f"{ALICE}/open", "atls/+/atls/open"):
        try:
            assert wild.say(topic) == NOT_AUTHORIZED, topic
        except ValueError:  # the client itself won't
            assert "+" in topic
    gateway.say(f"{ALICE}/status", b"secret")
    gateway.say("atls/bridge/state", NEVER[1])
    assert gateway.hears() == (f"{ALICE}/status", b"secret")
    assert wild.heard.empty()


@pytest.mark.parametrize("topic", ["atls/bridge/state", f"{ALICE}/gone", "home/bridge/state", "home/lamp"])
def test_a_will_is_no_way_around(login: Callable[..., Login], topic: str) -> None:
    gateway = login("gateway", "atls/#", "home/#")
    bob = login("bob", topic=topic, payload=b"forged", qos=1, retain=True)
    if not bob.reason.is_failure:  # else the broker refused it at once
        bob.vanish()
    alice = login("alice", topic=f"{ALICE}/gone", payload=b"mine", qos=1)
    alice.vanish()  # later than bob
    assert gateway.hears() == (f"{ALICE}/gone", b"mine")


def test_home_assistant_may_only_read_and_set_devices(login: Callable[..., Login]) -> None:
    gateway = login("gateway", "atls/#", "home/#")
    assistant = login("home-assistant", "home/#", "homeassistant/#", "atls/#")
    for topic in ("home/lamp", "home/lamp/availability", "home/lamp/answer", "home/bridge/state", "atls/bridge/state",
                  f"{ALICE}/open", "home/lamp/set", "homeassistant/device/x/config"):  # fmt: skip
        assert (assistant.say(topic) == NOT_AUTHORIZED) is not topic.startswith(("homeassistant", "home/lamp/set"))
    for topic in ("set", "set/state", "get", "get/state"):
        assert assistant.say(f"home/lamp/{topic}", b"mine") == 0
    assert assistant.say("home/bridge/request/devices", b"mine") == 0
    found = [gateway.hears() for _ in range(6)]
    assert {each for each, _ in found[1:]} == {
        "home/bridge/request/devices", *(f"home/lamp/{each}" for each in ("set", "set/state", "get", "get/state"))
    }  # fmt: skip
    published = ["home/lamp", "home/lamp/availability", "home/lamp/answer/me", "home/bridge/state", "home/bridge/info"]
    gateway.say(f"{ALICE}/status", b"secret")
    for topic in published:
        assert gateway.say(topic, b"true") == 0
    heard = {assistant.hears() for _ in range(len(published) + 1)}
    assert heard == {*((each, b"true") for each in published), ("homeassistant/device/x/config", b"forged")}


def test_no_client_comes_in_without_a_password(broker: int, tmp_path: Path) -> None:
    answers: queue.Queue[str] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(tmp_path / "broker.pem"))
    client.on_connect = lambda _, __, ___, reason, ____: answers.put(str(reason))
    client.connect("localhost", broker)
    client.loop_start()
    assert answers.get(timeout=20) == "Not authorized"
    client.disconnect()
    client.loop_stop()
