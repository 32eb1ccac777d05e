"""Sonoff (eWeLink): buttons, and cluster FC11 of thermometers with a display, a presence sensor, a radiator valve.

A button sends the commands of On/Off for three kinds of presses. FC11 needs no manufacturer code.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, plain
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.own_rows import choice, number, switch
from carriage.zigbee.datatypes import INT16, MAP8, UINT8, UINT16, UINT32

CODE: Final = 0x1286
"""What some firmware puts into frames all the same."""
_ON_OFF, _OCCUPANCY, _ZONE, _OWN = 0x0006, 0x0406, 0x0500, 0xFC11
_PRESSES: Final = {0x02: "single", 0x01: "double", 0x00: "long"}
_HUNDREDTH: Final = Fraction(1, 100)
_UNITS: Final = {0: "celsius", 1: "fahrenheit"}
_ADAPTIVE: Final = 0x02


def _degrees(attribute: int, name: str, low: int, high: int) -> AttributeMapping:
    return number(_OWN, attribute, name, INT16, (low * 100, high * 100), unit="Cel", scale=_HUNDREDTH)


def _percent(attribute: int, name: str, low: int, high: int) -> AttributeMapping:
    """``attribute`` 0x2004 is a difference, and has a sign."""
    kind = INT16 if low < 0 else UINT16
    return number(_OWN, attribute, name, kind, (low * 100, high * 100), unit="%RH", scale=_HUNDREDTH)


_UNIT: Final = choice(_OWN, 0x0007, "temperature_units", _UNITS, type=UINT16)
_CALIBRATIONS: Final = (
    _degrees(0x2003, "temperature_calibration", -50, 50),
    _percent(0x2004, "humidity_calibration", -50, 50),
)
_COMFORT: Final = (
    _degrees(0x0004, "comfort_temperature_min", -10, 60),
    _degrees(0x0003, "comfort_temperature_max", -10, 60),
    _percent(0x0005, "comfort_humidity_min", 5, 95),
    _percent(0x0006, "comfort_humidity_max", 5, 95),
)
_VALVE: Final = (
    switch(_OWN, 0x0000, "child_lock"),
    switch(_OWN, 0x6000, "open_window"),
    _degrees(0x6002, "frost_protection_temperature", 4, 35),
    number(_OWN, 0x600B, "valve_opening_degree", UINT8, (0, 100), unit="%"),
    number(_OWN, 0x600C, "valve_closing_degree", UINT8, (0, 100), unit="%"),
    choice(_OWN, 0x600E, "temperature_sensor_select", {0: "internal", 1: "external"}, type=UINT8),
    number(_OWN, 0x600D, "external_temperature_input", INT16, (0, 9990), unit="Cel", scale=_HUNDREDTH),
    number(_OWN, 0x6011, "temperature_accuracy", INT16, (-100, -20), unit="Cel", scale=_HUNDREDTH),
    choice(_OWN, 0x6014, "temporary_mode_select", {0: "boost", 1: "timer"}, type=UINT8),
    number(
        _OWN, 0x6015, "temporary_mode_duration", UINT32, (0, 86_400), unit="min", scale=Fraction(1, 60)
    ),
    _degrees(0x6016, "timer_mode_target_temp", 4, 35),
    replace(
        switch(_OWN, 0x6017, "smart_temperature_control", type=MAP8, mask=_ADAPTIVE),
        revert=lambda state: _ADAPTIVE if state else 0,
    ),
)  # fmt: skip


def _sonoff(*models: str, rows: tuple[AttributeMapping, ...], without: tuple[int, ...] = ()) -> MakerDevices:
    return MakerDevices(
        maker="Sonoff",
        manufacturers=("SONOFF",),
        models=models,
        rows=rows,
        without=frozenset(without),
        codes=frozenset((CODE,)),
    )


DEVICES: Final = (
    MakerDevices(
        maker="Sonoff",
        manufacturers=("eWeLink",),
        models=("WB01", "SNZB-01P", "CK-TLSR8656-SS5-01(7000)"),
        events=tuple(plain(_ON_OFF, command, name) for command, name in _PRESSES.items()),
        without=frozenset((_ON_OFF,)),
    ),
    _sonoff("SNZB-02D", "SNZB-02DR2", rows=(_UNIT, *_CALIBRATIONS, *_COMFORT)),
    _sonoff("SNZB-02WD", rows=(_UNIT, *_CALIBRATIONS)),
    _sonoff("SNZB-02LD", rows=(_UNIT, _CALIBRATIONS[0])),
    _sonoff(
        "SNZB-06P",
        rows=(
            replace(
                choice(_OWN, 0x2001, "illumination", {0: "dim", 1: "bright"}, type=UINT8, writable=False, category=""),
                unasked=True,  # it comes with a presence
            ),
            number(_OCCUPANCY, 0x0020, "occupancy_timeout", UINT16, (15, 0xFFFE), unit="s"),
            choice(
                _OCCUPANCY, 0x0022, "occupancy_sensitivity", {1: "low", 2: "medium", 3: "high"}, type=UINT8
            ),
        ),
        without=(_ZONE,),  # it says again what Occupancy Sensing says
    ),
    _sonoff("TRVZB", rows=_VALVE),
)  # fmt: skip
