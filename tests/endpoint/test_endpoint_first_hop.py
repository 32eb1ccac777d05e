"""A first hop whose certificate does not verify: by default nothing leaves; if the policy ignores that, no secret."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from carriage.http import atls
from demo.credentials import write_secret
from demo.stack import free_port
from endpoint.transports.https import HttpsLimits, HttpsLink
from endpoint.transports.https_hop import Layer1, SeenCertificate, _facts
from layer.credentials import spki_sha256
from layer.errors import TransportError
from tests.endpoint.https_gateway import WebGateway
from tests.endpoint.owner import Owner, running, unit, until
from tests.endpoint.web_certificates import WebAuthority, WebCertificate

LIMITS = HttpsLimits(wait=2, slack=1.0, answer_for=2.0, reconnect_for=0.8, first_pause=0.05)
SECRET = "tok-0123456789"
BAD = {
    "of another authority": ("other", "unable to get local issuer certificate"),
    "expired": ("old", "certificate has expired"),
    "of another name": ("named", "Hostname mismatch"),
    "signed by itself": ("itself", "self-signed certificate"),
}


@pytest.fixture(scope="module")
def web_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hop")
    authority, other = WebAuthority.make("ca"), WebAuthority.make("another ca")
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "other-ca.pem").write_bytes(other.pem)
    authority.issue(folder, "good")
    authority.issue(folder, "old", days=-1)
    authority.issue(folder, "named", host="elsewhere.example")
    authority.issue(folder, "client", host="phone")
    other.issue(folder, "other")
    alone = WebAuthority.make("localhost")
    (folder / "itself.pem").write_bytes(alone.pem)
    write_secret(folder / "itself.key", alone.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder


def server_of(folder: Path, name: str) -> WebCertificate:
    found = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    return WebCertificate(folder / f"{name}.pem", folder / f"{name}.key", spki_sha256(found))


@asynccontextmanager
async def gateway_with(folder: Path, name: str, port: int = 0) -> AsyncIterator[WebGateway]:
    gateway = WebGateway(server_of(folder, name).context(folder / "ca.pem"), port=port)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


def link_to(
    gateway: WebGateway, folder: Path, *, ignores: bool, events: list[dict[str, Any]], target: str = "", **layer1: Any
) -> HttpsLink:
    shown = {
        "ca_file": folder / "ca.pem",
        "token": SECRET,
        "certificate_file": folder / "client.pem",
        "key_file": folder / "client.key",
        **layer1,
    }
    return HttpsLink(
        f"https://localhost:{gateway.port}{target}",
        Layer1(**shown),
        ignores=ignores,
        report=lambda event, **facts: events.append({"event": event, **facts}),
        limits=LIMITS,
    )


def has_units(owner: Owner, count: int) -> bool:
    return len(owner.units) == count


def no_secret_came(gateway: WebGateway) -> bool:
    shown = any("authorization" in each.headers or "cookie" in each.headers for each in gateway.raw)
    return not shown and not any(gateway.peers)


@pytest.mark.parametrize("case", BAD)
async def test_by_default_nothing_leaves_over_a_hop_that_does_not_verify(web_files: Path, case: str) -> None:
    name, why = BAD[case]
    async with gateway_with(web_files, name) as gateway:
        with pytest.raises(ExceptionGroup) as caught:
            async with running(link_to(gateway, web_files, ignores=False, events=[])):
                pass
        assert caught.group_contains(TransportError, match=f"is not trusted: .*{why}")
        assert caught.group_contains(TransportError, match="--ca-file .* first_hop_errors: ignore")
        assert gateway.seen == []


@pytest.mark.parametrize("case", BAD)
async def test_where_the_policy_ignores_it_no_secret_leaves_and_the_certificate_is_shown(
    web_files: Path, case: str
) -> None:
    name, why = BAD[case]
    events: list[dict[str, Any]] = []
    async with gateway_with(web_files, name) as gateway:
        async with running(link := link_to(gateway, web_files, ignores=True, events=events)):
            owner = Owner(await link.open("lamp7", "atls"))
            owner.session.send([unit(0)])
            await until(lambda: gateway.of(atls.SendUnit) and gateway.of(atls.ReadUnit))
        assert len(gateway.of(atls.Inbox)) >= 1
        assert no_secret_came(gateway)
    shown = x509.load_pem_x509_certificate((web_files / f"{name}.pem").read_bytes())
    assert {key: events[0][key] for key in ("event", "host", "subject", "issuer", "spki_sha256")} == {
        "event": "first-hop",
        "host": "localhost",
        "subject": shown.subject.rfc4514_string(),
        "issuer": shown.issuer.rfc4514_string(),
        "spki_sha256": spki_sha256(shown),
    }
    assert why in events[0]["why"]
    assert len(events) == 1


async def test_a_hop_that_verifies_gets_what_we_have_even_where_errors_would_be_ignored(web_files: Path) -> None:
    events: list[dict[str, Any]] = []
    async with gateway_with(web_files, "good") as gateway:
        async with running(link_to(gateway, web_files, ignores=True, events=events)):
            pass
        assert gateway.raw[0].headers["authorization"] == f"Bearer {SECRET}"
        assert gateway.peers[0] is not None
    assert events == []


async def test_sessions_of_a_hop_that_verified_do_not_go_on_over_one_that_does_not(web_files: Path) -> None:
    """Their ids, which were given over the trusted hop, stay with us too."""
    events: list[dict[str, Any]] = []
    async with gateway_with(web_files, "good") as gateway:
        link = link_to(gateway, web_files, ignores=True, events=events)
        async with running(link):
            owner = Owner(await link.open("lamp7", "atls"))
            owner.session.send([unit(0)])
            await until(lambda: gateway.of(atls.SendUnit))
            await gateway.stop()
            async with gateway_with(web_files, "other", port=gateway.port) as middlebox:
                await until(lambda: owner.ends)
                assert owner.ends == ["the first hop is judged otherwise than when the session began"]
                owner.session.close()
                Owner(await link.open("lamp7", "atls"))
                await until(lambda: events)
                assert no_secret_came(middlebox)
                assert {type(each) for each in middlebox.seen} <= {atls.Inbox, atls.OpenSession}


async def test_a_hop_that_verifies_again_is_trusted_again(web_files: Path) -> None:
    async with gateway_with(web_files, "other") as middlebox:
        link = link_to(middlebox, web_files, ignores=True, events=[])
        async with running(link):
            await middlebox.stop()
            async with gateway_with(web_files, "good", port=middlebox.port) as gateway:
                await link.open("lamp7", "atls")
                asked = [each for each in gateway.raw if each.path == "/atls"]
                assert asked[-1].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("pinned", ["good", "other"])
async def test_pins(web_files: Path, pinned: str) -> None:
    pin = server_of(web_files, pinned).pin
    for ca_file in (None, web_files / "ca.pem"):
        async with gateway_with(web_files, "good") as gateway:
            link = link_to(gateway, web_files, ignores=False, events=[], pins=frozenset({pin}), ca_file=ca_file)
            if pinned == "good":
                async with running(link):
                    assert gateway.peers[0] is not None
                continue
            with pytest.raises(ExceptionGroup) as caught:
                async with running(link):
                    pass
            assert caught.group_contains(TransportError, match="its key is none of the pinned ones")
            assert gateway.seen == []


async def test_a_server_with_the_wrong_pin_gets_no_client_certificate(web_files: Path) -> None:
    """In TLS 1.3 the client's certificate comes after the server's Finished; TLS 1.2 is not spoken with pins."""
    shown: list[bytes | None] = []

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()

    context = server_of(web_files, "good").context(web_files / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    for version, pin, expected in (
        (ssl.TLSVersion.TLSv1_3, "0" * 64, 0),
        (ssl.TLSVersion.TLSv1_2, "0" * 64, 0),
        (ssl.TLSVersion.TLSv1_3, server_of(web_files, "good").pin, 1),
    ):
        context.maximum_version = version
        server = await asyncio.start_server(on_connection, "127.0.0.1", port := free_port(), ssl=context)
        layer1 = {"pins": frozenset({pin}), "ca_file": None}
        with pytest.raises(ExceptionGroup):
            async with running(link_to(WebGateway(port=port), web_files, ignores=False, events=[], **layer1)):
                pass
        await asyncio.sleep(0.1)
        server.close()
        assert any(shown) == bool(expected)


async def test_a_cookie_stays_in_its_session(web_files: Path) -> None:
    """A service of draft-friel-tls-atls-00 names its sessions by cookies, of any name, and by nothing else."""
    cookies: list[str | None] = []

    async def on_request(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.method == "GET":
            return web.Response(status=405)
        cookies.append(request.headers.get("cookie"))
        response = web.Response(body=b"<" + body, headers={"content-type": "application/atls+octet-stream"})
        if "cookie" not in request.headers:
            response.headers["set-cookie"] = f"my-atls-cookie=session{len(cookies)}; Path=/; Secure"
        return response

    runner = web.ServerRunner(web.Server(on_request))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server_of(web_files, "good").context()).start()
    place = WebGateway(port=port)
    link = link_to(place, web_files, ignores=False, events=[], target="/.well-known/atls")
    async with running(link):
        for _ in range(2):
            owner = Owner(await link.open("door", "atls"))
            for n in range(3):
                owner.session.send([unit(n)])
                await until(partial(has_units, owner, n + 1))
            assert owner.units == [b"<" + unit(n) for n in range(3)]
            assert owner.ends == []
            owner.session.close()
        await link.drain()
    await runner.cleanup()
    assert cookies == [None, *["my-atls-cookie=session1"] * 2, None, *["my-atls-cookie=session4"] * 2]


async def test_without_numbers_what_got_no_answer_is_not_sent_again(web_files: Path) -> None:
    seen: list[bytes] = []

    async def on_request(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(await request.read())
        if len(seen) == 3:
            assert request.transport is not None
            request.transport.abort()
        headers = {"content-type": "application/atls", "set-cookie": "a=b"}
        return web.Response(body=b"x", headers=headers)

    runner = web.ServerRunner(web.Server(on_request))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server_of(web_files, "good").context()).start()
    link = link_to(WebGateway(port=port), web_files, ignores=False, events=[], target="/.well-known/atls")
    async with running(link):
        owner = Owner(await link.open("door", "atls"))
        owner.session.send([unit(0)])
        await until(lambda: owner.units)
        owner.session.send([unit(1)])
        await until(lambda: owner.ends)
        assert owner.lost[0][0] == 1
        assert owner.ends[0].startswith("unit 1 was lost")
    await runner.cleanup()
    assert seen == [b"", unit(0), unit(1)]


def test_what_a_stranger_writes_into_a_certificate_is_shown_in_part() -> None:
    seen = _facts(WebAuthority.make("x" * 64).certificate.public_bytes(Encoding.DER), "why")
    assert (seen.subject, seen.why) == ("CN=" + "x" * 64, "why")
    assert _facts(b"no certificate", "why") == SeenCertificate("(can't be read)", "(can't be read)", "", "why")
