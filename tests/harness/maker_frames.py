"""Makers' devices: recorded frames read by the rows of a model, and clusters with attributes of a maker."""

from __future__ import annotations

from typing import Any

from adapters.zigbee.device_model import Model, place
from adapters.zigbee.frame_kinds import FROM_SERVER, is_cluster_command, manufacturer_of, start_of
from adapters.zigbee.reports import happened, reported, told
from gateway.api.errors import PeerError
from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.datatypes import ZclDataType


def heard(model: Model, cluster: int, frame: str | bytes, *, endpoint: int = 1) -> list[tuple[str, Any]]:
    """The events and values in a whole ZCL frame, by name. PeerError: it is malformed."""
    octets = bytes.fromhex(frame) if isinstance(frame, str) else frame
    at, start = place(endpoint, cluster, manufacturer_of(octets)), start_of(octets)
    at = model.aliases.get(at, at)
    if is_cluster_command(octets):
        found = happened(model, at, octets[start - 1], not octets[0] & FROM_SERVER, octets[start:])
        if found is None:
            return []
        event, data, values, _ = found
        return ([] if event is None else [(event.name, data)]) + list(values)
    values, fault = reported(model, at, octets[start:])
    if fault:
        raise PeerError(fault)
    return [(event.name, data) for event, data in told(model, at, octets[start:])] + list(values)


def own_cluster(cluster: int, code: int, attributes: dict[int, tuple[ZclDataType, Any]]) -> ClusterServer:
    """A cluster whose attributes all need a manufacturer code."""
    rows = [Attribute(at, kind, value, reportable=True, writable=True) for at, (kind, value) in attributes.items()]
    return make_cluster(cluster, [], makers={code: rows})
