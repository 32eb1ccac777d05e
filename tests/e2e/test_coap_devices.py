"""Devices over CoAP, over real processes: a lamp and a thermometer of the virtual network, read, set and observed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carriage.coap import codes
from carriage.coap.client import CoapsClient
from carriage.coap.exchange import Request, Response
from carriage.coap.link_format import read_links
from demo.stack import Stack
from layer.credentials import Credentials, Psk
from tests.adapters.coap.devices_home import TEXT, get, observe, put, records, values
from tests.e2e.attackers import until
from tests.e2e.conftest import StartHub
from tests.e2e.orders import control

LAMP, PROBE = "00:0d:6f:00:0a:00:00:01", "00:0d:6f:00:0a:00:00:02"
NETWORK = f"""\
devices:
  - {{eui64: "{LAMP}", kind: lamp, name: lamp}}
  - {{eui64: "{PROBE}", kind: thermometer, name: probe, poll_interval: 1.0}}
"""
POLICY = f"""\
layer: 1
policy-version: 1
subjects:
  lamp: {{link: zigbee, eui64: "{LAMP}"}}
  probe: {{link: zigbee, eui64: "{PROBE}"}}
  phone: {{link: coap, psk_identity: phone}}
rules:
  - {{id: all, effect: permit, subject: phone, resource: [lamp, probe], action: [read, observe, write]}}
"""


async def connected(hub: Stack) -> CoapsClient:
    assert hub.link_psks is not None
    credentials = Credentials(psk=Psk("phone", hub.link_psks.keys["phone"]))
    client = CoapsClient("127.0.0.1", hub.coaps_port, credentials, keepalive=None)
    await client.connect()
    return client


async def eventually(client: CoapsClient, request: Request, code: int, seconds: float = 60.0) -> Response:
    async with asyncio.timeout(seconds):
        while (answer := await client.request(request)).code != code:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.2)
    return answer


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_a_lamp_and_a_thermometer(stack: Stack, start_hub: StartHub, tmp_path: Path) -> None:
    stack.write_policy(POLICY)
    network = tmp_path / "network.yaml"
    network.write_text(NETWORK)
    hub = await start_hub("--network", str(network))
    phone = await connected(hub)
    try:
        await eventually(phone, get("d/lamp"), codes.CONTENT)
        assert (await eventually(phone, put("d/lamp/state", "0"), codes.CHANGED)).payload == b""
        lamp = await observe(phone, "d/lamp/state", TEXT)
        assert (await phone.request(put("d/lamp/state", '[{"vb":true}]', 110))).code == codes.CHANGED
        await until(lambda: lamp.values[-1] == "true", seconds=30)
        await control(hub, "press", "lamp")
        await until(lambda: lamp.values[-1] == "false", seconds=30)

        await eventually(phone, get("d/probe"), codes.CONTENT)
        probe = await observe(phone, "d/probe/temperature")
        await control(hub, "report", "probe", "temperature", "-4.5")
        await until(lambda: [*(probe.values[-1] or {}).values()] == [-4.5], seconds=30)
        (record,) = records(probe.told[-1])
        name = f"urn:dev:mac:{PROBE.replace(':', '')}_temperature"
        assert (record.name, record.unit) == (name, "Cel") and record.update_time
        core = read_links((await phone.request(get(".well-known/core", query="rt=urn:oma:lwm2m:ext:3303"))).payload)
        assert [link.target for link in core] == ["/d/probe/temperature"]
        assert (await phone.request(put("d/probe/temperature", "20"))).code == codes.METHOD_NOT_ALLOWED
    finally:
        phone.close()

    # What was told last is there after a restart, and says how old it is.
    assert hub.gateway is not None
    await hub.gateway.stop()
    await hub.start_gateway()
    phone = await connected(hub)
    try:
        answer = await eventually(phone, get("d/probe/temperature"), codes.CONTENT)
        assert [*values(answer).values()] == [-4.5]
    finally:
        phone.close()
