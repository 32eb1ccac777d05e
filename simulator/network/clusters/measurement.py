"""What sensors measure: illuminance, temperature, pressure, humidity, occupancy, concentrations (ZCL8, chapter 4)."""

from __future__ import annotations

from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.clusters.ids import (
    CARBON_DIOXIDE,
    HUMIDITY,
    ILLUMINANCE,
    OCCUPANCY,
    PM25,
    PRESSURE,
    TEMPERATURE,
    Identity,
)
from simulator.network.datatypes import BITMAP8, ENUM8, INT8, INT16, SINGLE, UINT16


def illuminance(_identity: Identity) -> ClusterServer:
    """Illuminance measurement, 0x0400 (ZCL8, 4.2): 10,000 log10(lux) + 1."""
    return make_cluster(
        ILLUMINANCE,
        [
            Attribute(0x0000, UINT16, 20001, reportable=True),
            Attribute(0x0001, UINT16, 1),
            Attribute(0x0002, UINT16, 50001),
        ],
        revision=2,
    )


def temperature(_identity: Identity) -> ClusterServer:
    """Temperature measurement, 0x0402 (ZCL8, 4.4): hundredths of a degree Celsius."""
    return make_cluster(
        TEMPERATURE,
        [
            Attribute(0x0000, INT16, 2000, reportable=True),
            Attribute(0x0001, INT16, -4000),
            Attribute(0x0002, INT16, 12500),
            Attribute(0x0003, UINT16, 50),
        ],
        revision=2,
    )


def pressure(_identity: Identity) -> ClusterServer:
    """Pressure measurement, 0x0403 (ZCL8, 4.5): hectopascals, and the scaled value in tenths of one."""
    server = make_cluster(
        PRESSURE,
        [
            Attribute(0x0000, INT16, 1013, reportable=True),
            Attribute(0x0001, INT16, 300),
            Attribute(0x0002, INT16, 1100),
            Attribute(0x0010, INT16, 10130, reportable=True),
            Attribute(0x0011, INT16, 3000),
            Attribute(0x0012, INT16, 11000),
            Attribute(0x0014, INT8, -1),  # the scaled value is ten to this times the pascals
        ],
        revision=2,
    )
    server.react = _whole_hectopascals
    return server


def _whole_hectopascals(server: ClusterServer, attribute: int) -> None:
    if attribute == 0x0010:
        server.set(0x0000, round(server.whole(0x0010) / 10))


def humidity(_identity: Identity) -> ClusterServer:
    """Relative humidity measurement, 0x0405 (ZCL8, 4.7): hundredths of a percent."""
    return make_cluster(
        HUMIDITY,
        [
            Attribute(0x0000, UINT16, 5000, reportable=True),
            Attribute(0x0001, UINT16, 0),
            Attribute(0x0002, UINT16, 10000),
            Attribute(0x0003, UINT16, 200),
        ],
        revision=2,
    )


def occupancy(_identity: Identity) -> ClusterServer:
    """Occupancy sensing, 0x0406 (ZCL8, 4.8), by infrared."""
    return make_cluster(
        OCCUPANCY,
        [
            Attribute(0x0000, BITMAP8, 0, reportable=True),
            Attribute(0x0001, ENUM8, 0),
            Attribute(0x0002, BITMAP8, 1),
            Attribute(0x0010, UINT16, 60, writable=True),  # seconds from occupied to unoccupied
        ],
        revision=3,
    )


def _concentration(cluster: int, value: float, greatest: float) -> ClusterServer:
    return make_cluster(
        cluster,
        [
            Attribute(0x0000, SINGLE, value, reportable=True),
            Attribute(0x0001, SINGLE, 0.0),
            Attribute(0x0002, SINGLE, greatest),
        ],
        revision=2,
    )


def carbon_dioxide(_identity: Identity) -> ClusterServer:
    """Carbon dioxide, 0x040D (ZCL8, 4.14): as a fraction of 1."""
    return _concentration(CARBON_DIOXIDE, 0.0006, 0.01)


def pm25(_identity: Identity) -> ClusterServer:
    """Particles of up to 2.5 µm, 0x042A (ZCL8, 4.14): µg/m³."""
    return _concentration(PM25, 5.0, 1000.0)
