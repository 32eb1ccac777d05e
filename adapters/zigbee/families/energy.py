"""Meters: Simple Metering, 0x0702 (SE 1.4, D.3), and Electrical Measurement, 0x0B04 (ZCL8, 4.9).

A meter says once by which multiplier and divisor its numbers are to be read, and in which unit. A multiplier or
divisor that is missing or 0 is 1; without a divisor a meter of electricity tells its demand in W and not in kW, as
those devices do. Numbers in another unit than the property's are converted: cubic feet and gallons, BTU and MJ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil, log10
from typing import Final, NamedTuple

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Particulars,
    Reporting,
    WriteMapping,
)
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import INT8, INT16, INT24, UINT16, UINT48, ZclType
from gateway.api.model import DataType, PropertyAffordance

_LIFETIME: Final = 7500.0
_SHORTEST, _LONGEST = 10, 3600
_UNIT, _MULTIPLIER, _DIVISOR, _KIND = 0x0300, 0x0301, 0x0302, 0x0306
"""Attributes of 0x0702: UnitofMeasure, Multiplier, Divisor, MeteringDeviceType."""
_ENERGY: Final[Mapping[int, Fraction]] = {
    0x00: Fraction(1),
    0x06: Fraction(29_307_107, 10**11),  # BTU
    0x0C: Fraction(10, 36),  # MJ
}
"""Units of energy (SE 1.4, table D-22) in kWh; of a demand in kW."""
_VOLUME: Final[Mapping[int, Fraction]] = {
    0x01: Fraction(1),
    0x02: Fraction(28_316_846_592, 10**12),  # cubic feet, a hundred of them, a thousand
    0x03: Fraction(28_316_846_592, 10**10),
    0x0A: Fraction(28_316_846_592, 10**9),
    0x04: Fraction(3_785_411_784, 10**12),  # US gallons
    0x05: Fraction(454_609, 10**8),  # imperial gallons
    0x07: Fraction(1, 1000),  # litres
}
"""Units of a volume in m3; of a flow in m3/h."""
_GAS, _WATER = (0x01, 0x80), (0x02, 0x81)
"""MeteringDeviceType (SE 1.4, table D-24): measured there, and mirrored."""
_OTHERS: Final = tuple(each for each in range(0x100) if each not in (*_GAS, *_WATER))
_W_IN_KW: Final = 1000
_L_S_IN_M3_H: Final = Fraction(1000, 3600)
_HUNDREDTHS: Final = Fraction(1, 100)
_PHASES: Final = ((0x0500, ""), (0x0900, "_phase_b"), (0x0A00, "_phase_c"))
"""Of 0x0B04 the bases of the attributes, and the suffixes of the properties."""


_Adapt = Callable[[AttributeMapping, Particulars], AttributeMapping | None]


def _number(known: Particulars, attribute: int, default: int = 0) -> int:
    """What the device said of an attribute."""
    value = known.constants.get(attribute, default)
    return value if isinstance(value, int) else default


def _ratio(known: Particulars, multiplier: int, divisor: int, most: int) -> Fraction:
    """Each is 1 if the device doesn't have it, and if it is 0 or the number that says so (above ``most``)."""
    up, down = _number(known, multiplier), _number(known, divisor)
    return Fraction(up if 0 < up <= most else 1, down if 0 < down <= most else 1)


def by_steps(row: AttributeMapping, scale: Fraction, change: float) -> AttributeMapping:
    """A row whose attribute has steps of ``scale``, reported when it changes by ``change`` of the property's units.

    It is rounded if a step is no decimal number: to the digits that it has, and one more.
    """
    digits = max(0, ceil(-log10(scale)))
    exact = (scale * 10**digits).denominator == 1
    most = (1 << 8 * row.type.size - 1) - 1
    how = row.reporting
    if how is not None:
        how = replace(how, change=min(max(1, round(change / scale)), most))
    return replace(row, scale=scale, digits=None if exact else digits + 1, reporting=how)


