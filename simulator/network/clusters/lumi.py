"""What LUMI's sensors of before ZigBee 3.0 (Mijia, Aqara) have otherwise: they report without being asked or bound.

Each change is reported at once. About every hour Basic's attribute 0xFF01 tells all values once more, and the battery,
as pairs of a tag and a value with its type.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from simulator.network.cluster_server import Attribute, ClusterServer
from simulator.network.clusters import general, lighting, measurement
from simulator.network.clusters.ids import HUMIDITY, ON_OFF, PRESSURE, TEMPERATURE, Identity
from simulator.network.datatypes import INT8, INT16, INT32, OCTETS, UINT8, UINT16, ZclDataType

LIST: Final = 0xFF01
_MILLIVOLTS: Final = 3005
_HOUR: Final = 3300.0
_STRING: Final = replace(OCTETS, id=0x42)
"""It is called a string of characters."""
_IN_LIST: Final[tuple[tuple[int, int, ZclDataType, int, int], ...]] = (
    (ON_OFF, 0x0000, UINT8, 0x64, 1),
    (TEMPERATURE, 0x0000, INT16, 0x64, 1),
    (HUMIDITY, 0x0000, UINT16, 0x65, 1),
    (PRESSURE, 0x0010, INT32, 0x66, 10),  # in pascals
)
"""Cluster and attribute, and how the list has them: type, tag, units in one of the attribute's."""


def basic(identity: Identity) -> ClusterServer:
    """Basic, with the list."""
    server = general.basic(identity)
    server.attributes[LIST] = Attribute(LIST, _STRING, b"")
    server.on_begun = _begun
    return server


def _begun(server: ClusterServer) -> None:
    _write(server)
    server.begin("list", _HOUR, _tell, server)


def _tell(server: ClusterServer) -> None:
    if server.host is not None:
        server.host.report_now(server.id, LIST, lambda delivered: None)
    _begun(server)


def tell_now(server: ClusterServer) -> None:
    """As a press of its button makes it."""
    _tell(server)


def _write(server: ClusterServer) -> None:
    """The values as they are now."""
    pairs = [(0x01, UINT16, _MILLIVOLTS), (0x03, INT8, 21), (0x04, UINT16, 0x13A8)]
    for cluster, attribute, kind, tag, units in _IN_LIST:
        there = server.sibling(cluster)
        if there is not None:
            pairs.append((tag, kind, there.whole(attribute) * units))
    server.attributes[LIST].value = b"".join(bytes((tag, kind.id)) + kind.encode(value) for tag, kind, value in pairs)


def _by_itself(server: ClusterServer, *attributes: int) -> ClusterServer:
    """Reports these when the last of them was set."""
    before = server.react

    def react(own: ClusterServer, attribute: int) -> None:
        if before is not None:
            before(own, attribute)
        if own.host is not None and attribute == attributes[-1]:
            for each in attributes:
                own.host.report_now(own.id, each, lambda delivered: None)
            listed = own.sibling(0x0000)
            if listed is not None:
                _write(listed)

    server.react = react
    return server


def temperature(identity: Identity) -> ClusterServer:
    return _by_itself(measurement.temperature(identity), 0x0000)


def humidity(identity: Identity) -> ClusterServer:
    return _by_itself(measurement.humidity(identity), 0x0000)


def pressure(identity: Identity) -> ClusterServer:
    return _by_itself(measurement.pressure(identity), 0x0000, 0x0010)


def contact(identity: Identity) -> ClusterServer:
    """On/Off of a magnet: on is open."""
    return _by_itself(lighting.on_off(identity), 0x0000)
