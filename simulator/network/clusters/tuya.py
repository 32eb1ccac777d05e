"""Tuya's cluster of datapoints, 0xEF00: all that such a device has, its own ids and types in one cluster.

A datapoint is an attribute that no frame can ask for (``INSIDE`` and its id). The device reports each that changed or
was set, and all if the gateway asks (0x03). A device that has a clock asks for the time when it begins (0x24).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from layer.errors import PeerError
from simulator.network.cluster_server import INSIDE, Attribute, ClusterServer, make_cluster
from simulator.network.clusters.ids import TUYA, Identity
from simulator.network.datatypes import BOOL, ENUM8, INT32, UINT32, ZclDataType

CLIMATE, VALVE = "_TZE200_cirvgep4", "_TZE200_rxntag7i"
"""Manufacturers of a sensor with a display, and of a radiator valve."""
TEMPERATURE, HUMIDITY = INSIDE + 1, INSIDE + 2
SETPOINT, LOCAL = INSIDE + 4, INSIDE + 5
_POINTS_END: Final = INSIDE + 0x100
CLOCK: Final = _POINTS_END
"""The time of UTC that the gateway answered, in seconds; it is no datapoint."""

_POINTS: Final[Mapping[str, tuple[tuple[int, ZclDataType, int], ...]]] = {
    CLIMATE: ((TEMPERATURE, INT32, 215), (HUMIDITY, INT32, 47), (INSIDE + 3, ENUM8, 2), (INSIDE + 9, ENUM8, 0)),
    VALVE: (
        (INSIDE + 2, ENUM8, 0),
        (INSIDE + 3, ENUM8, 1),
        (SETPOINT, INT32, 200),
        (LOCAL, INT32, 193),
        (INSIDE + 7, BOOL, 0),
        (INSIDE + 36, BOOL, 0),
        (INSIDE + 39, BOOL, 0),
    ),
}
_TYPES: Final = {BOOL.id: (1, 1), INT32.id: (2, 4), ENUM8.id: (4, 1)}
"""By ZCL type the type of a datapoint, and the length of its value."""
_SET, _SAID, _REPORT, _QUERY, _TIME = 0x00, 0x01, 0x02, 0x03, 0x24
_HEAD, _POINT = 2, 4


def datapoints(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Ids, types and values in a command. PeerError: malformed."""
    at = _HEAD
    while at < len(payload):
        if at + _POINT > len(payload):
            raise PeerError("a datapoint ends early")
        start = at + _POINT
        end = start + int.from_bytes(payload[at + 2 : start], "big")
        if end > len(payload):
            raise PeerError("a datapoint ends early")
        yield payload[at], payload[at + 1], int.from_bytes(payload[start:end], "big", signed=payload[at + 1] == 2)
        at = end


def tuya(identity: Identity) -> ClusterServer:
    """The datapoints of the identity's manufacturer."""
    points = _POINTS.get(identity.manufacturer, _POINTS[CLIMATE])
    server = make_cluster(
        TUYA,
        [*(Attribute(number, kind, value) for number, kind, value in points), Attribute(CLOCK, UINT32, 0)],
        {_SET: _set, _QUERY: _tell_all, _TIME: _told_time},
    )
    server.react = lambda own, number: _tell(own, number, _REPORT) if INSIDE <= number < _POINTS_END else None
    server.on_begun = _ask_time
    return server


def _tell(server: ClusterServer, number: int, command: int) -> None:
    if server.host is None:
        return
    row = server.attributes[number]
    kind, length = _TYPES[row.type.id]
    value = int(row.value).to_bytes(length, "big", signed=kind == 2)
    count = int(server.memory.get("count", "0")) + 1 & 0xFFFF
    server.memory["count"] = str(count)
    head = count.to_bytes(_HEAD, "big") + bytes((number - INSIDE, kind)) + length.to_bytes(2, "big")
    server.host.notify(server, command, head + value)


def _set(server: ClusterServer, payload: bytes) -> None:
    for number, kind, value in datapoints(payload):
        row = server.attributes.get(INSIDE + number)
        if row is None or _TYPES[row.type.id][0] != kind:
            continue  # a device like this one says nothing to what it doesn't know
        row.type.encode(value)
        row.value = value
        _tell(server, INSIDE + number, _SAID)


def _tell_all(server: ClusterServer, payload: bytes) -> None:
    for number in [each for each in server.attributes if INSIDE <= each < _POINTS_END]:
        _tell(server, number, _REPORT)


def _ask_time(server: ClusterServer) -> None:
    if server.host is not None:
        server.host.after(1.0, server.host.notify, server, _TIME, b"\x00\x08")


def _told_time(server: ClusterServer, payload: bytes) -> None:
    if len(payload) != 10:
        raise PeerError("no time")
    server.attributes[CLOCK].value = int.from_bytes(payload[2:6], "big")
