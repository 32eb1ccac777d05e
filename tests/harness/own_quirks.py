"""Quirks as zha-quirks has them, of zigpy's own classes: for tests where zha-quirks itself is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import zigpy.device
import zigpy.endpoint
import zigpy.types
from zigpy.zcl import Cluster, foundation
from zigpy.zcl.clusters.general import OnOff

from adapters.zigbee.quirk_packages import QuirkSource

OWN = 0xEF00
SWITCH, STATE = 0x00, 0x01
"""Commands of that cluster: set it, and its state."""


class OwnCluster(Cluster):
    """A maker's cluster: a command tells the state, another one sets it. Some octets make it raise."""

    _skip_registry = True
    cluster_id = OWN
    ep_attribute = "own"

    class ServerCommandDefs(foundation.BaseCommandDefs):
        switch: ClassVar = foundation.ZCLCommandDef(id=SWITCH, schema={"on": zigpy.types.Bool})

    class ClientCommandDefs(foundation.BaseCommandDefs):
        state: ClassVar = foundation.ZCLCommandDef(id=STATE, schema={"on": zigpy.types.uint8_t})

    def handle_cluster_request(self, hdr: Any, args: Any, *, dst_addressing: Any = None) -> None:
        if hdr.command_id == STATE:
            if args.on == 0xEE:
                raise RuntimeError("a fault of the quirk")
            self.endpoint.on_off.update_attribute(OnOff.AttributeDefs.on_off.id, args.on)


class LocalDataCluster(Cluster):
    """As zha-quirks' of this name: nothing of it goes to the device."""

    _skip_registry = True

    async def bind(self, **_: Any) -> Any:
        return (foundation.Status.SUCCESS,)

    async def read_attributes_raw(self, attributes: Any, manufacturer: Any = None, **_: Any) -> Any:
        none = foundation.TypeValue()
        return (
            [
                foundation.ReadAttributeRecord(each, foundation.Status.UNSUPPORTED_ATTRIBUTE, none)
                for each in attributes
            ],
        )


class OwnOnOff(LocalDataCluster, OnOff):
    """On/Off that the device has not: it sends the maker's command."""

    faulty = False

    async def command(self, command_id: Any, *args: Any, **_: Any) -> Any:
        if self.faulty:
            raise KeyError("a fault of the quirk")
        await self.endpoint.own.command(SWITCH, bool(command_id))
        return foundation.GENERAL_COMMANDS[foundation.GeneralCommand.Default_Response].schema(
            command_id=command_id, status=foundation.Status.SUCCESS
        )


class OwnDevice(zigpy.device.ZigbeeDevice):
    """A device with ``OWN`` as a switch."""

    def __init__(self, replaces: Any) -> None:
        super().__init__(replaces.application, replaces.ieee, replaces.nwk)
        self.node_desc, self.manufacturer, self.model = replaces.node_desc, replaces.manufacturer, replaces.model
        for old in replaces.non_zdo_endpoints:
            new = self.add_endpoint(old.endpoint_id)
            new.profile_id, new.device_type = old.profile_id, old.device_type
            new.status = zigpy.endpoint.Status.ZDO_INIT
            for cluster in old.in_clusters:
                new.add_input_cluster(cluster, OwnCluster(new, is_server=True) if cluster == OWN else None)
            if OWN in old.in_clusters:
                new.add_input_cluster(OnOff.cluster_id, OwnOnOff(new, is_server=True))


class OwnRegistry:
    """Of quirks. ``asked``: the devices that it was asked for."""

    def __init__(self, make: Callable[[Any], Any] = OwnDevice) -> None:
        self.asked: list[str] = []
        self.loads = 0
        self._make = make

    def resolve(self, zigpy_device: Any) -> Any:
        self.asked.append(str(zigpy_device.ieee))
        return self._make(zigpy_device)

    def source(self, lack: str = "") -> QuirkSource:
        return QuirkSource(lambda: lack, self._load)

    def _load(self) -> OwnRegistry:
        self.loads += 1
        return self
