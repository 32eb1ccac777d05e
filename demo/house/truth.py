"""What MQTT should show of a device, made of what the device itself holds: one row for each property."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

Values = Mapping[str, float]
"""What the simulator says of a device: its measures by name; those of a further endpoint end in ``.2`` and so on."""
_Truth = Callable[[str, Values], Any]

_MODES: Final = {0: "off", 1: "auto", 3: "cool", 4: "heat", 5: "emergency_heating", 7: "fan_only"}
_FAN_MODES: Final = {0: "off", 1: "low", 2: "medium", 3: "high", 4: "on", 5: "auto", 6: "smart"}
_LOCKS: Final = {0: "not_fully_locked", 1: "locked", 2: "unlocked"}
_COLOR_MODES: Final = {0: "hs", 1: "xy", 2: "color_temp"}
_LOCKOUTS: Final = {0: "unlock", 1: "lock1", 2: "lock2", 3: "lock3", 4: "lock4", 5: "lock5"}


class UnknownError(Exception):
    """No row says what this property should be."""


def _plain(name: str) -> _Truth:
    return lambda _kind, values: values[name]


def _word(name: str, words: Mapping[int, str]) -> _Truth:
    return lambda _kind, values: words[int(values[name])]


def _zone(name: str, *, clear: bool = False) -> _Truth:
    """A bit of a zone's status; a zone that isn't enrolled notifies the gateway of nothing."""

    def found(_kind: str, values: Values) -> Any:
        if not values["enrolled"]:
            raise UnknownError(f"{name} of a zone that is not enrolled")
        return bool(values[name]) is not clear

    return found


def _flag(name: str) -> _Truth:
    return lambda _kind, values: bool(values[name])


def _state(kind: str, values: Values) -> Any:
    if kind == "cover":
        return "CLOSE" if values["lift"] == 100 else "OPEN"
    if kind == "lock":
        return "LOCK" if values["lock_state"] == 1 else "UNLOCK"
    return "ON" if values["on_off"] else "OFF"


def _voltage(_kind: str, values: Values) -> Any:
    return values["mains_voltage"] if "mains_voltage" in values else values["voltage"] * 1000


def _running_state(_kind: str, values: Values) -> Any:
    state = int(values["running_state"])
    return "heat" if state & 0x01 else "cool" if state & 0x02 else "idle"


def _color(_kind: str, values: Values) -> Any:
    turns = {"hue": 360 / 254, "saturation": 100 / 254, "x": 1.0, "y": 1.0}
    return {name: values[name] * factor for name, factor in turns.items() if name in values}


_ALARMS: Final = dict.fromkeys(
    ("alarm", "water_leak", "smoke", "gas", "carbon_monoxide", "vibration", "sos"), _zone("alarm")
)
TRUTHS: Final[Mapping[str, _Truth]] = {
    "state": _state,
    "color": _color,
    "color_mode": _word("color_mode", _COLOR_MODES),
    "contact": _zone("alarm", clear=True),
    "occupancy": lambda kind, values: (_flag("occupancy") if "occupancy" in values else _zone("alarm"))(kind, values),
    **_ALARMS,
    "tamper": _zone("tamper"),
    "battery_low": _zone("battery_low"),
    "voltage": _voltage,
    "occupied_heating_setpoint": _plain("heating_setpoint"),
    "occupied_cooling_setpoint": _plain("cooling_setpoint"),
    "system_mode": _word("system_mode", _MODES),
    "running_state": _running_state,
    "running_mode": _running_state,
    "keypad_lockout": _word("keypad_lockout", _LOCKOUTS),
    "fan_mode": _word("fan_mode", _FAN_MODES),
    "position": lambda _kind, values: 100 - values["lift"],
    "tilt": lambda _kind, values: 100 - values["tilt"],
    "fan_state": lambda _kind, values: "ON" if values["fan_mode"] else "OFF",
    "door_state": _word("door_state", {0: "open", 1: "closed"}),
    "lock_state": _word("lock_state", _LOCKS),
    **{
        name: _plain(name)
        for name in (
            *("temperature", "humidity", "battery", "brightness", "color_temp", "illuminance", "pressure", "co2"),
            *("pm25", "power", "current", "energy", "local_temperature"),
        )
    },
}
#: how far a property may be from the truth: what the way to it rounds, and changes that are too small to be reported
_TOLERANCES: Final[Mapping[str, float]] = {
    "color": 1.0,
    "illuminance": 2.0,
    "co2": 1.0,
    "energy": 0.01,
    "current": 0.05,
}
_TOLERANCE: Final = 0.051


def truth(name: str, kind: str, values: Values) -> Any:
    """What a property should be. UnknownError: there's no row for it, or the device holds nothing like it."""
    base, _, number = name.rpartition("_")
    if base in TRUTHS and number.isdecimal():
        name = base
        values = {key.removesuffix(f".{number}"): value for key, value in values.items() if key.endswith(f".{number}")}
    row = TRUTHS.get(name)
    if row is None:
        raise UnknownError(name)
    try:
        return row(kind, values)
    except KeyError:
        raise UnknownError(name) from None


def same(name: str, shown: Any, expected: Any) -> bool:
    """Whether a property shows the truth."""
    if isinstance(expected, dict):
        return isinstance(shown, dict) and all(
            same(name, shown[key], value) for key, value in expected.items() if shown.get(key) is not None
        )
    if isinstance(expected, bool | str):
        return bool(shown == expected)
    if not isinstance(shown, int | float) or isinstance(shown, bool):
        return False
    return math.isclose(shown, expected, rel_tol=0.001, abs_tol=_TOLERANCES.get(name, _TOLERANCE))
