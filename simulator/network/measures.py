"""The values that people set and see by name, as rows: the attribute of each and its units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from layer.errors import PeerError
from simulator.network.cluster_server import ClusterServer
from simulator.network.clusters import closures, color, energy, hvac, inputs, security, tuya
from simulator.network.clusters.general import CHECK_IN_INTERVAL
from simulator.network.clusters.ids import (
    ANALOG_INPUT,
    CARBON_DIOXIDE,
    COLOR,
    COVERING,
    DOOR_LOCK,
    ELECTRICAL,
    FAN,
    HUMIDITY,
    IAS_WARNING,
    IAS_ZONE,
    ILLUMINANCE,
    LEVEL,
    METERING,
    MULTISTATE_INPUT,
    OCCUPANCY,
    ON_OFF,
    PM25,
    POLL_CONTROL,
    POWER,
    PRESSURE,
    TEMPERATURE,
    THERMOSTAT,
    THERMOSTAT_UI,
    TUYA,
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A value that people set by name. ``scale``: attribute units per unit of the value. ``bits``: those of a bitmap
    that are the value, which is 0 or 1 then. ``into`` and ``out_of``: from the value to attribute units and back, if
    that isn't a multiplication."""

    cluster: int
    attribute: int
    scale: float = 1
    bits: int = 0
    into: Callable[[float], float] | None = None
    out_of: Callable[[float], float] | None = None

    def of(self, server: ClusterServer) -> float:
        """The value as it is."""
        found = server.attributes[self.attribute].value
        assert isinstance(found, int | float)
        if self.bits:
            return float(bool(int(found) & self.bits))
        return found / self.scale if self.out_of is None else self.out_of(found)

    def plain(self, server: ClusterServer, value: float) -> int | float:
        """A value in attribute units."""
        row = server.attributes[self.attribute]
        found = value * self.scale if self.into is None else self.into(value)
        if self.bits:
            others = server.whole(self.attribute) & ~self.bits
            return others | self.bits if value else others
        return found if row.type.floating else round(found)


def _into_illuminance(lux: float) -> float:
    return 0 if lux <= 0 else 10_000 * math.log10(lux) + 1


def _into_lux(value: float) -> float:
    return 0 if value <= 0 else 10 ** ((value - 1) / 10_000)


MEASURES: Final[Mapping[str, Measure]] = {
    "temperature": Measure(TEMPERATURE, 0x0000, 100),
    "humidity": Measure(HUMIDITY, 0x0000, 100),
    "battery": Measure(POWER, 0x0021, 2),
    "voltage": Measure(POWER, 0x0020, 10),
    "on_off": Measure(ON_OFF, 0x0000, 1),
    "brightness": Measure(LEVEL, 0x0000),
    "hue": Measure(COLOR, color.HUE),
    "saturation": Measure(COLOR, color.SATURATION),
    "x": Measure(COLOR, color.X, 65536),
    "y": Measure(COLOR, color.Y, 65536),
    "color_temp": Measure(COLOR, color.MIRED),
    "color_mode": Measure(COLOR, color.MODE),
    "illuminance": Measure(ILLUMINANCE, 0x0000, into=_into_illuminance, out_of=_into_lux),
    "pressure": Measure(PRESSURE, 0x0010, 10),
    "occupancy": Measure(OCCUPANCY, 0x0000, bits=0x01),
    "co2": Measure(CARBON_DIOXIDE, 0x0000, 1e-6),
    "pm25": Measure(PM25, 0x0000),
    "power": Measure(ELECTRICAL, energy.POWER, 10),
    "mains_voltage": Measure(ELECTRICAL, energy.VOLTAGE, 10),
    "current": Measure(ELECTRICAL, energy.CURRENT, 1000),
    "frequency": Measure(ELECTRICAL, 0x0300, 10),
    "energy": Measure(METERING, energy.ENERGY, 1000),
    "alarm": Measure(IAS_ZONE, security.STATUS, bits=security.ALARM),
    "tamper": Measure(IAS_ZONE, security.STATUS, bits=security.TAMPER),
    "battery_low": Measure(IAS_ZONE, security.STATUS, bits=security.BATTERY_LOW),
    "enrolled": Measure(IAS_ZONE, security.STATE),
    "warning": Measure(IAS_WARNING, security.WARNING),
    "strobe": Measure(IAS_WARNING, security.STROBE),
    "squawks": Measure(IAS_WARNING, security.SQUAWKS),
    "local_temperature": Measure(THERMOSTAT, hvac.LOCAL, 100),
    "heating_setpoint": Measure(THERMOSTAT, hvac.HEATING, 100),
    "cooling_setpoint": Measure(THERMOSTAT, hvac.COOLING, 100),
    "system_mode": Measure(THERMOSTAT, hvac.MODE),
    "running_state": Measure(THERMOSTAT, hvac.RUNNING_STATE),
    "demand": Measure(THERMOSTAT, hvac.DEMAND),
    "keypad_lockout": Measure(THERMOSTAT_UI, 0x0001),
    "fan_mode": Measure(FAN, 0x0000),
    "lift": Measure(COVERING, closures.LIFT),
    "tilt": Measure(COVERING, closures.TILT),
    "lock_state": Measure(DOOR_LOCK, closures.LOCK_STATE),
    "door_state": Measure(DOOR_LOCK, closures.DOOR_STATE),
    "pin_required": Measure(DOOR_LOCK, closures.NEEDS_PIN),
    "analog": Measure(ANALOG_INPUT, inputs.PRESENT_VALUE),
    "multistate": Measure(MULTISTATE_INPUT, inputs.PRESENT_VALUE),
    "tuya_temperature": Measure(TUYA, tuya.TEMPERATURE, 10),
    "tuya_humidity": Measure(TUYA, tuya.HUMIDITY),
    "tuya_setpoint": Measure(TUYA, tuya.SETPOINT, 10),
    "tuya_clock": Measure(TUYA, tuya.CLOCK),
    "tuya_local_temperature": Measure(TUYA, tuya.LOCAL, 10),
    "check_in_interval": Measure(POLL_CONTROL, CHECK_IN_INTERVAL, 4),
}


def find(name: str) -> Measure:
    """Raises PeerError for an unknown name."""
    measure = MEASURES.get(name)
    if measure is None:
        raise PeerError(f"a value is one of {', '.join(MEASURES)}")
    return measure


def measured(server: ClusterServer, measure: Measure, value: float) -> int | float:
    """A value in attribute units. Raises PeerError if the device lacks it or it's no number."""
    if measure.attribute not in server.attributes:
        raise PeerError("the simulator hosts no such value of this device")
    if not math.isfinite(value):
        raise PeerError("the value is not a number")
    try:
        return measure.plain(server, value)
    except (OverflowError, ValueError):
        raise PeerError("the value is too large") from None
