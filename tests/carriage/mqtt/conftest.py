"""Fixtures of Mosquitto processes, each with its own configuration, and of clients that record what they receive."""

from __future__ import annotations

import datetime
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from tests.harness.mosquitto import ACL, Broker
from tests.harness.mqtt_recorder import running

# a machine shared with others may stop for longer than an example may take by default
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


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
