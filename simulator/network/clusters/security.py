"""IAS Zone and IAS Warning Device (ZCL8, 8.2 and 8.4).

A zone's states: not enrolled (0) and enrolled (1). It becomes enrolled by the Zone Enroll Response of the CIE, whose
address was written before. By its kind's way to enrol (8.2.2.1.3)

- ``auto-enroll-request``: it sends the Zone Enroll Request as soon as the address is written, and takes the answer;
- ``auto-enroll-response``: it asks for nothing and takes a response that comes unasked after the address was written;
- ``trip-to-pair``: it sends the request when it is tripped, and takes the answer to that only.

An enrolled zone sends a Zone Status Change Notification at each change of its status; one that isn't sends none.
"""

from __future__ import annotations

import struct
from typing import Final

from simulator.network.cluster_server import (
    INSIDE,
    INVALID_VALUE,
    Attribute,
    ClusterServer,
    CommandRefusedError,
    make_cluster,
)
from simulator.network.clusters.ids import (
    AUTO_ENROLL_REQUEST,
    AUTO_ENROLL_RESPONSE,
    IAS_WARNING,
    IAS_ZONE,
    TRIP_TO_PAIR,
    Identity,
)
from simulator.network.datatypes import BITMAP16, ENUM8, ENUM16, EUI64, UINT8, UINT16

STATE, ZONE_TYPE, STATUS, CIE_ADDRESS, ZONE_ID = 0x0000, 0x0001, 0x0002, 0x0010, 0x0011
ALARM, TAMPER, BATTERY_LOW = 0x0001, 0x0004, 0x0008
_NO_ZONE: Final = 0xFF
_NOTIFICATION, _ENROLL_REQUEST = 0x00, 0x01
#: seconds in which the answer to a request counts
_ANSWERED_WITHIN: Final = 30.0


def ias_zone(identity: Identity) -> ClusterServer:
    """IAS Zone, 0x0500, of the identity's type and way to enrol."""

    def react(server: ClusterServer, attribute: int) -> None:
        if attribute == CIE_ADDRESS:
            _address_written(server, identity.enrolment)
        elif attribute == STATUS:
            _status_changed(server, identity)

    def enroll_response(server: ClusterServer, payload: bytes) -> None:
        _enroll_response(server, payload, identity.enrolment)

    server = make_cluster(
        IAS_ZONE,
        [
            Attribute(STATE, ENUM8, 0),
            Attribute(ZONE_TYPE, ENUM16, identity.zone_type),
            Attribute(STATUS, BITMAP16, 0, reportable=True),
            Attribute(CIE_ADDRESS, EUI64, 0, writable=True),
            Attribute(ZONE_ID, UINT8, _NO_ZONE),
        ],
        {0x00: enroll_response},
        revision=2,
    )
    server.react = react
    server.factory = {STATE: 0, CIE_ADDRESS: 0, ZONE_ID: _NO_ZONE}
    return server


def _address_written(server: ClusterServer, enrolment: str) -> None:
    """Another CIE, or the same again: the zone has to enrol again only with another."""
    if server.memory.get("cie") == str(server.whole(CIE_ADDRESS)):
        return
    server.memory["cie"] = str(server.whole(CIE_ADDRESS))
    server.attributes[STATE].value, server.attributes[ZONE_ID].value = 0, _NO_ZONE
    if enrolment == AUTO_ENROLL_REQUEST:
        server.begin("request", 0.1, request_enrolment, server)


def request_enrolment(server: ClusterServer) -> None:
    """Send a Zone Enroll Request to the CIE; its answer counts for a while."""
    if server.host is not None and server.whole(CIE_ADDRESS):
        server.begin("asked", _ANSWERED_WITHIN, server.end, "asked")
        server.host.notify(server, _ENROLL_REQUEST, struct.pack("<HH", server.whole(ZONE_TYPE), 0))


def _enroll_response(server: ClusterServer, payload: bytes, enrolment: str) -> None:
    code, zone = struct.unpack_from("<BB", payload)
    asked = "asked" in server.alarms
    if not server.whole(CIE_ADDRESS) or not (asked or enrolment == AUTO_ENROLL_RESPONSE):
        return  # nothing was asked: a device like this one ignores it
    server.end("asked")
    if code == 0 and zone != _NO_ZONE:
        server.set(ZONE_ID, zone)
        server.set(STATE, 1)


def _status_changed(server: ClusterServer, identity: Identity) -> None:
    status = server.whole(STATUS)
    if server.host is None:
        return
    if server.whole(STATE):
        server.host.notify(server, _NOTIFICATION, struct.pack("<HBBH", status, 0, server.whole(ZONE_ID), 0))
    elif status & ALARM and identity.enrolment in (TRIP_TO_PAIR, AUTO_ENROLL_REQUEST):
        request_enrolment(server)
    if not status & ALARM:
        server.end("hold")
    elif identity.hold:
        server.begin("hold", identity.hold, set_bits, server, ALARM, False)


def set_bits(server: ClusterServer, bits: int, on: bool) -> None:
    """Set or clear bits of the zone's status; a change is notified."""
    before = server.whole(STATUS)
    after = before | bits if on else before & ~bits
    if after != before:
        server.set(STATUS, after)


#: what the siren does: the mode of its warning, 0 is silence; whether its light flashes; how loud, 0 to 3
WARNING, STROBE, LOUDNESS = INSIDE, INSIDE + 1, INSIDE + 2
#: squawks since it was made
SQUAWKS: Final = INSIDE + 3
_MAX_DURATION: Final = 0x0000


def ias_warning(_identity: Identity) -> ClusterServer:
    """IAS Warning Device, 0x0502: a warning ends after its duration, at the latest after Max Duration."""
    server = make_cluster(
        IAS_WARNING,
        [
            Attribute(_MAX_DURATION, UINT16, 240, writable=True, limits=(0, 0xFFFE)),
            Attribute(WARNING, UINT8, 0),
            Attribute(STROBE, UINT8, 0),
            Attribute(LOUDNESS, UINT8, 0),
            Attribute(SQUAWKS, UINT16, 0),
        ],
        {0x00: _start_warning, 0x01: _squawk},
        revision=2,
    )
    server.factory = {_MAX_DURATION: 240, WARNING: 0, STROBE: 0, LOUDNESS: 0}
    return server


def _start_warning(server: ClusterServer, payload: bytes) -> None:
    info, seconds = struct.unpack_from("<BH", payload)
    mode, strobe, loudness = info >> 4, info >> 2 & 0x03, info & 0x03
    if mode > 6 or strobe > 1:
        raise CommandRefusedError(INVALID_VALUE)
    server.end("warning")
    seconds = min(seconds, server.whole(_MAX_DURATION))
    if not seconds:
        mode = strobe = 0
    for number, value in ((WARNING, mode), (STROBE, strobe), (LOUDNESS, loudness if mode else 0)):
        server.set(number, value)
    if (mode or strobe) and server.host is not None:
        server.begin("warning", float(seconds), _silence, server)


def _silence(server: ClusterServer) -> None:
    for number in (WARNING, STROBE, LOUDNESS):
        server.set(number, 0)


def _squawk(server: ClusterServer, payload: bytes) -> None:
    (info,) = struct.unpack_from("<B", payload)
    if info >> 4 > 1:
        raise CommandRefusedError(INVALID_VALUE)
    server.set(SQUAWKS, (server.whole(SQUAWKS) + 1) & 0xFFFF)
