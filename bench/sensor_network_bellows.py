"""bellows and zigpy without us, for ``bench.sensor_network``: interviews, the bare hook, the whole path, a call."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import bellows.zigbee.application  # type: ignore[import-untyped]
import zigpy.application
import zigpy.config
import zigpy.types

from bench.load import say, serve_orders
from bench.sensor_network_control import HA_PROFILE, ON_OFF, TEMPERATURE, Control, times

_REPORT = struct.Struct("<BBBHBh")
"""Frame control, sequence, command, attribute, type, value: a report of one int16."""
INTERVIEW_LIMIT = 600.0


class Hook(bellows.zigbee.application.ControllerApplication):  # type: ignore[misc]
    """bellows with the shortest hook that knows the value of a report."""

    reports = 0
    value = 0.0

    def packet_received(self, packet: Any) -> None:
        if packet.cluster_id != TEMPERATURE:
            super().packet_received(packet)
            return
        control, _, command, attribute, kind, value = _REPORT.unpack(packet.data.serialize())
        if control & 0x03 == 0 and command == 0x0A and attribute == 0 and kind == 0x29:
            self.value = value / 100
            self.reports += 1


class Attributes(bellows.zigbee.application.ControllerApplication):  # type: ignore[misc]
    """bellows and zigpy as they are; ``listen`` counts the attribute reports that come out."""

    reports = 0
    value = 0.0

    def listen(self) -> None:
        def reported(event: Any) -> None:
            self.value = event.value
            self.reports += 1

        for device in self.devices.values():
            for endpoint in getattr(device, "non_zdo_endpoints", ()):
                cluster = endpoint.in_clusters.get(TEMPERATURE)
                if cluster is not None:
                    cluster.on_event("attribute_report", reported)


def _config(dongle: str, directory: str) -> dict[str, Any]:
    return {
        zigpy.config.CONF_DEVICE: {zigpy.config.CONF_DEVICE_PATH: dongle},
        zigpy.config.CONF_DATABASE: f"{directory}/zigbee.db",
        zigpy.config.CONF_OTA: {zigpy.config.CONF_OTA_ENABLED: False},
        zigpy.config.CONF_TOPO_SCAN_ENABLED: False,
        bellows.zigbee.application.CONF_USE_THREAD: False,
    }


@contextlib.asynccontextmanager
async def up(kind: Any, dongle: str, directory: str, *, form: bool = False) -> AsyncIterator[Any]:
    application = kind(_config(dongle, directory))
    await application._load_db()
    await application.startup(auto_form=form)
    try:
        yield application
    finally:
        await application.shutdown()


async def prepare(dongle: str, directory: str, count: str) -> None:
    # Forming registers bellows' callback twice with one EZSP object, so what forms goes no further.
    async with up(Hook, dongle, directory, form=True):
        pass
    async with up(Hook, dongle, directory) as application:
        say(event="formed")
        ends = time.monotonic() + INTERVIEW_LIMIT
        opened = float("-inf")
        while sum(device.is_initialized for device in application.devices.values()) <= int(count):
            now = time.monotonic()
            if now > ends:
                raise SystemExit("the interviews took too long")
            if now - opened > 200:
                await application.permit(254)
                opened = now
            await asyncio.sleep(1.0)
            for device in list(application.devices.values()):
                if not (device.is_initialized or device.initializing):
                    device.schedule_initialize()  # zigpy gives up after a few tries
    say(event="ready")


async def hook(dongle: str, directory: str) -> None:
    async with up(Hook, dongle, directory) as application:
        await _count(application)


async def attributes(dongle: str, directory: str) -> None:
    async with up(Attributes, dongle, directory) as application:
        application.listen()
        await _count(application)


async def _count(application: Any) -> None:
    async def count(_: object) -> dict[str, Any]:
        return {"event": "count", "reports": application.reports, "value": float(application.value)}

    await serve_orders(count)


async def call(dongle: str, directory: str, socket: str) -> None:
    control = await Control.connect(socket)
    async with up(Hook, dongle, directory) as application:
        ours = application.state.node_info.ieee
        others = [device for device in application.devices.values() if device.ieee != ours]
        lamp = next(device for device in others if ON_OFF in device.endpoints[1].in_clusters)
        sequence = 0

        async def begin(on: bool) -> float:
            nonlocal sequence
            sequence = (sequence + 1) & 0xFF
            packet = zigpy.types.ZigbeePacket(
                src=zigpy.types.AddrModeAddress(zigpy.types.AddrMode.NWK, application.state.node_info.nwk),
                src_ep=zigpy.types.uint8_t(1),  # type: ignore[no-untyped-call]
                dst=zigpy.types.AddrModeAddress(zigpy.types.AddrMode.NWK, lamp.nwk),
                dst_ep=zigpy.types.uint8_t(1),  # type: ignore[no-untyped-call]
                tsn=zigpy.types.uint8_t(sequence),  # type: ignore[no-untyped-call]
                profile_id=zigpy.types.uint16_t(HA_PROFILE),  # type: ignore[no-untyped-call]
                cluster_id=zigpy.types.uint16_t(ON_OFF),  # type: ignore[no-untyped-call]
                data=zigpy.types.SerializableBytes(bytes((0x11, sequence, int(on)))),
                tx_options=zigpy.types.TransmitOptions.ACK,
            )
            began = time.monotonic()
            await application.send_packet(packet)
            return began

        await serve_orders(lambda order: times(order, control, begin))


async def run(what: str, *rest: str) -> None:
    if what == "prepare":
        await prepare(*rest)
    elif what == "call":
        await call(*rest)
    else:
        await {"hook": hook, "attributes": attributes}[what](*rest)
