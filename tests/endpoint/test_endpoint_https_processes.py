"""``atls-endpoint app --https`` and ``atls-endpoint serve`` as processes: sizes, cut connections, kills, restarts."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest

from demo.credentials import make_psk_file
from demo.process import Process
from demo.stack import command, free_port
from endpoint.control import made_octets
from tests.endpoint.owner import until
from tests.endpoint.web_certificates import WebAuthority, WebCertificate
from tests.harness.tcp_forwarder import Forwarder

pytestmark = pytest.mark.process

PROGRAM = command("atls-endpoint")
KINDS = {"atls": "tls1.3", "adtls": "dtls1.2"}
SIZES = (1, 100, 1152, 4096, 16_385, 65_536)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Policies of both kinds, a service's certificate and a middlebox's, each with its authority."""
    folder = tmp_path_factory.mktemp("processes")
    make_psk_file(folder / "pair.psk", "door")
    for kind, protocol in KINDS.items():
        policy = f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\ncredentials: {{psk_file: pair.psk}}\n"
        policy += "peer: {psk_identity: door}\nretransmit_initial: 1\n"
        (folder / f"{kind}.yaml").write_text(policy)
        (folder / f"{kind}-new.yaml").write_text(policy + "first_hop_errors: ignore\n")
    for name in ("ca", "network"):
        authority = WebAuthority.make(name)
        (folder / f"{name}.pem").write_bytes(authority.pem)
        authority.issue(folder, "door" if name == "ca" else "middlebox")
    return folder


@pytest.fixture
def port() -> int:
    return free_port()


async def serve(folder: Path, port: int, kind: str, *options: str) -> Process:
    process = await Process.start(
        "door",
        [
            *(PROGRAM, "serve", "--listen", f"127.0.0.1:{port}", "--policy", f"{kind}.yaml", "--json"),
            *("--certificate-file", "door.pem", "--key-file", "door.key", *options),
        ],
        folder,
    )
    await process.expect_event("ready")
    return process


