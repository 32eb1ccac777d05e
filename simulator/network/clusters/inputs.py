"""Analog and Multistate Input (ZCL8, 3.14): a number that a device reads, and a knob or button with positions."""

from __future__ import annotations

from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.clusters.ids import ANALOG_INPUT, MULTISTATE_INPUT, Identity
from simulator.network.datatypes import BITMAP8, BOOL, ENUM16, SINGLE, STRING, UINT16

PRESENT_VALUE = 0x0055


def analog_input(_identity: Identity) -> ClusterServer:
    """Analog Input, 0x000C (ZCL8, 3.14.2), in litres a second."""
    return make_cluster(
        ANALOG_INPUT,
        [
            Attribute(0x001C, STRING, "flow", writable=True),
            Attribute(0x0041, SINGLE, 100.0),
            Attribute(0x0045, SINGLE, 0.0),
            Attribute(0x0051, BOOL, 0, writable=True),
            Attribute(PRESENT_VALUE, SINGLE, 1.5, reportable=True),
            Attribute(0x006F, BITMAP8, 0, reportable=True),
            Attribute(0x0075, ENUM16, 87),  # litres per second (BACnet)
        ],
    )


def multistate_input(_identity: Identity) -> ClusterServer:
    """Multistate Input, 0x0012 (ZCL8, 3.14.8): what was done to a button."""
    return make_cluster(
        MULTISTATE_INPUT,
        [
            Attribute(0x004A, UINT16, 4),
            Attribute(0x0051, BOOL, 0, writable=True),
            Attribute(PRESENT_VALUE, UINT16, 0, reportable=True),
            Attribute(0x006F, BITMAP8, 0, reportable=True),
        ],
    )
