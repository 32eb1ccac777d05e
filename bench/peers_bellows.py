"""bellows alone, for ``bench.peers``: ``python -m bench.peers_bellows DONGLE DIRECTORY``.

It forms the network of a blank dongle, then obeys one JSON order a line: ``permit``; ``interviewed``, which tells how
many devices are; ``reports``, how many were decoded so far; ``set`` (``eui64``, ``on``), which tells when the call
began; ``burst`` (``eui64s``, ``rounds``), so many commands to each device, one after another.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import zigpy.types

from bench.hubs import PERMIT
from bench.load import say
from bench.sensor_network_bellows import Hook, up
from bench.sensor_network_control import HA_PROFILE, ON_OFF


class OnOffCommands:
    """On/Off commands by ``send_packet``."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._sequence = 0

    async def send(self, eui64: str, on: bool) -> None:
        application = self._application
        self._sequence = sequence = (self._sequence + 1) & 0xFF
        number = zigpy.types.uint8_t
        node = application.devices[zigpy.types.EUI64.convert(eui64)]
        packet = zigpy.types.ZigbeePacket(
            src=zigpy.types.AddrModeAddress(zigpy.types.AddrMode.NWK, application.state.node_info.nwk),
            src_ep=number(1),  # type: ignore[no-untyped-call]
            dst=zigpy.types.AddrModeAddress(zigpy.types.AddrMode.NWK, node.nwk),
            dst_ep=number(1),  # type: ignore[no-untyped-call]
            tsn=number(sequence),  # type: ignore[no-untyped-call]
            profile_id=zigpy.types.uint16_t(HA_PROFILE),  # type: ignore[no-untyped-call]
            cluster_id=zigpy.types.uint16_t(ON_OFF),  # type: ignore[no-untyped-call]
            data=zigpy.types.SerializableBytes(bytes((0x11, sequence, int(on)))),
            tx_options=zigpy.types.TransmitOptions.ACK,
        )
        await application.send_packet(packet)

    async def one_by_one(self, eui64: str, rounds: int) -> int:
        """How many failed."""
        failed = 0
        for number in range(rounds):
            try:
                await self.send(eui64, on=number % 2 == 0)
            except zigpy.exceptions.DeliveryError:
                failed += 1
        return failed


async def _interview(application: Any) -> None:
    """zigpy gives up after a few tries; then it is asked on."""
    while True:
        for device in list(application.devices.values()):
            if not (device.is_initialized or device.initializing):
                device.schedule_initialize()
        await asyncio.sleep(1.0)


async def obey(application: Any, order: dict[str, Any]) -> dict[str, Any]:
    do = order["do"]
    if do == "permit":
        await application.permit(PERMIT)
        return {}
    if do == "interviewed":
        return {"interviewed": sum(device.is_initialized for device in application.devices.values()) - 1}
    if do == "reports":
        return {"reports": application.reports}
    commands = OnOffCommands(application)
    if do == "set":
        began = time.monotonic()
        await commands.send(order["eui64"], order["on"])
        return {"began": began}
    began = time.monotonic()
    failed = await asyncio.gather(*(commands.one_by_one(eui64, order["rounds"]) for eui64 in order["eui64s"]))
    return {"seconds": time.monotonic() - began, "failed": sum(failed)}


async def main(dongle: str, directory: str) -> None:
    # Forming registers bellows' callback twice with one EZSP object, so what forms goes no further.
    async with up(Hook, dongle, directory, form=True):
        pass
    async with up(Hook, dongle, directory) as application:
        interviewing = asyncio.get_running_loop().create_task(_interview(application))
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        say(event="ready")
        while line := await reader.readline():
            say(event="done", **await obey(application, json.loads(line)))
        interviewing.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
