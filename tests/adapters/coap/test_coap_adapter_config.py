"""The table ``adapters.coap``: each mistake gives one clear line, at its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pydantic import ValidationError

from adapters.coap.plugin import CoapPlugin, CoapTable
from gateway.api.errors import ConfigError
from tests.harness.layer_pair import Authority

CERTIFICATE = {"certificate_file": "good.pem", "key_file": "good.key", "trust_file": "ca.pem"}
PSK = {"psk_file": "good.psk"}


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
        "good.psk": b"phone:" + b"00" * 16,
        "open.psk": b"phone:" + b"00" * 16,
        "short.psk": b"phone:00",
        "empty": b"",
        "text": b"hello",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o644 if name.startswith("open") else 0o600)
    return tmp_path


def configure(folder: Path, table: dict[str, Any]) -> None:
    CoapPlugin().configure(CoapTable.model_validate(table), folder)


@pytest.mark.parametrize(
    "table",
    [
        PSK,
        CERTIFICATE,
        PSK | CERTIFICATE,
        PSK | {"listen": "[::1]:5684"},
        PSK | {"listen": "[::]"},
        PSK | {"listen": "0.0.0.0:1"},
        PSK | {"listen": ":5684"},
        PSK | {"reply_window": 0, "absence": 3600, "idle": 60},
    ],
)
def test_good_tables(folder: Path, table: dict[str, Any]) -> None:
    configure(folder, table)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "expected psk_file"),
        ({"psk_file": None}, "expected psk_file"),
        (CERTIFICATE | {"key_file": None}, "both or neither"),
        (CERTIFICATE | {"certificate_file": None}, "both or neither"),
        (CERTIFICATE | {"trust_file": None}, "expected trust_file beside certificate_file"),
        (PSK | {"listen": "[::1"}, "listen"),
        (PSK | {"listen": "::1:5684"}, "listen"),
        (PSK | {"listen": "1.2.3.4:port"}, "listen"),
        (PSK | {"absence": 0}, "absence"),
        (PSK | {"reply_window": -1}, "reply_window"),
        (PSK | {"max_clients": 0}, "max_clients"),
        (PSK | {"max_clients": "many"}, "max_clients"),
        (PSK | {"prot": 1}, "prot"),
    ],
)
def test_tables_that_can_not_be(table: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CoapTable.model_validate(table)
    assert len(caught.value.errors()) == 1
    (error,) = caught.value.errors()
    assert expected in f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        (PSK | {"listen": "0.0.0.0:0"}, "listen", "port"),
        (PSK | {"listen": "0.0.0.0:65536"}, "listen", "port"),
        (PSK | {"listen": "gateway.example:5684"}, "listen", "IP address"),
        (PSK | {"listen": "1.2.3:5684"}, "listen", "IP address"),
        ({"psk_file": "nowhere"}, "psk_file", "nowhere"),
        ({"psk_file": "."}, "psk_file", "is not a file"),
        ({"psk_file": "open.psk"}, "psk_file", "chmod 600"),
        ({"psk_file": "short.psk"}, "psk_file", "line 1"),
        ({"psk_file": "empty"}, "psk_file", "holds no key"),
        (CERTIFICATE | {"key_file": "nowhere"}, "key_file", "nowhere"),
        (CERTIFICATE | {"key_file": "open.key"}, "key_file", "chmod 600"),
        (CERTIFICATE | {"key_file": "text"}, "key_file", "holds no private key"),
        (CERTIFICATE | {"key_file": "other.key"}, "certificate_file", "does not belong"),
        (CERTIFICATE | {"certificate_file": "nowhere"}, "certificate_file", "nowhere"),
        (CERTIFICATE | {"certificate_file": "text"}, "certificate_file", "holds no certificate"),
        (CERTIFICATE | {"trust_file": "nowhere"}, "trust_file", "nowhere"),
        (CERTIFICATE | {"trust_file": "text"}, "trust_file", "holds no certificate"),
        (CERTIFICATE | {"trust_file": "empty"}, "trust_file", "holds no certificate"),
    ],
)
def test_files_and_addresses_that_can_not_be_used(folder: Path, table: dict[str, Any], key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(folder, table)
    assert caught.value.key == key
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert "BEGIN" not in str(caught.value) and "00" * 8 not in str(caught.value)


def test_each_unusable_file_is_reported_in_one_run(folder: Path) -> None:
    (folder / "bad.psk").write_bytes(b"phone:00\nfine:" + b"00" * 16 + b"\ntablet\nfine:" + b"11" * 16 + b"\n")
    (folder / "bad.psk").chmod(0o600)
    table = {"listen": "gateway:1", "psk_file": "bad.psk", "certificate_file": "text", "key_file": "good.key"}
    with pytest.raises(ExceptionGroup) as caught:
        configure(folder, table | {"trust_file": "nowhere"})
    mistakes = {error.key: error.expected for error in caught.value.exceptions if isinstance(error, ConfigError)}
    assert list(mistakes) == ["listen", "psk_file", "trust_file", "certificate_file"]
    assert mistakes["psk_file"] == (
        f"{folder}/bad.psk: line 1: a PSK has 16 to 64 octets, not 1; line 3: expected identity:hexkey; "
        "line 4: this identity appeared before, on line 2"
    )
