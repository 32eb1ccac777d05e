"""A page in Chromium at the real gateway, from another origin: the script and the page of docs/http.md as they are.

One house for all tests: a virtual lamp, a phone behind coaps for sessions, the pages on Python's own http.server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from demo.credentials import Leaf, make_psk_file, write_secret
from demo.process import Process
from demo.stack import Stack, command, free_port, listening, running
from layer.association import Association
from layer.config import AssociationConfig, Role
from layer.credentials import Credentials, Psk
from layer.events import DataReceived, HandshakeCompleted
from tests.harness.chromium import Browser, Page, ScriptError, chromium
from tests.harness.docs_page import read
from tests.harness.tcp_forwarder import Forwarder

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

DOCS = read("http.md")
LAMP = "00:0d:6f:00:0e:00:00:01"
GATEWAY = "https://gateway.example:8443"
"""As docs/http.md has it; the browsers find it at ``House.https``."""
TOKEN = "token-of-dashboard"
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  phone: {{link: coap, psk_identity: phone}}
  dashboard: {{link: http, bearer: dashboard}}
  keeper: {{link: http, san: "dns:keeper"}}
rules:
  - {{id: light, effect: permit, subject: [dashboard, keeper], resource: lamp, action: [read, observe, write, invoke]}}
  - {{id: talk, effect: permit, subject: dashboard, resource: phone, content: [adtls]}}
"""
HTTP = """\
  http:
    listen: 127.0.0.1:{https}
    http_listen: 127.0.0.1:{http}
    names: [gateway.example]
    certificate_file: gateway.example.pem
    key_file: gateway.example.key
    trust_file: link-ca.pem
    tokens_file: tokens
    origins: ["http://localhost:{pages}"]
"""
LAYER_0 = "layer: 0\npolicy-version: 1\nprotocol: dtls1.2\ncredentials: {psk_file: pair.psk}\napplication: raw\n"
FORM = f"""\
<form method="post" enctype="text/plain" action="{GATEWAY}/d/lamp/toggle"><button>Win</button></form>
<a href="{GATEWAY}/d">Look</a>
"""
BLANK = "<!doctype html><title>Blank</title>"


