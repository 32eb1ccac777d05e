"""Alarms: IAS Zone, 0x0500 (ZCL8, 8.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Happening, WriteMapping
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import first, word
from carriage.zigbee.datatypes import MAP16, Value
from gateway.api.model import DataSchema, DataType, EventAffordance, PropertyAffordance

_ZONE_BITS: Final = (
    "alarm_1", "alarm_2", "tamper", "battery_low", "supervision", "restore", "trouble", "mains_fault", "test",
    "battery_defect",
)  # fmt: skip
"""Bits of ZoneStatus from the lowest (ZCL8, 8.2.2.2.1.3)."""
_BOOLEAN: Final = DataSchema(type=DataType.BOOLEAN)


def _zone(payload: bytes) -> Happening:
    """Zone Status Change Notification (ZCL8, 8.2.2.4.1)."""
    status = word(first(payload, 2))
    return "zone_status", {name: bool(status >> bit & 1) for bit, name in enumerate(_ZONE_BITS)}


def _zone_status(payload: bytes) -> Iterable[tuple[int, int, Value]]:
    return ((0x0002, MAP16.id, word(first(payload, 2))),)


ROWS: Final = (
    AttributeMapping(
        cluster=0x0500,  # its status, which it also reports by a cluster command
        attribute=0x0002,
        type=MAP16,
        mask=0x0003,
        property=PropertyAffordance(
            name="alarm", type=DataType.BOOLEAN, resource_type=ipso(3338), device_class="safety"
        ),
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final = (
    EventMapping(
        cluster=0x0500,
        command=0x00,
        by_client=False,
        events=(
            EventAffordance(
                name="zone_status",
                data=DataSchema(type=DataType.OBJECT, fields=tuple((name, _BOOLEAN) for name in _ZONE_BITS)),
            ),
        ),
        read=_zone,
        values=_zone_status,
    ),
)
