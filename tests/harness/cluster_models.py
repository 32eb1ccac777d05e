"""The model of a device with these clusters, made without a radio. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.zigbee.clusters import TABLE, ClusterTable
from adapters.zigbee.device_model import Model, Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from carriage.zigbee.datatypes import Value
from gateway.api.model import Scalar


def model_with(
    *clusters: int,
    clients: tuple[int, ...] = (),
    constants: Mapping[int, Mapping[int, Value]] | None = None,
    options: Mapping[str, Scalar] | None = None,
    table: ClusterTable = TABLE,
    manufacturer: str = "",
    model: str = "",
) -> Model:
    """``constants``: by cluster what the device said of the attributes that its rows depend on; nothing: it has none
    of them."""
    known = {place(1, cluster): (constants or {}).get(cluster, {}) for cluster in clusters}
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01",
        nwk=1,
        manufacturer=manufacturer,
        model=model,
        interviewed=True,
        sleepy=False,
        lqi=None,
        rssi=None,
        last_seen=None,
        endpoints=(Endpoint(number=1, profile=0x0104, device_id=0, in_clusters=clusters, out_clusters=clients),),
        tunnel_endpoints=(),
    )
    return model_of(device, table, Notes(), known, options)