async def app(folder: Path, port: int, policy: str, *options: str, ca_file: str = "ca.pem") -> Process:
    url = f"https://localhost:{port}/.well-known/atls"
    shown = ("--ca-file", ca_file) if ca_file else ()
    return await Process.start(
        "app", [PROGRAM, "app", "--https", url, *shown, "--policy", f"{policy}.yaml", "--json", *options], folder
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_of_all_sizes_though_one_connection_in_ten_is_cut(
    folder: Path, port: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection in ten is cut within its first 4 KiB, in which its TLS handshake is, and all others at 8 KiB."""
    monkeypatch.chdir(folder)
    door = await serve(folder, port, kind)
    forwarder = Forwarder(port, share=0.1, within=4096, lives=8192)
    await forwarder.start()
    client = await app(folder, forwarder.port, kind, "--open", "door", "--control")
    await client.expect_event("session")
    await door.expect_event("session")
    for seed, size in enumerate(SIZES):
        client.tell(do="send", session=0, size=size, seed=seed)
        digest = hashlib.sha256(made_octets(size, seed)).hexdigest()
        assert (await client.expect_event("sent", sha256=digest))["status"] == "delivered"
        await door.expect_event("received", sha256=digest, size=size)
    client.tell(do="quit")
    assert (await door.expect_event("ended"))["clean"]
    assert await client.stop() == 0
    assert len([event for event in door.events if event["event"] == "received"]) == len(SIZES)
    assert forwarder.cuts >= 5
    await door.stop()
    await forwarder.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_service_speaks_too_and_its_close_is_read(
    folder: Path, port: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    door = await serve(folder, port, kind, "--control")
    client = await app(folder, port, kind, "--open", "door")
    await door.expect_event("session")
    for size in (1, 65_536):
        door.tell(do="send", session=0, size=size, seed=size)
        digest = hashlib.sha256(made_octets(size, size)).hexdigest()
        assert (await door.expect_event("sent", sha256=digest))["status"] == "delivered"
        await client.expect_event("received", sha256=digest)
    door.tell(do="close", session=0)
    assert await client.expect_event("ended", reason="closed by peer", clean=True)
    await client.stop()
    await door.stop()


async def test_a_service_that_restarts_is_found_again(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    door = await serve(folder, port, "atls")
    client = await app(folder, port, "atls", "--open", "door", "--control")
    await client.expect_event("session")
    await door.kill()
    door = await serve(folder, port, "atls")
    ended = await client.expect_event("ended", session=0)
    assert ended == {"event": "ended", "session": 0, "reason": "truncated: unknown", "clean": False}
    client.tell(do="open", to="door")
    await client.expect_event("session", session=1)
    client.tell(do="send", session=1, text="again")
    assert (await client.expect_event("sent"))["status"] == "delivered"
    await client.stop()
    await door.stop()


async def test_a_service_that_leaves_in_order_says_so(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    door = await serve(folder, port, "atls")
    client = await app(folder, port, "atls", "--open", "door")
    await client.expect_event("session")
    await door.expect_event("session")
    assert await door.stop() == 0
    assert (await client.expect_event("ended"))["reason"] == "closed by peer"
    await client.stop()


async def test_a_client_that_is_killed_holds_its_session_for_the_idle_time_only(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    door = await serve(folder, port, "adtls", "--idle", "1")
    client = await app(folder, port, "adtls", "--open", "door")
    await door.expect_event("session")
    await client.kill()
    ended = await door.expect_event("ended")
    assert (ended["clean"], ended["reason"]) == (False, "truncated: no request for 1 s")
    client = await app(folder, port, "adtls", "--open", "door", "--send", "here", "--leave")
    assert (await client.expect_event("sent"))["status"] == "delivered"
    assert await client.stop() == 0
    await door.stop()


async def test_bootstrapping_through_a_middlebox_that_ends_tls(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figure 1: the device can't verify the middlebox, learns the network's authority inside layer 0, and then can."""
    monkeypatch.chdir(folder)
    door = await serve(folder, port, "atls", "--authorities", "network.pem")
    shown = WebCertificate(folder / "middlebox.pem", folder / "middlebox.key", "")
    onward = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    middlebox = Forwarder(port, shown=shown.context(), onward=onward)
    await middlebox.start()

    refused = await app(folder, middlebox.port, "atls", "--open", "door", "--leave", ca_file="")
    await until(lambda: refused.returncode is not None)
    assert refused.returncode == 69
    assert b".well-known" not in middlebox.seen

    (folder / "token").write_text("tok-0123456789")
    (folder / "token").chmod(0o600)
    options = ("--open", "door", "--learn-authorities", "learnt.pem", "--send", "the key of the house", "--leave")
    device = await app(folder, middlebox.port, "atls-new", "--token-file", "token", *options, ca_file="")
    hop = await device.expect_event("first-hop")
    assert (hop["issuer"], hop["why"]) == ("CN=network", "unable to get local issuer certificate")
    learnt = await device.expect_event("learnt")
    assert [each["subject"] for each in learnt["authorities"]] == ["CN=network"]
    assert (await device.expect_event("sent"))["status"] == "delivered"
    assert await device.stop() == 0
    assert (folder / "learnt.pem").read_bytes() == (folder / "network.pem").read_bytes()
    seen = bytes(middlebox.seen)
    assert b"POST /.well-known/atls" in seen
    assert b"tok-0123456789" not in seen  # neither the token nor what layer 0 carries
    assert b"the key of the house" not in seen
    assert b"crts" not in seen

    options = ("--open", "door", "--send", "now verified", "--leave", "--token-file", "token")
    device = await app(folder, middlebox.port, "atls", *options, ca_file="learnt.pem")
    assert (await device.expect_event("sent"))["status"] == "delivered"
    assert await device.stop() == 0
    assert not [event for event in device.events if event["event"] == "first-hop"]
    assert b"tok-0123456789" in bytes(middlebox.seen)
    await middlebox.stop()
    await door.stop()


async def test_authorities_that_no_service_names_are_a_failure(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    door = await serve(folder, port, "atls")
    (folder / "kept.pem").write_text("as before")
    device = await app(folder, port, "atls", "--open", "door", "--learn-authorities", "kept.pem", "--leave")
    error = await device.expect_event("error")
    assert error["reason"] == "no authorities learnt: the other end names no authorities (4.04)"
    await until(lambda: device.returncode is not None)
    assert device.returncode == 1
    assert (folder / "kept.pem").read_text() == "as before"
    await door.stop()
