"""libcoap's clients against our server and our client against libcoap's server, over real sockets."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.client import CoapsClient
from carriage.coap.connection import FailureReason, Request, Response
from layer.credentials import Credentials, Psk
from tests.harness.free_port import free_port

BUILDS = pytest.mark.parametrize("build", ["openssl", "gnutls"])
PSK = ("-u", "dev", "-k", "0123456789abcdef")


async def coap_client(build: str, *arguments: str) -> bytes:
    """Run the client; its standard output."""
    process = await asyncio.create_subprocess_exec(
        f"coap-client-{build}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, error = await process.communicate()
    assert process.returncode == 0, error
    return out


@BUILDS
async def test_get_with_psk_and_with_certificate(served, pki, build: str, eventually) -> None:
    server, recorder = served
    recorder.stored[("x",)] = b"what was asked for"
    uri = f"coaps://127.0.0.1:{server.port}/x"
    assert (await coap_client(build, *PSK, "-m", "get", uri)).strip() == b"what was asked for"
    certificate = [f"{pki.directory}/{name}" for name in ("client.pem", "client.key", "ca.pem")]
    flags = ("-c", certificate[0], "-j", certificate[1], "-C", certificate[2])
    assert (await coap_client(build, *flags, "-m", "get", uri)).strip() == b"what was asked for"
    await eventually(lambda: len(recorder.of("gone")) == 2)
    identities = [peer.info.peer for (peer,) in recorder.of("connected")]
    assert [identity.kind for identity in identities] == ["psk", "certificate"]
    assert identities[0].psk_identity == b"dev" and identities[1].subject_alt_names == ("dns:client",)


@BUILDS
@pytest.mark.parametrize("block", [None, "64"])
async def test_put_and_get_in_blocks(served, tmp_path: Path, build: str, block: str | None) -> None:
    server, recorder = served
    body = random.Random(3).randbytes(20_000)
    (tmp_path / "up").write_bytes(body)
    uri = f"coaps://127.0.0.1:{server.port}/body"
    size = () if block is None else ("-b", block)
    await coap_client(build, *PSK, *size, "-m", "put", "-f", str(tmp_path / "up"), uri)
    assert recorder.stored[("body",)] == body
    await coap_client(build, *PSK, *size, "-m", "get", "-o", str(tmp_path / "down"), uri)
    assert (tmp_path / "down").read_bytes() == body


@BUILDS
async def test_observe(served, build: str, eventually) -> None:
    server, recorder = served
    notes = [b"first", b"second", random.Random(1).randbytes(3000).hex().encode(), b"last"]

    async def notify() -> None:
        await eventually(lambda: recorder.observers)
        peer, exchange = recorder.observers[0]
        for note in notes:
            peer.notify(exchange, Response(codes.CONTENT, (), note))

    async with asyncio.TaskGroup() as group:
        group.create_task(notify())
        out = await coap_client(build, *PSK, "-s", "1", "-w", f"coaps://127.0.0.1:{server.port}/o")
    assert [line for line in out.split(b"\n") if line] == notes
    assert len(recorder.of("acknowledged")) == 4
    await eventually(lambda: recorder.of("ended"))
    assert recorder.of("ended")[0][1] is FailureReason.DEREGISTERED


async def test_a_lossy_client(served, tmp_path: Path) -> None:
    """libcoap drops some datagrams that it sends after the handshake; the message layer makes up for it."""
    server, recorder = served
    body = random.Random(4).randbytes(6000)
    (tmp_path / "up").write_bytes(body)
    uri = f"coaps://127.0.0.1:{server.port}/lossy"
    await coap_client("openssl", *PSK, "-l", "6", "-m", "put", "-f", str(tmp_path / "up"), uri)
    assert recorder.stored[("lossy",)] == body


@pytest.fixture
async def libcoap_server(pki):
    """coap-server on a free pair of ports; the port that speaks DTLS."""
    port = free_port(2)
    directory = pki.directory
    process = await asyncio.create_subprocess_exec(
        "coap-server-openssl",
        *("-A", "127.0.0.1", "-p", str(port), "-d", "5", "-k", PSK[3], "-h", "hint"),
        *("-c", f"{directory}/gateway.pem", "-j", f"{directory}/gateway.key", "-C", f"{directory}/ca.pem"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    yield port + 1
    process.terminate()
    await process.wait()


@pytest.mark.parametrize("kind", ["psk", "client"])
async def test_our_client_against_libcoaps_server(libcoap_server, pki, kind: str) -> None:
    client = CoapsClient("127.0.0.1", libcoap_server, getattr(pki, kind))
    for _ in range(50):  # until it listens
        try:
            await client.connect()
            break
        except OSError:
            await asyncio.sleep(0.1)
        except Exception as error:
            assert "no answer at" in str(error)
            await asyncio.sleep(0.1)
    response = await client.request(Request(codes.GET))
    assert response.code == codes.CONTENT and b"test server" in response.payload
    core = await client.request(Request(codes.GET, opt.uri((".well-known", "core"))))
    assert core.payload.startswith(b"</>")
    body = random.Random(3).randbytes(5000)
    made = await client.request(Request(codes.PUT, opt.uri(("made",)), body))
    assert made.code == codes.CREATED
    assert (await client.request(Request(codes.GET, opt.uri(("made",))))).payload == body
    slow = await client.request(Request(codes.GET, opt.uri(("async",), ("1",))))  # a separate response
    assert slow.payload == b"done"
    assert (await client.request(Request(codes.GET, opt.uri(("nothing",))))).code == codes.NOT_FOUND
    client.close()


async def test_observing_libcoaps_clock(libcoap_server, pki, eventually) -> None:
    client = CoapsClient("127.0.0.1", libcoap_server, Credentials(psk=Psk("dev", PSK[3].encode())))
    for _ in range(50):
        try:
            await client.connect()
            break
        except Exception:
            await asyncio.sleep(0.1)
    heard: list[bytes] = []
    observation = await client.observe(Request(codes.GET, opt.uri(("time",))), lambda one: heard.append(one.payload))
    assert observation.established
    await eventually(lambda: len(heard) >= 3)
    assert len(set(heard)) >= 3
    observation.cancel()
    await asyncio.sleep(0.1)
    client.close()
