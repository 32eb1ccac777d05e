"""Switches and dimmers: On/Off, 0x0006 (ZCL8, 3.8), and Level Control, 0x0008 (ZCL8, 3.10); their remotes' commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Happening,
    Plan,
    Reporting,
    WriteMapping,
    plain,
)
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import INSTANT, TENTHS, first, transition, word
from carriage.zigbee.datatypes import BOOL, UINT8
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance
from gateway.api.model import Value as PropertyValue

_BYTE: Final = DataSchema(type=DataType.INTEGER, minimum=0, maximum=255)
_SECONDS: Final = DataSchema(type=DataType.NUMBER, unit="s")
_UP_DOWN: Final = ("up", "down")

TRANSITION: Final = PropertyAffordance(
    name="transition",
    type=DataType.NUMBER,
    unit="s",
    writable=True,
    readable=False,
    minimum=0,
    maximum=6553,
    multiple_of=0.1,
    entity="light",
)
"""How long a change takes."""


def _to_level(values: Mapping[str, PropertyValue]) -> Plan | None:
    """Move to Level with On/Off (ZCL8, 3.10.2.4.5): level 0 switches off, another one on."""
    state, level = values.get("state"), values.get("brightness")
    if state is False and (level is not None or "transition" in values):
        level = 0
    if not isinstance(level, int):
        return None
    became: dict[str, PropertyValue] = {"state": level > 0}
    if level:
        became["brightness"] = level
    return Plan(bytes((level,)) + transition(values.get("transition")), became)


def _direction(payload: bytes) -> str:
    if payload[0] >= len(_UP_DOWN):
        raise PeerError("a direction that is neither up nor down")
    return _UP_DOWN[payload[0]]


def _move(payload: bytes) -> Happening:
    """Move (ZCL8, 3.10.2.4.2): direction, rate in levels a second (0xFF: the device's own)."""
    payload = first(payload, 2)
    rate: dict[str, PropertyValue] = {} if payload[1] == 0xFF else {"rate": payload[1]}
    return f"brightness_move_{_direction(payload)}", rate


def _step(payload: bytes) -> Happening:
    """Step (ZCL8, 3.10.2.4.3): direction, size, transition time in tenths of a second."""
    payload = first(payload, 4)
    tenths = word(payload, 2)
    time: dict[str, PropertyValue] = {} if tenths == INSTANT else {"transition_time": tenths / TENTHS}
    return f"brightness_step_{_direction(payload)}", {"step_size": payload[1], **time}


def _both(
    name: str, *fields: tuple[str, DataSchema], required: frozenset[str] = frozenset()
) -> tuple[EventAffordance, ...]:
    data = DataSchema(type=DataType.OBJECT, fields=fields, required=required)
    return tuple(EventAffordance(name=f"{name}_{way}", data=data) for way in _UP_DOWN)


_MOVES: Final = _both("brightness_move", ("rate", _BYTE))
_STEPS: Final = _both(
    "brightness_step", ("step_size", _BYTE), ("transition_time", _SECONDS), required=frozenset({"step_size"})
)

ROWS: Final = (
    AttributeMapping(
        cluster=0x0006,
        attribute=0x0000,
        type=BOOL,
        invalid=0xFF,
        property=PropertyAffordance(
            name="state",
            type=DataType.BOOLEAN,
            resource_type=ipso(3306),
            writable=True,
            lifetime=7500.0,
            entity="switch",
        ),
        reporting=Reporting(0, 3600),
        commands={False: 0x00, True: 0x01},
    ),
    AttributeMapping(
        cluster=0x0008,
        attribute=0x0000,
        type=UINT8,
        range=(0, 254),
        invalid=0xFF,
        property=PropertyAffordance(
            name="brightness",
            type=DataType.INTEGER,
            resource_type=ipso(3343),
            writable=True,
            minimum=0,
            maximum=254,
            lifetime=7500.0,
            entity="light",
        ),
        reporting=Reporting(1, 3600, 1),
    ),
)
WRITES: Final = (
    WriteMapping(
        cluster=0x0008, command=0x04, properties=("brightness", "state"), modifiers=(TRANSITION,), plan=_to_level
    ),
)
ACTIONS: Final = (
    ActionMapping(
        cluster=0x0006, command=0x02, action=ActionAffordance(name="toggle", entity="switch"), reads=(0x0000,)
    ),
)
EVENTS: Final = (
    plain(0x0006, 0x00, "off"),
    plain(0x0006, 0x01, "on"),
    plain(0x0006, 0x02, "toggle"),
    *(
        EventMapping(cluster=0x0008, command=command, by_client=True, events=events, read=read)
        for events, read, commands in ((_MOVES, _move, (0x01, 0x05)), (_STEPS, _step, (0x02, 0x06)))
        for command in commands
    ),
    *(plain(0x0008, command, "brightness_stop") for command in (0x03, 0x07)),
)
