"""zigpy's table of devices as this adapter uses it: who is in it, how far an interview is, and what is known of each.

Devices are zigpy's objects and stay opaque outside; ``view`` says what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import zigpy.application
import zigpy.device
import zigpy.endpoint
import zigpy.profiles.zha
import zigpy.types

from adapters.zigbee.device_view import Device, Endpoint, clean
from carriage.zigbee.tunneling import CLUSTER_ID
from carriage.zigbee.zdo import SimpleDescriptor

PROFILE: Final = int(zigpy.profiles.zha.PROFILE_ID)
"""Home Automation: the only profile besides ZLL whose ZCL zigpy parses, so devices of it are interviewed."""

Application = zigpy.application.ControllerApplication


def device_at(app: Application, nwk: int) -> Any:
    """zigpy's device with a network address, or None. It searches all of them."""
    try:
        device = app.get_device(nwk=nwk)
    except KeyError:
        return None
    return device if isinstance(device, zigpy.device.ZigbeeDevice) else None


def device_named(app: Application, eui64: str) -> Any:
    """zigpy's device with an EUI64, or None."""
    device = app.devices.get(zigpy.types.EUI64.convert(eui64))
    return device if isinstance(device, zigpy.device.ZigbeeDevice) else None


def devices(app: Application) -> Iterator[Any]:
    """zigpy's devices, the coordinator apart."""
    for device in list(app.devices.values()):
        if isinstance(device, zigpy.device.ZigbeeDevice) and device.ieee != app.state.node_info.ieee:
            yield device


def recall(app: Any, eui64: str, nwk: int) -> Any:
    """A device that zigpy's database doesn't know, for it wasn't interviewed: now it is."""
    device = app.add_device(zigpy.types.EUI64.convert(eui64), nwk)
    device.schedule_initialize()
    return device


def forget(device: Any) -> None:
    """Take a device out of zigpy's table and database: it keeps those that left for ever."""
    app = device.application
    app.devices.pop(device.ieee, None)
    device.cancel_initialization()
    app.listener_event("device_removed", device)
    device.on_remove()


def forget_former_coordinators(app: Application) -> None:
    """zigpy lists an earlier coordinator as a device: only that one has the address 0."""
    for device in list(devices(app)):
        if int(device.nwk) == 0:
            forget(device)


def is_member(device: Any) -> bool:
    """Whether zigpy's table has it; false once it was taken out."""
    return device.application.devices.get(device.ieee) is device


def is_finished(device: Any) -> bool:
    """Whether the interview is over and in zigpy's database."""
    return device.original_signature is not None


def interview_on(device: Any) -> None:
    """Go on with an interview that failed; to zigpy it is over as soon as all endpoints are known."""
    device.cancel_initialization()
    device._initialize_task = device.create_task(device.initialize(), name="initialize")


def undescribed(device: Any) -> int | None:
    """The first endpoint that a device listed and didn't describe: that of which its interview failed, if of any."""
    if device.node_desc is not None:
        for endpoint in device.non_zdo_endpoints:
            if endpoint.status == zigpy.endpoint.Status.NEW:
                return int(endpoint.endpoint_id)
    return None


def leave_out(device: Any, endpoint: int) -> bool:
    """Have an interview go on without an endpoint; whether others are left."""
    del device.endpoints[endpoint]
    return bool(device.has_non_zdo_endpoints)


def add_endpoint(app: Application, device: Any, descriptor: SimpleDescriptor) -> None:
    """Put an endpoint into zigpy's table, and into its database where the device is there."""
    endpoint = device.add_endpoint(descriptor.endpoint)
    endpoint.profile_id, endpoint.device_type = descriptor.profile, descriptor.device_id
    for cluster in descriptor.inputs:
        endpoint.add_input_cluster(cluster)
    for cluster in descriptor.outputs:
        endpoint.add_output_cluster(cluster)
    endpoint.status = zigpy.endpoint.Status.ZDO_INIT
    signature = device._original_signature
    if signature is not None:
        device._original_signature = None  # zigpy saves no device that has one, lest a quirk's changes be saved
        app.listener_event("raw_device_initialized", device)
        device._original_signature = signature


def is_coordinator(device: Any) -> bool:
    return bool(device.ieee == device.application.state.node_info.ieee)


def eui64_of(device: Any) -> str:
    return str(device.ieee).lower()


def is_sleepy(device: Any) -> bool:
    """Whether its receiver is off while it idles; false while that isn't known."""
    descriptor = device.node_desc
    return descriptor is not None and descriptor.is_end_device and not descriptor.is_receiver_on_when_idle


def view(device: Any, missing: Iterable[int] = (), *, interviewing: bool = False) -> Device:
    seen = device.last_seen
    return Device(
        eui64=eui64_of(device),
        nwk=int(device.nwk),
        manufacturer=clean(device.manufacturer),
        model=clean(device.model),
        interviewed=device.is_initialized,
        sleepy=is_sleepy(device),
        lqi=None if device.lqi is None else int(device.lqi),
        rssi=None if device.rssi is None else int(device.rssi),
        last_seen=None if seen is None else float(seen),
        endpoints=tuple(
            Endpoint(
                number=int(endpoint.endpoint_id),
                profile=int(endpoint.profile_id or 0),
                device_id=int(endpoint.device_type or 0),
                in_clusters=tuple(map(int, endpoint.in_clusters)),
                out_clusters=tuple(map(int, endpoint.out_clusters)),
            )
            for endpoint in sorted(device.non_zdo_endpoints, key=lambda endpoint: endpoint.endpoint_id)
        ),
        tunnel_endpoints=tuple(
            sorted(
                endpoint.endpoint_id
                for endpoint in device.non_zdo_endpoints
                if CLUSTER_ID in endpoint.in_clusters and endpoint.profile_id == PROFILE
            )
        ),
        missing=tuple(missing),
        interviewing=interviewing,
    )
