"""Sensors: the Measurement and Sensing clusters, 0x0400 to 0x042A (ZCL8, chapter 4)."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Reporting, WriteMapping
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import INT16, UINT16
from gateway.api.model import DataType, PropertyAffordance

ROWS: Final = (
    AttributeMapping(
        cluster=0x0402,  # Temperature Measurement (ZCL8, 4.4)
        attribute=0x0000,
        type=INT16,
        range=(-9000, 0x7FFE),  # colder than any place on Earth is a sensor that failed; the standard has -273.15
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=PropertyAffordance(
            name="temperature",
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=ipso(3303),
            device_class="temperature",
            lifetime=7500.0,
        ),
        reporting=Reporting(10, 3600, 10),
    ),
    AttributeMapping(
        cluster=0x0405,  # Relative Humidity Measurement (ZCL8, 4.7)
        attribute=0x0000,
        type=UINT16,
        range=(0, 10_000),
        scale=Fraction(1, 100),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="humidity",
            type=DataType.NUMBER,
            unit="%RH",
            resource_type=ipso(3304),
            device_class="humidity",
            lifetime=7500.0,
        ),
        reporting=Reporting(10, 3600, 100),
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
