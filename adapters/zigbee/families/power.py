"""Batteries: Power Configuration, 0x0001 (ZCL8, 3.3); `battery_low` is what the device itself calls an alarm."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, Reporting, WriteMapping
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import MAP32, UINT8, UINT16
from gateway.api.model import DataType, PropertyAffordance

_LIFETIME: Final = 90_000.0

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
            lifetime=_LIFETIME,
        ),
        reporting=Reporting(3600, 43_200, 2),
    ),
    AttributeMapping(
        cluster=0x0001,  # battery voltage
        attribute=0x0020,
        type=UINT8,
        range=(1, 254),  # devices without a measurement say 0
        scale=100,
        invalid=0xFF,
        property=PropertyAffordance(
            name="voltage",
            type=DataType.NUMBER,
            unit="mV",
            resource_type=ipso(3316),
            device_class="voltage",
            category="diagnostic",
            lifetime=_LIFETIME,
        ),
        reporting=Reporting(3600, 43_200, 1),
        optional=True,
    ),
    AttributeMapping(
        cluster=0x0001,  # battery alarm state: the thresholds of three batteries
        attribute=0x003E,
        type=MAP32,
        mask=0x00F0_3C0F,
        property=PropertyAffordance(
            name="battery_low",
            type=DataType.BOOLEAN,
            resource_type=ipso(3342),
            device_class="battery",
            category="diagnostic",
            lifetime=_LIFETIME,
        ),
        reporting=Reporting(3600, 43_200),
        optional=True,
    ),
    AttributeMapping(
        cluster=0x0001,  # mains voltage
        attribute=0x0000,
        type=UINT16,
        range=(0, 0xFFFE),
        scale=Fraction(1, 10),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="mains_voltage",
            type=DataType.NUMBER,
            unit="V",
            resource_type=ipso(3316),
            device_class="voltage",
            category="diagnostic",
        ),
        reporting=Reporting(60, 3600, 50),
        optional=True,
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
