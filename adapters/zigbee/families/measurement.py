"""Sensors: the Measurement and Sensing clusters, 0x0400 to 0x042E (ZCL8, chapter 4).

Each but occupancy is one number, MeasuredValue (0x0000), of a cluster for its quantity.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
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
from carriage.zigbee.datatypes import INT16, MAP8, SINGLE, UINT8, UINT16
from gateway.api.model import DataType, PropertyAffordance

_LIFETIME: Final = 7500.0
_PA_IN_HPA: Final = 100


def _quantity(name: str, unit: str, device_class: str = "", resource_type: str = ipso(3300)) -> PropertyAffordance:
    return PropertyAffordance(
        name=name,
        type=DataType.NUMBER,
        unit=unit,
        resource_type=resource_type,
        device_class=device_class,
        lifetime=_LIFETIME,
    )


def _ratio(
    cluster: int,
    property_: PropertyAffordance,
    *,
    change: int,
    scale: Fraction = Fraction(1, 100),
    most: int = 10_000,
    digits: int | None = None,
) -> AttributeMapping:
    """A MeasuredValue that is a uint16, 0xFFFF if there is none."""
    return AttributeMapping(
        cluster=cluster,
        attribute=0x0000,
        type=UINT16,
        range=(0, most),
        scale=scale,
        digits=digits,
        invalid=0xFFFF,
        property=property_,
        reporting=Reporting(10, 3600, change),
    )


def _concentration(
    cluster: int, property_: PropertyAffordance, *, change: float, scale: int = 1, most: int, digits: int
) -> AttributeMapping:
    """A MeasuredValue that is a float, NaN if there is none."""
    return AttributeMapping(
        cluster=cluster,
        attribute=0x0000,
        type=SINGLE,
        range=(0, most),
        scale=scale,
        digits=digits,
        property=property_,
        reporting=Reporting(30, 3600, change),
    )


def _lux(raw: float) -> float:
    """MeasuredValue is 10,000 x log10(lx) + 1, and 0 if it is too dark to be measured (ZCL8, 4.2.2.2.1)."""
    return 10 ** ((raw - 1) / 10_000) if raw else 0.0


def _has_scaled(known: Particulars) -> bool:
    scale, scaled = known.constants.get(0x0014), known.constants.get(0x0010)
    return isinstance(scale, int) and isinstance(scaled, int) and -8 <= scale <= 8


def _plain_pressure(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    return None if _has_scaled(known) else row


def _scaled_pressure(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    """ScaledValue is 10^Scale x the pressure in Pa (ZCL8, 4.5.2.2.2)."""
    scale = known.constants.get(0x0014)
    if not isinstance(scale, int) or not _has_scaled(known):
        return None
    in_hpa = Fraction(1, _PA_IN_HPA) / Fraction(10) ** scale
    change = min(max(1, round(1 / in_hpa)), 0x7FFF)
    return replace(row, scale=in_hpa, reporting=Reporting(30, 3600, change))


def _pressure(attribute: int) -> AttributeMapping:
    """Of MeasuredValue, in hPa (ZCL8, 4.5), or ScaledValue, whose step is finer. A device with both has the latter."""
    scaled = attribute != 0
    return AttributeMapping(
        cluster=0x0403,
        attribute=attribute,
        type=INT16,
        range=(-0x7FFF, 0x7FFF),
        invalid=-0x8000,
        property=_quantity("pressure", "hPa", "atmospheric_pressure", ipso(3323)),
        reporting=Reporting(30, 3600, 1),
        needs=(0x0010, 0x0014),
        adapt=_scaled_pressure if scaled else _plain_pressure,
    )


def _setting(attribute: int, name: str, unit: str, most: int) -> AttributeMapping:
    """What a motion detector of infrared light (PIR) goes by (ZCL8, 4.8.2.3)."""
    return AttributeMapping(
        cluster=0x0406,
        attribute=attribute,
        type=UINT16 if most > 0xFF else UINT8,
        range=(0, most),
        invalid=0xFFFF if most > 0xFF else 0xFF,
        property=PropertyAffordance(
            name=name,
            type=DataType.INTEGER if not unit else DataType.NUMBER,
            unit=unit,
            resource_type=ipso(3302),
            device_class="duration" if unit else "",
            writable=True,
            minimum=0,
            maximum=most,
            multiple_of=1,
            category="config",
        ),
        optional=True,
    )


ROWS: Final = (
    AttributeMapping(
        cluster=0x0400,  # Illuminance Measurement (ZCL8, 4.2)
        attribute=0x0000,
        type=UINT16,
        range=(0, 0xFFFE),
        convert=_lux,
        digits=1,
        invalid=0xFFFF,
        property=_quantity("illuminance", "lx", "illuminance", ipso(3301)),
        reporting=Reporting(10, 3600, 500),  # of a logarithm: by an eighth
    ),
    AttributeMapping(
        cluster=0x0402,  # Temperature Measurement (ZCL8, 4.4)
        attribute=0x0000,
        type=INT16,
        range=(-9000, 0x7FFE),  # colder than any place on Earth is a sensor that failed; the standard has -273.15
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=_quantity("temperature", "Cel", "temperature", ipso(3303)),
        reporting=Reporting(10, 3600, 10),
    ),
    _pressure(0x0000),
    _pressure(0x0010),
    _ratio(0x0405, _quantity("humidity", "%RH", "humidity", ipso(3304)), change=100),  # ZCL8, 4.7
    _ratio(0x0407, _quantity("leaf_wetness", "%"), change=100),
    _ratio(0x0408, _quantity("soil_moisture", "%", "moisture"), change=100),
    AttributeMapping(
        cluster=0x0406,  # Occupancy Sensing (ZCL8, 4.8)
        attribute=0x0000,
        type=MAP8,
        mask=0x01,
        property=PropertyAffordance(
            name="occupancy",
            type=DataType.BOOLEAN,
            resource_type=ipso(3302),
            device_class="occupancy",
            lifetime=_LIFETIME,
        ),
        reporting=Reporting(0, 3600),
    ),
    _setting(0x0010, "occupancy_timeout", "s", 0xFFFE),
    _setting(0x0011, "occupancy_delay", "s", 0xFFFE),
    _setting(0x0012, "occupancy_threshold", "", 0xFE),
    _ratio(
        0x0404,  # Flow Measurement (ZCL8, 4.6), tenths of m3/h
        _quantity("flow", "l/s", "volume_flow_rate", ipso(3346)),
        change=1,
        scale=Fraction(1, 36),
        most=0xFFFE,
        digits=3,
    ),
    _ratio(0x0409, _quantity("ph", "pH", "ph", ipso(3326)), change=10, most=1400),
    _ratio(0x040B, _quantity("wind_speed", "m/s", "wind_speed", ipso(3346)), change=50, most=0xFFFE),
    _concentration(
        0x040C,  # the standard has a fraction of 1
        _quantity("co", "ppm", "carbon_monoxide", ipso(3325)),
        scale=1_000_000,
        most=1,
        digits=0,
        change=1e-6,
    ),
    _concentration(
        0x040D, _quantity("co2", "ppm", "carbon_dioxide", ipso(3325)), scale=1_000_000, most=1, digits=0, change=2e-5
    ),
    # The standard has a fraction of 1 here too; what is sold sends micrograms in a cubic metre.
    _concentration(0x042A, _quantity("pm25", "ug/m3", "pm25", ipso(3325)), most=100_000, digits=1, change=1),
    _concentration(0x042C, _quantity("pm1", "ug/m3", "pm1", ipso(3325)), most=100_000, digits=1, change=1),
    _concentration(0x042D, _quantity("pm10", "ug/m3", "pm10", ipso(3325)), most=100_000, digits=1, change=1),
    _concentration(
        0x042E,
        _quantity("voc", "ug/m3", "volatile_organic_compounds", ipso(3325)),
        most=1_000_000,
        digits=0,
        change=20,
    ),
    _concentration(
        0x042B, _quantity("formaldehyde", "ppm", "", ipso(3325)), scale=1_000_000, most=1, digits=3, change=1e-8
    ),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
