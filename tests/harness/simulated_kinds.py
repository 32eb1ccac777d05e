"""The simulator's kinds of devices as the ZigBee adapter understands them, without a radio. Nothing else."""

from __future__ import annotations

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from carriage.zigbee.datatypes import Value
from gateway.api.model import Address, DeviceView
from simulator.network.device_kinds import HA_PROFILE, KINDS, make_clusters

HOSTED = tuple(name for name, kind in KINDS.items() if kind.endpoints)
"""Those that the simulator itself stands behind."""
EUI64 = "00:0d:6f:00:0b:5d:e3:b6"


def view_of_kind(name: str, may: frozenset[str]) -> DeviceView:
    """A device of a kind after its interview, with what it says of itself as the constants of its rows."""
    kind = KINDS[name]
    identity = kind.identity(None, None)
    constants: dict[int, dict[int, Value]] = {}
    for row in kind.endpoints:
        for server in make_clusters(row, identity):
            found = {each.id: each.value for each in server.attributes.values()}
            constants[place(row.number, server.id)] = {
                key: value for key, value in found.items() if isinstance(value, int | float | str)
            }
    device = Device(
        eui64=EUI64, nwk=1, manufacturer=identity.manufacturer, model=identity.model, interviewed=True,
        sleepy=kind.sleepy, lqi=None, rssi=None, last_seen=None, tunnel_endpoints=(),
        endpoints=tuple(
            Endpoint(
                number=row.number, profile=HA_PROFILE, device_id=row.device_id, in_clusters=row.clusters,
                out_clusters=row.outputs,
            )
            for row in kind.endpoints
        ),
    )  # fmt: skip
    model = model_of(device, TABLE, Notes(), constants)
    return DeviceView(
        name=name, address=Address(scheme="zigbee", claim=f"eui64:{EUI64}"), may=may, online=True, sleepy=kind.sleepy,
        facts=model.facts, properties=model.properties, actions=model.actions, events=model.offered_events, samples={},
    )  # fmt: skip
