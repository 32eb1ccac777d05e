"""The octets of a unit are the same on each hop: read on the radio's side and on the other side, and compared.

The parties here speak the carriages frame by frame, with records made up of random octets under true record headers,
as the gateway must forward what it can't read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from carriage.coap import atls_client
from carriage.coap.exchange import Response
from carriage.zigbee import tunneling as t
from carriage.zigbee.segmentation import cut, decode_slice
from demo.stack import LAMP, Stack
from tests.harness import attackers

SIZES = (14, 64, 65, 500, 1139, 1152)
SLICE = 64
HEADER = 13


def records() -> list[bytes]:
    return [attackers.protected_record(size - HEADER) for size in SIZES]


async def send_up(device: attackers.TunnelDevice, tunnel: int, units: list[bytes]) -> None:
    """Send units over the radio, slice by slice."""
    for n, unit in enumerate(units):
        for index in range(-(-len(unit) // SLICE)):
            await device.say(t.TransferData(tunnel, cut(n, unit, index, SLICE).encode()))


async def read_down(device: attackers.TunnelDevice, tunnel: int, count: int) -> list[bytes]:
    """The units that came over the radio, put together from their slices."""

    def whole() -> list[bytes]:
        parts: dict[int, dict[int, bytes]] = {}
        counts: dict[int, int] = {}
        for command in device.commands:
            if isinstance(command, t.TransferData) and command.tunnel == tunnel:
                piece = decode_slice(command.data)
                parts.setdefault(piece.number, {})[piece.index] = piece.data
                counts[piece.number] = piece.count
        done = [n for n in sorted(parts) if len(parts[n]) == counts[n]]
        return [b"".join(parts[n][index] for index in range(counts[n])) for n in done]

    await attackers.until(lambda: len(whole()) >= count)
    return whole()


@pytest.mark.process
async def test_zigbee_and_mqtt(hub: Stack) -> None:
    async with attackers.mqtt_party(hub, "app") as app, attackers.tunnel_device(hub, LAMP) as device:
        await app.subscribe("atls/app/atls/incoming", "atls/app/atls/+/down/+")
        tunnel = (await device.request(210)).tunnel
        (incoming,) = await app.wait_messages("atls/app/atls/incoming")
        session = json.loads(incoming.payload)["session"]
        up, down = records(), records()
        await send_up(device, tunnel, up)
        for n, unit in enumerate(up):
            (message,) = await app.wait_messages(f"atls/app/atls/{session}/down/{n}")
            assert message.payload == unit
            assert message.content_type == "application/adtls"
            assert not message.retained
        for n, unit in enumerate(down):
            assert await app.publish(f"atls/app/atls/{session}/up/{n}", unit, "application/adtls") < 0x80
        assert await read_down(device, tunnel, len(down)) == down


@pytest.mark.process
async def test_zigbee_and_coaps(hub: Stack) -> None:
    async with (
        attackers.coaps_client(hub, attackers.psk(hub, "phone")) as phone,
        attackers.tunnel_device(hub, LAMP) as device,
    ):
        inbox: asyncio.Queue[str] = asyncio.Queue()
        await phone.observe(atls_client.inbox_request(), _sessions_into(inbox))
        tunnel = (await device.request(200)).tunnel
        async with asyncio.timeout(attackers.PATIENCE):
            session = await inbox.get()
        came: dict[int, bytes] = {}

        def notified(response: Response) -> None:
            unit = atls_client.read_unit(response)
            if isinstance(unit, atls_client.ReceivedUnit):
                assert unit.kind == "adtls"
                came[unit.n] = unit.payload

        await phone.observe(atls_client.read_request(session), notified)
        up, down = records(), records()
        await send_up(device, tunnel, up)
        await attackers.until(lambda: len(came) == len(up))
        assert [came[n] for n in sorted(came)] == up
        for n, unit in enumerate(down):
            answer = await phone.request(atls_client.send_request(session, n, "adtls", unit))
            assert atls_client.read_unit(answer) is None
        assert await read_down(device, tunnel, len(down)) == down


def _sessions_into(inbox: asyncio.Queue[str]) -> Callable[[Response], None]:
    def notified(response: Response) -> None:
        links = atls_client.read_link_document(response)
        assert not isinstance(links, atls_client.SessionRefused)
        for link in links:
            inbox.put_nowait(link.target.rpartition("/")[2])

    return notified
