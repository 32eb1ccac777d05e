"""Terncy's awareness switch (PP01) and knob (SD01), by Xiaoyan. They name no manufacturer, some of them.

They send all to endpoint 110 of the coordinator. Temperatures are in tenths, a battery is in whole percent, and a
press or a motion is a command of cluster 0xFCCC. The awareness switch sees which side a person is on, and doesn't say
that a motion is over.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import AttributeMapping, EventMapping, Happening, ReportedEventMapping
from adapters.zigbee.families.payloads import first, record
from adapters.zigbee.maker_devices import MakerDevices
from carriage.zigbee.datatypes import Value
from gateway.api.model import DataSchema, DataType, EventAffordance

_MAKER: Final = "Terncy"
_OWN: Final = 0xFCCC
_CODE: Final = 0x1228
_MOTION_ENDS: Final = 90
_PRESSES: Final = {1: "single", 2: "double", 3: "triple", 4: "quadruple"}
_SIDES: Final = {5: "motion_right", 7: "motion_right", 40: "motion_left", 56: "motion_left"}
_TICKS: Final = 12
"""Of the knob in a step."""
_MOST_TICKS: Final = 0x7FFF
_STEPS: Final = record(("steps", DataSchema(type=DataType.NUMBER, minimum=0)))


def _pressed(payload: bytes) -> Happening | None:
    """A number that counts the presses, and how often."""
    name = _PRESSES.get(first(payload, 2)[1])
    return None if name is None else (name, None)


def _seen(payload: bytes) -> Happening | None:
    """Two octets of unknown meaning, and the side."""
    name = _SIDES.get(first(payload, 3)[2])
    return None if name is None else (name, None)


def _turned(value: Value) -> Happening | None:
    """By so many ticks, to the left below 0."""
    if not isinstance(value, int) or not value:
        return None
    ticks = value if value <= _MOST_TICKS else value - 0x1_0000  # some say that it had no sign
    return "rotate_right" if ticks > 0 else "rotate_left", {"steps": round(abs(ticks) / _TICKS, 2)}


def _as_it_sends(row: AttributeMapping) -> AttributeMapping:
    match row.cluster, row.property.name:
        case 0x0001, "battery":
            return replace(row, scale=1, range=(0, 100))
        case 0x0402, "temperature":
            return replace(row, scale=Fraction(1, 10), range=(-900, 3276))
        case 0x0406, "occupancy":
            return replace(row, ends=_MOTION_ENDS)
    return row


def _events(*names: str) -> tuple[EventAffordance, ...]:
    return tuple(EventAffordance(name=name) for name in dict.fromkeys(names))


_BUTTON: Final = EventMapping(
    cluster=_OWN,
    command=0x00,
    by_client=False,
    manufacturer=_CODE,
    events=_events(*_PRESSES.values()),
    read=_pressed,
    numbered=True,
)
DEVICES: Final = (
    MakerDevices(
        maker=_MAKER,
        models=("TERNCY-PP01",),
        events=(
            _BUTTON,
            EventMapping(
                cluster=_OWN,
                command=0x04,
                by_client=False,
                manufacturer=_CODE,
                events=_events(*_SIDES.values()),
                read=_seen,
            ),
        ),
        without=frozenset((0x0400,)),  # in lux for some, as the standard has it for others
        changed=_as_it_sends,
    ),
    MakerDevices(
        maker=_MAKER,
        models=("TERNCY-SD01",),
        events=(_BUTTON,),
        reported_events=(
            ReportedEventMapping(
                cluster=_OWN,
                attribute=0x001B,
                events=tuple(EventAffordance(name=name, data=_STEPS) for name in ("rotate_left", "rotate_right")),
                read=_turned,
            ),
        ),
        codes=frozenset((_CODE,)),
        changed=_as_it_sends,
    ),
)
