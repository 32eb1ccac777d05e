"""Batteries: Power Configuration, 0x0001 (ZCL8, 3.3)."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Reporting, WriteMapping
from carriage.zigbee.datatypes import UINT8
from gateway.api.model import DataType, PropertyAffordance

ROWS: Final = (
    AttributeMapping(
        cluster=0x0001,  # battery percentage remaining
        attribute=0x0021,
        type=UINT8,
        range=(0, 200),
        scale=Fraction(1, 2),
        invalid=0xFF,
        property=PropertyAffordance(
            name="battery",
            type=DataType.NUMBER,
            unit="%EL",
            resource_type="urn:oma:lwm2m:oma:3",
            device_class="battery",
            category="diagnostic",
            lifetime=90_000.0,
        ),
        reporting=Reporting(3600, 43_200, 2),
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
