"""Thermostat, its user interface, and Fan Control (ZCL8, chapter 6): the running state follows what is set."""

from __future__ import annotations

import struct
from typing import Final

from simulator.network.cluster_server import INVALID_VALUE, Attribute, ClusterServer, CommandRefusedError, make_cluster
from simulator.network.clusters.ids import FAN, THERMOSTAT, THERMOSTAT_UI, Identity
from simulator.network.datatypes import BITMAP16, ENUM8, INT8, INT16, UINT8

LOCAL, DEMAND, CALIBRATION = 0x0000, 0x0008, 0x0010
COOLING, HEATING, UNOCCUPIED_COOLING, UNOCCUPIED_HEATING = 0x0011, 0x0012, 0x0013, 0x0014
MODE, RUNNING_MODE, RUNNING_STATE = 0x001C, 0x001E, 0x0029
#: what the sensor feels, before the calibration is added
SENSED: Final = 0x1_0000
_OFF, _AUTO, _COOL, _HEAT, _EMERGENCY = 0, 1, 3, 4, 5
_HEAT_LIMITS, _COOL_LIMITS = (500, 3000), (1600, 3200)
#: hundredths of a degree between the setpoint and the switching points, and those at which demand is full
_HYSTERESIS, _FULL = 20, 200


def thermostat(_identity: Identity) -> ClusterServer:
    """Thermostat, 0x0201 (ZCL8, 6.3), for heating and cooling: hundredths of a degree Celsius."""
    server = make_cluster(
        THERMOSTAT,
        [
            Attribute(LOCAL, INT16, 2000, reportable=True),
            Attribute(0x0003, INT16, _HEAT_LIMITS[0]),
            Attribute(0x0004, INT16, _HEAT_LIMITS[1]),
            Attribute(0x0005, INT16, _COOL_LIMITS[0]),
            Attribute(0x0006, INT16, _COOL_LIMITS[1]),
            Attribute(DEMAND, UINT8, 0, reportable=True),
            Attribute(CALIBRATION, INT8, 0, writable=True, limits=(-25, 25)),
            Attribute(COOLING, INT16, 2600, writable=True, reportable=True, limits=_COOL_LIMITS),
            Attribute(HEATING, INT16, 2000, writable=True, reportable=True, limits=_HEAT_LIMITS),
            Attribute(UNOCCUPIED_COOLING, INT16, 2600, writable=True, limits=_COOL_LIMITS),
            Attribute(UNOCCUPIED_HEATING, INT16, 1600, writable=True, limits=_HEAT_LIMITS),
            Attribute(0x0015, INT16, _HEAT_LIMITS[0], writable=True, limits=_HEAT_LIMITS),
            Attribute(0x0016, INT16, _HEAT_LIMITS[1], writable=True, limits=_HEAT_LIMITS),
            Attribute(0x0017, INT16, _COOL_LIMITS[0], writable=True, limits=_COOL_LIMITS),
            Attribute(0x0018, INT16, _COOL_LIMITS[1], writable=True, limits=_COOL_LIMITS),
            Attribute(0x0019, INT8, 10, writable=True, limits=(10, 25)),  # dead band in tenths
            Attribute(0x001B, ENUM8, 4, writable=True, limits=(0, 5)),  # control sequence: both
            Attribute(MODE, ENUM8, _HEAT, writable=True, reportable=True, limits=(0, 9)),
            Attribute(RUNNING_MODE, ENUM8, _OFF, reportable=True),
            Attribute(RUNNING_STATE, BITMAP16, 0, reportable=True),
            Attribute(SENSED, INT16, 2000),
        ],
        {0x00: _raise_or_lower},
        revision=3,
    )
    server.react = _decide
    server.factory = {CALIBRATION: 0, COOLING: 2600, HEATING: 2000, MODE: _HEAT}
    return server


_DECIDING: Final = frozenset({CALIBRATION, COOLING, HEATING, MODE, SENSED})


def _decide(server: ClusterServer, attribute: int) -> None:
    """Heat below the setpoint, cool above, with a hysteresis; the demand is full two degrees from the setpoint."""
    if attribute == LOCAL:  # set as a sensor would
        server.attributes[SENSED].value = server.whole(LOCAL) - 10 * server.whole(CALIBRATION)
    elif attribute not in _DECIDING:
        return
    local = server.whole(SENSED) + 10 * server.whole(CALIBRATION)
    if attribute != LOCAL and local != server.whole(LOCAL):
        server.set(LOCAL, local)
        return
    mode, state = server.whole(MODE), server.whole(RUNNING_STATE)
    missing = server.whole(HEATING) - local if mode in (_AUTO, _HEAT, _EMERGENCY) else -_FULL
    surplus = local - server.whole(COOLING) if mode in (_AUTO, _COOL) else -_FULL
    heats = missing >= (_HYSTERESIS if not state & 0x01 else -_HYSTERESIS)
    cools = not heats and surplus >= (_HYSTERESIS if not state & 0x02 else -_HYSTERESIS)
    wanted = missing if heats else surplus
    server.set(DEMAND, min(max(wanted * 100 // _FULL, 1), 100) if heats or cools else 0)
    server.set(RUNNING_MODE, _HEAT if heats else _COOL if cools else _OFF)
    server.set(RUNNING_STATE, heats | cools << 1)


def _raise_or_lower(server: ClusterServer, payload: bytes) -> None:
    """Tenths of a degree onto the heating setpoint, the cooling one, or both; never beyond their limits."""
    which, tenths = struct.unpack_from("<Bb", payload)
    numbers = {0: (HEATING,), 1: (COOLING,), 2: (HEATING, COOLING)}.get(which)
    if numbers is None:
        raise CommandRefusedError(INVALID_VALUE)
    for number in numbers:
        least, most = _HEAT_LIMITS if number == HEATING else _COOL_LIMITS
        server.set(number, min(max(server.whole(number) + 10 * tenths, least), most))


def thermostat_ui(_identity: Identity) -> ClusterServer:
    """Thermostat User Interface Configuration, 0x0204 (ZCL8, 6.6)."""
    server = make_cluster(
        THERMOSTAT_UI,
        [
            Attribute(0x0000, ENUM8, 0, writable=True, limits=(0, 1)),  # Celsius
            Attribute(0x0001, ENUM8, 0, writable=True, reportable=True, limits=(0, 5)),  # keypad lockout: none
        ],
        revision=2,
    )
    server.factory = {0x0000: 0, 0x0001: 0}
    return server


def fan(_identity: Identity) -> ClusterServer:
    """Fan Control, 0x0202 (ZCL8, 6.4): off, low, medium, high, on, auto."""
    server = make_cluster(
        FAN,
        [
            Attribute(0x0000, ENUM8, 0, writable=True, reportable=True, limits=(0, 6)),
            Attribute(0x0001, ENUM8, 2, writable=True, limits=(0, 4)),  # low, medium, high, auto
        ],
        revision=2,
    )
    server.factory = {0x0000: 0}
    return server
