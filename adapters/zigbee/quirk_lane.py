"""Which devices go by zha-quirks, the slow lane: those of which no row understands more than a battery.

The quirks are loaded when the first such device is known, in a thread; it is understood by rows until then. All other
devices never come here after they are known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_model import Model, Values
from adapters.zigbee.device_view import Device
from adapters.zigbee.network_port import Radio
from adapters.zigbee.quirk_device import Told, ended, quirk_of
from adapters.zigbee.quirk_packages import ZHA, QuirkSource, Registry
from adapters.zigbee.radio_port import IncomingFrame
from adapters.zigbee.reports import happened, reported
from carriage.zigbee import foundation, zcl
from gateway.api.errors import PeerError
from gateway.api.model import EventAffordance
from gateway.api.model import Value as PropertyValue

_LOG = logging.getLogger(__name__)

NAME: Final = "quirk"
"""Of this lane, in what the administrator sees."""
COUNTERS: Final = ("quirk_frames", "quirk_faults")
"""Frames that went through a quirk; what quirks raised."""
_SAYS_NOTHING: Final = frozenset((0x0000, 0x0001, 0x0003, 0x0004, 0x0005, 0x0020))
"""Clusters that nearly every device has: who has only these does something that no row says."""


class QuirkLane:
    """``source``: None: no quirks are used. ``wanted``: by EUI64 whether a device goes by its quirk.

    ``tell`` gets what comes from the quirk of a device; ``rebuilt`` a device of which the quirk is known.
    """

    def __init__(
        self,
        table: ClusterTable,
        counters: dict[str, int],
        tell: Callable[[ZigbeeDevice, list[Told]], None],
        rebuilt: Callable[[ZigbeeDevice], None],
        source: QuirkSource | None = ZHA,
        wanted: Mapping[str, bool] | None = None,
    ) -> None:
        self._table = table
        self._counters = counters
        self._tell = tell
        self._rebuilt = rebuilt
        self._wanted = wanted or {}
        self._source = source
        self._registry: Registry | None = None
        self._loading: asyncio.Task[None] | None = None
        self._waiting: dict[str, ZigbeeDevice] = {}
        self._fresh: set[str] = set()
        """Devices that joined, and that their quirk has not set up yet."""
        self._lacking: set[str] = set()
        """Devices that would go by a quirk."""
        self.trouble = ""
        """Why the quirks can't be used."""

    def seen(self, device: ZigbeeDevice, found: Device, radio: Radio, *, joined: bool) -> Device:
        """A device that was interviewed, as its quirk has it; as it is if it has none, or needs none."""
        source = self._source
        if source is None or not self._wanted.get(found.eui64, not understood(found, self._table)):
            self.forget(device)
            return found
        if joined:
            self._fresh.add(device.eui64)
        if self._registry is None:
            self._load(device, source)
            return found
        quirk, node = device.quirk, radio.node(found.eui64)
        if node is None:
            return found
        if joined or quirk is None or quirk.node is not node or quirk.described != found.endpoints:
            self.forget(device)
            quirk = device.quirk = quirk_of(self._registry, node, lambda told: self._tell(device, told), self._counters)
        if quirk is None:
            return found
        if device.eui64 in self._fresh:
            self._fresh.discard(device.eui64)
            quirk.configure()
        return replace(found, endpoints=quirk.endpoints)

    def forget(self, device: ZigbeeDevice) -> None:
        """The device is gone, or its radio."""
        self._waiting.pop(device.eui64, None)
        if device.quirk is not None:
            device.quirk.close()
            device.quirk = None

    def left(self, device: ZigbeeDevice) -> None:
        self._fresh.discard(device.eui64)
        self._lacking.discard(device.eui64)
        self.forget(device)

    def shown(self, device: ZigbeeDevice) -> dict[str, str]:
        """For the administrator: the lane of a device, and why it isn't that of its quirk if it would be."""
        maker = "" if device.model is None else device.model.maker
        lane = {"lane": maker or "standard" if device.quirk is None else NAME}
        return {**lane, "quirk": self.trouble} if device.eui64 in self._lacking else lane

    def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()

    def _load(self, device: ZigbeeDevice, source: QuirkSource) -> None:
        self.trouble = self.trouble or source.missing()
        if self.trouble:
            self._lacking.add(device.eui64)
            _LOG.info("%s: no row says what it does, and its quirk can't be used: %s", device.eui64, self.trouble)
            return
        self._waiting[device.eui64] = device
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._loaded(source))
            self._loading.add_done_callback(ended)

    async def _loaded(self, source: QuirkSource) -> None:
        try:
            self._registry = await asyncio.to_thread(source.load)
        except Exception as exc:  # an import of a thousand files
            self.trouble = f"zha-quirks can't be loaded: {type(exc).__name__}: {exc}"
            _LOG.warning("%s", self.trouble)
            self._lacking.update(self._waiting)
            return
        waiting, self._waiting = self._waiting, {}
        for device in waiting.values():
            self._rebuilt(device)


def understood(found: Device, table: ClusterTable) -> bool:
    """Whether rows say of a device what it does, be it the standard's or its maker's; or it carries sessions."""
    of = table.for_device(found.manufacturer, found.model)
    servers = of.of.keys() | of.actions.keys() | of.events.keys() | of.reported_events.keys()
    return bool(of.maker or found.tunnel_endpoints) or any(
        not servers.isdisjoint(set(endpoint.in_clusters) - _SAYS_NOTHING)
        or not of.events.keys().isdisjoint(set(endpoint.out_clusters) - _SAYS_NOTHING)
        for endpoint in found.endpoints
    )


def is_for_zigpy_too(frame: IncomingFrame) -> bool:
    """Whether a frame that answers no request of the gateway may answer one of a quirk, or else of zigpy."""
    payload = frame.payload
    if not frame.endpoint:
        return True
    try:
        header = zcl.decode(payload)
    except PeerError:
        return True  # counted there
    return not header.cluster_specific and header.command in foundation.RESPONSES


def readings_of(
    model: Model, told: list[Told]
) -> tuple[Values, list[tuple[EventAffordance, PropertyValue | None]], int]:
    """The values and events in what came from a quirk, and how much is malformed; of a property the last value."""
    values: dict[str, PropertyValue | None] = {}
    events: list[tuple[EventAffordance, PropertyValue | None]] = []
    malformed = 0
    for one in told:
        if one.command is None:
            found, fault = reported(model, one.at, one.payload)
            malformed += bool(fault)
            values.update(found)
            continue
        try:
            happening = happened(model, one.at, one.command, False, one.payload)
        except PeerError:
            malformed += 1
            continue
        if happening is not None:
            event, data, found, _ = happening
            values.update(found)
            if event is not None:
                events.append((event, data))
    return tuple(values.items()), events, malformed
