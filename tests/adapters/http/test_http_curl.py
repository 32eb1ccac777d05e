"""What curl does beyond docs/http.md's commands: versions of HTTP and TLS, connections used again, bodies in chunks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.api.model import ActionAffordance, InvokeAction, Join, Unit, WriteProperties
from tests.harness.coap_devices import PROPERTIES, Device
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import TOKENS, Home, Start

pytestmark = pytest.mark.process

POLICY = """\
layer: 1
policy-version: 1
subjects:
  lamp: {link: far, user: lamp}
  phone: {link: http, bearer: phone}
  keeper: {link: http, spki_sha256: "KEEPER"}
rules:
  - {id: devices, effect: permit, subject: [phone, keeper], resource: lamp, action: [read, observe, write, invoke]}
  - {id: sessions, effect: permit, subject: [phone, keeper], resource: lamp, content: [adtls]}
"""


@pytest.fixture
async def home(start: Start) -> Home:
    return await start(policy=POLICY)


class Curl:
    """One run of curl as phone, with ``{http}`` and ``{https}`` in the place of origins."""

    def __init__(self, home: Home, *arguments: str, token: bool = True) -> None:
        places = {"http": f"http://127.0.0.1:{home.plain_port}", "https": f"https://127.0.0.1:{home.port}"}
        given = [each.format(**places) if each.startswith(("{http}", "{https}")) else each for each in arguments]
        config = home.write("phone.curl", f'header = "Authorization: Bearer {TOKENS["phone"]}"\n'.encode(), 0o600)
        known = ["--config", str(config)] if token else []
        always = ["--silent", "--show-error", "--cacert", str(home.folder / "ca.pem"), "--max-time", "20"]
        self._command = ["curl", *always, *known, *given]
        self.body = self.errors = ""

    async def start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=pipe)

    async def run(self, given: bytes = b"") -> str:
        """What it printed."""
        process = await self.start()
        out, err = await process.communicate(given)
        self.errors = err.decode()
        assert process.returncode == 0, self.errors
        return out.decode()


@pytest.fixture
def lamp(home: Home) -> Device:
    lamp = Device(home.far)
    gateway = home.far.gateway
    offers: dict[str, Any] = {"properties": PROPERTIES, "actions": (ActionAffordance(name="toggle"),)}
    gateway.submit(Join(id=gateway.next_id(), source=lamp.peer, received_at=gateway.now(), **offers))
    lamp.tell(level=40)
    return lamp


VERSION = ("--output", "/dev/null", "--write-out", "%{http_version} %{http_code}\n")


async def test_http_2_is_offered_and_http_1_1_is_taken(home: Home) -> None:
    """By ALPN; and without TLS by Upgrade, which is let pass."""
    curl = Curl(home, "--http2", "--verbose", *VERSION, "{https}/d")
    assert await curl.run() == "1.1 200\n"
    assert "offers h2" in curl.errors and "server accepted http/1.1" in curl.errors
    plain = Curl(home, "--http2", "--verbose", *VERSION, "{http}/d")
    assert await plain.run() == "1.1 200\n"
    assert "Upgrade: h2c" in plain.errors and "101" not in plain.errors


async def test_a_client_that_takes_http_2_for_granted_gets_an_end(home: Home) -> None:
    process = await Curl(home, "--http2-prior-knowledge", "{http}/d").start()
    _, complaint = await process.communicate()
    assert process.returncode != 0 and complaint
    assert (await home.client("phone").inbox()).status == 200


@pytest.mark.parametrize(
    "options", [("--http1.0",), ("--tls-max", "1.2"), ("--compressed",), ("--ipv4", "--tcp-nodelay")]
)
async def test_other_habits_are_fine(home: Home, lamp: Device, options: tuple[str, ...]) -> None:
    assert '"value":40' in await Curl(home, *options, "{https}/d/lamp/level").run()


async def test_one_connection_serves_what_comes_after(home: Home) -> None:
    """Also after an answer that refuses."""
    shown = ("--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n")
    targets = ("{https}/d", "{https}/d/nothing", "{https}/atls/inbox", "{https}/d")
    words = [word for target in targets for word in ("--output", "/dev/null", target)]
    assert await Curl(home, *shown[2:], *words).run() == "200 1\n404 0\n200 0\n200 0\n"


async def test_a_body_in_chunks_from_a_pipe(home: Home, lamp: Device) -> None:
    curl = Curl(
        home, "--verbose", "--upload-file", "-", "--header", "Content-Type: application/json", "{https}/d/lamp/level"
    )
    assert await curl.run(b"77") == ""
    assert "Transfer-Encoding: chunked" in curl.errors and "HTTP/1.1 204" in curl.errors
    (written,) = [each.envelope for each in lamp.commands]
    assert isinstance(written, WriteProperties) and written.values == {"level": 77}


async def test_a_body_that_waits_for_100_continue(home: Home, lamp: Device) -> None:
    curl = Curl(
        home, "--verbose", "--header", "Expect: 100-continue", "--expect100-timeout", "15", "--request", "PUT",
        "--header", "Content-Type: application/json", "--data", "55", "{https}/d/lamp/level",
    )  # fmt: skip
    await curl.run()
    assert "HTTP/1.1 100 Continue" in curl.errors and "HTTP/1.1 204" in curl.errors


async def test_a_poll_stands_until_a_unit_comes(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    await phone.sent(session, 0, record())
    (unit,) = home.far.of(Unit)
    poll = await Curl(
        home, "--request", "POST", "--header", "ATLS-Seq: 0", "--header", "Prefer: wait=20", "--include",
        "{https}/atls/" + session,
    ).start()  # fmt: skip
    await until(lambda: len(home.south._sessions.polls) == 1)
    home.far.unit(unit.session, 0, record(seed=5))
    out, _ = await poll.communicate()
    head, _, body = out.partition(b"\r\n\r\n")
    assert body == record(seed=5) and {b"preference-applied: wait=20", b"atls-seq: 0"} <= set(
        head.lower().split(b"\r\n")
    )


async def test_no_buffer_shows_events_as_they_come(home: Home, lamp: Device) -> None:
    watching = await Curl(home, "--no-buffer", "--header", "Accept: text/event-stream", "{https}/d/lamp/level").start()
    assert watching.stdout is not None
    seen = b""
    for level in (40, 41, 42):
        lamp.tell(level=level)
        while b'"value":%d' % level not in seen:
            seen += await watching.stdout.readline()
    watching.terminate()
    await watching.communicate()
    await until(lambda: home.adapter.status()["streams"] == 0)


async def test_a_certificate_in_the_place_of_a_token(home: Home, lamp: Device, tmp_path: Path) -> None:
    home.write("keeper.pem", home.keeper.chain)
    home.write("keeper.key", home.keeper.key_pem, 0o600)
    shown = ("--cert", str(tmp_path / "keeper.pem"), "--key", str(tmp_path / "keeper.key"))
    key = ("--header", "Idempotency-Key: k1")
    assert await Curl(home, *shown, *key, "--request", "POST", "{https}/d/lamp/toggle", token=False).run() == ""
    assert [type(each.envelope) for each in lamp.commands] == [InvokeAction]
    refused = await Curl(home, *VERSION, "{https}/d", token=False).run()
    assert refused == "1.1 401\n"
