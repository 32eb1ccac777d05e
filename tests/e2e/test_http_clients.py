"""The real daemon between an HTTP client and a CoAP endpoint: real TLS and DTLS inside, which it forwards unread, also
over a crash of the daemon in between."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from carriage.coap import atls_client
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Response
from carriage.coap.link_format import read_links
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials, Psk
from layer.events import DataReceived, HandshakeCompleted
from tests.harness.free_port import free_port
from tests.harness.gateway_in_loop import until
from tests.harness.layer_pair import Authority
from tests.harness.running_daemon import Home

pytestmark = pytest.mark.process

TOKEN = "dashboard-" + "5a" * 16
KEY = bytes(range(16))
POLICY = """\
layer: 1
policy-version: 1
subjects:
  dashboard: {link: http, bearer: dashboard}
  phone: {link: coap, psk_identity: phone}
rules:
  - {id: talk, effect: permit, subject: dashboard, resource: phone, content: [atls, adtls]}
"""
CONFIG = """\
layer: 1
config-version: 1
gateway: {{name: home, state_dir: state, admin_socket: admin.sock}}
policy: policy.yaml
adapters:
  coap: {{listen: '127.0.0.1:{coap}', psk_file: psk}}
  http:
    listen: '127.0.0.1:{http}'
    names: [localhost]
    certificate_file: gateway.pem
    key_file: gateway.key
    tokens_file: tokens
