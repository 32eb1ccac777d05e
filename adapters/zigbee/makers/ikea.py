"""IKEA: remotes with arrows or dots, batteries in whole percents, an air purifier, attributes of plugs and sensors.

A remote's arrows send scene commands of IKEA's. The release of an arrow doesn't say which one it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, EventMapping, Happening, Particulars, Reporting
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import first, record, word
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.own_rows import choice, number, switch
from carriage.zigbee.datatypes import SINGLE, UINT8, UINT16, UINT32
from gateway.api.model import DataSchema, DataType, EventAffordance, PropertyAffordance

CODE: Final = 0x117C
_MANUFACTURERS: Final = ("IKEA of Sweden",)
_SCENES, _FAN, _PM25 = 0x0005, 0x0202, 0x042A
_PURIFIER, _VOC, _DOTS_OLD, _DOTS, _MOTION, _PLUG = 0xFC7D, 0xFC7E, 0xFC7F, 0xFC80, 0xFC81, 0xFC85

# Batteries -----------------------------------------------------------------------------------------------------------

_BATTERY: Final = (0x0001, 0x0021)
_FIRMWARE: Final = 0x4000
_HALVES_SINCE: Final = (2, 4)
"""The firmware that has the standard's half percents; before it, whole ones."""


def _batteries(row: AttributeMapping) -> AttributeMapping:
    if (row.cluster, row.attribute) != _BATTERY:
        return row
    return replace(row, needs_basic=(_FIRMWARE,), adapt=_by_firmware)


def _by_firmware(row: AttributeMapping, known: Particulars) -> AttributeMapping:
    said = re.match(r"(\d{1,9})\.(\d{1,9})", str(known.basic.get(_FIRMWARE)))
    if said is None or (int(said[1]), int(said[2])) >= _HALVES_SINCE:
        return row
    return replace(row, scale=1, range=(0, 100), reporting=Reporting(3600, 43_200, 1))


# Remotes -------------------------------------------------------------------------------------------------------------

_SIDES: Final = {0: "right", 1: "left"}
_MILLISECONDS: Final = 1000
_DURATION: Final = record(("duration", DataSchema(type=DataType.NUMBER, unit="s", minimum=0)))


def _arrow(how: str, size: int) -> Callable[[bytes], Happening | None]:
    """First comes the side; 2 is the middle button, which has a command of Level Control too."""

    def read(payload: bytes) -> Happening | None:
        side = _SIDES.get(first(payload, size)[0])
        return None if side is None else (f"arrow_{side}_{how}", None)

    return read


def _released(payload: bytes) -> Happening | None:
    """For how long an arrow was held; 0: it was the middle button."""
    held = word(first(payload, 2))
    return ("arrow_release", {"duration": held / _MILLISECONDS}) if held else None


def _command(
    cluster: int,
    command: int,
    events: tuple[EventAffordance, ...],
    read: Callable[[bytes], Happening | None],
    endpoints: Mapping[int, str] | None = None,
) -> EventMapping:
    return EventMapping(
        cluster=cluster,
        command=command,
        by_client=True,
        events=events,
        read=read,
        manufacturer=CODE,
        endpoints=endpoints or {},
    )


def _named(*names: str) -> tuple[EventAffordance, ...]:
    return tuple(EventAffordance(name=name) for name in names)


_ARROWS: Final = (
    _command(_SCENES, 0x07, _named("arrow_left_click", "arrow_right_click"), _arrow("click", 4)),
    _command(_SCENES, 0x08, _named("arrow_left_hold", "arrow_right_hold"), _arrow("hold", 2)),
    _command(_SCENES, 0x09, (EventAffordance(name="arrow_release", data=_DURATION),), _released),
)
_DOT_COMMANDS: Final = {1: "initial_press", 2: "long_press", 3: "short_release", 4: "long_release", 6: "double_press"}
_OLD_DOT_PRESSES: Final = {1: "initial_press", 2: "double_press", 3: "long_press"}


def _always(name: str) -> Callable[[bytes], Happening]:
    return lambda payload: (name, None)


def _dots(endpoints: Mapping[int, str]) -> tuple[EventMapping, ...]:
    """Buttons with dots, one for each endpoint."""
    return tuple(
        _command(_DOTS, command, _named(name), _always(name), endpoints) for command, name in _DOT_COMMANDS.items()
    )


def _old_dot(payload: bytes) -> Happening | None:
    """The button, and how it was pressed."""
    button, press = first(payload, 2)
    name = _OLD_DOT_PRESSES.get(press)
    return None if name is None or button not in (1, 2) else (f"dots_{button}_{name}", None)


_OLD_DOTS: Final = _command(
    _DOTS_OLD,
    0x01,
    _named(*(f"dots_{button}_{name}" for button in (1, 2) for name in _OLD_DOT_PRESSES.values())),
    _old_dot,
)

