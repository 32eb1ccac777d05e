"""Danfoss Ally, and the same radiator valve as Popp and Hive sell it: attributes under a manufacturer code.

A person's setpoint goes by a command, for the valve then moves at once; the attribute is for schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, Plan, Reporting, WriteMapping
from adapters.zigbee.families.hvac import THERMOSTAT, USER_INTERFACE
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.own_rows import choice, number, switch
from carriage.zigbee.datatypes import BOOL, INT8, INT16, MAP8, UINT8, UINT16
from gateway.api.model import Value

CODE: Final = 0x1246
_SETPOINT_COMMAND, _BY_A_PERSON = 0x40, 1
_OFTEN: Final = Reporting(30, 3600, 1)
_DAYS: Final = dict(enumerate(("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")))
_WINDOWS: Final = {0: "quarantine", 1: "closed", 2: "hold", 3: "open", 4: "external_open"}
_UNDEFINED: Final = -8000
"""No load, or no temperature of a room's sensor."""
_HEAT: Final = {4: "heat"}


def _only_heats(row: AttributeMapping) -> AttributeMapping:
    """The valve can't be switched off."""
    if row.property.name != "system_mode":
        return row
    return replace(row, words=_HEAT, property=replace(row.property, enum=("heat",)), needs=(), adapt=None)


def _setpoint(values: Mapping[str, Value]) -> Plan | None:
    degrees = values["occupied_heating_setpoint"]
    if not isinstance(degrees, int | float):
        return None
    hundredths = round(degrees * 100).to_bytes(2, "little", signed=True)
    return Plan(bytes((_BY_A_PERSON,)) + hundredths, {"occupied_heating_setpoint": degrees})


def _switch(attribute: int, name: str, *, writable: bool = True, category: str = "config") -> AttributeMapping:
    return switch(
        THERMOSTAT,
        attribute,
        name,
        manufacturer=CODE,
        writable=writable,
        category=category,
        reporting=None if writable else _OFTEN,
    )


_ROWS: Final = (
    _switch(0x4031, "heat_required", writable=False, category=""),
    choice(
        THERMOSTAT,
        0x4000,
        "window_open_internal",
        _WINDOWS,
        manufacturer=CODE,
        writable=False,
        category="diagnostic",
        reporting=_OFTEN,
    ),
    _switch(0x4003, "window_open_external", category=""),
    _switch(0x4051, "window_open_feature"),
    _switch(0x4012, "mounted_mode_active", writable=False, category="diagnostic"),
    _switch(0x4013, "mounted_mode_control"),
    choice(
        THERMOSTAT,
        0x4014,
        "thermostat_orientation",
        {0: "horizontal", 1: "vertical"},
        manufacturer=CODE,
        type=BOOL,
    ),
    choice(USER_INTERFACE, 0x4000, "viewing_direction", {0: "normal", 1: "upside-down"}, manufacturer=CODE),
    number(
        THERMOSTAT,
        0x4015,
        "external_measured_room_sensor",
        INT16,
        (_UNDEFINED, 3500),
        manufacturer=CODE,
        unit="Cel",
        scale=Fraction(1, 100),
    ),
    _switch(0x4016, "radiator_covered"),
    _switch(0x4030, "heat_available"),
    _switch(0x4032, "load_balancing_enable"),
    number(THERMOSTAT, 0x4040, "load_room_mean", INT16, (_UNDEFINED, 2000), manufacturer=CODE),
    number(
        THERMOSTAT,
        0x404A,
        "load_estimate",
        INT16,
        (_UNDEFINED, 3600),
        manufacturer=CODE,
        writable=False,
        category="diagnostic",
        reporting=_OFTEN,
    ),
    number(
        THERMOSTAT,
        0x404B,
        "regulation_setpoint_offset",
        INT8,
        (-25, 25),
        manufacturer=CODE,
        unit="Cel",
        scale=Fraction(1, 10),
    ),
    number(THERMOSTAT, 0x4020, "algorithm_scale_factor", UINT8, (1, 10), manufacturer=CODE),
    choice(THERMOSTAT, 0x4010, "day_of_week", _DAYS, manufacturer=CODE),
    number(THERMOSTAT, 0x4011, "trigger_time", UINT16, (0, 1439), manufacturer=CODE, unit="min"),
    choice(
        THERMOSTAT,
        0x404C,
        "adaptation_run_control",
        {0: "idle", 1: "initiate_adaptation", 2: "cancel_adaptation"},
        manufacturer=CODE,
    ),
    switch(THERMOSTAT, 0x404E, "adaptation_run_settings", manufacturer=CODE, type=MAP8, mask=0x01),
    _switch(0x404F, "preheat_status", writable=False, category="diagnostic"),
)

DEVICES: Final = (
    MakerDevices(
        maker="Danfoss",
        manufacturers=("Danfoss", "D5X84YU"),
        models=("eTRV0100", "eTRV0101", "eTRV0103", "eT093WRO", "eT093WRG", "TRV001", "TRV003"),
        rows=_ROWS,
        writes=(
            WriteMapping(
                cluster=THERMOSTAT,
                command=_SETPOINT_COMMAND,
                properties=("occupied_heating_setpoint",),
                plan=_setpoint,
                manufacturer=CODE,
            ),
        ),
        changed=_only_heats,
    ),
)
