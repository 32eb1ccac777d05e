"""A forward proxy before the first hop: asked by CONNECT, with a login that nobody else sees; what else it may do."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from carriage.http import atls
from demo.credentials import make_psk_file, write_secret
from demo.process import Process
from demo.stack import command, free_port
from endpoint.transports.https import HttpsLimits, HttpsLink
from endpoint.transports.https_hop import Layer1
from endpoint.transports.https_proxy import ForwardProxy, proxy_of
from layer.errors import TransportError, UsageError
from tests.endpoint.https_gateway import WebGateway
from tests.endpoint.owner import Owner, running, unit, until
from tests.endpoint.web_certificates import WebAuthority, WebCertificate
from tests.harness.connect_proxy import IMPROPER, Proxy

LIMITS = HttpsLimits(wait=2, slack=1.0, answer_for=3.0, connect_for=1.0, reconnect_for=0.8, first_pause=0.05)
TOKEN = "tok-0123456789"
LOGIN = "phone:pass:wörd"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WebCertificate]:
    """A gateway's certificate, a middlebox's and a proxy's, each of another authority, in ``AUTHORITY.pem``."""
    folder = tmp_path_factory.mktemp("proxy")
    found = {}
    for name in ("gateway", "middlebox", "proxy"):
        authority = WebAuthority.make(f"ca of {name}")
        (folder / f"{name}-ca.pem").write_bytes(authority.pem)
        found[name] = authority.issue(folder, name)
    return found


def folder_of(web: dict[str, WebCertificate]) -> Path:
    return web["gateway"].certificate.parent


@asynccontextmanager
async def gateway_as(web: dict[str, WebCertificate], name: str) -> AsyncIterator[WebGateway]:
    gateway = WebGateway(web[name].context())
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


def link_by(
    proxy: str,
    web: dict[str, WebCertificate],
    port: int,
    *,
    ignores: bool = False,
    events: Any = None,
    login: str = "",
    connect_for: float = LIMITS.connect_for,
) -> HttpsLink:
    user, _, password = login.partition(":")
    at = f"{user}@" if login else ""
    scheme, place = proxy.split("://")
    authority = folder_of(web) / "proxy-ca.pem" if scheme == "https" else None
    return HttpsLink(
        f"https://localhost:{port}",
        Layer1(ca_file=folder_of(web) / "gateway-ca.pem", token=TOKEN),
        ignores=ignores,
        report=lambda event, **facts: events.append({"event": event, **facts}),
        limits=dataclasses.replace(LIMITS, connect_for=connect_for),
        proxy=proxy_of(f"{scheme}://{at}{place}", password.encode() if login else None, authority),
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_asked_by_connect_and_learns_no_more_than_the_place(
    web: dict[str, WebCertificate], scheme: str
) -> None:
    proxy = Proxy(LOGIN)
    context = web["proxy"].context() if scheme == "https" else None
    async with gateway_as(web, "gateway") as gateway, proxy.running(context) as port:
        async with running(link := link_by(f"{scheme}://localhost:{port}", web, gateway.port, login=LOGIN)):
            owner = Owner(await link.open("lamp7", "atls"))
            owner.session.send([unit(0)])
            await until(lambda: gateway.of(atls.SendUnit))
        assert gateway.raw[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert not any("proxy-authorization" in each.headers for each in gateway.raw)
    for head in proxy.requests:
        first, *fields = head.strip().split("\r\n")
        assert first == f"CONNECT localhost:{gateway.port} HTTP/1.1"
        names = {field.partition(":")[0].lower() for field in fields}
        assert names == {"host", "accept", "accept-encoding", "user-agent", "proxy-authorization"}
        assert TOKEN not in head
    assert base64.b64encode(LOGIN.encode()).decode() in proxy.requests[0]


@pytest.mark.parametrize(
    ("status", "login", "words"),
    [
        ("200 OK", "", "the proxy says 407: it wants a login, or .*--proxy-password-file"),
        ("200 OK", "phone:guessed", "the proxy says 407: it wants a login, or another one"),
        ("403 Forbidden", LOGIN, "the proxy says 403: it forbids it"),
        ("503 Later", LOGIN, "the proxy says 503: it can't reach the service"),
        ("418 Short", LOGIN, "the proxy says 418$"),
    ],
)
async def test_a_refusal_is_said_and_nothing_goes_around_the_proxy(
    web: dict[str, WebCertificate], status: str, login: str, words: str
) -> None:
    proxy = Proxy(LOGIN, status)
    async with gateway_as(web, "gateway") as gateway, proxy.running() as port:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link_by(f"http://127.0.0.1:{port}", web, gateway.port, login=login, ignores=True)):
                pass
        place = f"no way to https://localhost:{gateway.port} through the proxy http://127.0.0.1:{port}: "
        assert caught.group_contains(TransportError, match=place + words)
        assert proxy.requests and not gateway.raw


@pytest.mark.parametrize(
    ("scheme", "host", "why"),
    [("http", "127.0.0.1", "Connect"), ("http", "proxy.invalid", ""), ("https", "localhost", ".*Connect")],
)
async def test_a_proxy_that_is_away_is_said(scheme: str, host: str, why: str) -> None:
    """Of two addresses, which localhost may have, each has its reason: "Multiple exceptions" comes first."""
    url = f"{scheme}://{host}:{free_port()}"
    proxy = ForwardProxy(url=url)
    link = HttpsLink("https://localhost:1", Layer1(), ignores=False, report=print, limits=LIMITS, proxy=proxy)
    with pytest.raises(ExceptionGroup) as caught:
        async with running(link):
            pass
    assert caught.group_contains(TransportError, match=f"^no way through the proxy {url}: {why}")


async def test_a_proxy_without_tls_at_an_https_url_is_said(web: dict[str, WebCertificate]) -> None:
    async with Proxy().running() as port:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link_by(f"https://localhost:{port}", web, 1, connect_for=0.4)):
                pass
    assert caught.group_contains(TransportError, match=f"through the proxy https://localhost:{port}")