# The air purifier ----------------------------------------------------------------------------------------------------

_STEPS: Final = range(10, 51, 5)
_FAN_MODES: Final = {0: "off", 1: "auto", **{raw: str(step) for step, raw in enumerate(_STEPS, 1)}}
_MINUTES: Final = 0xFFFF_FFFE
_ON_CHANGE: Final = Reporting(0, 3600, 1)


def _fan_speed(raw: float) -> float:
    return max(0, raw // 5 - 1)


_PURIFIER_ROWS: Final = (
    AttributeMapping(
        cluster=_PURIFIER,
        attribute=0x0006,
        manufacturer=CODE,
        type=UINT8,
        mask=0xFF,
        revert=lambda state: 1 if state else 0,
        property=PropertyAffordance(
            name="fan_state",
            type=DataType.BOOLEAN,
            resource_type=ipso(3306),
            writable=True,
            entity="fan",
        ),
        reporting=_ON_CHANGE,
    ),
    choice(
        _PURIFIER,
        0x0006,
        "fan_mode",
        _FAN_MODES,
        manufacturer=CODE,
        type=UINT8,
        entity="fan",
        category="",
        reporting=_ON_CHANGE,
    ),
    AttributeMapping(
        cluster=_PURIFIER,
        attribute=0x0007,
        manufacturer=CODE,
        type=UINT8,
        range=(0, 50),
        invalid=0xFF,
        convert=_fan_speed,
        digits=0,
        property=PropertyAffordance(name="fan_speed", type=DataType.INTEGER, resource_type=ipso(3300)),
        reporting=_ON_CHANGE,
    ),
    AttributeMapping(
        cluster=_PURIFIER,
        attribute=0x0004,
        manufacturer=CODE,
        type=UINT16,
        range=(0, 5499),  # 0xFFFF while it is off; what is above isn't measured
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="pm25", type=DataType.NUMBER, unit="ug/m3", resource_type=ipso(3325), device_class="pm25"
        ),
        reporting=Reporting(60, 3600, 1),
    ),
    switch(_PURIFIER, 0x0003, "led_enable", manufacturer=CODE, inverted=True),
    switch(_PURIFIER, 0x0005, "child_lock", manufacturer=CODE),
    *(
        number(
            _PURIFIER,
            attribute,
            name,
            UINT32,
            (0, _MINUTES),
            manufacturer=CODE,
            unit="min",
            writable=False,
            device_class="duration",
            category="diagnostic",
            reporting=reporting,
        )
        for attribute, name, reporting in ((0x0000, "filter_age", Reporting(3600, 3600)), (0x0008, "device_age", None))
    ),
)

# -- all of them ------------------------------------------------------------------------------------------------------

DEVICES: Final = (
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("TRADFRI remote control", "Remote Control N2"),
        events=_ARROWS,
        changed=_batteries,
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=(
            "TRADFRI on/off switch",
            "TRADFRI open/close remote",
            "TRADFRI SHORTCUT Button",
            "TRADFRI wireless dimmer",
            "TRADFRI motion sensor",
            "SYMFONISK Sound Controller",
            "FYRTUR block-out roller blind",
            "KADRILJ roller blind",
            "PRAKTLYSING cellular blind",
        ),
        changed=_batteries,
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("SYMFONISK sound remote gen2",),
        events=(_OLD_DOTS, *_dots({2: "dots_1_", 3: "dots_2_"})),
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("SOMRIG shortcut button",),
        events=_dots({1: "1_", 2: "2_"}),
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("STARKVIND Air purifier", "STARKVIND Air purifier table"),
        rows=_PURIFIER_ROWS,
        without=frozenset((_FAN, _PM25)),
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("VINDSTYRKA",),
        rows=(
            AttributeMapping(
                cluster=_VOC,
                attribute=0x0000,
                manufacturer=CODE,
                type=SINGLE,
                range=(0, 500),
                digits=0,
                property=PropertyAffordance(
                    name="voc_index", type=DataType.INTEGER, resource_type=ipso(3325), device_class="aqi"
                ),
                reporting=Reporting(60, 120, 1),
            ),
        ),
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("VALLHORN Wireless Motion Sensor",),
        rows=(
            switch(_MOTION, 0x0000, "on_only_when_dark", manufacturer=CODE),
            number(_MOTION, 0x0002, "on_time", UINT16, (10, 65_534), manufacturer=CODE, unit="s"),
        ),
    ),
    MakerDevices(
        maker="IKEA",
        manufacturers=_MANUFACTURERS,
        models=("TRETAKT Smart plug", "INSPELNING Smart plug"),
        rows=(
            switch(_PLUG, 0x0000, "child_lock", manufacturer=CODE),
            switch(_PLUG, 0x0001, "led_enable", manufacturer=CODE),
        ),
    ),
)
