"""A ``ZclDevice`` that joined, and what the engine would order of it. Nothing else."""

from __future__ import annotations

from typing import Any

from gateway.api.identity import ANY_LINK, LinkRequirement
from gateway.api.model import (
    Address,
    EnvelopeId,
    Interaction,
    LinkSecurity,
    Outcome,
    Peer,
    Reading,
    Receipt,
    Transmit,
)
from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.datatypes import ZclDataType
from tests.harness.zcl_device import ZclDevice, settled

EUI64 = 0x000D6F0000000022
APP = Peer(scheme="mqtt", claims=("user:app",), link=LinkSecurity(protocol="tls1.3"))


class Asked:
    """What the engine would order of one device, and the receipts."""

    def __init__(self, gateway: Any, device: ZclDevice) -> None:
        self.gateway, self.device = gateway, device
        self._next = 1000
        self.heard = len(gateway.context.of(Reading))

    async def does(self, kind: type[Interaction], *, require: LinkRequirement = ANY_LINK, **what: Any) -> Receipt:
        self._next += 1
        wanted = kind(id=EnvelopeId(self._next), source=APP, to="lamp", received_at=0.0, **what)
        to = Address(scheme="zigbee", claim=f"eui64:{self.device.eui64}")
        self.gateway.adapter.send(Transmit(wanted, to, require))

        def settled_() -> list[Receipt]:
            receipts = self.gateway.context.receipts
            return [each for each in receipts if each.id == wanted.id and each.outcome is not Outcome.HELD]

        found: Receipt = (await self.gateway.until(settled_))[0]
        return found

    def reported(self) -> dict[str, Any]:
        """The last value of each property that the adapter reported since the device was set up."""
        readings = self.gateway.context.of(Reading)[self.heard :]
        return {name: value for reading in readings for name, value in reading.values}


def server(cluster: int, attributes: dict[int, tuple[ZclDataType, Any]]) -> ClusterServer:
    """A cluster whose attributes, of these types and values, can all be reported and set."""
    rows = [Attribute(at, kind, value, reportable=True, writable=True) for at, (kind, value) in attributes.items()]
    return make_cluster(cluster, rows)


async def joined(
    world: Any,
    gateway: Any,
    *clusters: ClusterServer,
    clients: tuple[int, ...] = (),
    answer: Any = None,
    code: int = 0,
    **options: Any,
) -> tuple[ZclDevice, Asked]:
    """A device with these clusters in the network of ``world``: interviewed, bound, its values read.

    ``code``: its manufacturer's. ``options``: see ``ZclDevice.attach``.
    """
    device = ZclDevice(EUI64, *clusters, clients=clients)
    device.answer = answer or device.answer
    await device.attach(world.socket, **options)
    world.network.stations[EUI64].device.manufacturer_code = code
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    device.asked.clear()
    return device, Asked(gateway, device)
