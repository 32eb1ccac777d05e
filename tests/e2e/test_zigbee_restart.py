"""The gateway is killed under an open tunnel: the DTLS session goes on in the same tunnel, both ways."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from demo.scenario import layer0, tunnel
from demo.stack import LAMP, Stack
from tests.harness.message_exchange import exchange
from tests.harness.stored_sessions import until_stored


def tunnels(hub: Stack) -> list[Any]:
    """Session and tunnel id of each tunnel that the gateway would go on with."""
    (path,) = (hub.directory / "state").rglob("tunnels.db")
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT session, id FROM tunnels").fetchall()


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_a_tunnel_goes_on_after_the_gateway_was_killed(hub: Stack) -> None:
    files = layer0(hub, "dtls-psk")
    phone = await hub.start_phone("phone", files.phone)
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, "--open", tunnel("dtls-psk", "phone"))
    await lamp.expect_event("session", session=0, seconds=60)
    await exchange(lamp, phone, 1025, 1)
    await exchange(phone, lamp, 1025, 2)
    before = tunnels(hub)
    assert len(before) == 1
    await until_stored(hub.directory / "gateway.yaml")

    assert hub.gateway is not None
    await hub.gateway.kill()
    await hub.start_gateway()

    assert tunnels(hub) == before
    await exchange(lamp, phone, 1025, 3)
    await exchange(phone, lamp, 1025, 4)
    assert tunnels(hub) == before
    (session,) = (await hub.ask("sessions"))["sessions"]
    assert session["session"] == before[0][0]
    for endpoint in (lamp, phone):
        assert len([event for event in endpoint.events if event["event"] == "session"]) == 1
        assert not [event for event in endpoint.events if event["event"] == "ended"]
