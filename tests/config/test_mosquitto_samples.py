"""The sample configuration and ACL for Mosquitto, in a real Mosquitto: each login keeps to its own topics."""

from __future__ import annotations

import os
import pwd
import queue
import socket
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

CONFIG = Path(__file__).parents[2] / "config"
SESSION = "0123456789abcdef" * 2
USERS = ("gateway", "alice", "bob")


@pytest.fixture
def broker(tmp_path, broker_certificate):
    """Mosquitto from our sample, with its own port, certificates and passwords; yields the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "broker.pem").write_bytes(broker_certificate[0])
    (tmp_path / "broker.key").write_bytes(broker_certificate[1])
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", passwords, user, user * 2], check=True, capture_output=True)
    text = (CONFIG / "mosquitto.conf").read_text()
    for old, new in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/certs/ca.pem", f"{tmp_path}/broker.pem"),
        ("/etc/mosquitto/certs/broker.", f"{tmp_path}/broker."),
        ("/etc/mosquitto/passwords\nacl", f"{passwords}\nacl"),
        ("/etc/mosquitto/mosquitto.acl", str(CONFIG / "mosquitto.acl")),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "m.conf").write_text(f"user {pwd.getpwuid(os.getuid()).pw_name}\n{text}")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", tmp_path / "m.conf"], stdout=log, stderr=log)
    limit = time.monotonic() + 20
    while True:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.02)
    yield port
    process.terminate()
    process.wait()


@pytest.fixture
def login(broker, tmp_path):
    """Logs a user in; what it receives is in the queue beside it."""
    clients: list[mqtt.Client] = []

    def connect(user: str, *filters: str) -> tuple[mqtt.Client, queue.Queue[tuple[str, bytes]]]:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"c-{user}")
        client.tls_set(ca_certs=str(tmp_path / "broker.pem"))
        client.username_pw_set(user, user * 2)
        heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        ready: queue.Queue[object] = queue.Queue()
        client.on_connect = lambda *_: client.subscribe([(name, 1) for name in filters])
        client.on_subscribe = lambda *_: ready.put(None)
        client.on_message = lambda _, __, message: heard.put((message.topic, message.payload))
        client.connect("localhost", broker)
        client.loop_start()
        clients.append(client)
        ready.get(timeout=20)
        return client, heard

    yield connect
    for client in clients:
        client.disconnect()
        client.loop_stop()


def test_each_login_keeps_to_its_own_topics(login):
    gateway, at_gateway = login("gateway", "atls/#")
    alice, at_alice = login("alice", "atls/alice/#", "atls/bob/#", "atls/bridge/state")
    bob, _ = login("bob", "atls/#")

    for topic in ("atls/alice/atls/open", f"atls/alice/atls/{SESSION}/up/0", f"atls/alice/atls/{SESSION}/close"):
        bob.publish(topic, b"forged", qos=1).wait_for_publish(20)
        alice.publish(topic, b"mine", qos=1).wait_for_publish(20)
        assert at_gateway.get(timeout=20) == (topic, b"mine")
    for topic in ("atls/bridge/state", "atls/alice/atls/status", f"atls/alice/atls/{SESSION}/down/0"):
        alice.publish(topic, b"forged", qos=1).wait_for_publish(20)
        gateway.publish("atls/bob/atls/status", b"for bob", qos=1).wait_for_publish(20)
        gateway.publish(topic, b"true", qos=1).wait_for_publish(20)
        assert at_alice.get(timeout=20) == (topic, b"true")


def test_nobody_comes_in_without_a_password(broker, tmp_path):
    answers: queue.Queue[str] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(tmp_path / "broker.pem"))
    client.on_connect = lambda _, __, ___, reason, ____: answers.put(str(reason))
    client.connect("localhost", broker)
    client.loop_start()
    assert answers.get(timeout=20) == "Not authorized"
    client.disconnect()
    client.loop_stop()
