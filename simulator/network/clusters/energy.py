"""What a plug measures: Metering and Electrical Measurement (ZCL8, 10.4 and 4.9)."""

from __future__ import annotations

from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.clusters.ids import ELECTRICAL, METERING, Identity
from simulator.network.datatypes import (
    BITMAP8,
    BITMAP32,
    ENUM8,
    INT8,
    INT16,
    INT24,
    UINT16,
    UINT24,
    UINT48,
)

DEMAND, ENERGY = 0x0400, 0x0000
VOLTAGE, CURRENT, POWER = 0x0505, 0x0508, 0x050B


def metering(_identity: Identity) -> ClusterServer:
    """Metering, 0x0702 (ZCL8, 10.4): kWh as the counts times multiplier / divisor, demand in kW likewise."""
    return make_cluster(
        METERING,
        [
            Attribute(ENERGY, UINT48, 12345, reportable=True),
            Attribute(0x0200, BITMAP8, 0),  # status
            Attribute(0x0300, ENUM8, 0),  # unit: kWh and kW, binary
            Attribute(0x0301, UINT24, 1),  # multiplier
            Attribute(0x0302, UINT24, 1000),  # divisor
            Attribute(0x0303, BITMAP8, 0b0_010_0011),  # places of the summation
            Attribute(0x0304, BITMAP8, 0b0_010_0011),  # places of the demand
            Attribute(0x0306, BITMAP8, 0),  # an electricity meter
            Attribute(DEMAND, INT24, 0, reportable=True),
        ],
        revision=2,
    )


def electrical(_identity: Identity) -> ClusterServer:
    """Electrical Measurement, 0x0B04 (ZCL8, 4.9): tenths of a volt, milliamperes, tenths of a watt."""
    server = make_cluster(
        ELECTRICAL,
        [
            Attribute(0x0000, BITMAP32, 0b1000),  # measures active alternating current
            Attribute(0x0300, UINT16, 500, reportable=True),  # frequency
            Attribute(0x0400, UINT16, 1),  # its multiplier and divisor
            Attribute(0x0401, UINT16, 10),
            Attribute(VOLTAGE, UINT16, 2300, reportable=True),
            Attribute(CURRENT, UINT16, 0, reportable=True),
            Attribute(POWER, INT16, 0, reportable=True),
            Attribute(0x0510, INT8, 100, reportable=True),  # power factor in percent
            Attribute(0x0600, UINT16, 1),  # multiplier and divisor of the voltage,
            Attribute(0x0601, UINT16, 10),
            Attribute(0x0602, UINT16, 1),  # of the current
            Attribute(0x0603, UINT16, 1000),
            Attribute(0x0604, UINT16, 1),  # and of the power
            Attribute(0x0605, UINT16, 10),
        ],
        revision=2,
    )
    server.react = _follow
    server.on_switched_off = _nothing_flows
    return server


def _follow(server: ClusterServer, attribute: int) -> None:
    """Current and demand follow the power."""
    if attribute not in (POWER, VOLTAGE):
        return
    tenths_of_watts, tenths_of_volts = server.whole(POWER), server.whole(VOLTAGE)
    server.set(CURRENT, round(1000 * abs(tenths_of_watts) / tenths_of_volts) if tenths_of_volts else 0)
    meter = server.sibling(METERING)
    if meter is not None and attribute == POWER:
        meter.set(DEMAND, round(tenths_of_watts / 10))


def _nothing_flows(server: ClusterServer) -> None:
    """The relay is open."""
    server.set(POWER, 0)