"""


class Inside:
    """One end of the layer-0 session, as its carriage sees it."""

    def __init__(self, role: Role, kind: str) -> None:
        psk = Psk("inside", KEY)
        credentials = Credentials(psk=psk) if role is Role.CLIENT else Credentials(psk_lookup={psk.identity: psk.key})
        protocol: Any = "tls1.3" if kind == "atls" else "dtls1.2"
        self.association = Association(role, credentials, AssociationConfig(protocol=protocol))
        self.kind = kind
        self.done = False
        self.heard = b""
        self.association.start(self.now())

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def receive(self, unit: bytes) -> None:
        self.association.receive(unit, self.now())
        while (event := self.association.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.done = True
            elif isinstance(event, DataReceived):
                self.heard += event.data

    def say(self, data: bytes) -> None:
        self.association.send(data, self.now())

    def units(self) -> list[bytes]:
        """Datagrams, or pieces of the flight."""
        records = list(self.association.records_to_send())
        if self.kind == "adtls":
            return records
        flight = b"".join(records)
        return [flight[at : at + 4096] for at in range(0, len(flight), 4096)]


class Phone:
    """The endpoint behind coaps: it takes the session in its inbox, and answers by what it is."""

    def __init__(self, port: int, kind: str) -> None:
        self._port = port
        self.client = self._client()
        self.inside = Inside(Role.SERVER, kind)
        self.kind: Any = kind
        self.session = ""
        self._sent = 0
        self._sending: asyncio.Queue[bytes] = asyncio.Queue()

    def _client(self) -> CoapsClient:
        return CoapsClient("127.0.0.1", self._port, Credentials(psk=Psk("phone", KEY)), keepalive=None)

    async def again(self) -> None:
        """By another association, after the daemon lost the first."""
        self.client.close()
        self.client = self._client()
        await self.client.connect()
        await self.client.observe(atls_client.read_request(self.session), self._unit)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        await self.client.connect()
        await self.client.observe(atls_client.inbox_request(), self._invited)
        await until(lambda: self.session)
        await self.client.observe(atls_client.read_request(self.session), self._unit)
        self._sender = tasks.create_task(self._send())

    def _invited(self, response: Response) -> None:
        for link in read_links(response.payload):
            self.session = link.target.rpartition("/")[2]

    def _unit(self, response: Response) -> None:
        unit = atls_client.read_unit(response)
        if isinstance(unit, atls_client.ReceivedUnit):
            self.inside.receive(unit.payload)
            self.pump()

    def pump(self) -> None:
        for each in self.inside.units():
            self._sending.put_nowait(each)

    async def _send(self) -> None:
        while True:
            unit = await self._sending.get()
            await self.client.request(atls_client.send_request(self.session, self._sent, self.kind, unit))
            self._sent += 1

    def close(self) -> None:
        self._sender.cancel()
        self.client.close()


class Dashboard:
    """The endpoint behind https. Each request is repeated until it has an answer, as over a bad network."""

    def __init__(self, port: int, authority: Authority, kind: str) -> None:
        self.inside = Inside(Role.CLIENT, kind)
        self.kind = kind
        self.http = aiohttp.ClientSession(
            f"https://localhost:{port}",
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority.pem.decode())),
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        self.place = ""
        self._sent = self._read = 0

    async def _post(self, target: str, body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        while True:
            try:
                async with self.http.post(target, data=body, headers=named) as found:
                    return found.status, found.headers, await found.read()
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

    async def open(self) -> None:
        target = f"/atls?to=phone&nonce={secrets.token_hex(8)}"
        status, headers, body = await self._post(target, Content_Type=f"application/{self.kind}")
        assert (status, body) == (200, b""), body
        self.place = headers["Location"]

    async def pump(self) -> None:
        for unit in self.inside.units():
            numbered = {"Content-Type": f"application/{self.kind}", "ATLS-Seq": str(self._sent)}
            status, headers, body = await self._post(self.place, unit, **numbered)
            assert status == 200, body
            self._sent += 1
            self._take(headers, body)

    def _take(self, headers: Any, body: bytes) -> None:
        if body and int(headers["ATLS-Seq"]) == self._read:
            assert headers["Content-Type"] == f"application/{self.kind}"
            self._read += 1
            self.inside.receive(body)

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.pump()
                if not holds():
                    status, headers, body = await self._post(self.place, ATLS_Seq=str(self._read), Prefer="wait=2")
                    assert status == 200, body
                    self._take(headers, body)
            await self.pump()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.fixture
async def gateway(home: Home) -> AsyncIterator[tuple[Home, Authority, int, int]]:
    authority = Authority("home")
    ours = authority.issue("gateway", x509.DNSName("localhost"))
    coap, http = free_port(), free_port()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    files = {"psk": f"phone:{KEY.hex()}\n", "tokens": f"dashboard:{digest}\n", "gateway.key": ours.key_pem.decode()}
    for name, text in files.items():
        (home.folder / name).touch(mode=0o600)
        (home.folder / name).write_text(text)
    (home.folder / "gateway.pem").write_bytes(ours.chain)
    home.config.write_text(CONFIG.format(coap=coap, http=http))
    home.policy.write_text(POLICY)
    daemon = home.start()
    await asyncio.to_thread(daemon.wait_notify, "READY=1")
    yield home, authority, coap, http


@pytest.mark.parametrize("kind", ["atls", "adtls"])
async def test_an_http_client_and_a_coap_endpoint_talk_end_to_end(
    gateway: tuple[Home, Authority, int, int], kind: str
) -> None:
    home, authority, coap, http = gateway
    secret = b"what the gateway never sees, " + secrets.token_hex(8).encode()
    async with asyncio.TaskGroup() as tasks:
        phone, dashboard = Phone(coap, kind), Dashboard(http, authority, kind)
        await dashboard.open()
        await phone.run(tasks)
        await dashboard.until(lambda: dashboard.inside.done and phone.inside.done)
        dashboard.inside.say(secret)
        await dashboard.until(lambda: phone.inside.heard == secret)
        for size in (1, 1000):
            phone.inside.say(secrets.token_bytes(size))
            phone.pump()
        await dashboard.until(lambda: len(dashboard.inside.heard) == 1001)
        async with dashboard.http.delete(dashboard.place) as closed:
            assert closed.status == 204
        phone.close()
        await dashboard.http.close()
    assert secret not in (home.folder / "state" / "store.db").read_bytes()


async def test_the_session_goes_on_when_the_daemon_was_killed(gateway: tuple[Home, Authority, int, int]) -> None:
    home, authority, coap, http = gateway
    async with asyncio.TaskGroup() as tasks:
        phone, dashboard = Phone(coap, "adtls"), Dashboard(http, authority, "adtls")
        await dashboard.open()
        await phone.run(tasks)
        await dashboard.until(lambda: dashboard.inside.done and phone.inside.done)
        dashboard.inside.say(b"before")
        await dashboard.until(lambda: phone.inside.heard == b"before")
        home.daemons[0].kill()
        daemon = home.start()
        await asyncio.to_thread(daemon.wait_notify, "READY=1")
        await phone.again()
        dashboard.inside.say(b" and after")
        await dashboard.until(lambda: phone.inside.heard == b"before and after")
        phone.inside.say(b"heard")
        phone.pump()
        await dashboard.until(lambda: dashboard.inside.heard == b"heard")
        phone.close()
        await dashboard.http.close()


async def test_a_reload_shuts_out_whose_token_is_gone(gateway: tuple[Home, Authority, int, int]) -> None:
    home, authority, _, http = gateway
    dashboard = Dashboard(http, authority, "adtls")
    await dashboard.open()
    watching = await dashboard.http.get(dashboard.place, headers={"Accept": "text/event-stream"})
    fresh = hashlib.sha256(b"fresh").hexdigest()
    (home.folder / "tokens").write_text(f"dashboard:{fresh}\n")
    done = await asyncio.to_thread(home.cli, "reload", "-c", "gateway.yaml")
    assert done.returncode == 0, done.stderr
    assert (await watching.content.readline(), await watching.content.readline()) == (
        b"event: end\n", b'data: {"reason":"denied"}\n',
    )  # fmt: skip
    assert (await dashboard.http.get("/d")).status == 401
    assert (await dashboard.http.get("/d", headers={"Authorization": "Bearer fresh"})).status == 200
    asking = {"Authorization": "Bearer fresh", "ATLS-Seq": "0"}
    assert (await dashboard.http.post(dashboard.place, headers=asking)).status == 404
    await dashboard.http.close()
