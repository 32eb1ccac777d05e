"""Real Mosquitto processes with configurations of their own, and clients that write down what happens to them."""

from __future__ import annotations

import asyncio
import datetime
import os
import pwd
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token

# a machine shared with others may stop for longer than an example may take by default
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

ACL = """\
user gateway
topic readwrite atls/#

pattern write atls/%u/atls/open
pattern write atls/%u/atls/+/up/+
pattern write atls/%u/atls/+/close
pattern read atls/%u/atls/#
pattern read atls/bridge/state
"""


class Broker:
    """Mosquitto on a free port of 127.0.0.1; keeps port and configuration over ``kill`` and ``start``."""

    def __init__(self, folder: Path, *lines: str, open_to_all: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._conf = folder / f"mosquitto-{self.port}.conf"
        everything = [
            f"listener {self.port} 127.0.0.1",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",  # else root becomes one who can't read the files
            *lines,
        ]
        if open_to_all:
            everything.append("allow_anonymous true")
        self._conf.write_text("\n".join(everything) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(self._conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, "mosquitto ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until, "mosquitto doesn't listen"
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Recorder:
    """A handler that keeps everything; ``until`` waits for a condition on it."""

    def __init__(self) -> None:
        self.connections: list[bool] = []
        self.refusals: list[tuple[int, str]] = []
        self.disconnections: list[str] = []
        self.subscriptions: list[tuple[str, int]] = []
        self.messages: list[Message] = []
        self.ends: list[tuple[Token, int]] = []
        self.drops: list[tuple[Token, DropReason]] = []
        self.on_message: Callable[[Message], None] = self.messages.append
        self._changed = asyncio.Event()

    def connected(self, session_present: bool) -> None:
        self.connections.append(session_present)
        self._changed.set()

    def refused(self, code: int, reason: str) -> None:
        self.refusals.append((code, reason))
        self._changed.set()

    def disconnected(self, reason: str) -> None:
        self.disconnections.append(reason)
        self._changed.set()

    def subscribed(self, topic_filter: str, code: int) -> None:
        self.subscriptions.append((topic_filter, code))
        self._changed.set()

    def message(self, message: Message) -> None:
        self._changed.set()
        self.on_message(message)

    def published(self, token: Token, code: int) -> None:
        self.ends.append((token, code))
        self._changed.set()

    def dropped(self, token: Token, reason: DropReason) -> None:
        self.drops.append((token, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(
    port: int,
    client_id: str,
    *,
    recorder: Recorder | None = None,
    wake: Callable[[], None] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[MqttClient, Recorder]]:
    """A client with its recorder, running; stopped at the end."""
    recorder = recorder or Recorder()
    settings = {"host": "127.0.0.1", "backoff_first": 0.05, "backoff_limit": 0.3, **options}
    client = MqttClient(
        MqttOptions(port=port, client_id=client_id, **settings), recorder, wake=wake, jitter=lambda: 0.5
    )
    async with asyncio.TaskGroup() as group:
        client.start(group)
        await asyncio.sleep(0)
        try:
            yield client, recorder
        finally:
            await client.stop()


class Authority:
    """A certificate authority that writes PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key file for ``name``, also its DNS name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key,
            x509.SubjectAlternativeName([x509.DNSName(name)]),
            x509.BasicConstraints(ca=False, path_length=None),
        )
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    brokers: list[Broker] = []

    def start(*lines: str, **options: Any) -> Broker:
        brokers.append(Broker(tmp_path, *lines, **options))
        return brokers[-1]

    yield start
    for each in brokers:
        each.kill()


@pytest.fixture(scope="session")
def open_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that neither break nor configure it; use client ids and topics of your own."""
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    broker.kill()


@pytest.fixture
def guarded_broker(start_broker: Callable[..., Broker], tmp_path: Path) -> Broker:
    """A broker with the users gateway, alice and bob (password: the name twice) and an ACL for them."""
    passwords = tmp_path / "passwords"
    passwords.touch()
    for user in ("gateway", "alice", "bob"):
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, user * 2], check=True, capture_output=True)
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    return start_broker(f"password_file {passwords}", f"acl_file {acl}", "allow_anonymous false", open_to_all=False)


@pytest.fixture
def client() -> Callable[..., Any]:
    return running


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path, name)
