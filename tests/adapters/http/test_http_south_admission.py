"""Who is let in over HTTP and who is not: tokens, certificates, the Host, pages in browsers."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import POLICY, TOKENS, Home, Start
from tests.harness.layer_pair import Authority

PAGE = "https://app.example"


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, 'Bearer realm="atls-gateway"'),
        ({"Authorization": "Bearer wrong"}, 'Bearer realm="atls-gateway", error="invalid_token"'),
        ({"Authorization": f"Bearer {TOKENS['phone']}x"}, 'Bearer realm="atls-gateway", error="invalid_token"'),
        ({"Authorization": f"Bearer {TOKENS['phone']} x"}, 'Bearer realm="atls-gateway"'),
        ({"Authorization": "Bearer"}, 'Bearer realm="atls-gateway"'),
        ({"Authorization": "Basic cGhvbmU6eA=="}, 'Bearer realm="atls-gateway"'),
        ({"Authorization": "Bearer " + "a" * 2000}, 'Bearer realm="atls-gateway"'),
    ],
)
async def test_no_client_comes_in_without_a_good_token(home: Home, headers: dict[str, str], challenge: str) -> None:
    client = home.client(None, plain=len(challenge) > 40)
    targets = [("POST", "/atls?to=lamp&nonce=" + "ab" * 8), ("GET", "/atls/inbox"), ("GET", "/d"), ("GET", "/nothing")]
    for method, target in targets:
        answer = await client.ask(method, target, b"x", **headers)
        assert (answer.status, answer.reason) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == challenge
        assert not any(token in str(answer.body) for token in TOKENS.values())
    assert home.adapter.status()["clients"] == 0


async def test_a_token_in_the_query_or_the_body_does_not_count(home: Home) -> None:
    client = home.client(None)
    assert (await client.ask("GET", f"/d?access_token={TOKENS['phone']}")).status == 401
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await client.ask("POST", "/d", f"access_token={TOKENS['phone']}".encode(), **form)).status == 401


async def test_authorization_twice_is_malformed(home: Home) -> None:
    async with aiohttp.ClientSession() as session:
        headers = [("Authorization", f"Bearer {TOKENS['phone']}"), ("Authorization", f"Bearer {TOKENS['tablet']}")]
        async with session.get(f"http://127.0.0.1:{home.plain_port}/d", headers=headers) as answer:
            assert answer.status == 400


async def test_a_certificate_lets_a_client_in_by_key_or_by_name(home: Home) -> None:
    for identity, claim in ((home.keeper, f"spki:{home.keeper.pin}"), (home.porch, f"spki:{home.porch.pin}")):
        client = home.client(identity)
        answer = await client.opened("lamp")
        assert answer.status == 200
        assert claim in (await home.adapter.command("clients", {}))["connected"]


async def test_a_certificate_under_another_authority_ends_the_handshake(home: Home) -> None:
    stranger = Authority("elsewhere").issue("porch", x509.DNSName("porch.example"))
    client = home.client(stranger)
    with pytest.raises(aiohttp.ClientError):
        await client.inbox()
    assert home.adapter.status()["clients"] == 0


async def test_a_certificate_of_no_authority_is_trusted_if_it_is_named_itself(start: Start) -> None:
    """It is pinned: another one with the same name is not."""
    home = await start()
    alone = Authority("alone")
    pinned, other = (alone.issue("porch", x509.DNSName("porch.example")) for _ in range(2))
    home.write("ca.pem", pinned.leaf.public_bytes(Encoding.PEM))
    assert home.adopted()
    assert (await home.client(pinned).inbox()).status == 200
    with pytest.raises(aiohttp.ClientError):
        await home.client(other).inbox()


async def test_a_token_counts_before_a_certificate(home: Home) -> None:
    client = home.client(home.keeper, token=TOKENS["phone"])
    assert (await client.opened("lamp")).status == 200
    assert (await home.adapter.command("clients", {}))["connected"] == {"bearer:phone": 1}
    wrong = home.client(home.keeper, token="wrong")
    assert (await wrong.inbox()).status == 401


async def test_tls_1_1_is_refused_and_1_2_is_not(home: Home) -> None:
    for version, ending in (("-tls1_1", 1), ("-tls1_2", 0), ("-tls1_3", 0)):
        command = ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{home.port}"]
        done = await asyncio.to_thread(subprocess.run, command, input=b"", capture_output=True, timeout=10)
        assert (done.returncode != 0) == bool(ending), (version, done.stderr)


async def test_a_client_that_leaves_in_the_handshake_is_no_warning(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Chromium does, once, when it is asked for a certificate: it comes again when its user has chosen."""
    caplog.set_level("INFO")
    with socket.create_connection(("127.0.0.1", home.port)) as leaving:
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await until(lambda: "left in the TLS handshake" in caplog.text)
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


async def test_curl_comes_in(home: Home) -> None:
    command = ["curl", "--silent", "--show-error", "--cacert", str(home.folder / "ca.pem")]
    command += ["--header", f"Authorization: Bearer {TOKENS['phone']}", f"https://127.0.0.1:{home.port}/atls/inbox"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=10)
    assert (done.returncode, done.stdout) == (0, b"[]"), done.stderr


@pytest.mark.parametrize("host", ["evil.example", "gateway.example.evil.example", "127.0.0.2", "[::1]"])
async def test_another_host_is_misdirected(home: Home, host: str) -> None:
    phone = home.client("phone")
    assert (await phone.ask("GET", "/d", Host=host)).reason == "misdirected"
    assert (await phone.ask("GET", "/d", Host=f"{host}:{home.port}")).status == 421


