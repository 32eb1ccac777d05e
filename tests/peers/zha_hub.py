"""zha's gateway as a program: ``python zha_hub.py DONGLE``, with a Python that has zha and zha-quirks.

It forms the network of a blank dongle and prints ``{"event": "started"}``, then obeys one JSON order a line, each
answered by a line with ``"event": "done"``: ``permit``; ``entities`` (``eui64``), all of a device with platform, class
and state; ``call`` (``eui64``, ``platform``, ``method``, ``arguments``), a method of its first entity of that platform.
Events of zha: ``ready``, a device is set up; ``zha_event``, a command of a remote. It imports nothing of this project,
whose packages its Python does not have.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import zhaquirks
from zha.application.gateway import Gateway
from zha.application.helpers import CoordinatorConfiguration, QuirksConfiguration, ZHAConfiguration, ZHAData
from zigpy.types import EUI64


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event, default=str) + "\n")
    sys.stdout.flush()


class Hub:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        gateway.on_all_events(self._heard)

    def _heard(self, event: Any) -> None:
        if event.event == "device_fully_initialized" and event.device_info.pairing_status.name == "INITIALIZED":
            device = self._gateway.get_device(event.device_info.ieee)
            device.on_event("zha_event", lambda event: say(event="zha_event", eui64=str(device.ieee), **event.data))
            say(event="ready", eui64=str(device.ieee), model=device.model)

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "permit":
            await self._gateway.application_controller.permit(254)
            return {}
        device = self._gateway.get_device(EUI64.convert(order["eui64"]))
        if order["do"] == "entities":
            return {"entities": [{"class": type(each).__name__, **vars(each.state)} for each in self._of(device)]}
        entity = next(each for each in self._of(device) if order["platform"] == each.PLATFORM)
        await getattr(entity, f"async_{order['method']}")(**order.get("arguments", {}))
        return {}

    @staticmethod
    def _of(device: Any) -> list[Any]:
        return list(device.platform_entities.values())


async def form(gateway: Gateway) -> None:
    """As Home Assistant does it: what forms the network goes no further. In one go each frame would come twice."""
    controller, config = gateway.get_application_controller_data()
    application = await controller.new(config=config, auto_form=False, start_radio=False)
    await application.connect()
    await application.form_network()
    await application.disconnect()


async def main(dongle: str) -> None:
    coordinator = CoordinatorConfiguration(path=dongle, flow_control=None)
    quirks = QuirksConfiguration(setup_function=zhaquirks.setup)
    config = ZHAConfiguration(coordinator_configuration=coordinator, quirks_configuration=quirks)
    gateway = await Gateway.async_from_config(ZHAData(config=config))
    await form(gateway)
    await gateway.async_initialize()
    await gateway.async_initialize_devices_and_entities()
    hub = Hub(gateway)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(event="started")
    while line := await reader.readline():
        try:
            say(event="done", **await hub.obey(json.loads(line)))
        except Exception as error:
            say(event="done", failed=f"{type(error).__name__}: {error}")
    await gateway.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
