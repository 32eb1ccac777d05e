"""Secondary units (RFC 8798, section 3, and the registry "SenML Secondary Units"), and their primary ones.

A SenML pack has primary units only, unless it says that its readers must know the others (RFC 9100, section 4).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Primary(NamedTuple):
    """``primary = value * numerator / denominator + offset``."""

    unit: str
    numerator: int = 1
    denominator: int = 1
    offset: int = 0


_HOUR: Final = 3600

SECONDARY: Final = {
    "ms": Primary("s", 1, 1000),
    "min": Primary("s", 60),
    "h": Primary("s", _HOUR),
    "MHz": Primary("Hz", 10**6),
    "kW": Primary("W", 1000),
    "kVA": Primary("VA", 1000),
    "kvar": Primary("var", 1000),
    "Ah": Primary("C", _HOUR),
    "Wh": Primary("J", _HOUR),
    "kWh": Primary("J", 1000 * _HOUR),
    "varh": Primary("vars", _HOUR),
    "kvarh": Primary("vars", 1000 * _HOUR),
    "kVAh": Primary("VAs", 1000 * _HOUR),
    "Wh/km": Primary("J/m", 18, 5),
    "KiB": Primary("B", 1024),
    "GB": Primary("B", 10**9),
    "Mbit/s": Primary("bit/s", 10**6),
    "B/s": Primary("bit/s", 8),
    "MB/s": Primary("bit/s", 8 * 10**6),
    "mV": Primary("V", 1, 1000),
    "mA": Primary("A", 1, 1000),
    "dBm": Primary("dBW", offset=-30),
    "ug/m3": Primary("kg/m3", 1, 10**9),
    "mm/h": Primary("m/s", 1, 1000 * _HOUR),
    "m/h": Primary("m/s", 1, _HOUR),
    "ppm": Primary("/", 1, 10**6),
    "/100": Primary("/", 1, 100),
    "/1000": Primary("/", 1, 1000),
    "hPa": Primary("Pa", 100),
    "mm": Primary("m", 1, 1000),
    "cm": Primary("m", 1, 100),
    "km": Primary("m", 1000),
    "km/h": Primary("m/s", 5, 18),
}


def primary(value: float, unit: str) -> tuple[float, str]:
    """A number in its primary unit, and that; in a unit that is none of ``SECONDARY`` as it is."""
    found = SECONDARY.get(unit)
    if found is None:
        return value, unit
    return _decimal(value * found.numerator / found.denominator + found.offset), found.unit


def secondary(value: float, unit: str) -> float:
    """The number of ``unit`` whose primary is ``value``: the inverse of ``primary``. OverflowError: too large."""
    found = SECONDARY.get(unit)
    if found is None:
        return value
    return _decimal((value - found.offset) * found.denominator / found.numerator)


def _decimal(value: float) -> float:
    """Without what the binary form adds: 1013.2 hPa are 101320 Pa, not 101320.00000000001."""
    return float(f"{value:.15g}")