def _metered(
    units: Mapping[int, Fraction], change: float, kinds: tuple[int, ...] = (), *, factor: int | Fraction = 1
) -> _Adapt:
    """What a meter counts in one of ``units``; ``kinds``: of these MeteringDeviceTypes, of any if there are none."""

    def adapt(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        unit, kind = _number(known, _UNIT), _number(known, _KIND)
        if unit not in units or (kinds and kind not in kinds):
            return None
        return by_steps(row, units[unit] * factor * _ratio(known, _MULTIPLIER, _DIVISOR, 0xFF_FFFE), change)

    return adapt


def _demand(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    """kW, or W of a meter that has no divisor."""
    return _metered(_ENERGY, 5, factor=_W_IN_KW if _number(known, _DIVISOR) else 1)(row, known)


def _meter(
    attribute: int,
    kind: ZclType,
    name: str,
    unit: str,
    device_class: str,
    resource_type: str,
    adapt: _Adapt,
    *,
    optional: bool = False,
) -> AttributeMapping:
    """A row of 0x0702, in the unit of the property while nothing is known of the device."""
    most = (1 << 8 * kind.size) - 2 if kind is UINT48 else (1 << 8 * kind.size - 1) - 1
    return AttributeMapping(
        cluster=0x0702,
        attribute=attribute,
        type=kind,
        range=(0 if kind is UINT48 else -most, most),
        invalid=most + 1 if kind is UINT48 else -most - 1,
        property=_property(name, unit, device_class, resource_type),
        reporting=Reporting(_SHORTEST, _LONGEST, 1),
        optional=optional,
        needs=(_UNIT, _MULTIPLIER, _DIVISOR, _KIND),
        adapt=adapt,
    )


def _property(name: str, unit: str, device_class: str, resource_type: str) -> PropertyAffordance:
    return PropertyAffordance(
        name=name,
        type=DataType.NUMBER,
        unit=unit,
        resource_type=resource_type,
        device_class=device_class,
        lifetime=_LIFETIME,
    )


class _Quantity(NamedTuple):
    """One of 0x0B04: its attribute beyond the phase's base, and by which attributes its numbers are to be read."""

    offset: int
    type: ZclType
    name: str
    unit: str
    device_class: str
    resource_type: str
    factors: tuple[int, int] | None
    change: float
    optional: bool = True


_OF_POWER: Final = (0x0604, 0x0605)
_QUANTITIES: Final = (
    _Quantity(0x05, UINT16, "voltage", "V", "voltage", ipso(3316), (0x0600, 0x0601), 2, False),
    _Quantity(0x08, UINT16, "current", "A", "current", ipso(3317), (0x0602, 0x0603), 0.05, False),
    _Quantity(0x0B, INT16, "power", "W", "power", ipso(3328), _OF_POWER, 5, False),
    _Quantity(0x0E, INT16, "power_reactive", "var", "reactive_power", ipso(3328), _OF_POWER, 10),
    _Quantity(0x0F, UINT16, "power_apparent", "VA", "apparent_power", ipso(3328), _OF_POWER, 10),
    _Quantity(0x10, INT8, "power_factor", "/", "power_factor", ipso(3329), None, 0.05),
)


def _measured(base: int, phase: str, one: _Quantity) -> AttributeMapping:
    """A quantity of one phase, in hundredths if no factors say otherwise."""
    size, factors = one.type.size, one.factors
    signed = one.type is not UINT16
    most = (1 << 8 * size - 1) - 1 if signed else 0xFFFE

    def adapt(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        return by_steps(row, _HUNDREDTHS if factors is None else _ratio(known, *factors, 0xFFFE), one.change)

    return AttributeMapping(
        cluster=0x0B04,
        attribute=base + one.offset,
        type=one.type,
        range=((-most if factors else -100), (most if factors else 100)) if signed else (0, most),
        scale=1 if factors else _HUNDREDTHS,
        invalid=-most - 1 if signed else most + 1,
        property=_property(one.name + phase, one.unit, one.device_class, one.resource_type),
        reporting=Reporting(_SHORTEST, _LONGEST, 1),
        optional=one.optional or bool(phase),
        needs=factors or (),
        adapt=adapt,
    )


ROWS: Final = (
    *(_measured(base, phase, one) for base, phase in _PHASES for one in _QUANTITIES),
    _measured(0x0300, "", _Quantity(0x00, UINT16, "ac_frequency", "Hz", "frequency", ipso(3318), (0x0400, 0x0401), 1)),
    _meter(0x0400, INT24, "power", "W", "power", ipso(3328), _demand),
    _meter(0x0400, INT24, "flow", "l/s", "volume_flow_rate", ipso(3346), _metered(_VOLUME, 0.01, factor=_L_S_IN_M3_H)),
    _meter(0x0000, UINT48, "energy", "kWh", "energy", ipso(3331), _metered(_ENERGY, 0.05)),
    _meter(0x0001, UINT48, "produced_energy", "kWh", "energy", ipso(3331), _metered(_ENERGY, 0.05), optional=True),
    _meter(0x0000, UINT48, "gas", "m3", "gas", ipso(3300), _metered(_VOLUME, 0.01, _GAS)),
    _meter(0x0000, UINT48, "water", "m3", "water", ipso(3424), _metered(_VOLUME, 0.01, _WATER)),
    _meter(0x0000, UINT48, "volume", "m3", "volume", ipso(3300), _metered(_VOLUME, 0.01, _OTHERS)),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final[tuple[ActionMapping, ...]] = ()
EVENTS: Final[tuple[EventMapping, ...]] = ()
