"""Units and classes as Home Assistant knows them. One that it doesn't know would cost the whole entity. Tables only.

Source: RFC 8428, section 12.1, and RFC 8798 for SenML's units; developers.home-assistant.io, "Sensor entity" and the
device classes of sensor, binary_sensor and switch (2026) for the rest.
"""

from __future__ import annotations

from typing import Final

UNITS: Final = {
    "": "", "/": "", "count": "", "pH": "", "V/V": "",
    "Cel": "°C", "K": "K", "%": "%", "%RH": "%", "%EL": "%", "/100": "%", "/1000": "‰", "deg": "°", "lx": "lx",
    "lm": "lm", "cd": "cd",
    "m": "m", "cm": "cm", "mm": "mm", "km": "km", "m2": "m²", "m3": "m³", "l": "L", "m3/s": "m³/s", "l/s": "L/s",
    "kg": "kg", "g": "g", "kg/m3": "kg/m³", "s": "s", "ms": "ms", "min": "min", "h": "h", "Hz": "Hz", "MHz": "MHz",
    "m/s": "m/s", "km/h": "km/h", "mm/h": "mm/h", "1/s": "1/s", "1/min": "1/min",
    "V": "V", "mV": "mV", "A": "A", "mA": "mA", "W": "W", "kW": "kW", "VA": "VA", "kVA": "kVA",
    "var": "var", "kvar": "kvar", "J": "J", "Wh": "Wh", "kWh": "kWh", "varh": "varh", "kvarh": "kvarh", "Ah": "Ah",
    "Ohm": "Ω", "F": "F", "H": "H", "T": "T",
    "Pa": "Pa", "hPa": "hPa", "W/m2": "W/m²", "S/m": "S/m", "dB": "dB", "dBm": "dBm", "dBW": "dBW", "Bspl": "B",
    "ppm": "ppm", "ug/m3": "μg/m³", "bit/s": "bit/s", "Mbit/s": "Mbit/s", "B/s": "B/s", "MB/s": "MB/s",
    "B": "B", "KiB": "KiB", "GB": "GB", "bit": "bit",
}  # fmt: skip
"""SenML's units in Home Assistant's words; one that isn't here is published as it is, without a class."""

_LENGTH, _VOLUME, _ENERGY, _PARTICLES = {"mm", "cm", "m", "km"}, {"m³", "L"}, {"J", "Wh", "kWh"}, {"μg/m³"}
_SPEED: Final = {"m/s", "km/h", "mm/h"}
SENSORS: Final[dict[str, set[str]]] = {
    "apparent_power": {"VA", "kVA"}, "aqi": {""}, "area": {"m²"}, "atmospheric_pressure": {"Pa", "hPa"},
    "battery": {"%"}, "carbon_dioxide": {"ppm"}, "carbon_monoxide": {"ppm"}, "current": {"A", "mA"},
    "data_rate": {"bit/s", "Mbit/s", "B/s", "MB/s"}, "data_size": {"B", "KiB", "GB", "bit"}, "distance": _LENGTH,
    "duration": {"ms", "s", "min", "h"}, "energy": _ENERGY, "energy_storage": _ENERGY, "frequency": {"Hz", "MHz"},
    "gas": _VOLUME, "humidity": {"%"}, "illuminance": {"lx"}, "irradiance": {"W/m²"}, "moisture": {"%"},
    "nitrogen_dioxide": _PARTICLES, "nitrogen_monoxide": _PARTICLES, "nitrous_oxide": _PARTICLES, "ozone": _PARTICLES,
    "ph": {""}, "pm1": _PARTICLES, "pm10": _PARTICLES, "pm25": _PARTICLES, "power": {"W", "kW"},
    "power_factor": {"%", ""}, "precipitation": {"mm", "cm"}, "precipitation_intensity": {"mm/h"},
    "pressure": {"Pa", "hPa"}, "reactive_energy": {"varh", "kvarh"}, "reactive_power": {"var", "kvar"},
    "signal_strength": {"dB", "dBm"}, "sound_pressure": {"dB"}, "speed": _SPEED, "sulphur_dioxide": _PARTICLES,
    "temperature": {"°C", "K"}, "temperature_delta": {"°C", "K"}, "volatile_organic_compounds": _PARTICLES,
    "volatile_organic_compounds_parts": {"ppm"}, "voltage": {"V", "mV"}, "volume": _VOLUME,
    "volume_flow_rate": {"m³/s", "L/s"}, "volume_storage": _VOLUME, "water": _VOLUME, "weight": {"g", "kg"},
    "wind_direction": {"°"}, "wind_speed": {"m/s", "km/h"},
}  # fmt: skip
"""Device class of a number to the units that it may have. A number that can be set has the same."""

COUNTED: Final = frozenset({"energy", "gas", "precipitation", "reactive_energy", "volume", "water"})
"""Classes whose numbers only grow."""

ANGLES: Final = frozenset({"wind_direction"})
"""Classes whose numbers have no mean as others have."""

OTHERS: Final[dict[str, frozenset[str]]] = {
    "binary_sensor": frozenset({
        "battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door", "gas", "heat",
        "light", "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug", "power", "presence",
        "problem", "running", "safety", "smoke", "sound", "tamper", "update", "vibration", "window",
    }),
    "switch": frozenset({"outlet", "switch"}),
}  # fmt: skip
"""Platform to the device classes of its booleans."""


def known(platform: str, device_class: str, unit: str) -> bool:
    """Whether Home Assistant takes this class there, beside this unit (in its own words)."""
    if platform in OTHERS:
        return device_class in OTHERS[platform]
    return platform in ("sensor", "number") and unit in SENSORS.get(device_class, ())
