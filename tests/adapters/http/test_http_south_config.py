"""The table ``adapters.http``: each mistake gives one clear line, at its key; what would come to nothing is doubted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from adapters.http.adapter import HttpAdapter
from adapters.http.config import HttpTable
from adapters.http.plugin import HttpPlugin
from gateway.api.facts import PolicyFacts
from tests.harness.config_tables import form_mistake, meaning_mistake, write_files
from tests.harness.layer_pair import Authority

PHONE = PolicyFacts({"phone": "bearer:phone"}, {"phone"})
DIGEST = hashlib.sha256(b"secret").hexdigest().encode()
CERTIFICATE = {"certificate_file": "good.pem", "key_file": "good.key"}
HTTPS = CERTIFICATE | {"listen": "127.0.0.1:8443", "tokens_file": "good.tokens"}
HTTP = {"http_listen": "127.0.0.1:8080", "tokens_file": "good.tokens"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(
        tmp_path,
        {
            "good.tokens": b"# people\nphone:" + DIGEST + b"\n\n",
            "open.tokens": b"phone:" + DIGEST,
            "comment.tokens": b"# all revoked\n",
            "short.tokens": b"phone:abcd",
            "plain.tokens": b"phone:secret",
            "nothing.tokens": b"phone:" + hashlib.sha256(b"").hexdigest().encode(),
            "twice.tokens": b"phone:" + DIGEST + b"\nphone:" + b"00" * 32,
            "same.tokens": b"phone:" + DIGEST + b"\ntablet:" + DIGEST,
            "name.tokens": b"my phone:" + DIGEST,
            "octets.tokens": b"\xff:" + DIGEST,
        },
    )


def configure(folder: Path, table: dict[str, Any]) -> HttpAdapter:
    adapter = HttpPlugin().configure(HttpTable.model_validate(table), folder)
    assert isinstance(adapter, HttpAdapter)
    return adapter


@pytest.mark.parametrize(
    "table",
    [
        HTTPS,
        HTTP,
        HTTPS | HTTP,
        HTTPS | {"trust_file": "ca.pem"},
        CERTIFICATE | {"listen": "[::]", "trust_file": "ca.pem"},
        HTTPS | {"listen": ":1", "origins": ["https://app.example", "http://localhost:3000"]},
        HTTP | {"http_listen": "0.0.0.0", "names": ["gateway.example", "*.local", "[::1]"]},
        HTTPS | {"tokens_file": "comment.tokens"},
    ],
)
def test_good_tables(folder: Path, table: dict[str, Any]) -> None:
    configure(folder, table)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, "expected listen, for clients over https, or http_listen"),
        ({"tokens_file": "good.tokens"}, "expected listen, for clients over https, or http_listen"),
        ({"listen": "[::]", "tokens_file": "good.tokens"}, "expected certificate_file and key_file beside listen"),
        (HTTP | CERTIFICATE, "expected listen beside certificate_file"),
        (CERTIFICATE | {"listen": "[::]"}, "expected tokens_file or trust_file"),
        (HTTPS | {"listen": "::1:80"}, "listen"),
        (HTTPS | {"names": ["https://gateway.example"]}, "names"),
        (HTTPS | {"names": ["gateway.example:8443"]}, "names"),
        (HTTPS | {"origins": ["*"]}, "origins"),
        (HTTPS | {"origins": ["https://app.example/"]}, "origins"),
        (HTTPS | {"max_polls": 0}, "max_polls"),
        (HTTPS | {"unknown": 1}, "unknown"),
    ],
)
def test_mistakes_in_the_form(table: dict[str, Any], expected: str) -> None:
    assert expected in form_mistake(HttpTable, table)


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        (HTTPS | {"listen": "127.0.0.1:0"}, "listen", "a port from 1 to 65535"),
        (HTTPS | {"listen": "gateway.example"}, "listen", "an IP address"),
        (HTTP | {"http_listen": "127.0.0.1:70000"}, "http_listen", "a port"),
        (HTTP | {"http_listen": "[::]"}, "names", "the host names that clients call us by"),
        (HTTPS | {"certificate_file": "none"}, "certificate_file", "docs/http.md says how to make a certificate"),
        (HTTPS | {"certificate_file": "text"}, "certificate_file", "no certificate in PEM"),
        (HTTPS | {"key_file": "none"}, "key_file", "docs/http.md says how to make a certificate"),
        (HTTPS | {"key_file": "open.key"}, "key_file", "chmod 600"),
        (HTTPS | {"key_file": "other.key"}, "certificate_file", "does not belong to the private key"),
        (HTTPS | {"trust_file": "text"}, "trust_file", "no certificate in PEM"),
        (HTTPS | {"tokens_file": "none"}, "tokens_file", "docs/http.md says how to make a token"),
        (HTTPS | {"tokens_file": "open.tokens"}, "tokens_file", "chmod 600"),
        (HTTPS | {"tokens_file": "empty"}, "tokens_file", "expected lines of NAME:SHA-256"),
        (HTTPS | {"tokens_file": "short.tokens"}, "tokens_file", "line 1: expected NAME:SHA-256"),
        (HTTPS | {"tokens_file": "plain.tokens"}, "tokens_file", "line 1: expected NAME:SHA-256"),
        (HTTPS | {"tokens_file": "nothing.tokens"}, "tokens_file", "line 1: this is the SHA-256 of nothing"),
        (HTTPS | {"tokens_file": "twice.tokens"}, "tokens_file", "line 2: its name or its token is there already"),
        (HTTPS | {"tokens_file": "same.tokens"}, "tokens_file", "line 2: its name or its token is there already"),
        (HTTPS | {"tokens_file": "name.tokens"}, "tokens_file", "line 1: expected the name of a token"),
        (HTTPS | {"tokens_file": "octets.tokens"}, "tokens_file", "no UTF-8"),
    ],
)
def test_mistakes_in_the_meaning(folder: Path, table: dict[str, Any], key: str, expected: str) -> None:
    mistake = meaning_mistake(configure, folder, table)
    assert mistake.key == key and expected in mistake.expected
    assert "secret" not in str(mistake)


def test_all_mistakes_come_at_once(folder: Path) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        configure(folder, HTTPS | {"listen": "x", "key_file": "none", "tokens_file": "none"})
    assert [each.key for each in caught.value.exceptions] == ["listen", "key_file", "tokens_file"]  # type: ignore[attr-defined]


def test_doubts(folder: Path) -> None:
    subjects = {"phone": "bearer:phone", "watch": "bearer:watch", "keeper": "spki:00", "cloud": "url:https://c/"}
    facts = PolicyFacts(subjects, subjects.keys())
    assert list(configure(folder, HTTPS).doubts(facts)) == [
        ("tokens_file", "no token for watch: they can't come in"),
        ("trust_file", "keeper can't come in: certificates count with trust_file only"),
    ]
    nobody = PolicyFacts({}, ())
    assert list(configure(folder, HTTPS).doubts(nobody)) == [
        ("tokens_file", "tokens of phone, which the policy does not name: they may do nothing"),
    ]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((-1, 800), None),
        ((-1, 1), None),  # of an authority that renews each day
        ((-800, -1), "it ended on {end}: clients refuse it"),
        ((-790, 10), "it ends on {end}, and clients refuse it from then on: put another one in its place, and reload"),
        ((1, 800), "it is not valid before {begin}: clients refuse it"),
    ],
)
def test_a_certificate_that_clients_refuse_is_doubted(
    folder: Path, days: tuple[int, int], expected: str | None
) -> None:
    ours = Authority("home").issue("gateway", x509.DNSName("gateway.example"), days=days)
    (folder / "good.pem").write_bytes(ours.chain)
    (folder / "good.key").write_bytes(ours.key_pem)
    leaf = ours.leaf
    dates = {"begin": f"{leaf.not_valid_before_utc:%Y-%m-%d}", "end": f"{leaf.not_valid_after_utc:%Y-%m-%d}"}
    found = list(configure(folder, HTTPS).doubts(PHONE))
    assert found == ([] if expected is None else [("certificate_file", expected.format(**dates))])


def test_a_name_that_the_certificate_does_not_have_is_doubted(folder: Path) -> None:
    ours = Authority("home").issue("gateway", x509.DNSName("gateway.example"), x509.DNSName("*.home.example"))
    (folder / "good.pem").write_bytes(ours.chain)
    (folder / "good.key").write_bytes(ours.key_pem)
    names = ["gateway.example", "a.home.example", "*.home.example", "hub.local", "[fd00::1]"]
    found = configure(folder, HTTPS | {"names": names})
    assert list(found.doubts(PHONE)) == [
        ("names", "not in the certificate: [fd00::1], hub.local; clients that call us so over https refuse it"),
    ]
    both = configure(folder, HTTPS | HTTP | {"names": names})
    assert not list(both.doubts(PHONE)), "they may be for http"


def test_an_address_in_descriptions_that_is_not_ours_is_doubted(folder: Path) -> None:
    table = HTTPS | {"names": ["gateway.example", "*.home.example"]}
    for advertised in ("https://gateway.example", "https://a.home.example:8443"):
        assert "advertise" not in dict(configure(folder, table | {"advertise": advertised}).doubts(PHONE))
    found = dict(configure(folder, table | {"advertise": "https://other.example:8443"}).doubts(PHONE))
    words = "other.example:8443 is none of our names: requests are refused (421), unless a proxy changes their Host"
    assert found["advertise"] == words


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.0.2.7", ":8080"])
def test_tokens_in_clear_on_the_network_are_doubted(folder: Path, listen: str) -> None:
    found = list(configure(folder, HTTP | {"http_listen": listen, "names": ["gateway.example"]}).doubts(PHONE))
    words = "tokens cross the network in clear: 127.0.0.1 is for a proxy on this machine, listen for clients elsewhere"
    assert found == [("http_listen", words)]
    assert not list(configure(folder, HTTP | {"http_listen": "[::1]:8080"}).doubts(PHONE))


def test_no_token_shows(folder: Path) -> None:
    adapter = configure(folder, HTTPS)
    assert adapter.south is not None
    shown = repr(adapter.south.admission) + repr(adapter.south._listener.tls)
    assert DIGEST.decode() not in shown and "BEGIN" not in shown