async def test_a_session_waits_for_a_proxy_that_comes_back(web: dict[str, WebCertificate]) -> None:
    proxy = Proxy()
    async with (
        gateway_as(web, "gateway") as gateway,
        proxy.running() as port,
        running(link := link_by(f"http://127.0.0.1:{port}", web, gateway.port)),
    ):
        owner = Owner(await link.open("lamp7", "atls"))
        proxy.status = "503 Later"
        for writer in list(proxy.tasks):
            writer.transport.abort()
        owner.session.send([unit(0)])
        asked = len(proxy.requests)
        await until(lambda: len(proxy.requests) > asked)
        proxy.status = "200 OK"
        await until(lambda: gateway.of(atls.SendUnit))
        assert not owner.ends


async def test_a_session_ends_if_the_proxy_lets_it_through_no_longer(web: dict[str, WebCertificate]) -> None:
    proxy = Proxy(LOGIN)
    async with (
        gateway_as(web, "gateway") as gateway,
        proxy.running() as port,
        running(link := link_by(f"http://127.0.0.1:{port}", web, gateway.port, login=LOGIN)),
    ):
        owner = Owner(await link.open("lamp7", "atls"))
        proxy.login = "phone:another one"
        for writer in list(proxy.tasks):
            writer.transport.abort()
        owner.session.send([unit(0)])
        await until(lambda: owner.ends)
        assert "the proxy says 407" in owner.ends[0]
        assert not gateway.of(atls.SendUnit)


@pytest.mark.parametrize("answer", IMPROPER)
async def test_a_proxy_that_does_not_answer_properly_is_given_up(web: dict[str, WebCertificate], answer: Any) -> None:
    proxy = Proxy(answer=answer)
    async with gateway_as(web, "gateway") as gateway, proxy.running() as port:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link_by(f"http://127.0.0.1:{port}", web, gateway.port, connect_for=0.4)):
                pass
        assert caught.group_contains(TransportError, match=f"through the proxy http://127.0.0.1:{port}")
        assert proxy.requests and not gateway.raw


