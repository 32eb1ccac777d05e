"""The hop to a service: whom the gateway trusts, who it is itself, which addresses it calls, proxies on the way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from adapters.http.north_addresses import JudgedAddresses, class_of
from demo.stack import free_port
from gateway.api.model import Close, Outcome, Reason, Unit
from layer.credentials import spki_sha256
from tests.harness.connect_proxy import IMPROPER, Proxy
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_services import POLICY, NorthHome, NumberingService, localhost, server_context, serving
from tests.harness.layer_pair import Authority, authority, stranger

STRICT = POLICY.replace("content:", "condition: {{require_link: {{min_version: tls1.3}}}}\n    content:")
LINK = (Outcome.DROPPED, Reason.LINK)
NO_HANDSHAKE = (Outcome.DROPPED, Reason.UNREACHABLE)
"""asyncio's servers end a handshake that fails without an alert: it could be any lost connection."""
DELIVERED = (Outcome.DELIVERED, None)


class Site:
    """A folder with files, a service, and homes that call it."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.service = NumberingService()
        self.server = localhost(authority())
        client = authority().issue("gateway", x509.DNSName("gateway.example"))
        self.write("ca.pem", authority().pem)
        self.write("other-ca.pem", stranger().pem)
        self.write("client.pem", client.chain)
        self.write("client.key", client.key_pem)
        self.write("token", b"to-ken~123\n")
        self.write("login", b"user:pass:word\n")
        self._stack = stack

    @property
    def pin(self) -> str:
        return spki_sha256(self.server.leaf)

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        (self.folder / name).chmod(0o600)

    async def serve(self, change: Callable[[ssl.SSLContext], None] = lambda context: None, tls: bool = True,
                    trust: Authority | None = None) -> int:  # fmt: skip
        context = server_context(self.folder, self.server, trust) if tls else None
        if context is not None:
            change(context)
        return await self._stack.enter_async_context(serving(self.service.handle, context))

    async def call(self, url: str, *tables: dict[str, Any], policy: str = POLICY) -> NorthHome:
        home = NorthHome(self.folder, url, *tables, policy=policy)
        await self._stack.enter_async_context(home.running(home.adapter))
        return home


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(tmp_path, stack)


async def first(home: NorthHome) -> tuple[Outcome, Reason | None]:
    """What becomes of the first unit."""
    verdict = home.far.ask("cloud")
    session = getattr(verdict, "session")  # noqa: B009
    await asyncio.sleep(0.01)
    if closes := home.far.of(Close, session):
        return Outcome.DROPPED, closes[0].reason
    unit = home.far.unit(session, 0, record())
    await until(lambda: home.far.outcome(unit) is not None)
    found = home.far.outcome(unit)
    assert found is not None
    return found


TRUST: tuple[tuple[dict[str, Any], tuple[Outcome, Reason | None]], ...] = (
    ({"ca_file": "ca.pem"}, DELIVERED),
    ({"ca_file": "other-ca.pem"}, LINK),
    ({}, LINK),
    ({"pins": ["PIN"]}, DELIVERED),
    ({"pins": ["00" * 32, "PIN"]}, DELIVERED),
    ({"pins": ["00" * 32]}, LINK),
    ({"pins": ["PIN"], "ca_file": "ca.pem"}, DELIVERED),
    ({"pins": ["00" * 32], "ca_file": "ca.pem"}, LINK),
    ({"pins": ["PIN"], "ca_file": "other-ca.pem"}, LINK),
)
"""Whom the config trusts, and what becomes of a unit."""


async def test_a_service_that_cannot_be_trusted_gets_nothing(site: Site) -> None:
    port = await site.serve()
    for index, (known, outcome) in enumerate(TRUST):
        site.service.seen.clear()
        url = f"https://localhost:{port}/.well-known/atls"
        table = {"url": url, "poll": 0, **known}
        table["pins"] = [site.pin if pin == "PIN" else pin for pin in known.get("pins", [])]
        home = NorthHome(site.folder, url, table)
        async with home.running(home.adapter):
            assert await first(home) == outcome, index
            assert len(site.service.seen) == (outcome == DELIVERED), index
            if outcome == LINK:
                assert home.called["retries"] == 0 and home.called["trouble"]


async def test_a_certificate_for_another_name_is_not_trusted(site: Site) -> None:
    port = await site.serve()
    site.server = authority().issue("other", x509.DNSName("other.example"))
    other = await site.serve()
    for place, outcome in ((f"https://127.0.0.1:{port}/", DELIVERED), (f"https://localhost:{other}/", LINK)):
        site.service.seen.clear()
        home = NorthHome(site.folder, place, {"url": place, "ca_file": "ca.pem", "poll": 0})
        async with home.running(home.adapter):
            site.service.wrap = as_well_known
            assert await first(home) == outcome


async def as_well_known(seen: Any) -> Any:
    from aiohttp import web

    return web.Response()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_wrong_pin_keeps_our_certificate_back(site: Site, version: ssl.TLSVersion) -> None:
    shaken: list[ssl.SSLObject] = []
    context = server_context(site.folder, site.server, authority())
    context.maximum_version = version

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shaken.append(writer.get_extra_info("ssl_object"))
        writer.transport.abort()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    mine = {"certificate_file": "client.pem", "key_file": "client.key"}
    home = await site.call(url, {"url": url, "ca_file": "ca.pem", "pins": ["00" * 32], **mine})
    assert await first(home) in (LINK, NO_HANDSHAKE)
    server.close()
    assert not shaken  # the server's handshake never ended: neither our certificate nor our Finished came


async def test_the_system_trusts_whom_it_trusts_without_an_entry(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(site.folder / "ca.pem"))
    home = await site.call(f"https://localhost:{await site.serve()}/.well-known/atls")
    assert await first(home) == DELIVERED


async def test_our_certificate_and_token_go_along(site: Site) -> None:
    port = await site.serve(trust=authority())
    url = f"https://localhost:{port}/.well-known/atls"
    mine = {"certificate_file": "client.pem", "key_file": "client.key", "token_file": "token"}
    home = await site.call(url, {"url": url, "ca_file": "ca.pem", **mine})
    assert await first(home) == DELIVERED
    assert site.service.seen[0].client == "gateway"
    assert site.service.seen[0].get("authorization") == "Bearer to-ken~123"
    (unit,) = home.far.of(Unit)
    assert unit.source.link.protocol == "tls1.3" and unit.source.link.authenticated
    assert unit.source.claims == (f"url:{url}",)


def only_tls12(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def only_old(context: ssl.SSLContext) -> None:
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("change", "policy", "table", "outcome"),
    [
        (only_tls12, POLICY, {}, DELIVERED),
        (only_tls12, STRICT, {}, LINK),
        (only_tls12, POLICY, {"min_version": "tls1.3"}, NO_HANDSHAKE),
        (lambda context: None, STRICT, {"min_version": "tls1.3"}, DELIVERED),
        (only_old, POLICY, {}, NO_HANDSHAKE),
    ],
)
async def test_a_link_that_is_not_good_enough_carries_nothing(
    site: Site, change: Callable[[ssl.SSLContext], None], policy: str, table: dict[str, Any],
    outcome: tuple[Outcome, Reason | None],
) -> None:  # fmt: skip
    port = await site.serve(change)
    url = f"https://localhost:{port}/.well-known/atls"
    home = NorthHome(site.folder, url, {"url": url, "ca_file": "ca.pem", "poll": 0, **table}, policy=policy)
    home.far.link = type(home.far.link)(protocol="dtls1.3", authenticated=True)
    async with home.running(home.adapter):
        assert await first(home) == outcome
    assert len(site.service.seen) == (outcome == DELIVERED)


@pytest.mark.parametrize(("allowed", "policy"), [(True, POLICY), (False, POLICY), (True, STRICT)])
async def test_http_carries_units_only_if_config_and_policy_let_it(site: Site, allowed: bool, policy: str) -> None:
    port = await site.serve(tls=False)
    url = f"http://127.0.0.1:{port}/.well-known/atls"
    home = NorthHome(site.folder, url, *([{"url": url, "allow_http": True}] if allowed else []), policy=policy)
    home.far.link = type(home.far.link)(protocol="dtls1.3", authenticated=True)
    async with home.running(home.adapter):
        good = allowed and policy == POLICY
        assert await first(home) == (DELIVERED if good else LINK)
    assert bool(site.service.seen) == good


async def test_a_service_that_config_lets_go_by_http_no_longer_loses_its_sessions(site: Site) -> None:
    url = f"http://127.0.0.1:{await site.serve(tls=False)}/.well-known/atls"
    home = await site.call(url, {"url": url, "allow_http": True, "poll": 0})
    assert await first(home) == DELIVERED
    asked = len(site.service.seen)
    (session,) = home.services.status()["sessions"] and list(home.services._sessions)
    assert home.services.adopt(home.make())
    await until(lambda: home.far.of(Close, session))
    assert home.far.of(Close, session)[0].reason is Reason.LINK
    await asyncio.sleep(0.05)
    assert len(site.service.seen) == asked, "not even a close goes there in clear"


@pytest.mark.parametrize(
    ("address", "sort"),
    [
        ("8.8.8.8", "public"), ("2606:4700::1", "public"), ("10.1.2.3", "private"), ("172.16.0.1", "private"),
        ("192.168.1.1", "private"), ("100.64.0.1", "private"), ("fd00::1", "private"), ("127.0.0.1", "loopback"),
        ("::1", "loopback"), ("169.254.169.254", "link-local"), ("fe80::1", "link-local"), ("224.0.0.1", "special"),
        ("ff02::1", "special"), ("0.0.0.0", "special"), ("::", "special"), ("255.255.255.255", "special"),
        ("240.0.0.1", "special"), ("192.0.2.1", "special"), ("2001:db8::1", "special"),
        ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "private"),
        ("64:ff9b::7f00:1", "loopback"), ("2002:7f00:1::", "loopback"),
        ("::7f00:1", "special"), ("fec0::1", "special"), ("64:ff9b:1::7f00:1", "special"), ("3fff::1", "special"),
    ],
)  # fmt: skip
def test_each_address_has_its_class(address: str, sort: str) -> None:
    assert class_of(ip_address(address)) == sort


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names resolve to these, one answer after the other; what was asked."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        return [(2, 1, 6, "", (addresses[min(len(asked), len(addresses)) - 1], port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


async def test_a_name_that_leads_inside_is_not_called(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.server = authority().issue("cloud", x509.DNSName("cloud.example"))
    url = f"https://cloud.example:{await site.serve()}/.well-known/atls"
    answers(monkeypatch, "127.0.0.1")
    home = await site.call(url, {"url": url, "ca_file": "ca.pem"})
    assert await first(home) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert "loopback" in home.called["trouble"] and not site.service.seen


async def test_the_address_that_was_judged_is_the_one_that_is_called(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.server = authority().issue("cloud", x509.DNSName("cloud.example"))
    url = f"https://cloud.example:{await site.serve()}/.well-known/atls"
    asked = answers(monkeypatch, "127.0.0.1", "10.255.255.1")
    home = await site.call(url, {"url": url, "ca_file": "ca.pem", "addresses": ["loopback"], "poll": 0})
    assert await first(home) == DELIVERED
    assert asked == ["cloud.example"]


async def test_localhost_needs_no_permission_and_other_names_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.0.1")
    judged = JudgedAddresses(["public"])
    assert [each["host"] for each in await judged.resolve("localhost.", 1)] == ["127.0.0.1"]
    with pytest.raises(OSError, match="loopback"):
        await judged.resolve("localhost.evil.example", 1)


async def test_tls_to_a_proxy_protects_no_service_behind_it(site: Site) -> None:
    proxy = await site.serve()  # as a proxy that has every answer itself
    url = "http://cloud.example/.well-known/atls"
    entry = {"url": url, "allow_http": True, "proxy": {"url": f"https://localhost:{proxy}", "ca_file": "ca.pem"}}
    home = await site.call(url, entry)
    assert await first(home) == DELIVERED
    await until(lambda: home.far.of(Unit))
    (unit,) = home.far.of(Unit)
    assert unit.source.link.protocol == "none" and not unit.source.link.authenticated


@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_is_asked_by_connect_and_sees_no_request(site: Site, tls: bool) -> None:
    """Its certificate is of another authority than the service's."""
    port = await site.serve()
    url = f"https://localhost:{port}/.well-known/atls"
    proxy, context = Proxy("user:pass:word"), None
    if tls:
        identity = localhost(stranger())
        (site.folder / "proxy.pem").write_bytes(identity.chain + identity.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.folder / "proxy.pem")
    async with proxy.running(context) as proxy_port:
        table = {"url": f"http{'s' * tls}://localhost:{proxy_port}", "login_file": "login"}
        if tls:
            table["ca_file"] = "other-ca.pem"
        entry = {"url": url, "ca_file": "ca.pem", "token_file": "token", "proxy": table}
        home = NorthHome(site.folder, url, entry)
        async with home.running(home.adapter):
            assert await first(home) == DELIVERED
            (unit,) = home.far.of(Unit)
            assert unit.source.link.authenticated
    assert all(head.startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n") for head in proxy.requests)
    assert "to-ken" not in "".join(proxy.requests)
    assert all("\r\nAuthorization" not in head for head in proxy.requests)
    assert "proxy-authorization" not in {name for each in site.service.seen for name, _ in each.fields}


@pytest.mark.parametrize(
    ("login", "status", "reason", "asked"),
    [("a:b", "200 OK", Reason.LINK, 1), (None, "403 No", Reason.LINK, 1), (None, "503 Later", Reason.UNREACHABLE, 2)],
)
async def test_a_proxy_that_refuses_is_no_way_and_nothing_goes_around_it(
    site: Site, login: str | None, status: str, reason: Reason, asked: int
) -> None:
    url = f"https://localhost:{await site.serve()}/.well-known/atls"
    proxy = Proxy(login, status)
    async with proxy.running() as port:
        home = NorthHome(
            site.folder, url, {"url": url, "ca_file": "ca.pem", "proxy": {"url": f"http://127.0.0.1:{port}"}}
        )
        async with home.running(home.adapter):
            assert await first(home) == (Outcome.DROPPED, reason)
    assert len(proxy.requests) >= asked and not site.service.seen


@pytest.mark.parametrize("answer", IMPROPER)
async def test_a_proxy_that_does_not_answer_properly_holds_nothing_up(site: Site, answer: Any) -> None:
    url = f"https://localhost:{await site.serve()}/.well-known/atls"
    proxy = Proxy(answer=answer)
    async with proxy.running() as port:
        entry = {"url": url, "ca_file": "ca.pem", "answer_within": 1, "proxy": {"url": f"http://127.0.0.1:{port}"}}
        home = NorthHome(site.folder, url, entry)
        async with home.running(home.adapter):
            outcome, reason = await first(home)
            assert outcome is Outcome.DROPPED and reason in (Reason.UNREACHABLE, Reason.BROKEN, Reason.LINK)
    assert proxy.requests and not site.service.seen


async def test_a_proxy_that_is_away_is_named_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    url = f"https://localhost:{await site.serve()}/.well-known/atls"
    entry = {"url": url, "ca_file": "ca.pem", "proxy": {"url": f"http://127.0.0.1:{free_port()}"}}
    home = NorthHome(site.folder, url, entry)
    async with home.running(home.adapter):
        assert await first(home) == (Outcome.DROPPED, Reason.UNREACHABLE)
    assert "has no answer for us: the proxy: Connect" in caplog.text


async def test_a_service_that_is_not_trusted_is_found_out_behind_an_https_proxy_too(site: Site) -> None:
    """At once, by the judgement of its certificate: in TLS in TLS some Pythons only notice a time-out."""
    url = f"https://localhost:{await site.serve()}/.well-known/atls"
    identity = localhost(authority())
    (site.folder / "proxy.pem").write_bytes(identity.chain + identity.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site.folder / "proxy.pem")
    proxy = Proxy()
    async with proxy.running(context) as port:
        table = {"url": f"https://localhost:{port}", "ca_file": "ca.pem"}
        home = NorthHome(site.folder, url, {"url": url, "ca_file": "other-ca.pem", "proxy": table})
        async with home.running(home.adapter):
            assert await first(home) == LINK
    assert len(proxy.requests) == 1 and not site.service.seen


async def test_proxies_of_the_environment_do_not_count(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://localhost:{await site.serve()}/.well-known/atls"
    proxy = Proxy()
    async with proxy.running() as port:
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        home = NorthHome(site.folder, url, {"url": url, "ca_file": "ca.pem"})
        async with home.running(home.adapter):
            assert await first(home) == DELIVERED
    assert not proxy.requests
