"""Philips Hue (Signify): presses of dimmer switches and buttons, settings of motion sensors, a contact.

A switch sends On/Off and Level Control to lamps that it is bound to. It reports presses and releases by a cluster of
Signify's if an attribute says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from adapters.zigbee.cluster_mappings import EventMapping, Happening, Reporting, SettingMapping
from adapters.zigbee.families.payloads import first
from adapters.zigbee.maker_devices import MakerDevices
from adapters.zigbee.makers.own_rows import choice, number, switch
from carriage.zigbee.datatypes import ENUM8, MAP16, UINT8
from gateway.api.model import EventAffordance

CODE: Final = 0x100B
_MANUFACTURERS: Final = ("Philips", "Signify Netherlands B.V.")
_BASIC, _ON_OFF, _LEVEL, _OCCUPANCY, _BUTTONS, _CONTACT = 0x0000, 0x0006, 0x0008, 0x0406, 0xFC00, 0xFC06

# Buttons -------------------------------------------------------------------------------------------------------------

_PRESSES: Final = {0: "press", 1: "hold", 2: "press_release", 3: "hold_release"}
_ONE_BUTTON: Final = {0: "press", 1: "hold", 2: "release", 3: "release"}
_LEAST: Final = 5
"""Octets up to the kind of press; a time follows."""
_TELL_PRESSES: Final = SettingMapping(
    cluster=_BASIC,
    attribute=0x0031,
    type=MAP16,
    value=lambda known: 0x000B,
    manufacturer=CODE,
    beside=(_BUTTONS,),
)


def _notification(buttons: Mapping[int, str], presses: Mapping[int, str]) -> EventMapping:
    """The button is the first octet, the kind of press the fifth."""

    def read(payload: bytes) -> Happening | None:
        octets = first(payload, _LEAST)
        button, press = buttons.get(octets[0]), presses.get(octets[4])
        return None if button is None or press is None else (button + press, None)

    names = dict.fromkeys(button + press for button in buttons.values() for press in presses.values())
    return EventMapping(
        cluster=_BUTTONS,
        command=0x00,
        by_client=False,
        events=tuple(EventAffordance(name=name) for name in names),
        read=read,
        manufacturer=CODE,
    )


def _hue(*models: str, **rows: Any) -> MakerDevices:
    return MakerDevices(maker="Hue", manufacturers=_MANUFACTURERS, models=models, **rows)


# Motion sensors ------------------------------------------------------------------------------------------------------

_LED: Final = switch(_BASIC, 0x0033, "led_indication", manufacturer=CODE)
_SENSITIVITIES: Final = {0: "low", 1: "medium", 2: "high"}


def _motion(*models: str, sensitivity: Iterable[Any]) -> MakerDevices:
    return _hue(*models, rows=(*sensitivity, replace(_LED, beside=(_OCCUPANCY,))))


_AT_ONCE: Final = Reporting(0, 3600)

DEVICES: Final = (
    _hue(
        "RWL020",
        "RWL021",
        "RWL022",
        events=(_notification({1: "on_", 2: "up_", 3: "down_", 4: "off_"}, _PRESSES),),
        settings=(_TELL_PRESSES,),
        without=frozenset((_ON_OFF, _LEVEL)),  # they say again what the presses say
    ),
    _hue(
        "RDM002",
        events=(_notification({number: f"button_{number}_" for number in range(1, 5)}, _PRESSES),),
        settings=(_TELL_PRESSES,),
    ),
    _hue("ROM001", "RDM003", events=(_notification({1: ""}, _ONE_BUTTON),), settings=(_TELL_PRESSES,)),
    _hue(
        "RDM001",
        "RDM004",
        events=(_notification({1: "left_", 2: "right_"}, _PRESSES),),
        rows=(
            choice(
                _BASIC,
                0x0034,
                "device_mode",
                {0: "single_rocker", 1: "single_push_button", 2: "dual_rocker", 3: "dual_push_button"},
                manufacturer=CODE,
            ),
        ),
    ),
    _motion(
        "SML001",
        "SML002",
        sensitivity=(choice(_OCCUPANCY, 0x0030, "motion_sensitivity", _SENSITIVITIES, manufacturer=CODE, type=UINT8),),
    ),
    # Of these the numbers are known, and what 0 is called is not.
    _motion(
        "SML003",
        "SML004",
        sensitivity=(number(_OCCUPANCY, 0x0030, "motion_sensitivity", UINT8, (0, 4), manufacturer=CODE),),
    ),
    _hue(
        "SOC001",
        rows=tuple(
            replace(
                switch(
                    _CONTACT,
                    attribute,
                    name,
                    manufacturer=CODE,
                    type=ENUM8,
                    inverted=inverted,
                    writable=False,
                    device_class=device_class,
                    category=category,
                    reporting=_AT_ONCE,
                ),
                optional=False,
            )
            for attribute, name, inverted, device_class, category in (
                (0x0100, "contact", True, "door", ""),
                (0x0102, "tamper", False, "tamper", "diagnostic"),
            )
        ),
    ),
)
