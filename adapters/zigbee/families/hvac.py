"""Heating, cooling and fans: 0x0201, 0x0202 and 0x0204 (ZCL8, chapter 6). The bounds of setpoints, and the
modes, are those that the device says it has. Weekly schedules are left to the device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    DeviceOption,
    EventMapping,
    Particulars,
    Reporting,
    WriteMapping,
)
from adapters.zigbee.families.ipso import ipso
from carriage.zigbee.datatypes import ENUM8, INT8, INT16, MAP16, UINT8, ZclType
from gateway.api.errors import UsageError
from gateway.api.model import ActionAffordance, DataSchema, DataType, PropertyAffordance
from gateway.api.model import Value as PropertyValue

THERMOSTAT: Final = 0x0201
FAN: Final = 0x0202
USER_INTERFACE: Final = 0x0204

DEMAND_255: Final = "pi_heating_demand_255"
"""Option of a device whose heating demand is 255 when it is full, not 100."""
OPTIONS: Final = (
    DeviceOption(
        name=DEMAND_255,
        schema=DataSchema(type=DataType.BOOLEAN),
        about="its heating demand is 255 when it is full, not 100",
        clusters=(THERMOSTAT,),
    ),
)

_CONTROL_SEQUENCE: Final = 0x001B
_ONLY_COOLS: Final = (0, 1)
_ONLY_HEATS: Final = (2, 3)
"""Control sequences of operation (ZCL8, 6.3.2.2.3.8); others heat and cool."""
_SYSTEM_MODES: Final = {
    0: "off", 1: "auto", 3: "cool", 4: "heat", 5: "emergency_heating", 6: "precooling", 7: "fan_only", 8: "dry",
    9: "sleep",
}  # fmt: skip
_RUNNING: Final = (
    (0x0001, "heat"), (0x0002, "cool"), (0x0008, "heat"), (0x0010, "cool"), (0x0064, "fan_only"), (0, "idle"),
)  # fmt: skip
"""First what heats or cools by its first stage, for some devices set bits that mean nothing, then its second stage."""
_FAN_MODES: Final = {0: "off", 1: "low", 2: "medium", 3: "high", 4: "on", 5: "auto", 6: "smart"}
_FAN_SEQUENCE: Final = 0x0001
_SEQUENCES: Final = ((0, 1, 2, 3), (0, 1, 3), (0, 1, 2, 3, 5), (0, 1, 3, 5), (0, 4, 5))
"""Fan mode sequences (ZCL8, 6.4.2.2.2), and off."""
_ON: Final = (4, 5, 3)
"""Fan modes that are "on": the first of them that a fan has."""
_LOCKOUTS: Final = {0: "unlock", 1: "lock1", 2: "lock2", 3: "lock3", 4: "lock4", 5: "lock5"}
_DISPLAYS: Final = {0: "celsius", 1: "fahrenheit"}
_USUAL: Final = (500, 3500)
"""The limits of setpoints of a device that says none."""
_ABSOLUTE_ZERO: Final = -27315

OFTEN: Final = 7500.0
SELDOM: Final = 90_000.0
"""Lifetimes of what is reported each hour, and twice a day, at least."""


def _only(row: AttributeMapping, words: Mapping[int, str], codes: Collection[int]) -> AttributeMapping:
    """A row of an enumeration with some of its words."""
    some = {code: word for code, word in words.items() if code in codes}
    return replace(row, words=some, property=replace(row.property, enum=tuple(some.values())))


def _modes(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    """Without what the device can't do: to heat, or to cool."""
    sequence = known.constants.get(_CONTROL_SEQUENCE)
    without = (4, 5) if sequence in _ONLY_COOLS else (3, 6) if sequence in _ONLY_HEATS else ()
    return _only(row, _SYSTEM_MODES, _SYSTEM_MODES.keys() - set(without))


