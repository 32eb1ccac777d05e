"""The table ``adapters.mqtt``: each mistake gives one clear line, at its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pydantic import ValidationError

from adapters.mqtt.plugin import MqttConfig, MqttPlugin
from gateway.api.errors import ConfigError
from tests.harness.layer_pair import Authority

PLAIN = {"broker": "localhost", "tls": False, "broker_acl": True}
TLS = {"broker": "broker.example", "ca_file": "ca.pem", "broker_acl": True}
CLIENT = TLS | {"certificate_file": "good.pem", "key_file": "good.key"}
LOGIN = PLAIN | {"user": "gateway", "password_file": "password"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority("ca")
    good, other = (authority.issue(name, x509.DNSName(name)) for name in ("good", "other"))
    files = {
        "ca.pem": authority.pem,
        "good.pem": good.chain,
        "good.key": good.key_pem,
        "other.key": other.key_pem,
        "open.key": good.key_pem,
        "password": "pässword\n".encode(),
        "open-password": b"secret",
        "latin": b"p\xe4ssword",
        "empty": b"",
        "text": b"hello",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o644 if name.startswith("open") else 0o600)
    return tmp_path


def configure(folder: Path, table: dict[str, Any]) -> Any:
    return MqttPlugin().configure(MqttConfig.model_validate(table), folder)


@pytest.mark.parametrize(
    ("table", "host", "port"),
    [
        (PLAIN, "localhost", 1883),
        (TLS, "broker.example", 8883),
        (CLIENT, "broker.example", 8883),
        (LOGIN | {"broker": "10.0.0.1:1"}, "10.0.0.1", 1),
        (PLAIN | {"broker": "[::1]:65535"}, "::1", 65535),
        (PLAIN | {"broker": "[::1]"}, "::1", 1883),
        (PLAIN | {"version": 4, "prefix": "home/atls"}, "localhost", 1883),
        (PLAIN | {"user": "token-only"}, "localhost", 1883),
    ],
)
def test_good_tables(folder: Path, table: dict[str, Any], host: str, port: int) -> None:
    options = configure(folder, table)._options
    assert (options.host, options.port) == (host, port)
    assert "ssword" not in repr(options)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_password_is_the_file_s_line(folder: Path, end: str) -> None:
    (folder / "password").write_bytes(f"pässword{end}".encode())
    assert configure(folder, LOGIN)._options.password == "pässword"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "broker"),
        (PLAIN | {"broker": "::1"}, "broker"),
        (PLAIN | {"broker": "mqtt://localhost"}, "broker"),
        (PLAIN | {"broker": "localhost:port"}, "broker"),
        (PLAIN | {"broker": ""}, "broker"),
        (CLIENT | {"key_file": None}, "both or neither"),
        (CLIENT | {"certificate_file": None}, "both or neither"),
        (PLAIN | {"ca_file": "ca.pem"}, "expected tls: true"),
        (PLAIN | {"password_file": "password"}, "expected user"),
        (PLAIN | {"version": 3}, "version"),
        (PLAIN | {"keepalive": 1}, "keepalive"),
        (PLAIN | {"client_id": ""}, "client_id"),
        (PLAIN | {"broker_acl": "yes"}, "broker_acl"),
        (PLAIN | {"broker_acl": False}, "expected broker_acl: true"),
        (PLAIN | {"devices": {"base": 1}}, "devices.base"),
        (PLAIN | {"password": "secret"}, "password"),
    ],
)
def test_tables_that_can_not_be(table: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MqttConfig.model_validate(table)
    assert len(caught.value.errors()) == 1
    (error,) = caught.value.errors()
    assert expected in f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        (PLAIN | {"broker": "localhost:0"}, "broker", "port"),
        (PLAIN | {"broker": "localhost:65536"}, "broker", "port"),
        (PLAIN | {"prefix": "a/+/b"}, "prefix", "levels"),
        (PLAIN | {"prefix": "a/b/c/d/e"}, "prefix", "levels"),
        (PLAIN | {"prefix": "$SYS"}, "prefix", "levels"),
        (PLAIN | {"prefix": ""}, "prefix", "levels"),
        (PLAIN | {"devices": {"base": "home/#"}}, "devices.base", "levels"),
        (PLAIN | {"devices": {"base": "atls"}}, "devices.base", "prefix of sessions"),
        (PLAIN | {"devices": {"base": "atls/home"}}, "devices.base", "prefix of sessions"),
        (PLAIN | {"devices": {"discovery_prefix": "atls"}}, "devices.discovery_prefix", "prefix of sessions"),
        (PLAIN | {"devices": {"discovery_prefix": "home/ha"}}, "devices.discovery_prefix", "the devices' base"),
        (LOGIN | {"password_file": "nowhere"}, "password_file", "nowhere"),
        (LOGIN | {"password_file": "open-password"}, "password_file", "chmod 600"),
        (LOGIN | {"password_file": "latin"}, "password_file", "UTF-8"),
        (LOGIN | {"password_file": "empty"}, "password_file", "password"),
        (TLS | {"ca_file": "nowhere"}, "ca_file", "nowhere"),
        (TLS | {"ca_file": "text"}, "ca_file", "CA certificate"),
        (CLIENT | {"key_file": "nowhere"}, "key_file", "nowhere"),
        (CLIENT | {"key_file": "open.key"}, "key_file", "chmod 600"),
        (CLIENT | {"key_file": "text"}, "key_file", "holds no private key"),
        (CLIENT | {"key_file": "other.key"}, "certificate_file", "private key"),
        (CLIENT | {"certificate_file": "nowhere"}, "certificate_file", "nowhere"),
        (CLIENT | {"certificate_file": "text"}, "certificate_file", "certificate"),
    ],
)
def test_files_and_names_that_can_not_be_used(folder: Path, table: dict[str, Any], key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(folder, table)
    assert caught.value.key == key
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert "ssword\n" not in str(caught.value) and "BEGIN" not in str(caught.value)


def test_each_unusable_value_and_file_is_reported_in_one_run(folder: Path) -> None:
    table = {"broker": "localhost:0", "prefix": "a/+", "ca_file": "nowhere", "user": "u", "password_file": "empty"}
    files = {"certificate_file": "text", "key_file": "good.key"}
    with pytest.raises(ExceptionGroup) as caught:
        configure(folder, table | files | {"devices": {"base": "#", "discovery_prefix": "#"}})
    keys = [error.key for error in caught.value.exceptions if isinstance(error, ConfigError)]
    devices = ["devices.base", "devices.discovery_prefix"]
    assert keys == ["broker", "prefix", *devices, "password_file", "ca_file", "certificate_file"]
    with pytest.raises(ValidationError) as other:
        MqttConfig.model_validate({"broker": "b", "tls": False, "ca_file": "x", "password_file": "y"})
    (error,) = other.value.errors()
    assert len(error["ctx"]["error"].args) == 3
