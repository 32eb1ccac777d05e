"""ATLS inside a web service made with aiohttp: one line mounts it, and a handler answers what comes inside layer 0."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from carriage.coap import codes
from carriage.coap import exchange as coap
from demo.credentials import make_psk_file
from demo.stack import free_port
from endpoint.application import Application
from endpoint.handler import MAX_ASKED, HandlerCalls
from endpoint.http_service import Asked, Handler, ServiceLimits, mount, subapp
from endpoint.policy import Layer0Policy, read_policy
from endpoint.session import Ended, EndpointSession, Established, SessionEvent
from endpoint.transports.https import HttpsLink
from endpoint.transports.https_hop import Layer1
from endpoint.transports.https_service_session import SessionTimes
from layer.config import Role
from layer.events import AssociationInfo, PeerIdentity
from tests.endpoint.web_certificates import WebAuthority, WebCertificate

QUICK = ServiceLimits(times=SessionTimes(reply_window=0.1))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mounted")
    make_psk_file(folder / "pair.psk", "door")
    for name, protocol, more in (
        ("atls", "tls1.3", ""),
        ("adtls", "dtls1.2", ""),
        ("raw", "tls1.3", "application: raw\n"),
    ):
        (folder / f"{name}.yaml").write_text(
            f"layer: 0\npolicy-version: 1\nprotocol: {protocol}\ncredentials: {{psk_file: pair.psk}}\n{more}"
        )
    return folder


async def digest(asked: Asked) -> bytes:
    """As our own application answers, so that our client takes it for delivered."""
    return hashlib.sha256(asked.body).digest()


@asynccontextmanager
async def running_app(app: web.Application, tls: WebCertificate | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls.context() if tls else None).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def client(policy: Layer0Policy, url: str, *messages: bytes) -> list[dict[str, Any]]:
    """The events of one that opens a session, sends, and leaves."""
    events: list[dict[str, Any]] = []

    def report(event: str, **facts: Any) -> None:
        events.append({"event": event, **facts})
        if policy.application == "raw" and event == "received":
            application.quit()

    link = HttpsLink(url, Layer1(), ignores=False, report=report)
    application = Application(policy, link, report, link_name="test")
    await application.run(opens=["door"], control=False, messages=messages, leave=policy.application == "coap")
    return events


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


@pytest.mark.parametrize("kind", ["atls", "adtls"])
async def test_one_line_mounts_it_beside_other_routes(files: Path, kind: str) -> None:
    heard: list[Asked] = []

    async def handler(asked: Asked) -> bytes:
        heard.append(asked)
        return await digest(asked)

    async def hello(request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    mount(app, handler, policy=files / f"{kind}.yaml")
    async with running_app(app) as url, aiohttp.ClientSession() as browser:
        events = await client(read_policy(files / f"{kind}.yaml"), f"{url}/.well-known/atls", b"a word", bytes(40_000))
        assert [event["status"] for event in of(events, "sent")] == ["delivered", "delivered"]
        async with browser.get(url) as page:
            assert await page.text() == "hello"
    assert [(asked.session, asked.path, asked.code, len(asked.body)) for asked in heard] == [
        (0, "messages", codes.POST, 6),
        (0, "messages", codes.POST, 40_000),
    ]
    assert heard[0].info.peer.psk_identity == b"door"
    assert "a word" not in repr(heard[0])


async def test_a_web_service_that_stops_closes_the_sessions_of_clients_that_wait(files: Path) -> None:
    policy, events = read_policy(files / "atls.yaml"), list[dict[str, Any]]()
    sent, polls = asyncio.Event(), Counter[str]()

    @web.middleware
    async def count(request: web.Request, handler: Any) -> Any:
        polls[request.path] += "Prefer" in request.headers
        try:
            return await handler(request)
        finally:
            polls[request.path] -= "Prefer" in request.headers

    def report(event: str, **facts: Any) -> None:
        events.append({"event": event, **facts})
        if event == "sent":
            sent.set()

    app = web.Application(middlewares=[count])
    mount(app, digest, policy=policy, limits=ServiceLimits(times=SessionTimes(linger=0.2)))
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    link = HttpsLink(f"http://127.0.0.1:{port}/.well-known/atls", Layer1(), ignores=False, report=report)
    visitor = Application(policy, link, report, link_name="test")
    visiting = asyncio.get_running_loop().create_task(
        visitor.run(opens=["door"], control=False, messages=[b"a word"], leave=False)
    )
    await sent.wait()
    await asyncio.sleep(0.2)  # the poll that brought the answer is over, and the next one waits
    assert polls.total() == 1
    await runner.cleanup()
    visiting.cancel()
    assert of(events, "ended") == [{"event": "ended", "session": 0, "reason": "closed by peer", "clean": True}]


async def test_below_a_prefix(files: Path) -> None:
    app = web.Application()
    app.add_subapp("/house/door", subapp(digest, policy=files / "atls.yaml"))
    async with running_app(app) as url:
        events = await client(read_policy(files / "atls.yaml"), f"{url}/house/door/.well-known/atls", b"a word")
        assert [event["status"] for event in of(events, "sent")] == ["delivered"]


async def test_raw_messages_are_requests_without_a_path(files: Path) -> None:
    async def handler(asked: Asked) -> bytes:
        assert asked.path == ""
        return asked.body.upper()

    app = web.Application()
    mount(app, handler, policy=files / "raw.yaml")
    async with running_app(app) as url:
        events = await client(read_policy(files / "raw.yaml"), f"{url}/.well-known/atls", b"shout")
        assert of(events, "received")[0]["text"] == "SHOUT"


async def fails(asked: Asked) -> bytes:
    raise RuntimeError("a fault of the web service")


async def forbids(asked: Asked) -> coap.Response:
    return coap.Response(codes.FORBIDDEN)


@pytest.mark.parametrize(("handler", "code"), [(fails, "5.00"), (forbids, "4.03")])
async def test_a_handler_that_fails_or_refuses(
    files: Path, handler: Handler, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = web.Application()
    mount(app, handler, policy=files / "atls.yaml")
    async with running_app(app) as url:
        policy = read_policy(files / "atls.yaml")
        for _ in range(2):  # the service goes on
            events = await client(policy, f"{url}/.well-known/atls", b"a word")
            assert of(events, "sent")[0]["status"] == f"refused: {code}"
    assert ("a fault of the web service" in caplog.text) == (handler is fails)


async def test_a_web_service_may_ask_its_clients_to_log_in_first(files: Path) -> None:
    def owner_of(request: web.BaseRequest) -> str:
        user = request.headers.get("x-user")
        if user is None:
            raise web.HTTPUnauthorized(headers={"www-authenticate": "Bearer"})
        return user

    app = web.Application()
    mount(app, digest, policy=files / "atls.yaml", owner_of=owner_of, limits=QUICK)
    async with running_app(app) as url, aiohttp.ClientSession() as browser:
        place = f"{url}/.well-known/atls"
        headers = {"content-type": "application/atls"}
        async with browser.post(place, data=b"x", headers=headers) as answer:
            assert answer.status == 401
        async with browser.post(place, data=b"x", headers={**headers, "x-user": "a"}) as answer:
            assert answer.status == 200


DRAFT = {"content-type": "application/atls+octet-stream"}


class DraftClient:
    """A client of draft-friel-tls-atls-00: its media type, a cookie, a flight in each body, and nothing else."""

    def __init__(self, policy: Layer0Policy, browser: aiohttp.ClientSession, url: str) -> None:
        self.session = EndpointSession(Role.CLIENT, policy, random=random.Random(1).random)
        self.events: list[SessionEvent] = []
        self.round_trips = 0
        self._browser = browser
        self._url = url
        self._cookie: str | None = None
        self.session.start(0.0)

    async def exchange(self) -> None:
        """Send what the stack has, as often as it has something."""
        while flight := b"".join(self.session.units_to_send()):
            self.round_trips += 1
            headers = DRAFT | ({"cookie": self._cookie} if self._cookie else {})
            async with self._browser.post(self._url, data=flight, headers=headers) as answer:
                assert answer.status == 200
                self._cookie = answer.headers.get("set-cookie", self._cookie or "").partition(";")[0]
                body = await answer.read()
                if body:
                    assert answer.headers["content-type"] == DRAFT["content-type"]
                    self.session.receive(body, 0.0)
            while (event := self.session.next_event()) is not None:
                self.events.append(event)


async def test_a_client_of_the_draft_needs_its_cookie_only(files: Path, tmp_path: Path) -> None:
    """Section 9.7 of draft-friel-tls-atls-00, with OpenSSL at both ends."""
    tls = WebAuthority.make("ca").issue(tmp_path, "server", address="127.0.0.1")
    app = web.Application()
    mount(app, digest, policy=files / "atls.yaml", limits=QUICK)
    policy = read_policy(files / "atls.yaml")
    connector = aiohttp.TCPConnector(ssl=False)
    jar = aiohttp.DummyCookieJar()
    async with running_app(app, tls) as url, aiohttp.ClientSession(connector=connector, cookie_jar=jar) as browser:
        drafts = [DraftClient(policy, browser, f"{url}/.well-known/atls") for _ in range(3)]
        for draft in drafts:  # side by side, one connection pool: only their cookies tell them apart
            await draft.exchange()
        for number, draft in enumerate(drafts):
            assert [type(event) for event in draft.events][:1] == [Established]
            assert draft.round_trips == 2  # figure 9
            body = b"%d" % number * 5000
            draft.session.request(coap.Request(codes.POST, (), body), 0.0)
            await draft.exchange()
            answers = [event for event in draft.events if isinstance(event, coap.ResponseReceived)]
            assert [event.response.payload for event in answers] == [hashlib.sha256(body).digest()]
            assert not any(isinstance(event, Ended) for event in draft.events)


def test_aiohttp_is_imported_for_http_only() -> None:
    program = (
        "import sys, endpoint.cli, endpoint.application, endpoint.transports.coaps; print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_a_session_has_a_bound_on_requests_that_wait_for_the_handler() -> None:
    go_on = asyncio.Event()
    answers: list[tuple[int, int | None, int]] = []

    async def slow(asked: Asked) -> bytes:
        await go_on.wait()
        return b"done"

    peer = PeerIdentity(kind="psk", psk_identity=b"door")
    info = AssociationInfo(protocol="tls1.3", suite="x", peer=peer)
    calls = HandlerCalls(slow, lambda session, exchange, answer: answers.append((session, exchange, answer.code)))
    async with asyncio.TaskGroup() as calls.tasks:
        for exchange in range(MAX_ASKED + 1):
            calls.ask(0, info, exchange, coap.Request(codes.POST))
        calls.ask(1, info, 0, coap.Request(codes.GET))
        assert answers == [(0, MAX_ASKED, codes.SERVICE_UNAVAILABLE)]
        go_on.set()
    assert len(answers) == MAX_ASKED + 2
    assert answers[-1] == (1, 0, codes.CONTENT)
    async with asyncio.TaskGroup() as calls.tasks:
        calls.ask(0, info, 0, coap.Request(codes.POST))
    assert answers[-1] == (0, 0, codes.CHANGED)
