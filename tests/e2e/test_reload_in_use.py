"""A reload while sessions are in use: adapters are restarted under them, and a client that is new can come."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from demo.credentials import write_secret
from demo.scenario import layer0, tunnel
from demo.stack import LAMP, Stack
from layer.credentials import Credentials, Psk
from tests.harness.attackers import coaps_client
from tests.harness.message_exchange import exchange


@pytest.mark.process
async def test_sessions_go_on_over_adapters_that_are_started_again(hub: Stack) -> None:
    files = layer0(hub, "dtls-x509")
    phone = await hub.start_phone("phone", files.phone)
    app = await hub.start_application("app", "app", files.app)
    targets = [word for name in ("phone", "app") for word in ("--open", tunnel("dtls-x509", name))]
    lamp = await hub.start_device("lamp7", LAMP, files.lamp, *targets)
    await lamp.expect(lambda line: line.get("event") == "session", count=2, seconds=60, what="two sessions")
    numbers = {str(e["peer"]).removeprefix("dns:"): e["session"] for e in lamp.events if e.get("event") == "session"}
    before = {row["session"] for row in (await hub.ask("sessions"))["sessions"]}

    config = hub.directory / "gateway.yaml"
    text = config.read_text()
    for old, new in (
        ("    psk_file: link.psk", "    psk_file: link.psk\n    absence: 30"),
        (f"    path: {hub.dongle}", f"    path: {hub.dongle}\n    limits: {{idle: 60000}}"),
        ("    broker_acl: true", "    broker_acl: true\n    keepalive: 60"),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    answer = await hub.ask("reload")
    assert {change["key"]: change["effect"] for change in answer["changes"]} == dict.fromkeys(
        ("adapters.coap.absence", "adapters.zigbee.limits.idle", "adapters.mqtt.keepalive"), "adapter restarted"
    )
    async with asyncio.timeout(60):
        while {adapter["starts"] for adapter in (await hub.ask("status"))["adapters"].values()} != {2}:
            pass  # each question is a process and takes its time
    await hub.wait_ready()
    for seed, (name, receiver) in enumerate((("phone", phone), ("app", app))):
        await exchange(lamp, receiver, 1500, 2 * seed, numbers[name])
        receiver.tell(do="send", session=0, size=1500, seed=2 * seed + 1)
        await receiver.expect_event("sent", status="delivered", seconds=60)
    assert {row["session"] for row in (await hub.ask("sessions"))["sessions"]} == before

    guest = Credentials(psk=Psk("guest", key := secrets.token_bytes(16)))
    keys = (hub.directory / "link.psk").read_bytes()
    write_secret(hub.directory / "link.psk", keys + b"guest:" + key.hex().encode() + b"\n")
    assert (await hub.ask("reload"))["changes"] == [{"key": "adapters.coap.psk_file", "effect": "taken on"}]
    async with coaps_client(hub, guest):
        assert (await hub.ask("status"))["adapters"]["coap"]["starts"] == 2
