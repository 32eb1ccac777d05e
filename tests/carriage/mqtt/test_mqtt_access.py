"""Who may connect to the broker and use which topic: passwords, ACL, TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import MqttOptions, TlsOptions
from carriage.mqtt.topics import Down, Open, TopicSpace, Up
from layer.errors import CredentialError

SESSION = "0123456789abcdef" * 2


@pytest.mark.parametrize("version", [4, 5])
async def test_a_wrong_password_is_refused_with_a_reason(
    guarded_broker: Any, client: Any, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with client(guarded_broker.port, "wrong", username="alice", password="no-such-password", version=version) as (
        _,
        told,
    ):
        await told.until(lambda: len(told.refusals) == 2)  # it goes on trying: the password may be mended there
        await told.until(lambda: told.disconnections)
    code, reason = told.refusals[0]
    assert code in (134, 135)
    assert reason in ("Not authorized", "Bad user name or password")
    assert told.disconnections[0] == f"refused: {reason}"
    assert told.connections == []
    assert "no-such-password" not in caplog.text


def test_the_password_is_in_no_repr() -> None:
    options = MqttOptions(host="h", port=1, client_id="c", username="u", password="pass-word")
    assert "pass-word" not in repr(options)


async def test_the_acl_ties_topics_to_the_login(guarded_broker: Any, client: Any) -> None:
    space = TopicSpace("atls")
    port = guarded_broker.port
    async with (
        client(port, "g", username="gateway", password="gatewaygateway") as (gateway, at_gateway),
        client(port, "a", username="alice", password="alicealice") as (alice, at_alice),
        client(port, "b", username="bob", password="bobbob") as (bob, at_bob),
    ):
        gateway.subscribe(space.gateway_filters())
        alice.subscribe(space.client_filters("alice"))
        bob.subscribe(["atls/#", *space.client_filters("alice")])  # not his
        await at_gateway.until(lambda: len(at_gateway.subscriptions) == len(space.gateway_filters()))
        await at_alice.until(lambda: len(at_alice.subscriptions) == 5)
        await at_bob.until(lambda: len(at_bob.subscriptions) == 6)

        bob.publish(space.build(Open("alice")), b"forged")
        bob.publish(space.build(Up("alice", SESSION, 0)), b"forged")
        bob.publish("atls/bridge/state", b"forged", retain=True)
        await at_bob.until(lambda: len(at_bob.ends) == 3)
        alice.publish(space.build(Open("alice")), b"mine")
        await at_gateway.until(lambda: at_gateway.messages)
        gateway.publish(space.build(Down("alice", SESSION, 0)), b"down")
        gateway.publish("atls/bridge/state", b"state", retain=True)
        await at_alice.until(lambda: len(at_alice.messages) == 2)
        bob.publish(space.build(Open("bob")), b"bob's")
        await at_gateway.until(lambda: len(at_gateway.messages) == 2)
    assert [(m.topic, m.payload) for m in at_gateway.messages] == [
        ("atls/alice/atls/open", b"mine"),
        ("atls/bob/atls/open", b"bob's"),
    ]
    assert [code for _, code in at_bob.ends][:3] == [0x87, 0x87, 0x87]  # not authorized
    assert {m.topic for m in at_bob.messages} == {"atls/bob/atls/open", "atls/bridge/state"}
    assert {m.payload for m in at_alice.messages} == {b"down", b"state"}


def tls_lines(ca: Path, certificate: Path, key: Path, *, mutual: bool) -> list[str]:
    lines = [f"cafile {ca}", f"certfile {certificate}", f"keyfile {key}", "tls_version tlsv1.3"]
    return [*lines, "require_certificate true", "use_identity_as_username true"] if mutual else lines


async def test_tls_with_certificates_on_both_sides(start_broker: Any, client: Any, authority: Any) -> None:
    ca = authority("ca")
    certificate, key = ca.issue("broker.example")
    mine, my_key = ca.issue("alice")
    broker = start_broker(*tls_lines(ca.file, certificate, key, mutual=True))
    tls = TlsOptions(ca_file=str(ca.file), cert_file=str(mine), key_file=str(my_key), server_name="broker.example")
    async with client(broker.port, "tls", tls=tls) as (both, told):
        both.subscribe(["tls/#"])
        await told.until(lambda: told.subscriptions)
        payloads = [bytes([i]) * 20_000 for i in range(50)]  # many TLS records per turn of the loop
        for payload in payloads:
            both.publish("tls/x", payload)
        await told.until(lambda: len(told.messages) == 50)
        facts = both.tls_facts()
        assert facts is not None
        assert facts.protocol == "TLSv1.3"
        assert facts.cipher.startswith("TLS_")
        assert facts.certificate == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert [message.payload for message in told.messages] == payloads
    assert both.tls_facts() is None


@pytest.mark.parametrize("fault", ["other authority", "other name", "no client certificate", "plain"])
async def test_tls_faults_are_reported_as_trouble(start_broker: Any, client: Any, authority: Any, fault: str) -> None:
    ca, other = authority("ca"), authority("other")
    certificate, key = ca.issue("broker.example")
    broker = start_broker(*tls_lines(ca.file, certificate, key, mutual=fault == "no client certificate"))
    tls: TlsOptions | None = TlsOptions(
        ca_file=str((other if fault == "other authority" else ca).file),
        server_name="other.example" if fault == "other name" else "broker.example",
    )
    if fault == "plain":
        tls = None
    async with client(broker.port, "tls-fault", tls=tls, connect_timeout=2.0) as (_, told):
        await told.until(lambda: told.disconnections)
    assert told.connections == []
    if fault.startswith("other"):
        assert "certificate verify failed" in told.disconnections[0].replace("_", " ").lower()


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Root can open every file: as another user, who may enter ``folder`` and read what is in it."""
    if os.geteuid() != 0:
        yield
        return
    for path in (folder, *folder.iterdir()):
        if path.stat().st_mode & 0o777:
            os.chown(path, 65534, -1)
    entered = [path for path in folder.parents if not path.stat().st_mode & 0o001]
    before = {path: path.stat().st_mode for path in entered}
    for path in entered:
        path.chmod(before[path] | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in before.items():
            path.chmod(mode)


@pytest.mark.parametrize("bad", ["ca_file", "cert_file", "key_file"])
def test_unusable_files_are_named(authority: Any, tmp_path: Path, bad: str) -> None:
    ca = authority("ca")
    certificate, key = ca.issue("alice")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no PEM")
    files = {"ca_file": str(ca.file), "cert_file": str(certificate), "key_file": str(key)}
    closed = tmp_path / "closed"
    closed.touch(mode=0o000)
    wanted = {
        rubbish: "holds no",
        tmp_path / "missing": "can't be opened: No such file or directory",
        closed: "can't be opened: Permission denied",
    }
    for wrong, told in wanted.items():
        options = MqttOptions(host="h", port=1, client_id="c", tls=TlsOptions(**{**files, bad: str(wrong)}))
        with as_nobody(tmp_path), pytest.raises(CredentialError, match=told) as caught:
            MqttClient(options, None)  # type: ignore[arg-type]
        assert caught.value.path == (files["cert_file"] if (bad, wrong) == ("key_file", rubbish) else str(wrong))
