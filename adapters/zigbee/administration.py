"""The administrator's commands to the ZigBee adapter: let devices join, list them with all it knows, have one leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from adapters.zigbee.config import eui64_text
from adapters.zigbee.coordinator import Coordinator
from adapters.zigbee.device_view import Device, timestamp
from adapters.zigbee.network_map import network_map
from adapters.zigbee.reporting_commands import configure, configure_reporting, read_reporting
from adapters.zigbee.sniffer import LONGEST
from adapters.zigbee.times import ZigbeeTimes
from adapters.zigbee.zcl_devices import ZclDevices
from gateway.api.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

MAX_PERMIT: Final = 254
"""Seconds; 255 would mean for ever."""


COORDINATOR: Final = "coordinator"
"""In the place of a router: the dongle itself."""
LEAVE_GRACE: Final = 2.0
"""Seconds that it has to be gone then."""
_ASLEEP: Final = "it sleeps, and was not heard meanwhile (wake it, by its button say, and try again)"


async def _permit_join(
    radio: Coordinator, semantics: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> Mapping[str, Any]:
    seconds = arguments.get("seconds", 60)
    at = arguments.get("eui64", "")
    if set(arguments) - {"seconds", "eui64"} or type(seconds) is not int or not 0 <= seconds <= MAX_PERMIT:
        raise PeerError(f"permit-join takes `seconds`, 0 (closed) to {MAX_PERMIT}")
    if at and at != COORDINATOR:
        router = radio.device(at)
        if router is None or router.sleepy:
            raise PeerError(f"{at}: expected a device that is always on and in the network, or {COORDINATOR}")
    try:
        if at and seconds:
            await radio.permit_at(seconds, "" if at == COORDINATOR else at)
        else:
            await radio.permit(seconds)
    except TransportError as failure:
        raise PeerError(str(failure)) from failure
    _LOG.info("joining is %s", f"open for {seconds} s" if seconds else "closed")
    return {"seconds": seconds}


async def _devices(
    radio: Coordinator, semantics: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> Mapping[str, Any]:
    return {"devices": [_shown(device, semantics) for device in radio.devices()]}


def _shown(device: Device, semantics: ZclDevices) -> dict[str, Any]:
    return {
        "eui64": device.eui64,
        "nwk": f"0x{device.nwk:04x}",
        "manufacturer": device.manufacturer,
        "model": device.model,
        "interviewed": device.interviewed,
        "interviewing": device.interviewing,
        "sleepy": device.sleepy,
        "lqi": device.lqi,
        "rssi": device.rssi,
        "last_seen": timestamp(device.last_seen),
        "endpoints": [
            {
                "id": endpoint.number,
                "profile": f"0x{endpoint.profile:04x}",
                "device": f"0x{endpoint.device_id:04x}",
                "in": [f"{cluster:04x}" for cluster in endpoint.in_clusters],
                "out": [f"{cluster:04x}" for cluster in endpoint.out_clusters],
            }
            for endpoint in device.endpoints
        ],
        "endpoints_missing": list(device.missing),
        "tunnel_endpoints": list(device.tunnel_endpoints),
        **semantics.shown(device.eui64),
    }


async def _remove(
    radio: Coordinator, semantics: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> Mapping[str, Any]:
    """``known``: it was in the network's table; ``left``: it said that it leaves."""
    eui64, force = arguments.get("eui64"), arguments.get("force", False)
    if not isinstance(eui64, str) or not isinstance(force, bool) or set(arguments) - {"eui64", "force"}:
        raise PeerError("remove takes `eui64`, and `force`: true or false")
    device = next((each for each in radio.devices() if each.eui64 == eui64), None)  # never the coordinator itself
    if device is None:
        return {"known": False, "left": False}
    trouble = ""
    try:
        async with asyncio.timeout(times.leave):
            await semantics.leave(eui64)
    except TimeoutError:
        trouble = _ASLEEP if device.sleepy else f"it doesn't answer within {times.leave:.0f} s"
    except PeerError as failure:
        trouble = str(failure)
    if trouble and not force:
        raise PeerError(f"{eui64} is still in the network: {trouble}; with force it is forgotten here all the same")
    await radio.part(eui64, 0.0 if trouble else LEAVE_GRACE)
    semantics.groups.setup.forget(eui64)
    return {"known": True, "left": not trouble}


async def _options(
    radio: Coordinator, semantics: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> Mapping[str, Any]:
    """``from``, ``to``: the options before and now; ``possible``: what there is, by name."""
    eui64, options = arguments.get("eui64"), arguments.get("options", {})
    if not isinstance(eui64, str) or not isinstance(options, dict) or set(arguments) - {"eui64", "options"}:
        raise PeerError(
            "device-options takes `eui64`, and `options`: an object of options to be set, null to unset one"
        )
    return semantics.options(eui64, options)


async def _sniff(
    radio: Coordinator, semantics: ZclDevices, arguments: Mapping[str, Any], times: ZigbeeTimes
) -> Mapping[str, Any]:
    """Begin to look at a device for ``seconds``; without them what came so far, and what it is of."""
    eui64, seconds = arguments.get("eui64"), arguments.get("seconds")
    if not isinstance(eui64, str) or set(arguments) - {"eui64", "seconds"}:
        raise PeerError("sniff takes `eui64`, and `seconds`")
    device = radio.device(eui64)
    if device is None:
        raise PeerError(f"{eui64}: not in the network")
    if seconds is not None:
        if type(seconds) is not int or not 0 < seconds <= LONGEST:
            raise PeerError(f"seconds: expected a whole number from 1 to {LONGEST}")
        semantics.sniffer.watch(eui64, seconds)
    hidden = [*(each.eui64 for each in radio.devices()), eui64_text(radio.eui64)]
    return {
        "manufacturer": device.manufacturer,
        "model": device.model,
        "sleepy": device.sleepy,
        "lane": semantics.shown(eui64)["lane"],
        "endpoints": _shown(device, semantics)["endpoints"],
        **semantics.sniffer.found(eui64, hidden),
    }


COMMANDS: Final[
    Mapping[str, Callable[[Coordinator, ZclDevices, Mapping[str, Any], ZigbeeTimes], Awaitable[Mapping[str, Any]]]]
] = {
    "permit-join": _permit_join,
    "devices": _devices,
    "device-options": _options,
    "remove": _remove,
    "configure": configure,
    "configure-reporting": configure_reporting,
    "read-reporting": read_reporting,
    "network-map": network_map,
    "sniff": _sniff,
}
