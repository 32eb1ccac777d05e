"""Clients of draft-friel-tls-atls-00: one place for all units, a cookie in the place of numbers. Such a one is curl."""

from __future__ import annotations

import asyncio
import subprocess

from yarl import URL

from gateway.api.model import Close, ContentKind, Open, Unit
from tests.harness.gateway_in_loop import tls_record, until
from tests.harness.http_gateway import TOKENS, Home

DRAFT = {"Content-Type": "application/atls+octet-stream"}


async def posted(home: Home, body: bytes) -> tuple[int, str, bytes]:
    """Status, media type and body of the answer that curl gets with its jar of cookies."""
    (home.folder / "unit").write_bytes(body)
    command = [
        "curl", "--silent", "--show-error", "--cacert", str(home.folder / "ca.pem"), "--cookie-jar", "jar",
        "--cookie", "jar", "--header", f"Authorization: Bearer {TOKENS['phone']}",
        "--header", "Content-Type: application/atls+octet-stream", "--data-binary", "@unit",
        "--write-out", "%{stderr}%{http_code} %{content_type}", f"https://127.0.0.1:{home.port}/atls?to=lamp",
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=20, cwd=home.folder)
    status, _, media = done.stderr.decode().partition(" ")
    return int(status), media, done.stdout


async def test_curl_sends_its_flights_and_gets_those_of_the_other_side(home: Home) -> None:
    first = asyncio.get_running_loop().create_task(posted(home, tls_record(seed=1)))
    await until(lambda: home.far.of(Unit))
    session = home.far.of(Open)[0].session
    assert session is not None
    home.far.unit(session, 0, tls_record(seed=2), ContentKind.ATLS)
    assert await first == (200, "application/atls+octet-stream", tls_record(seed=2))
    jar = (home.folder / "jar").read_text()
    assert f"__Host-atls-lamp\t{session}" in jar and "#HttpOnly_127.0.0.1\tFALSE\t/\tTRUE\t0" in jar
    second = asyncio.get_running_loop().create_task(posted(home, tls_record(seed=3)))
    await until(lambda: len(home.far.of(Unit)) == 2)
    home.far.unit(session, 1, tls_record(seed=4), ContentKind.ATLS)
    assert await second == (200, "application/atls+octet-stream", tls_record(seed=4))
    assert [unit.n for unit in home.far.of(Unit)] == [0, 1] and len(home.far.of(Open)) == 1
    home.far.close(session)
    await until(lambda: home.adapter.status()["sessions"] == 0)
    status, media, _ = await posted(home, tls_record(seed=5))
    assert (status, media) == (404, "application/problem+json"), "never a new session"
    assert session not in (home.folder / "jar").read_text(), "the cookie was taken back"
    assert len(home.far.of(Open)) == 1
    assert (await posted(home, tls_record(seed=6)))[0] == 200, "now it may open another one"
    assert len(home.far.of(Open)) == 2


async def test_a_cookie_is_taken_back_however_the_alias_is_written(home: Home) -> None:
    cookie = {"Cookie": f"__Host-atls-lamp={'0' * 32}"}
    phone, url = home.client("phone"), URL(f"https://127.0.0.1:{home.port}/atls?to=l%61mp", encoded=True)
    phone.http._base_url = None
    answer = await phone.ask("POST", url, tls_record(), **DRAFT, **cookie)  # type: ignore[arg-type]
    assert answer.status == 404 and answer.headers["Set-Cookie"].startswith("__Host-atls-lamp=;")


async def test_over_http_a_cookie_is_neither_set_nor_read(home: Home) -> None:
    phone = home.client("phone", plain=True)
    first = await phone.ask("POST", "/atls?to=lamp", tls_record(), **DRAFT)
    assert first.status == 200 and "Set-Cookie" not in first.headers
    cookie = {"Cookie": f"__Host-atls-lamp={first.session}"}
    second = await phone.ask("POST", "/atls?to=lamp", tls_record(), **DRAFT, **cookie)
    assert second.status == 200 and second.session != first.session


async def test_a_client_with_numbers_has_no_cookie(home: Home) -> None:
    assert "Set-Cookie" not in (await home.client("phone").opened("lamp", "atls", body=tls_record())).headers


async def test_a_client_of_the_draft_may_use_what_the_draft_does_not_have(home: Home) -> None:
    phone = home.client("phone")
    session = (await phone.ask("POST", "/atls?to=lamp", tls_record(), **DRAFT)).session
    assert (await phone.sent(session, 1, tls_record(seed=1), "atls+octet-stream")).status == 200
    assert (await phone.closed(session)).status == 204
    await until(lambda: home.far.of(Close))
