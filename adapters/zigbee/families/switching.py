"""Switches and dimmers: On/Off, 0x0006 (ZCL8, 3.8), and Level Control, 0x0008 (ZCL8, 3.10); their remotes' commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
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
from adapters.zigbee.families.payloads import (
    BYTE,
    LONGEST,
    SECONDS,
    TENTHS,
    amount,
    fields_of,
    first,
    record,
    signed,
    told_transition,
    transition,
    word,
    words,
)
from carriage.zigbee.datatypes import BOOL, ENUM8, UINT8, UINT16
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance
from gateway.api.model import Value as PropertyValue

_UP_DOWN: Final = ("up", "down")
_OFF, _ON_WITH_TIMED_OFF = 0x00, 0x42
_FASTEST: Final = 254
"""A rate and a step; 255 as a rate is the device's own."""
_AFTER_POWER: Final = {0x00: "off", 0x01: "on", 0x02: "toggle", 0xFF: "previous"}
"""StartUpOnOff (ZCL8, 3.8.2.2.4)."""


def _modifier(name: str, entity: str, resource_type: str = "") -> PropertyAffordance:
    return PropertyAffordance(
        name=name,
        type=DataType.NUMBER,
        unit="s",
        resource_type=resource_type,
        writable=True,
        readable=False,
        minimum=0,
        maximum=LONGEST,
        multiple_of=0.1,
        entity=entity,
    )


TRANSITION: Final = _modifier("transition", "light")
"""How long a change takes."""


def _on_for_a_time(values: Mapping[str, PropertyValue]) -> Plan | None:
    """On with Timed Off (ZCL8, 3.8.2.3.6), whether the device is on or off before. What switches off has no times."""
    state, times = values.get("state"), [values.get("on_time"), values.get("off_wait_time")]
    if not isinstance(state, bool) or times == [None, None]:
        return None
    if not state:
        return Plan(b"", {"state": False}, _OFF)
    tenths = [round(each * TENTHS) if isinstance(each, int | float) else 0 for each in times]
    return Plan(b"\x00" + words(*tenths), {"state": True})


_OF_LIGHTING: Final = (0x0004, 0x0005)
"""Only lamps and plugs that know groups and scenes have the attributes from 0x4000 (ZCL8, 3.8.2.2)."""


def _timer(attribute: int, name: str) -> AttributeMapping:
    """How long a device is on, and how long it then can't be switched on by such a command. It counts down."""
    return AttributeMapping(
        cluster=0x0006,
        attribute=attribute,
        type=UINT16,
        range=(0, 0xFFFE),
        scale=Fraction(1, TENTHS),
        invalid=0xFFFF,
        property=_modifier(name, "switch", ipso(3306)),
        optional=True,
        beside=_OF_LIGHTING,
    )


def _to_level(values: Mapping[str, PropertyValue]) -> Plan | None:
    """Move to Level with On/Off (ZCL8, 3.10.2.4.5): level 0 switches off, another one on."""
    state, level = values.get("state"), values.get("brightness")
    if state is False and (level is not None or "transition" in values):
        level = 0
    if state is True and level is None and "transition" in values:  # to the level that it had
        return Plan(b"", asks="brightness", then=lambda had: _at_level(had or _FASTEST, values))
    return _at_level(level, values) if isinstance(level, int) else None


def _at_level(level: PropertyValue, values: Mapping[str, PropertyValue]) -> Plan:
    assert isinstance(level, int)
    became: dict[str, PropertyValue] = {"state": level > 0}
    if level:
        became["brightness"] = level
    return Plan(bytes((level,)) + transition(values.get("transition")), became)


def _stepping(command: int) -> Callable[[PropertyValue | None], tuple[int, bytes]]:
    """Step (ZCL8, 3.10.2.4.3)."""

    def payload(given: PropertyValue | None) -> tuple[int, bytes]:
        step = amount(given, "step", _FASTEST)
        return command, bytes((step < 0, abs(step))) + transition(fields_of(given).get("transition"))

    return payload


def _moving(command: int) -> Callable[[PropertyValue | None], tuple[int, bytes]]:
    """Move (ZCL8, 3.10.2.4.2), and Stop, two ids further."""

    def payload(given: PropertyValue | None) -> tuple[int, bytes]:
        rate = amount(given, "rate", _FASTEST)
        return (command, bytes((rate < 0, abs(rate)))) if rate else (command + 2, b"")

    return payload


_STEP: Final = record(("step", signed(_FASTEST)), ("transition", SECONDS), required=("step",))
_RATE: Final = record(("rate", signed(_FASTEST)), required=("rate",))


