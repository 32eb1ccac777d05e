"""Another config while the adapter runs: tokens and certificates that are gone, new or others, and what stays."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address

import aiohttp
import pytest
from cryptography import x509

from gateway.api.model import Close, Open, Reset
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import TOKENS, Home, Start, token_lines
from tests.harness.layer_pair import Authority


async def test_a_client_whose_token_is_gone_is_out_at_once_and_others_stay(home: Home) -> None:
    phone, tablet = home.client("phone"), home.client("tablet")
    ours, theirs = (await phone.opened("lamp")).session, (await tablet.opened("lamp")).session
    events, inbox = await phone.events(f"/atls/{ours}"), await phone.events("/atls/inbox")
    polling = [asyncio.get_running_loop().create_task(each.inbox(Prefer="wait=20")) for each in (phone, tablet)]
    await until(lambda: home.adapter.status()["polls"] == 2)
    home.write("tokens", token_lines("tablet"), 0o600)
    assert home.adopted()
    assert await events.next() == {"event": "end", "data": {"reason": "denied"}}
    assert await inbox.next() == {"data": []}
    assert await inbox.next() == {"event": "end", "data": {"reason": "denied"}}
    await polling[0]
    assert not polling[1].done()
    await until(lambda: [each.session for each in home.far.of(Close)] == [ours])
    assert (await phone.inbox()).status == 401
    assert (await tablet.sent(theirs, 0, record())).status == 200
    assert (await home.adapter.command("clients", {}))["let_in"] == ["bearer:tablet"]
    polling[1].cancel()


async def test_another_token_of_the_same_name_ends_what_the_first_had(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    home.write("tokens", token_lines("tablet", phone="another"), 0o600)
    assert home.adopted()
    assert (await phone.read(session, 0)).status == 401
    again = home.client(None, token="another")
    assert (await again.read(session, 0)).reason == "unknown"
    assert (await again.opened("lamp")).status == 200


async def test_a_unit_on_its_way_is_answered_when_its_sender_is_shut_out(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp")).session
    home.far.takes = False
    sending = asyncio.get_running_loop().create_task(phone.sent(session, 0, record()))
    await until(lambda: home.adapter.status()["waiting"])
    home.write("tokens", token_lines("tablet"), 0o600)
    assert home.adopted()
    assert (await sending).status in (403, 404)
    assert home.adapter.status()["waiting"] == 0


async def test_a_request_whose_sender_is_shut_out_while_its_body_comes_does_nothing(home: Home) -> None:
    phone = home.client("phone")
    release = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield record()[:1]
        await release.wait()
        yield record()[1:]

    opening = asyncio.get_running_loop().create_task(
        phone.ask("POST", f"/atls?to=lamp&nonce={'ab' * 8}", slowly(), Content_Type="application/adtls")
    )
    await until(lambda: home.adapter.status()["clients"])
    home.write("tokens", token_lines("tablet"), 0o600)
    assert home.adopted()
    release.set()
    assert (await opening).status == 401
    assert not home.far.orders


async def test_certificates_of_another_authority_come_in_and_those_of_the_first_are_out(home: Home) -> None:
    keeper = home.client(home.keeper)
    session = (await keeper.opened("lamp")).session
    events = await keeper.events(f"/atls/{session}")
    phone = home.client("phone")
    kept = (await phone.opened("lamp")).session
    home.write("ca.pem", Authority("other").pem)
    assert home.adopted()
    assert await events.next() == {"event": "end", "data": {"reason": "denied"}}
    await until(lambda: [each.session for each in home.far.of(Close)] == [session])
    with pytest.raises(aiohttp.ClientError):
        await home.client(home.keeper).inbox()
    assert (await phone.read(kept, 0)).status == 200


async def test_a_connection_whose_certificate_is_out_ends_though_its_client_was_silent(start: Start) -> None:
    home = await start(absence=1)
    keeper = home.client(home.keeper)
    assert (await keeper.inbox()).status == 200
    await until(lambda: home.adapter.status()["clients"] == 0)
    assert home.adapter.status()["connections"] == 1
    home.write("ca.pem", Authority("other").pem)
    assert home.adopted()
    await until(lambda: home.adapter.status()["connections"] == 0)


async def test_an_authority_more_drops_no_client(home: Home) -> None:
    keeper = home.client(home.keeper)
    session = (await keeper.opened("lamp")).session
    home.write("ca.pem", Authority("other").pem + home.authority.pem)
    assert home.adopted()
    assert (await keeper.read(session, 0)).status == 200
    assert not home.far.of(Close) and not home.far.of(Reset)


async def test_a_client_with_a_good_token_stays_though_the_certificate_beside_it_is_out(start: Start) -> None:
    home = await start(absence=30)
    phone = home.client(home.keeper, token=TOKENS["phone"])
    session = (await phone.opened("lamp")).session
    await phone.http.close()
    await until(lambda: home.adapter.status()["connections"] == 0)
    home.write("ca.pem", Authority("other").pem)
    assert home.adopted()
    assert (await home.client("phone", plain=True).read(session, 0)).status == 200
    assert not home.far.of(Close)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_below_an_intermediate_authority_stays_though_it_resumed_its_connection(
    start: Start, version: ssl.TLSVersion
) -> None:
    """A ticket has the client's certificate only, and not what leads from it to what is trusted."""
    home = await start(absence=30)
    below = Authority("below", intermediate=True)
    home.write("ca.pem", home.authority.pem + below.pem)
    assert home.adopted()
    porch = below.issue("porch", x509.DNSName("porch.example"))
    context = home.tls(porch)
    context.minimum_version = context.maximum_version = version

    def ask(before: ssl.SSLSession | None) -> ssl.SSLSession | None:
        plain = socket.create_connection(("127.0.0.1", home.port), timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=before) as tls:
            tls.sendall(b"POST /atls?to=lamp&nonce=abababababababab HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            tls.sendall(b"Content-Type: application/adtls\r\nContent-Length: 0\r\n\r\n")
            assert b" 200 " in tls.recv(4096)
            return tls.session

    await asyncio.to_thread(ask, await asyncio.to_thread(ask, None))
    home.write("ca.pem", below.pem + home.authority.pem + Authority("other").pem)
    assert home.adopted()
    await asyncio.sleep(0.05)
    assert len(home.far.of(Open)) == 1 and not home.far.of(Close)


async def test_another_certificate_of_the_gateway_is_shown_to_new_connections(home: Home) -> None:
    phone = home.client("phone")
    assert (await phone.inbox()).status == 200
    fresh = home.authority.issue("gateway", x509.DNSName("new.example"), x509.IPAddress(ip_address("127.0.0.1")))
    home.write("gateway.pem", fresh.chain)
    home.write("gateway.key", fresh.key_pem, 0o600)
    assert home.adopted()
    assert (await phone.ask("GET", "/atls/inbox", Host="new.example")).status == 200, "the connection stays"
    shown = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", home.port))
    assert x509.load_pem_x509_certificate(shown.encode()) == fresh.leaf


async def test_names_and_origins_are_taken_on(home: Home) -> None:
    phone = home.client("phone")
    assert home.adopted(names=["other.example"], origins=["https://app.example"])
    assert (await phone.ask("GET", "/d")).status == 421
    answer = await phone.ask("GET", "/d", Host="other.example", Origin="https://app.example")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_what_takes_a_restart_of_the_adapter(home: Home) -> None:
    """The token that is gone is out in this case too."""
    phone = home.client("phone")
    await phone.opened("lamp")
    home.write("tokens", token_lines("tablet"), 0o600)
    assert not home.adopted(reply_window=1.5)
    await until(lambda: home.far.of(Close))
    assert not home.adopted(http_listen=None)
    assert not home.adapter.adopt(home.far)  # type: ignore[arg-type]