@dataclass(frozen=True)
class House:
    """``https``: also port 8443 of gateway.example in the browsers; ``http``, ``pages``: ports."""

    stack: Stack
    https: int
    http: int
    pages: int
    keeper: Leaf
    phone: Process
    key: bytes

    @property
    def page(self) -> str:
        """The origin that may use the gateway."""
        return f"http://localhost:{self.pages}"

    @property
    def other(self) -> str:
        return f"http://other.example:{self.pages}"

    @asynccontextmanager
    async def browser(self, folder: Path, *options: str, keeper: bool = False) -> AsyncIterator[Browser]:
        """``keeper``: its user has chosen to show that certificate."""
        assert self.stack.authority is not None
        hosts = {"gateway.example:8443": self.https, "gateway.example": None, "other.example": None}
        shown = {"certificate": self.keeper.certificate, "key": self.keeper.key} if keeper else {}
        trusted = self.stack.authority.certificate
        async with chromium(folder, *options, trusted=trusted, hosts=hosts, **shown) as found:
            yield found

    async def detail(self) -> dict[str, Any]:
        return dict((await self.stack.ask("status"))["adapters"]["http"]["detail"])

    async def lit(self) -> bool:
        """What the lamp itself says."""
        process = await asyncio.create_subprocess_exec(
            command("atls-simulator"), "ctl", str(self.stack.attach_socket), "devices", stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        return bool(json.loads(printed)[0]["values"]["on_off"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("house") / "s"
    async with running(folder) as stack:
        assert stack.authority is not None
        stack.authority.issue("gateway.example")
        keeper = stack.authority.issue("keeper")
        write_secret(folder / "tokens", f"dashboard:{hashlib.sha256(TOKEN.encode()).hexdigest()}\n".encode())
        (folder / "network.yaml").write_text(f'devices:\n  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}\n')
        stack.write_policy(POLICY)
        await stack.start_simulator("--seed", "1", "--network", str(folder / "network.yaml"))
        https, http, pages = (free_port() for _ in range(3))
        stack.write_config(mqtt=False, extra=HTTP.format(https=https, http=http, pages=pages))
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        pair = make_psk_file(folder / "pair.psk", "pair")
        (folder / "layer0.yaml").write_text(LAYER_0)
        phone = await stack.start_phone("phone", folder / "layer0.yaml")
        (folder / "pages").mkdir()
        for name, text in (
            ("index.html", DOCS.block("html", "http-page")),
            ("gateway.js", DOCS.block("js", "http-script")),
            ("blank.html", BLANK),
            ("form.html", FORM),
        ):
            (folder / "pages" / name).write_text(text)
        serving = ["-m", "http.server", str(pages), "--bind", "127.0.0.1", "--directory", str(folder / "pages")]
        await listening(pages, await stack.start("pages", [sys.executable, *serving]))

        async def interviewed() -> bool:
            found = (await stack.ask("devices"))["devices"]
            return any(each["interviewed"] and each["properties"] for each in found)

        await until(interviewed)
        yield House(stack, https, http, pages, keeper, phone, pair.keys["pair"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(house: House, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with house.browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def page(house: House, browser: Browser) -> AsyncIterator[Page]:
    """A page of the origin that may use the gateway; ``home`` is its Gateway."""
    page = await opened(browser, house.page)
    yield page
    await page.close()


async def opened(browser: Browser, origin: str) -> Page:
    page = await browser.page(f"{origin}/blank.html")
    made = f"window.home = new Gateway('{GATEWAY}', '{TOKEN}')"
    await page.run(f"import('./gateway.js').then(({{Gateway}}) => {{ {made}; }})")
    return page


async def until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


async def test_the_page_of_the_docs_shows_the_lamp_and_switches_it(house: House, browser: Browser) -> None:
    page = await browser.page(f"{house.page}/")
    await page.run(f"document.querySelector('input').value = '{TOKEN}'")
    await page.run("[...document.querySelectorAll('button')].find((each) => each.innerText === 'Show').click()")

    async def shows(word: str) -> None:
        async def so() -> bool:
            return bool(await page.run("document.querySelector('output').value") == word)

        await until(so)

    before = await house.lit()
    await shows("on" if before else "off")
    await page.run("document.querySelector('#toggle').click()")
    await shows("off" if before else "on")
    assert await house.lit() is not before
    asked = {each["requestId"]: each for each in page.of("Network.requestWillBeSent")}
    preflights = [each for each in asked.values() if each["request"]["method"] == "OPTIONS"]
    assert len(preflights) == 2
    complaints = [each["entry"] for each in page.of("Log.entryAdded") if each["entry"]["level"] == "error"]
    assert not [each for each in complaints if not each.get("url", "").endswith("/favicon.ico")]
    await page.close()


async def test_devices_are_json_for_a_page(house: House, page: Page) -> None:
    (lamp,) = (await page.run("home.read('/d')"))["devices"]
    assert (lamp["name"], set(lamp["properties"]), set(lamp["actions"])) == ("lamp", {"state"}, {"toggle"})
    for lit in (True, False):
        assert await page.run(f"home.set('lamp', {{state: {json.dumps(lit)}}}).then((each) => each.status)") == 204
        assert await house.lit() is lit
        assert (await page.run("home.read('/d/lamp/state')"))["value"] is lit
    one = "home.ask('PUT', '/d/lamp/state', {'Content-Type': 'application/json'}, 'true')"
    assert await page.run(f"{one}.then((each) => each.status)") == 204
    assert await page.run("home.invoke('lamp', 'toggle').then((each) => each.status)") == 204
    for asked, answer in (("home.read('/d/nothing')", "404"), ("home.set('lamp', {state: 'blue'})", "400")):
        with pytest.raises(ScriptError, match=f"{answer} .*reason"):
            await page.run(asked)
    await page.run("home.token = 'wrong'")
    with pytest.raises(ScriptError, match=r"401 .*unauthenticated"):
        await page.run("home.read('/d')")


class Inside:
    """The client of an end-to-end DTLS association whose records a page carries."""

    def __init__(self, key: bytes) -> None:
        credentials = Credentials(psk=Psk("pair", key))
        self.association = Association(Role.CLIENT, credentials, AssociationConfig(protocol="dtls1.2"))
        self.done = False
        self.heard = b""
        self.association.start(self.now())

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    async def pump_once(self, page: Page) -> None:
        """Out what there is."""
        for record in self.association.records_to_send():
            octets = base64.b64encode(record).decode()
            await page.run(f"session.send(Uint8Array.from(atob('{octets}'), (each) => each.charCodeAt()))")

    async def pump(self, page: Page) -> None:
        """Out what there is, and in what has come."""
        await self.pump_once(page)
        for unit in await page.run("units.splice(0).map((unit) => btoa(String.fromCharCode(...unit)))"):
            self.association.receive(base64.b64decode(unit), self.now())
            while (event := self.association.next_event()) is not None:
                if isinstance(event, HandshakeCompleted):
                    self.done = True
                elif isinstance(event, DataReceived):
                    self.heard += event.data


async def test_a_page_carries_a_session_end_to_end(house: House, page: Page) -> None:
    """Units by requests and by long polls, both ways; what polls get is what nothing else would bring."""
    inside = Inside(house.key)
    await page.run("window.units = []; window.ended = '';")
    await page.run("home.open('phone', 'adtls', (unit) => units.push(unit)).then((made) => { window.session = made; })")
    await page.run("session.poll().then(() => { ended = 'closed'; }, (error) => { ended = error.message; }), 0")

    async def pumped_until(holds: Any) -> None:
        async def so() -> bool:
            await inside.pump(page)
            return bool(holds())

        await until(so)

    await pumped_until(lambda: inside.done)
    inside.association.send(b"from the page", inside.now())
    await inside.pump(page)
    heard = await house.phone.expect_event("received")
    assert "from the page" in str(heard)
    house.phone.tell(do="send", session=0, text="to the page")
    await pumped_until(lambda: inside.heard == b"to the page")
    assert await page.run("session.close().then((each) => each.status)") == 204
    assert await page.run("ended") == "closed"


async def test_events_of_a_session_have_its_numbers_and_its_end(house: House, page: Page) -> None:
    await page.run("home.open('phone', 'adtls', () => {}).then((made) => { window.session = made; })")
    collect = """
        window.events = []; window.over = new AbortController();
        (async () => { for await (const each of home.events(session.place, over.signal)) events.push(each); })(), 0
    """
    await page.run(collect)
    await Inside(house.key).pump_once(page)

    async def begun() -> Any:
        return (await page.run("events"))[:1]

    await until(begun)
    assert await begun() == [{"data": {"n": 0}}]
    await page.run("session.close().then(() => 0)")

    async def ended() -> bool:
        return {"event": "end", "data": {"reason": "closed"}} in await page.run("events")

    await until(ended)


async def test_a_stream_that_the_page_gives_up_is_gone_in_the_gateway(house: House, page: Page) -> None:
    await streams(house, 0)
    await page.run(f"window.overs = [new AbortController()]; {WATCHES}")
    await streams(house, 1)
    await page.run("overs[0].abort()")
    await streams(house, 0)


async def test_a_browser_has_six_connections_to_a_host(house: House, page: Page) -> None:
    """docs/http.md says so: a page with a stream for each of its devices would stand still."""
    await page.run(f"window.overs = Array.from({{length: 6}}, () => new AbortController()); {WATCHES}")
    await streams(house, 6)
    requests = (await house.detail())["requests"]
    await page.run("window.seventh = ''; home.read('/d').then(() => { seventh = 'done'; }), 0")
    await page.run("new Promise((resume) => setTimeout(resume, 300))")
    assert ((await house.detail())["requests"], await page.run("seventh")) == (requests, "")
    await page.run("overs[0].abort()")

    async def done() -> bool:
        return bool(await page.run("seventh") == "done")

    await until(done)
    await page.run("overs.map((over) => over.abort()), 0")
    await streams(house, 0)


WATCHES = """
    for (const {signal} of overs)
      (async () => { for await (const _ of home.events('/d', signal)); })().catch(() => 0);
    0
"""


async def streams(house: House, count: int) -> None:
    async def so() -> bool:
        return bool((await house.detail())["streams"] == count)

    await until(so)


async def test_a_page_of_another_origin_gets_nowhere(house: House, browser: Browser) -> None:
    """Although it has a token: it has run off with one."""
    page = await opened(browser, house.other)
    before, lit = await house.detail(), await house.lit()
    asked = ("home.read('/d')", "home.invoke('lamp', 'toggle')", "home.open('phone', 'adtls')")
    for each in asked:
        with pytest.raises(ScriptError, match="TypeError: Failed to fetch"):
            await page.run(each)
    assert statuses(page, "/d") + statuses(page, "/atls") == [403] * len(asked)
    # What a browser sends without asking has no token, whatever the script wants.
    blind = "fetch(home.url + '/d/lamp/toggle', {method: 'POST', mode: 'no-cors', body: 'x', headers: HEADERS})"
    blind = blind.replace("HEADERS", f"{{Authorization: 'Bearer {TOKEN}'}}")
    assert await page.run(f"{blind}.then((each) => [each.type, each.status])") == ["opaque", 0]
    after = await house.detail()
    assert after["requests"] == before["requests"] + len(asked) + 1
    assert after["unauthenticated"] == before["unauthenticated"] + 1
    assert (await house.lit(), after["sessions"]) == (lit, before["sessions"])


def statuses(page: Page, path: str) -> list[int]:
    """Of the answers to all that it asked the gateway for below a path, preflights too, as they came over the wire."""
    found = {
        each["requestId"]
        for each in page.of("Network.requestWillBeSent")
        if each["request"]["url"].startswith(f"{GATEWAY}{path}")
    }
    return [each["statusCode"] for each in page.of("Network.responseReceivedExtraInfo") if each["requestId"] in found]


async def test_a_form_of_another_site_can_not_use_the_certificate_or_a_cookie_of_its_visitor(
    house: House, tmp_path: Path
) -> None:
    """The cookie is laxer than ours (SameSite=None), so that the browser does send it."""
    async with house.browser(tmp_path, keeper=True) as browser:
        page = await browser.page(f"{GATEWAY}/d")
        assert [each["name"] for each in (await shown(page))["devices"]] == ["lamp"], "its user typed the address"
        lit = await house.lit()
        cookie = {"name": "__Host-atls-phone", "value": "5a" * 16, "url": GATEWAY, "path": "/"}
        await page.call("Network.setCookie", **cookie, secure=True, sameSite="None")
        for click in ("button", "a"):
            page = await browser.page(f"{house.other}/form.html")
            seen = len(page.events)
            await page.run(f"document.querySelector('{click}').click()")
            await page.until("Page.loadEventFired", since=seen)
            told = await shown(page)
            assert (told["status"], told["reason"]) == (403, "denied"), click
            assert "certificate of its visitor" in told["detail"]
            sent = [each["associatedCookies"] for each in page.of("Network.requestWillBeSentExtraInfo")]
            assert any(each["cookie"]["name"] == "__Host-atls-phone" for cookies in sent for each in cookies)
        assert await house.lit() is lit
        page = await browser.page(f"{house.page}/blank.html")
        with pytest.raises(ScriptError, match="Failed to fetch"):
            await page.run(f"fetch('{GATEWAY}/d', {{credentials: 'include'}})")
        assert statuses(page, "/d") == [403], "not even where the page's origin may use a token"


async def shown(page: Page) -> Any:
    return json.loads(await page.run("document.body.innerText"))


async def test_a_name_that_comes_to_lead_to_the_gateway_is_refused(house: House, browser: Browser) -> None:
    """DNS rebinding: the name of the page's server had the address of that server, and now has the gateway's. To the
    browser its requests stay in their origin, so that CORS holds none of them back."""
    first = Forwarder(house.pages)
    await first.start()
    page = await browser.page(f"http://other.example:{first.port}/blank.html")
    await first.stop()
    second = Forwarder(house.http)
    second.port = first.port
    await second.start()
    asked = f"fetch('/d', {{headers: {{Authorization: 'Bearer {TOKEN}'}}}})"
    asked += ".then(async (each) => [each.status, await each.json()])"
    status, told = await page.run(asked)
    assert (status, told["reason"]) == (421, "misdirected")
    ours = await browser.page(f"http://gateway.example:{first.port}/d")
    assert (await shown(ours))["reason"] == "unauthenticated"
    assert (await ours.run(asked))[0] == 200, "by the gateway's own name the same request is good"
    await second.stop()


async def test_a_page_from_the_internet_needs_its_visitors_leave(house: House, tmp_path: Path) -> None:
    """Chromium asks its user whether such a page may reach what is at home; without an answer ``fetch`` fails, and
    nothing has reached the gateway."""
    public = f"--ip-address-space-overrides=127.0.0.1:{house.pages}=public"
    async with house.browser(tmp_path, public) as browser:
        page = await opened(browser, house.page)
        before = (await house.detail())["requests"]
        with pytest.raises(ScriptError, match="Failed to fetch"):
            await page.run("home.read('/d')")
        failed = [each.get("corsErrorStatus", {}).get("corsError") for each in page.of("Network.loadingFailed")]
        assert set(failed) == {"LocalNetworkAccessPermissionDenied"}
        assert (await house.detail())["requests"] == before
        leave = ["localNetworkAccess", "localNetwork", "loopbackNetwork"]
        await browser.call("Browser.grantPermissions", permissions=leave, origin=house.page)
        assert [each["name"] for each in (await page.run("home.read('/d')"))["devices"]] == ["lamp"]