@pytest.mark.parametrize("host", ["gateway.example", "GATEWAY.example.", "gateway.example:1", "127.0.0.1", "localhost"])
async def test_a_name_of_the_gateway_fits_with_any_port(home: Home, host: str) -> None:
    assert (await home.client("phone").ask("GET", "/d", Host=host)).status == 200


@pytest.mark.parametrize("host", ["", "a b", "gateway.example/", "user@gateway.example", "gateway.example:port"])
async def test_a_host_that_is_none_is_malformed(home: Home, host: str) -> None:
    assert (await home.client("phone").ask("GET", "/d", Host=host)).status == 400


async def test_names_may_have_a_wildcard(start: Start) -> None:
    home = await start(names=["*.example", "[::1]"])
    phone = home.client("phone", plain=True)
    found = {host: (await phone.ask("GET", "/d", Host=host)).status for host in ("a.example", "a.b.example", "[::1]:9")}
    assert found == {"a.example": 200, "a.b.example": 421, "[::1]:9": 200}
    assert (await phone.ask("GET", "/d", Host="localhost")).status == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": PAGE}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://gateway.example", "Host": "gateway.example"}, 200),
        ({"Origin": "http://gateway.example", "Host": "gateway.example"}, 403),
    ],
)
async def test_a_page_can_not_use_the_certificate_of_its_visitor(
    start: Start, headers: dict[str, str], status: int
) -> None:
    """Not even a page that may use the gateway by token."""
    home = await start(origins=[PAGE])
    client = home.client(home.keeper)
    opening = await client.ask("POST", f"/atls?to=lamp&nonce={'ab' * 8}", Content_Type="application/atls", **headers)
    assert opening.status == status
    assert (await client.ask("GET", "/atls/inbox", **headers)).status == status


def shared(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control")}


async def test_a_page_of_a_configured_origin_may_use_a_token(start: Start) -> None:
    home = await start(origins=[PAGE])
    phone, nobody = home.client("phone"), home.client(None)
    asked = await nobody.ask(
        "OPTIONS", "/atls/inbox", Origin=PAGE, Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="authorization",
    )  # fmt: skip
    assert asked.status == 204 and asked.body == b"" and asked.headers["Vary"] == "Origin"
    assert set(shared(asked)) == {
        "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
        "Access-Control-Expose-Headers", "Access-Control-Max-Age",
    }  # fmt: skip
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    answer = await phone.ask("GET", "/atls/inbox", Origin=PAGE, Sec_Fetch_Site="cross-site")
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "ATLS-Seq" in answer.headers["Access-Control-Expose-Headers"]
    events = await phone.events("/atls/inbox", Origin=PAGE)
    assert events.response.headers["Access-Control-Allow-Origin"] == PAGE
    refused = await nobody.ask("GET", "/atls/inbox", Origin=PAGE)
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, PAGE), "the page may see why"
    long = await phone.ask("PUT", "/d/lamp", b"x" * 20_000, Origin=PAGE)
    assert (long.status, long.headers["Access-Control-Allow-Origin"]) == (413, PAGE)
    for each in (asked, answer, refused):
        assert "Access-Control-Allow-Credentials" not in each.headers


@pytest.mark.parametrize("origin", ["https://other.example", "null", "https://app.example.other.example", "*"])
async def test_a_page_of_another_origin_may_read_nothing(start: Start, origin: str) -> None:
    home = await start(origins=[PAGE])
    asked = await home.client(None).ask("OPTIONS", "/d", Origin=origin, Access_Control_Request_Method="GET")
    assert (asked.status, shared(asked)) == (403, {})
    answer = await home.client("phone").ask("GET", "/d", Origin=origin)
    assert (answer.status, shared(answer), answer.headers["Vary"]) == (200, {}, "Origin")


async def test_without_origins_nothing_is_shared(home: Home) -> None:
    asked = await home.client(None).ask("OPTIONS", "/d", Origin=PAGE, Access_Control_Request_Method="GET")
    assert (asked.status, shared(asked)) == (403, {})
    assert "Vary" not in (await home.client("phone").ask("GET", "/d", Origin=PAGE)).headers


async def test_the_link_is_judged_by_the_policy(start: Start) -> None:
    strict = POLICY.replace("    content:", "    condition: {require_link: {min_version: tls1.2}}\n    content:")
    home = await start(policy=strict)
    assert (await home.client("phone").opened("lamp", "atls")).status == 200
    answer = await home.client("phone", plain=True).opened("lamp", "atls")
    assert (answer.status, answer.reason) == (502, "link")


async def test_no_token_shows_in_the_log_or_the_status(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secrets = [TOKENS["phone"], "wrong-token"]
    phone, wrong = home.client("phone"), home.client(None, token=secrets[1])
    session = (await phone.opened("lamp")).session
    for client in (phone, wrong):
        for target in ("/d", "/nothing", f"/atls/{session}?x=1", "/atls?to=lamp"):
            await client.ask("POST", target, record(), Content_Type="application/adtls")
        await client.ask("GET", "/d", Host="evil.example")
    shown = caplog.text + str(home.adapter.status()) + str(await home.adapter.command("clients", {}))
    shown += repr([connection.known for connection in home.south._listener.connections()])
    assert "malformed" in shown and not any(secret in shown for secret in secrets)