def _level_actions() -> Iterator[ActionMapping]:
    """Steps and moves; those with On/Off have ids that are higher by 4, and switch the device too."""
    for suffix, higher in (("", 0), ("_onoff", 4)):
        for name, command, made, schema in (
            ("brightness_step", 0x02, _stepping, _STEP),
            ("brightness_move", 0x01, _moving, _RATE),
        ):
            yield ActionMapping(
                cluster=0x0008,
                command=command + higher,
                action=ActionAffordance(name=name + suffix, input=schema, entity="light"),
                payload=made(command + higher),
                reads=(0x0000,),
            )


# What remotes send ---------------------------------------------------------------------------------------------------


def _direction(payload: bytes) -> str:
    if payload[0] >= len(_UP_DOWN):
        raise PeerError("a direction that is neither up nor down")
    return _UP_DOWN[payload[0]]


def _move_to(payload: bytes) -> Happening:
    """Move to Level (ZCL8, 3.10.2.4.1)."""
    payload = first(payload, 3)
    return "brightness_move_to_level", {"level": payload[0], **told_transition(word(payload, 1))}


def _move(payload: bytes) -> Happening:
    """Move (ZCL8, 3.10.2.4.2): direction, rate in levels a second (0xFF: the device's own)."""
    payload = first(payload, 2)
    rate: dict[str, PropertyValue] = {} if payload[1] == 0xFF else {"rate": payload[1]}
    return f"brightness_move_{_direction(payload)}", rate


def _step(payload: bytes) -> Happening:
    """Step (ZCL8, 3.10.2.4.3): direction, size, transition time in tenths of a second."""
    payload = first(payload, 4)
    return f"brightness_step_{_direction(payload)}", {"step_size": payload[1], **told_transition(word(payload, 2))}


def _timed(payload: bytes) -> Happening:
    """On with Timed Off (ZCL8, 3.8.2.3.6)."""
    payload = first(payload, 5)
    return "on", {"on_time": word(payload, 1) / TENTHS, "off_wait_time": word(payload, 3) / TENTHS}


def _both(name: str, data: DataSchema) -> tuple[EventAffordance, ...]:
    return tuple(EventAffordance(name=f"{name}_{way}", data=data) for way in _UP_DOWN)


_LEVEL_EVENTS: Final = (
    (
        0x00,
        _move_to,
        (
            EventAffordance(
                name="brightness_move_to_level",
                data=record(("level", BYTE), ("transition_time", SECONDS), required=("level",)),
            ),
        ),
    ),
    (0x01, _move, _both("brightness_move", record(("rate", BYTE)))),
    (
        0x02,
        _step,
        _both("brightness_step", record(("step_size", BYTE), ("transition_time", SECONDS), required=("step_size",))),
    ),
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
        cluster=0x0006,  # what it does when its power comes back
        attribute=0x4003,
        type=ENUM8,
        words=_AFTER_POWER,
        property=PropertyAffordance(
            name="power_on_behavior",
            type=DataType.STRING,
            enum=tuple(_AFTER_POWER.values()),
            resource_type=ipso(3306),
            writable=True,
            category="config",
        ),
        optional=True,
        beside=_OF_LIGHTING,
    ),
    _timer(0x4001, "on_time"),
    _timer(0x4002, "off_wait_time"),
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
        cluster=0x0006,
        command=_ON_WITH_TIMED_OFF,
        properties=("state", "on_time", "off_wait_time"),
        plan=_on_for_a_time,
    ),
    WriteMapping(
        cluster=0x0008, command=0x04, properties=("brightness", "state"), modifiers=(TRANSITION,), plan=_to_level
    ),
)
ACTIONS: Final = (
    ActionMapping(
        cluster=0x0006, command=0x02, action=ActionAffordance(name="toggle", entity="switch"), reads=(0x0000,)
    ),
    *_level_actions(),
)
EVENTS: Final = (
    plain(0x0006, 0x00, "off"),
    plain(0x0006, 0x01, "on"),
    plain(0x0006, 0x02, "toggle"),
    plain(0x0006, 0x40, "off"),  # with an effect
    plain(0x0006, 0x41, "on"),  # with the scene as it was before
    EventMapping(
        cluster=0x0006,
        command=_ON_WITH_TIMED_OFF,
        by_client=True,
        events=(EventAffordance(name="on", data=record(("on_time", SECONDS), ("off_wait_time", SECONDS))),),
        read=_timed,
    ),
    *(
        EventMapping(cluster=0x0008, command=command + higher, by_client=True, events=events, read=read)
        for command, read, events in _LEVEL_EVENTS
        for higher in (0, 4)  # those with On/Off
    ),
    *(plain(0x0008, command, "brightness_stop") for command in (0x03, 0x07)),
)
