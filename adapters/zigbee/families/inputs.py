"""Inputs of any meaning: Analog Input, 0x000C, and Multistate Input, 0x0012 (ZCL8, 3.14).

What an input measures is in its own description; its unit is one of BACnet's, and the property has it if SenML has it.
A button that reports its presses by Multistate Input has rows of its maker.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Particulars,
    Reporting,
    WriteMapping,
)
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import SINGLE, STRING, UINT16
from gateway.api.model import DataType, PropertyAffordance

_UNITS: Final = {
    2: "mA", 3: "A", 4: "Ohm", 5: "V", 8: "VA", 9: "kVA", 11: "var", 12: "kvar", 16: "J", 18: "Wh", 19: "kWh",
    27: "Hz", 29: "%RH", 30: "mm", 31: "m", 37: "lx", 39: "kg", 47: "W", 48: "kW", 53: "Pa", 62: "Cel", 63: "K",
    71: "h", 72: "min", 73: "s", 74: "m/s", 75: "km/h", 80: "m3", 82: "l", 85: "m3/s", 87: "l/s", 90: "deg",
    96: "ppm", 98: "%", 118: "cm", 124: "mV", 133: "hPa", 159: "ms", 219: "ug/m3",
}  # fmt: skip
"""EngineeringUnits (ZCL8, 3.14.11.10; BACnet, ASHRAE 135, clause 21) as SenML's."""
_UNIT: Final = 0x0075
_MOST: Final = 1_000_000_000


def _with_its_unit(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    unit = known.constants.get(_UNIT)
    return replace(row, property=replace(row.property, unit=_UNITS.get(unit, "/") if isinstance(unit, int) else "/"))


ROWS: Final = (
    AttributeMapping(
        cluster=0x000C,  # present value
        attribute=0x0055,
        type=SINGLE,
        range=(-_MOST, _MOST),
        digits=3,
        property=PropertyAffordance(
            name="analog_input",
            type=DataType.NUMBER,
            unit="/",
            resource_type=ipso(3202),
            lifetime=7500.0,
        ),
        reporting=Reporting(10, 3600),
        needs=(_UNIT,),
        adapt=_with_its_unit,
    ),
    AttributeMapping(
        cluster=0x000C,
        attribute=0x001C,
        type=STRING,
        property=PropertyAffordance(
            name="analog_input_description",
            type=DataType.STRING,
            resource_type=ipso(3202),
            category="diagnostic",
        ),
        optional=True,
    ),
    AttributeMapping(
        cluster=0x0012,  # present value
        attribute=0x0055,
        type=UINT16,
        range=(0, 0xFFFE),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="multistate_input",
            type=DataType.INTEGER,
            resource_type=ipso(3348),
            lifetime=7500.0,
        ),
        reporting=Reporting(0, 3600, 1),
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
