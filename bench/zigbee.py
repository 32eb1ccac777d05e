"""The ZigBee side: a device's load, on the gateway with a phone behind it and on bellows alone; and bellows alone.

``python -m bench.zigbee through ATTACH EUI64 COAPS_PORT PSK_FILE SIZE``: a message is one unit of one slice, done when
the phone, which observes over coaps, has it. ``frames ATTACH EUI64 SIZE``: a message is one such frame, done at its APS
acknowledgement. ``bellows RADIO_PORT DIRECTORY``: bellows' application on a virtual dongle, counting packets.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import Any

import bellows.zigbee.application  # type: ignore[import-untyped]
import zigpy.application
import zigpy.config

from bench.load import Done, serve, serve_orders
from bench.messages import record
from carriage.zigbee import attach, segmentation, tunneling, zcl
from carriage.zigbee.attach_client import AttachClient
from endpoint.files import load_credentials
from endpoint.transports.coaps import CoapsLink
from endpoint.transports.gateway_link import Callbacks, CarriageSession
from endpoint.transports.zigbee import HA_PROFILE, ZigbeeLink

TUNNEL_TO_PHONE = "200"  # as ``demo.stack`` maps it


async def through(attach_socket: str, eui64: str, port: int, psk_file: str, size: int) -> None:
    credentials, _ = load_credentials(Path(), psk_file=psk_file)
    phone = CoapsLink("127.0.0.1", port, credentials)
    device = ZigbeeLink(attach_socket, eui64, kind="adtls")
    waiting: deque[Done] = deque()
    phone_up, device_up, arrived = asyncio.Event(), asyncio.Event(), asyncio.Event()
    units = 0

    def ended(reason: str) -> None:
        raise SystemExit(f"the session ended: {reason}")

    def lost(n: int, reason: str) -> None:
        raise SystemExit(f"unit {n} was lost: {reason}")

    def unit(_: bytes) -> None:
        nonlocal units
        units += 1
        if waiting:
            waiting.popleft()()

    def incoming(session: CarriageSession) -> None:
        session.attach(Callbacks(unit, lost, ended))
        arrived.set()

    payload = record(size)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(phone.run(phone_up.set, incoming))
        await phone_up.wait()
        tasks.create_task(device.run(device_up.set, lambda _: None))
        await device_up.wait()
        session = await device.open(TUNNEL_TO_PHONE, "adtls")
        session.attach(Callbacks(lambda _: None, lost, ended))
        await arrived.wait()

        def send(done: Done) -> None:
            waiting.append(done)
            session.send((payload,))

        await serve(send, lambda: {"units": units})
        raise SystemExit


async def frames(attach_socket: str, eui64: str, size: int) -> None:
    request = attach.Attach(
        eui64=attach.parse_eui64(eui64),
        endpoint=1,
        profile=HA_PROFILE,
        input_clusters=(tunneling.CLUSTER_ID,),
        output_clusters=(tunneling.CLUSTER_ID,),
        manufacturer="ATLS",
        model="bench",
        sleepy=False,
        poll_interval=0.0,
    )
    client = await AttachClient.connect(attach_socket, request, on_received=lambda _: None)
    await (client.rejoin(60.0) if client.nwk is not None else client.join(60.0))
    data = record(size)
    n = lost = 0

    def send(done: Done) -> None:
        nonlocal n
        piece = segmentation.Slice(n & 0xFFFF, 0, 1, data).encode()
        command, payload = tunneling.encode(tunneling.TransferData(1, piece), to_client=False)
        frame = zcl.ZclFrame(command, payload, n & 0xFF).encode()
        n += 1

        def sent(delivered: bool) -> None:
            nonlocal lost
            lost += not delivered
            if lost > 1 + n // 100:  # one now and then, if the host was busy elsewhere and did not acknowledge in time
                raise SystemExit(f"{lost} of {n} frames were lost")
            done()

        client.send_soon(frame, sent, cluster=tunneling.CLUSTER_ID)

    await serve(send, lambda: {"units": n})
    client.close()


class Counting(bellows.zigbee.application.ControllerApplication):  # type: ignore[misc]
    """bellows as it is, but for one counter at the place where frames leave it."""

    tunnel_packets = 0

    async def add_endpoint(self, descriptor: Any) -> None:
        if descriptor.endpoint == 1:
            descriptor = descriptor.replace(
                input_clusters=[*descriptor.input_clusters, tunneling.CLUSTER_ID],
                output_clusters=[*descriptor.output_clusters, tunneling.CLUSTER_ID],
            )
        await super().add_endpoint(descriptor)

    def packet_received(self, packet: Any) -> None:
        if packet.cluster_id == tunneling.CLUSTER_ID:
            self.tunnel_packets += 1
        else:
            super().packet_received(packet)


async def bellows_alone(dongle: str, directory: str) -> None:
    config = {
        zigpy.config.CONF_DEVICE: {zigpy.config.CONF_DEVICE_PATH: dongle},
        zigpy.config.CONF_DATABASE: f"{directory}/bellows.db",
        zigpy.config.CONF_OTA: {zigpy.config.CONF_OTA_ENABLED: False},
        zigpy.config.CONF_TOPO_SCAN_ENABLED: False,
        bellows.zigbee.application.CONF_USE_THREAD: False,
    }
    # Forming registers bellows' callback twice with one EZSP object, so what forms is not what is measured.
    forming = Counting(config)
    await forming._load_db()
    await forming.startup(auto_form=True)
    await forming.shutdown()
    application = Counting(config)
    await application._load_db()
    await application.startup(auto_form=False)
    await application.permit(254)

    async def count(_: object) -> dict[str, Any]:
        return {"event": "count", "packets": application.tunnel_packets}

    try:
        await serve_orders(count)
    finally:
        await application.shutdown()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "through":
        asyncio.run(through(rest[0], rest[1], int(rest[2]), rest[3], int(rest[4])))
    elif what == "frames":
        asyncio.run(frames(rest[0], rest[1], int(rest[2])))
    else:
        asyncio.run(bellows_alone(rest[0], rest[1]))