async def test_errors_of_the_proxy_s_own_certificate_are_never_ignored(web: dict[str, WebCertificate]) -> None:
    proxy = Proxy()
    async with gateway_as(web, "gateway") as gateway, proxy.running(web["middlebox"].context()) as port:
        link = link_by(f"https://localhost:{port}", web, gateway.port, login=LOGIN, ignores=True)
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link):
                pass
        assert caught.group_contains(TransportError, match="certificate of the proxy https.* --proxy-ca-file")
    assert not proxy.requests and not gateway.raw


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_untrusted_hop_behind_a_proxy_gets_no_secret(web: dict[str, WebCertificate], scheme: str) -> None:
    """Figure 11: the login goes to the proxy, which is another box than the one that ends TLS."""
    proxy = Proxy(LOGIN)
    events: list[dict[str, Any]] = []
    context = web["proxy"].context() if scheme == "https" else None
    async with gateway_as(web, "middlebox") as middlebox, proxy.running(context) as port:
        link = link_by(f"{scheme}://localhost:{port}", web, middlebox.port, login=LOGIN, ignores=True, events=events)
        async with running(link):
            owner = Owner(await link.open("lamp7", "atls"))
            owner.session.send([unit(0)])
            await until(lambda: middlebox.of(atls.SendUnit))
        assert not {"authorization", "proxy-authorization"} & {
            name.lower() for each in middlebox.raw for name in each.headers
        }
    assert [(event["event"], event["issuer"]) for event in events] == [("first-hop", "CN=ca of middlebox")]


async def test_proxies_of_the_environment_do_not_count(
    web: dict[str, WebCertificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy()
    async with gateway_as(web, "gateway") as gateway, proxy.running() as port:
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        layer1 = Layer1(ca_file=folder_of(web) / "gateway-ca.pem")
        link = HttpsLink(f"https://localhost:{gateway.port}", layer1, ignores=False, report=print, limits=LIMITS)
        async with running(link):
            assert gateway.raw
    assert not proxy.requests


def test_over_http_there_is_no_proxy() -> None:
    with pytest.raises(UsageError, match="asked by CONNECT for https"):
        HttpsLink("http://x", Layer1(), ignores=False, report=print, proxy=ForwardProxy(url="http://p:1"))


@pytest.mark.process
async def test_the_password_is_in_no_log_and_in_no_process_list(tmp_path: Path) -> None:
    make_psk_file(tmp_path / "pair.psk", "door")
    (tmp_path / "policy.yaml").write_text(
        "layer: 0\npolicy-version: 1\nprotocol: tls1.3\ncredentials: {psk_file: pair.psk}\n"
    )
    write_secret(tmp_path / "password", b"pass:w0rd-of-the-proxy\n")
    listed = b""

    async def refuse(writer: asyncio.StreamWriter) -> None:
        nonlocal listed
        listed = Path(f"/proc/{app.pid}/cmdline").read_bytes() + Path(f"/proc/{app.pid}/environ").read_bytes()
        writer.write(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    proxy = Proxy(answer=refuse)
    async with proxy.running() as port:
        app = await Process.start(
            "app",
            [
                *(command("atls-endpoint"), "app", "--https", "https://door.example/.well-known/atls"),
                *("--policy", str(tmp_path / "policy.yaml"), "--json", "--log-level", "debug", "--open", "door"),
                *("--proxy", f"http://phone@127.0.0.1:{port}"),
                *("--proxy-password-file", str(tmp_path / "password")),
            ],
            tmp_path,
        )
        assert await app.ended() == 69
    login = base64.b64encode(b"phone:pass:w0rd-of-the-proxy").decode()
    assert f"Proxy-Authorization: Basic {login}" in proxy.requests[0]
    said = app.log.read_text() + repr(app.events) + listed.decode()
    assert "the proxy says 407" in said and "door.example" in listed.decode()
    assert "w0rd" not in said and login not in said


@pytest.mark.parametrize(
    "text", ["http://[:::]:1", "http://p:0", "http://", "ftp://p:1", "http://a b:1", "//p:1", "http://@p:1", "\udcff"]
)
def test_what_is_no_proxy_is_a_mistake_of_usage(text: str) -> None:
    with pytest.raises(UsageError):
        proxy_of(text, None, None)


def test_a_password_in_the_url_is_refused_and_an_ipv6_address_is_not() -> None:
    with pytest.raises(UsageError, match="--proxy: no password"):
        proxy_of("http://u:hunter2@p:1", b"x", None)
    assert proxy_of("http://[::1]:1", None, None).url == "http://[::1]:1"


def test_repr_has_no_password() -> None:
    proxy = proxy_of("http://phone@p:1", b"w0rd", None)
    assert proxy.password == "w0rd" and "w0rd" not in repr(proxy)


async def test_a_context_for_tls_in_tls_is_the_proxy_s(web: dict[str, WebCertificate]) -> None:
    assert ForwardProxy(url="http://p:1").context() is None
    context = ForwardProxy(url="https://p:1", ca_file=folder_of(web) / "proxy-ca.pem").context()
    assert context is not None and context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