def _limited(
    never: tuple[int, ...], lows: tuple[int, int], highs: tuple[int, int]
) -> Callable[[AttributeMapping, Particulars], AttributeMapping | None]:
    """The adaptation of a setpoint: none with a sequence of ``never``; within the limits in these attributes."""

    def adapt(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        if known.constants.get(_CONTROL_SEQUENCE) in never:
            return None
        low = max(_temperatures(known, lows), default=_USUAL[0])
        high = min(_temperatures(known, highs), default=_USUAL[1])
        if low >= high:
            low, high = _USUAL
        return replace(row, property=replace(row.property, minimum=low / 100, maximum=high / 100))

    return adapt


def _temperatures(known: Particulars, attributes: tuple[int, ...]) -> list[int]:
    found = [known.constants.get(attribute) for attribute in attributes]
    return [each for each in found if isinstance(each, int) and each >= _ABSOLUTE_ZERO]


def _demand(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    if not known.options.get(DEMAND_255):
        return row
    return replace(row, range=(0, 255), invalid=None, scale=Fraction(100, 255), digits=0)


def _fan_modes(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    """Those of the fan's sequence; all if it says none."""
    return _only(row, _FAN_MODES, _sequence(known))


def _fan_state(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    """To switch a fan on is to set one of its modes."""
    on = next(code for code in _ON if code in _sequence(known))
    return replace(row, revert=lambda state: on if state else 0)


def _sequence(known: Particulars) -> Collection[int]:
    number = known.constants.get(_FAN_SEQUENCE)
    return _SEQUENCES[number] if isinstance(number, int) and 0 <= number < len(_SEQUENCES) else _FAN_MODES.keys()


def _setpoint(
    name: str, attribute: int, reporting: Reporting | None, *, heats: bool, category: str = ""
) -> AttributeMapping:
    lows, highs = ((0x0003, 0x0015), (0x0004, 0x0016)) if heats else ((0x0005, 0x0017), (0x0006, 0x0018))
    return AttributeMapping(
        cluster=THERMOSTAT,
        attribute=attribute,
        type=INT16,
        range=(_ABSOLUTE_ZERO, 0x7FFF),  # less is a device's word for "off"
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=PropertyAffordance(
            name=name,
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=ipso(3308),
            device_class="temperature",
            writable=True,
            minimum=_USUAL[0] / 100,
            maximum=_USUAL[1] / 100,
            lifetime=SELDOM,
            entity="climate",
            category=category,
        ),
        reporting=reporting,
        needs=(_CONTROL_SEQUENCE, *lows, *highs),
        adapt=_limited(_ONLY_COOLS if heats else _ONLY_HEATS, lows, highs),
    )


def _percent(name: str, attribute: int) -> AttributeMapping:
    return AttributeMapping(
        cluster=THERMOSTAT,
        attribute=attribute,
        type=UINT8,
        range=(0, 100),
        invalid=0xFF,
        property=PropertyAffordance(
            name=name,
            type=DataType.NUMBER,
            unit="%",
            resource_type=ipso(3320),
            lifetime=OFTEN,
            entity="climate",
            category="diagnostic",
        ),
        reporting=Reporting(10, 3600, 5),
    )


def _words(
    cluster: int,
    attribute: int,
    name: str,
    words: Mapping[int, str],
    *,
    type: ZclType = ENUM8,
    bits: tuple[tuple[int, str], ...] = (),
    writable: bool = True,
    entity: str = "",
    category: str = "",
    needs: tuple[int, ...] = (),
    adapt: Callable[[AttributeMapping, Particulars], AttributeMapping | None] | None = None,
) -> AttributeMapping:
    """A row of an enumeration, or of a bitmap that reads like one."""
    return AttributeMapping(
        cluster=cluster,
        attribute=attribute,
        type=type,
        invalid=None if bits else 0xFF,
        words=words,
        bits=bits,
        property=PropertyAffordance(
            name=name,
            type=DataType.STRING,
            enum=tuple(dict.fromkeys((*words.values(), *(word for _, word in bits)))),
            resource_type=ipso(3348),
            writable=writable,
            lifetime=SELDOM,
            entity=entity,
            category=category,
        ),
        reporting=Reporting(1, 43_200),
        needs=needs,
        adapt=adapt,
    )


_RAISED: Final = ("heat", "cool", "both")
"""Modes of Setpoint Raise/Lower by their numbers (ZCL8, 6.3.2.3.1.1)."""


def _raise_or_lower(given: PropertyValue | None) -> bytes:
    if not isinstance(given, dict) or not isinstance(given["amount"], int | float):
        raise UsageError("an amount in degrees")
    mode = _RAISED.index(str(given.get("mode", "both")))
    return bytes((mode,)) + round(given["amount"] * 10).to_bytes(1, "little", signed=True)


_STEADY: Final = Reporting(1, 43_200, 10)

ROWS: Final = (
    AttributeMapping(
        cluster=THERMOSTAT,
        attribute=0x0000,
        type=INT16,
        range=(_ABSOLUTE_ZERO, 0x7FFF),
        scale=Fraction(1, 100),
        invalid=-0x8000,
        property=PropertyAffordance(
            name="local_temperature",
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=ipso(3303),
            device_class="temperature",
            lifetime=OFTEN,
            entity="climate",
        ),
        reporting=Reporting(10, 3600, 10),
    ),
    _setpoint("occupied_heating_setpoint", 0x0012, _STEADY, heats=True),
    _setpoint("occupied_cooling_setpoint", 0x0011, _STEADY, heats=False),
    # Not reported: a frame has room for few records, and these are seldom set at the device.
    _setpoint("unoccupied_heating_setpoint", 0x0014, None, heats=True, category="config"),
    _setpoint("unoccupied_cooling_setpoint", 0x0013, None, heats=False, category="config"),
    AttributeMapping(
        cluster=THERMOSTAT,
        attribute=0x0010,
        type=INT8,
        range=(-127, 127),
        scale=Fraction(1, 10),
        invalid=-0x80,
        property=PropertyAffordance(
            name="local_temperature_calibration",
            type=DataType.NUMBER,
            unit="Cel",
            resource_type=ipso(3308),
            writable=True,
            minimum=-12.7,  # the standard has 2.5; devices know more, and refuse what they don't
            maximum=12.7,
            lifetime=SELDOM,
            category="config",
        ),
    ),
    replace(_percent("pi_heating_demand", 0x0008), adapt=_demand),
    _percent("pi_cooling_demand", 0x0007),
    _words(
        THERMOSTAT,
        0x001C,
        "system_mode",
        _SYSTEM_MODES,
        entity="climate",
        needs=(_CONTROL_SEQUENCE,),
        adapt=_modes,
    ),
    _words(THERMOSTAT, 0x0029, "running_state", {}, type=MAP16, bits=_RUNNING, writable=False, entity="climate"),
    _words(FAN, 0x0000, "fan_mode", _FAN_MODES, entity="fan", needs=(_FAN_SEQUENCE,), adapt=_fan_modes),
    AttributeMapping(
        cluster=FAN,
        attribute=0x0000,
        type=ENUM8,
        mask=0x07,
        invalid=0xFF,
        revert=lambda state: 4 if state else 0,
        property=PropertyAffordance(
            name="fan_state",
            type=DataType.BOOLEAN,
            resource_type=ipso(3306),
            writable=True,
            lifetime=SELDOM,
            entity="fan",
        ),
        needs=(_FAN_SEQUENCE,),
        adapt=_fan_state,
    ),
    _words(USER_INTERFACE, 0x0000, "temperature_display_mode", _DISPLAYS, category="config"),
    _words(USER_INTERFACE, 0x0001, "keypad_lockout", _LOCKOUTS, category="config"),
)
WRITES: Final[tuple[WriteMapping, ...]] = ()
ACTIONS: Final = (
    ActionMapping(
        cluster=THERMOSTAT,
        command=0x00,
        action=ActionAffordance(
            name="setpoint_raise_lower",
            input=DataSchema(
                type=DataType.OBJECT,
                fields=(
                    ("amount", DataSchema(type=DataType.NUMBER, unit="Cel", minimum=-12.8, maximum=12.7)),
                    ("mode", DataSchema(type=DataType.STRING, enum=_RAISED)),
                ),
                required=frozenset({"amount"}),
            ),
            entity="climate",
        ),
        payload=_raise_or_lower,
        reads=(0x0011, 0x0012),
    ),
)
EVENTS: Final[tuple[EventMapping, ...]] = ()
