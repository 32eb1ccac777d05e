"""Two ``atls-endpoint app --https`` and the real daemon between them: records of OpenSSL through its HTTP adapter."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.credentials import Authority, make_psk_file, write_secret
from demo.process import Process
from demo.stack import command, free_port
from endpoint.control import made_octets
from tests.endpoint.tcp_forwarder import Forwarder

CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: state, admin_socket: admin.sock}}
policy: policy.yaml
adapters:
  http:
    listen: "127.0.0.1:{port}"
    certificate_file: gateway.pem
    key_file: gateway.key
    trust_file: ca.pem
    tokens_file: tokens
"""
POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: http, bearer: phone}}
  tablet: {{link: http, spki_sha256: "{pin}"}}
rules:
  - id: talk
    effect: permit
    subject: phone
    resource: tablet
"""
SERVICE_CONFIG = """\
    services:
      - url: https://localhost:{port}/.well-known/atls
        ca_file: ca.pem
        addresses: [loopback]
"""
SERVICE_POLICY = """\
layer: 1
policy-version: 1
subjects:
  phone: {{link: http, bearer: phone}}
  door: {{link: http, url: "https://localhost:{port}/.well-known/atls"}}
rules:
  - id: talk
    effect: permit
    subject: phone
    resource: door
"""
LAYER_0 = """\
layer: 0
policy-version: 1
protocol: {protocol}
credentials: {{psk_file: pair.psk}}
retransmit_initial: 2
"""
CERTIFICATE = ("--certificate-file", "tablet.pem", "--key-file", "tablet.key")
pytestmark = pytest.mark.process

SETTLED = 30
"""Messages after which a session survives a kill (decision 10)."""
STORED = 0.5
"""Seconds in which its row is in the store: so many messages go in less than the 0.1 s that it may take."""
SIZES = (1, 1152, 16_385, 65_536)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def house(folder: Path, protocol: str) -> AsyncIterator[tuple[int, Process, Any]]:
    """A running daemon: its port, its process, and a function that starts another one."""
    port = free_port()
    authority = Authority.make(folder)
    authority.issue("gateway")
    tablet = authority.issue("tablet")
    (folder / "gateway.yaml").write_text(CONFIG.format(port=port))
    (folder / "policy.yaml").write_text(POLICY.format(pin=tablet.spki_sha256))
    (folder / "layer0.yaml").write_text(LAYER_0.format(protocol=protocol))
    make_psk_file(folder / "pair.psk", "pair")
    write_secret(folder / "tokens", f"phone:{hashlib.sha256(b'token-of-phone').hexdigest()}\n".encode())
    write_secret(folder / "phone.token", b"token-of-phone\n")
    running: list[Process] = []

    async def start() -> Process:
        running.append(await Process.start("gateway", [command("atls-gateway"), "run", "-c", "gateway.yaml"], folder))
        async with asyncio.timeout(30):
            while not await listens(port):  # noqa: ASYNC110 - what is waited for knows no event
                await asyncio.sleep(0.1)
        return running[-1]

    first = await start()
    try:
        yield port, first, start
    finally:
        await running[-1].stop()


async def app(folder: Path, name: str, port: int, *options: str) -> Process:
    process = await Process.start(
        name,
        [
            *(command("atls-endpoint"), "app", "--https", f"https://localhost:{port}", "--ca-file", "ca.pem"),
            *("--policy", "layer0.yaml", "--json", *options),
        ],
        folder,
    )
    await process.expect_event("ready")
    return process


@pytest.mark.parametrize("protocol", ["tls1.3", "dtls1.2"])
async def test_through_the_daemon_though_connections_are_cut(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with house(tmp_path, protocol) as (port, _, _):
        forwarder = Forwarder(port, share=0.1, within=4096, lives=32_768)
        await forwarder.start()
        tablet = await app(tmp_path, "tablet", port, *CERTIFICATE, "--control")
        phone = await app(
            tmp_path, "phone", forwarder.port, "--token-file", "phone.token", "--open", "tablet", "--control"
        )
        session = await phone.expect_event("session")
        assert (session["peer"], session["via"]) == ("pair", "tablet")
        await tablet.expect_event("session", via="phone")
        for sender, receiver in ((phone, tablet), (tablet, phone)):
            for seed, size in enumerate(SIZES):
                sender.tell(do="send", session=0, size=size, seed=seed)
                digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
                assert (await sender.expect_event("sent", sha256=digest))["status"] == "delivered"
                await receiver.expect_event("received", sha256=digest)
        phone.tell(do="close", session=0)
        assert (await tablet.expect_event("ended"))["clean"]
        assert forwarder.cuts >= 1
        await phone.stop()
        await tablet.stop()
        await forwarder.stop()


@pytest.mark.parametrize("protocol", ["dtls1.2"])
async def test_a_daemon_that_is_killed_and_started_again_has_the_session(
    tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with house(tmp_path, protocol) as (port, daemon, start):
        tablet = await app(tmp_path, "tablet", port, *CERTIFICATE)
        phone = await app(tmp_path, "phone", port, "--token-file", "phone.token", "--open", "tablet", "--control")
        await phone.expect_event("session")
        for number in range(SETTLED + 3):
            phone.tell(do="send", session=0, text=str(number))
            assert (await phone.expect_event("sent", text=str(number)))["status"] == "delivered"
            await tablet.expect_event("received", text=str(number))
            if number == SETTLED:
                await asyncio.sleep(STORED)
                await daemon.kill()
                await start()
        received = [event["text"] for event in tablet.events if event["event"] == "received"]
        assert received == [str(number) for number in range(SETTLED + 3)]
        await phone.stop()
        await tablet.stop()


@pytest.mark.parametrize("protocol", ["tls1.3"])
async def test_our_service_behind_the_daemon(tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figure 8 of draft-friel-tls-atls-00: the gateway is the middlebox, and both of its sides are HTTP."""
    monkeypatch.chdir(tmp_path)
    service_port = free_port()
    async with house(tmp_path, protocol) as (port, daemon, start):
        await daemon.stop()
        text = (tmp_path / "gateway.yaml").read_text()
        (tmp_path / "gateway.yaml").write_text(text + SERVICE_CONFIG.format(port=service_port))
        (tmp_path / "policy.yaml").write_text(SERVICE_POLICY.format(port=service_port))
        await start()
        door = await Process.start(
            "door",
            [
                *(command("atls-endpoint"), "serve", "--listen", f"127.0.0.1:{service_port}", "--json", "--control"),
                *("--certificate-file", "gateway.pem", "--key-file", "gateway.key", "--policy", "layer0.yaml"),
            ],
            tmp_path,
        )
        await door.expect_event("ready")
        phone = await app(tmp_path, "phone", port, "--token-file", "phone.token", "--open", "door", "--control")
        await phone.expect_event("session")
        await door.expect_event("session")
        for sender, receiver in ((phone, door), (door, phone)):
            for seed, size in enumerate(SIZES):
                sender.tell(do="send", session=0, size=size, seed=seed)
                digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
                assert (await sender.expect_event("sent", sha256=digest))["status"] == "delivered"
                await receiver.expect_event("received", sha256=digest)
        phone.tell(do="close", session=0)
        assert (await door.expect_event("ended"))["clean"]
        await phone.stop()
        await door.stop()
