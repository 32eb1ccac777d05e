"""The kind of a ZCL frame, by its first octets (ZCL8, 2.4.1.1). ``payload`` has three octets at least."""

from __future__ import annotations

from typing import Final

from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import HEADER_LENGTH, MANUFACTURER_HEADER_LENGTH

GENERAL: Final = 0x07
"""Frame type and manufacturer bit of the frame control: zero in a general frame of the standard."""
OF_MANUFACTURER: Final = 0x04
"""The bit of a frame of a manufacturer, whose code comes before the sequence number."""
CLUSTER_COMMAND: Final = 0x01
"""The frame type of a command of a cluster."""
_TYPE: Final = 0x03
FROM_SERVER: Final = 0x08
"""The direction bit of the frame control."""
NO_DEFAULT_RESPONSE: Final = 0x10
REPORT: Final = int(General.REPORT)


def start_of(payload: bytes) -> int:
    """Octets of the header, whose last one is the command; 0: the frame is shorter than its header."""
    start = MANUFACTURER_HEADER_LENGTH if payload[0] & OF_MANUFACTURER else HEADER_LENGTH
    return start if len(payload) >= start else 0


def manufacturer_of(payload: bytes) -> int:
    """The manufacturer code of a frame with a whole header; 0: it has none."""
    return payload[1] | payload[2] << 8 if payload[0] & OF_MANUFACTURER else 0


def is_report_of_manufacturer(payload: bytes) -> bool:
    """Whether a frame is a report of a manufacturer's own attributes."""
    return payload[0] & GENERAL == OF_MANUFACTURER and payload[4:5] == bytes((REPORT,))


def is_cluster_command(payload: bytes) -> bool:
    """Whether a frame is a command of a cluster, the header whole."""
    return payload[0] & _TYPE == CLUSTER_COMMAND and start_of(payload) != 0
