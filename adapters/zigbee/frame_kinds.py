"""The kind of a ZCL frame, by its first octets (ZCL8, 2.4.1.1). ``payload`` has three octets at least."""

from __future__ import annotations

from typing import Final

from carriage.zigbee.foundation import General

GENERAL: Final = 0x07
"""Frame type and manufacturer bit of the frame control: zero in a general frame of the standard."""
OF_MANUFACTURER: Final = 0x04
"""The same bits of a general frame of a manufacturer, whose code comes before the sequence number."""
CLUSTER_COMMAND: Final = 0x01
"""The same bits of a command of a cluster of the standard."""
FROM_SERVER: Final = 0x08
"""The direction bit of the frame control."""
NO_DEFAULT_RESPONSE: Final = 0x10
REPORT: Final = int(General.REPORT)


def is_report_of_manufacturer(payload: bytes) -> bool:
    """Whether a frame is a report of a manufacturer's own attributes."""
    return payload[0] & GENERAL == OF_MANUFACTURER and payload[4:5] == bytes((REPORT,))


def is_cluster_command(payload: bytes) -> bool:
    return payload[0] & GENERAL == CLUSTER_COMMAND
