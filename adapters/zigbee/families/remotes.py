"""What remotes send of Color Control, 0x0300 (ZCL8, 5.2.2.3), as events.

Sizes and rates are as they come, in the attribute's units; hues are degrees, saturations 0 to 100.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adapters.zigbee.cluster_mappings import EventMapping, Happening, plain
from adapters.zigbee.families.payloads import (
    BYTE,
    SECONDS,
    TENTHS,
    WORD,
    first,
    record,
    told_transition,
    word,
)
from gateway.api.errors import PeerError
from gateway.api.model import DataSchema, DataType, EventAffordance
from gateway.api.model import Value as PropertyValue

_CLUSTER: Final = 0x0300
_FRACTION: Final = DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)
_DEGREES: Final = DataSchema(type=DataType.NUMBER, unit="deg", minimum=0, maximum=360)
_PERCENT: Final = DataSchema(type=DataType.NUMBER, unit="%", minimum=0, maximum=100)
_TIME: Final = ("transition_time", SECONDS)

Data = dict[str, PropertyValue]


def _hue(octet: int) -> float:
    return round(octet * 360 / 254, 1)


def _saturation(octet: int) -> float:
    return round(octet * 100 / 254, 1)


def _row(
    command: int, name: str, size: int, data: Callable[[bytes], Data], *fields: tuple[str, DataSchema]
) -> EventMapping:
    """A command of a fixed size that is always the same event."""

    def read(payload: bytes) -> Happening:
        return name, data(first(payload, size))

    return EventMapping(
        cluster=_CLUSTER,
        command=command,
        by_client=True,
        events=(EventAffordance(name=name, data=record(*fields)),),
        read=read,
    )


def _directed(
    command: int, names: dict[int, str], size: int, data: Callable[[bytes], Data], *fields: tuple[str, DataSchema]
) -> EventMapping:
    """A command whose first octet says which way it goes: a name for each."""

    def read(payload: bytes) -> Happening:
        payload = first(payload, size)
        name = names.get(payload[0])
        if name is None:
            raise PeerError("a direction that is none")
        return name, data(payload) if payload[0] else None

    events = tuple(EventAffordance(name=name, data=record(*fields)) for name in names.values())
    return EventMapping(cluster=_CLUSTER, command=command, by_client=True, events=events, read=read)


def _steps(name: str) -> dict[int, str]:
    return {1: f"{name}_step_up", 3: f"{name}_step_down"}


_SHORT_STEP: Final = ("step_size", BYTE)
_LONG_STEP: Final = ("step_size", WORD)
_HUE_MOVES: Final = {0: "hue_stop", 1: "hue_move", 3: "hue_down"}
_TEMPERATURE_MOVES: Final = {
    0: "color_temperature_move_stop",
    1: "color_temperature_move_up",
    3: "color_temperature_move_down",
}


def _short_step(payload: bytes) -> Data:
    return {"step_size": payload[1], "transition_time": payload[2] / TENTHS}


def _long_step(payload: bytes) -> Data:
    return {"step_size": word(payload, 1), **told_transition(word(payload, 3))}


def _color(payload: bytes) -> Data:
    point: Data = {"x": round(word(payload) / 0x10000, 4), "y": round(word(payload, 2) / 0x10000, 4)}
    return {"color": point, **told_transition(word(payload, 4))}


COLOUR_EVENTS: Final = (
    _row(
        0x00,
        "move_to_hue",
        4,
        lambda payload: {"hue": _hue(payload[0]), **told_transition(word(payload, 2))},
        ("hue", _DEGREES),
        _TIME,
    ),
    _directed(0x01, _HUE_MOVES, 2, lambda payload: {"rate": payload[1]}, ("rate", BYTE)),
    _directed(0x02, _steps("color_hue"), 3, _short_step, _SHORT_STEP, _TIME),
    _row(
        0x03,
        "move_to_saturation",
        3,
        lambda payload: {"saturation": _saturation(payload[0]), **told_transition(word(payload, 1))},
        ("saturation", _PERCENT),
        _TIME,
    ),
    _directed(0x05, _steps("color_saturation"), 3, _short_step, _SHORT_STEP, _TIME),
    _row(
        0x06,
        "move_to_hue_and_saturation",
        4,
        lambda payload: {
            "hue": _hue(payload[0]),
            "saturation": _saturation(payload[1]),
            **told_transition(word(payload, 2)),
        },
        ("hue", _DEGREES),
        ("saturation", _PERCENT),
        _TIME,
    ),
    _row(0x07, "color_move", 6, _color, ("color", record(("x", _FRACTION), ("y", _FRACTION))), _TIME),
    _row(
        0x0A,
        "color_temperature_move",
        4,
        lambda payload: {"color_temperature": word(payload), **told_transition(word(payload, 2))},
        ("color_temperature", WORD),
        _TIME,
    ),
    _directed(0x42, _steps("color_hue"), 5, _long_step, _LONG_STEP, _TIME),
    _row(
        0x43,
        "enhanced_move_to_hue_and_saturation",
        5,
        lambda payload: {
            "hue": round(word(payload) * 360 / 0x10000, 1),
            "saturation": _saturation(payload[2]),
            **told_transition(word(payload, 3)),
        },
        ("hue", _DEGREES),
        ("saturation", _PERCENT),
        _TIME,
    ),
    plain(_CLUSTER, 0x47, "hue_stop"),
    _directed(0x4B, _TEMPERATURE_MOVES, 3, lambda payload: {"rate": word(payload, 1)}, ("rate", WORD)),
    _directed(0x4C, _steps("color_temperature"), 5, _long_step, _LONG_STEP, _TIME),
)
"""Where two commands are the same event, the later one has the wider data."""
