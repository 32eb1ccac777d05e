"""A session of another client answers exactly as one that there is not: octet for octet, by every request."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from gateway.api.model import Close, Unit
from tests.harness.gateway_in_loop import record, until
from tests.harness.http_gateway import Client, Home, Start

UNIT = {"Content-Type": "application/adtls"}


async def octets(client: Client, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[Any, ...]:
    answer = await client.ask(method, target, body, **headers)
    return answer.status, sorted((n, v) for n, v in answer.headers.items() if n != "Date"), answer.body


@pytest.mark.parametrize(
    ("method", "body", "headers"),
    [
        ("POST", record(), UNIT | {"ATLS-Seq": "0"}),
        ("POST", record(), UNIT | {"ATLS-Seq": "1"}),
        ("POST", record(), UNIT | {"ATLS-Seq": "7"}),
        ("POST", b"x", {"Content-Type": "application/atls", "ATLS-Seq": "0"}),
        ("POST", b"", {"ATLS-Seq": "0"}),
        ("POST", b"", {"ATLS-Seq": "5", "Prefer": "wait=1"}),
        ("GET", b"", {"Accept": "text/event-stream"}),
        ("DELETE", b"", {}),
        ("PUT", b"", {}),
        ("POST", record(), UNIT),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_session_of_others_is_unknown(home: Home, method: str, body: bytes, headers: dict[str, str]) -> None:
    phone = home.client("phone")
    session = (await phone.opened("lamp", body=record())).session
    home.far.unit(session, 0, record(seed=1))  # type: ignore[arg-type]
    tablet, keeper = home.client("tablet"), home.client(home.keeper)
    for other in (tablet, keeper):
        foreign = await octets(other, method, f"/atls/{session}", body, headers)
        unknown = await octets(other, method, f"/atls/{secrets.token_hex(16)}", body, headers)
        assert foreign == unknown and foreign[0] in (404, 400, 405)
    assert len(home.far.of(Unit)) == 1 and not home.far.of(Close)
    assert (await phone.read(session, 0, wait=5)).body == record(seed=1)


async def test_a_cookie_of_others_is_unknown(home: Home) -> None:
    phone, tablet = home.client("phone"), home.client("tablet")
    draft = {"Content-Type": "application/atls+octet-stream"}
    session = (await phone.ask("POST", "/atls?to=lamp", record(), **draft)).session
    found = []
    for name in (session, secrets.token_hex(16)):
        cookie = {"Cookie": f"__Host-atls-lamp={name}"}
        found.append(await octets(tablet, "POST", "/atls?to=lamp", record(), draft | cookie))
    assert found[0] == found[1] and found[0][0] == 404
    assert len(home.far.of(Unit)) == 1


async def test_an_inbox_and_a_list_of_devices_show_what_is_the_clients_own(home: Home) -> None:
    phone, tablet = home.client("phone"), home.client("tablet")
    await phone.inbox()
    session = home.far.open("phone")
    await until(lambda: home.adapter.status()["sessions"])
    assert [each["session"] for each in (await phone.inbox()).json] == [session]
    assert (await tablet.inbox()).json == []
    assert (await tablet.ask("GET", "/d")).json == {"devices": []}


async def test_a_stranger_with_a_token_may_do_nothing(start: Start) -> None:
    home = await start()
    stranger = home.client("stranger")
    answer = await stranger.opened("lamp")
    assert (answer.status, answer.reason) == (403, "denied")
    assert (await stranger.inbox()).json == [] and (await stranger.ask("GET", "/d/lamp")).reason == "unknown"
