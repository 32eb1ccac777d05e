"""Colour: Color Control, 0x0300 (ZCL8, 5.2).

What a lamp can is in its ColorCapabilities; of one that doesn't tell, each attribute that it has is a property, and it
is set by x and y. A lamp that has Options takes a colour while it is off, and has it when it is switched on; others
ignore it until they are on, so what switches on goes first (``command_frames.writing``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    Particulars,
    Plan,
    Reporting,
    WriteMapping,
)
from adapters.zigbee.families.colours import hue_and_saturation_of, xy_of
from adapters.zigbee.families.ipso import ipso
from adapters.zigbee.families.payloads import (
    SECONDS,
    TENTHS,
    amount,
    fields_of,
    record,
    signed,
    transition,
    words,
)
from adapters.zigbee.families.remotes import COLOUR_EVENTS
from adapters.zigbee.families.switching import TRANSITION
from carriage.zigbee.datatypes import ENUM8, UINT8, UINT16, ZclType
from gateway.api.model import ActionAffordance, DataSchema, DataType, PropertyAffordance
from gateway.api.model import Value as PropertyValue
from layer.errors import UsageError

_CLUSTER: Final = 0x0300
_CAPABILITIES: Final = 0x400A
_WARMEST, _COOLEST = 0x400C, 0x400B  # the physical maximum and minimum in mired
_OPTIONS: Final = 0x000F
_NEEDS: Final = (_CAPABILITIES, _COOLEST, _WARMEST, _OPTIONS)

_HUE, _ENHANCED_HUE, _LOOP, _XY, _TEMPERATURE = 1, 2, 4, 8, 16
"""Bits of ColorCapabilities (ZCL8, 5.2.2.2.1.12)."""
_EXECUTE_IF_OFF: Final = b"\x01\x01"
"""Options mask and override (ZCL8, 5.2.2.3.1)."""

_MOST: Final = 0xFEFF
"""The greatest x, y and mired (ZCL8, 5.2.2.2.4, 5.2.2.2.7)."""
_USUAL_LIMITS: Final = (153, 500)
"""Mired, for a lamp that doesn't tell its own."""
_MODES: Final = {0: "hs", 1: "xy", 2: "color_temp"}

_FIELDS: Final = {
    "x": DataSchema(type=DataType.NUMBER, minimum=0, maximum=1),
    "y": DataSchema(type=DataType.NUMBER, minimum=0, maximum=1),
    "hue": DataSchema(type=DataType.NUMBER, unit="deg", minimum=0, maximum=360),
    "saturation": DataSchema(type=DataType.NUMBER, unit="%", minimum=0, maximum=100),
}
_COLOR: Final = PropertyAffordance(
    name="color",
    type=DataType.OBJECT,
    fields=tuple(_FIELDS.items()),
    resource_type=ipso(3335),
    writable=True,
    lifetime=7500.0,
    entity="light",
)


def _capabilities(known: Particulars) -> int:
    """0: it doesn't say. (One without any would have no such cluster.)"""
    found = known.constants.get(_CAPABILITIES)
    return found if isinstance(found, int) else 0


def _if(needed: int, otherwise: bool = True) -> Callable[[AttributeMapping, Particulars], AttributeMapping | None]:
    """The row of an attribute that lamps with this capability have; ``otherwise``: those that don't say, too."""

    def adapt(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
        has = _capabilities(known)
        if not has:
            return replace(row, optional=True) if otherwise else None
        return row if has & needed else None

    return adapt


def _coarse_hue(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    return None if _capabilities(known) & _ENHANCED_HUE else _if(_HUE)(row, known)


def limits(known: Particulars) -> tuple[int, int]:
    """The coolest and the warmest white in mired."""
    low, high = known.constants.get(_COOLEST), known.constants.get(_WARMEST)
    least = low if isinstance(low, int) and 0 < low < _MOST else _USUAL_LIMITS[0]
    most = high if isinstance(high, int) and 0 < high < _MOST else _USUAL_LIMITS[1]
    return (least, most) if least < most else _USUAL_LIMITS


def _temperature(row: AttributeMapping, known: Particulars) -> AttributeMapping | None:
    has = _capabilities(known)
    if has and not has & _TEMPERATURE:
        return None
    least, most = limits(known)
    return replace(row, optional=not has, property=replace(row.property, minimum=least, maximum=most))


def _most(size: int) -> int:
    """Of so many octets the greatest number that is a value."""
    return (1 << 8 * size) - 2


def _field(
    name: str,
    attribute: int,
    kind: ZclType,
    top: int,
    scale: Fraction,
    digits: int,
    change: int,
    adapt: Callable[[AttributeMapping, Particulars], AttributeMapping | None],
) -> AttributeMapping:
    return AttributeMapping(
        cluster=_CLUSTER,
        attribute=attribute,
        type=kind,
        range=(0, top),
        scale=scale,
        digits=digits,
        invalid=_most(kind.size) + 1,
        field=name,
        schema=_FIELDS[name],
        property=_COLOR,
        reporting=Reporting(1, 3600, change),
        needs=_NEEDS,
        adapt=adapt,
    )


ROWS: Final = (
    _field("x", 0x0003, UINT16, _MOST, Fraction(1, 0x10000), 4, 66, _if(_XY)),
    _field("y", 0x0004, UINT16, _MOST, Fraction(1, 0x10000), 4, 66, _if(_XY)),
    _field("hue", 0x0000, UINT8, 254, Fraction(360, 254), 1, 1, _coarse_hue),
    _field("hue", 0x4000, UINT16, 0xFFFE, Fraction(360, 0x10000), 1, 182, _if(_ENHANCED_HUE, otherwise=False)),
    _field("saturation", 0x0001, UINT8, 254, Fraction(100, 254), 1, 1, _if(_HUE | _ENHANCED_HUE)),
    AttributeMapping(
        cluster=_CLUSTER,  # in mired; 0 is no value
        attribute=0x0007,
        type=UINT16,
        range=(1, _MOST),
        invalid=0xFFFF,
        property=PropertyAffordance(
            name="color_temp",
            type=DataType.INTEGER,
            resource_type=ipso(3335),
            writable=True,
            minimum=_USUAL_LIMITS[0],
            maximum=_USUAL_LIMITS[1],
            lifetime=7500.0,
            entity="light",
        ),
        reporting=Reporting(1, 3600, 1),
        needs=_NEEDS,
        adapt=_temperature,
    ),
    AttributeMapping(
        cluster=_CLUSTER,  # by what it was set last
        attribute=0x0008,
        type=ENUM8,
        words=_MODES,
        property=PropertyAffordance(
            name="color_mode",
            type=DataType.STRING,
            enum=tuple(_MODES.values()),
            resource_type=ipso(3335),
            lifetime=7500.0,
            entity="light",
        ),
        reporting=Reporting(1, 3600),
    ),
)


# What is set ---------------------------------------------------------------------------------------------------------


def _numbers(wanted: Mapping[str, PropertyValue]) -> dict[str, float]:
    """The fields of a colour. UsageError: they are none."""
    found: dict[str, float] = {}
    for name, value in wanted.items():
        most = _FIELDS[name].maximum if name in _FIELDS else None
        if most is None or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise UsageError("out of range")
        found[name] = value
    return found


def _raw(value: float, factor: float, most: int) -> int:
    return min(round(value * factor), most)


@dataclass(frozen=True, slots=True)
class _Lamp:
    """How one lamp is set. ``options``: what its colour commands end with."""

    has: int = 0
    options: bytes = b""
    least: int = _USUAL_LIMITS[0]
    most: int = _USUAL_LIMITS[1]

    def color(self, values: Mapping[str, PropertyValue]) -> Plan | None:
        """By x and y or by hue and saturation, whichever is given; by what the lamp has if it lacks that way."""
        wanted = values.get("color")
        if not isinstance(wanted, dict):
            return None
        given = _numbers(wanted)
        time = transition(values.get("transition"), 0) + self.options
        by_hue = self.has & (_HUE | _ENHANCED_HUE)
        by_xy = self.has & _XY or not by_hue
        if "x" in given and "y" in given:
            if by_xy:
                return self._to_xy(given["x"], given["y"], time)
            given["hue"], given["saturation"] = hue_and_saturation_of(given["x"], given["y"])
        elif not given.keys() & {"hue", "saturation"}:
            raise UsageError("a colour is x and y, or hue and saturation")
        if by_hue:
            return self._to_hue(given, time)
        if not given.keys() >= {"hue", "saturation"}:
            raise UsageError("this lamp takes hue and saturation together")
        return self._to_xy(*xy_of(given["hue"], given["saturation"]), time)

    def _to_xy(self, x: float, y: float, time: bytes) -> Plan:
        """Move to Color (ZCL8, 5.2.2.3.9)."""
        color: dict[str, PropertyValue] = {"x": x, "y": y}
        if self.has & (_HUE | _ENHANCED_HUE):
            color["hue"], color["saturation"] = hue_and_saturation_of(x, y)
        raw = words(_raw(x, 0x10000, _MOST), _raw(y, 0x10000, _MOST))
        return Plan(raw + time, {"color": color, "color_mode": "xy"}, 0x07)

    def _to_hue(self, given: Mapping[str, float], time: bytes) -> Plan:
        """The commands by hue, by saturation and by both (ZCL8, 5.2.2.3.2, 5.2.2.3.5, 5.2.2.3.8; with the enhanced hue
        5.2.2.3.13 and 5.2.2.3.16), the shorter way round."""
        enhanced = self.has & _ENHANCED_HUE
        color: dict[str, PropertyValue] = {}
        turn = tone = b""
        if "hue" in given:
            color["hue"] = hue = given["hue"]
            turn = words(_raw(hue, 0x10000 / 360, 0xFFFF)) if enhanced else bytes((_raw(hue, 254 / 360, 254),))
        if "saturation" in given:
            color["saturation"] = saturation = given["saturation"]
            tone = bytes((_raw(saturation, 254 / 100, 254),))
        if turn and tone:
            command = 0x43 if enhanced else 0x06
            if self.has & _XY:
                color["x"], color["y"] = xy_of(given["hue"], given["saturation"])
        elif turn:
            command, tone = 0x40 if enhanced else 0x00, b"\0"  # the direction
        else:
            command = 0x03
        return Plan(turn + tone + time, {"color": color, "color_mode": "hs"}, command)

    def temperature(self, values: Mapping[str, PropertyValue]) -> Plan | None:
        """Move to Color Temperature (ZCL8, 5.2.2.3.11), within the lamp's limits."""
        mired = values.get("color_temp")
        if not isinstance(mired, int):
            return None
        mired = min(max(mired, self.least), self.most)
        time = transition(values.get("transition"), 0) + self.options
        return Plan(words(mired) + time, {"color_temp": mired, "color_mode": "color_temp"})


def _lamp(known: Particulars) -> _Lamp:
    options = _EXECUTE_IF_OFF if isinstance(known.constants.get(_OPTIONS), int) else b""
    return _Lamp(_capabilities(known), options, *limits(known))


WRITES: Final = (
    WriteMapping(
        cluster=_CLUSTER,
        command=0x07,
        properties=("color", "color_mode"),
        modifiers=(TRANSITION,),
        plan=_Lamp().color,
        needs=_NEEDS,
        adapt=lambda write, known: replace(write, plan=_lamp(known).color),
    ),
    WriteMapping(
        cluster=_CLUSTER,
        command=0x0A,
        properties=("color_temp", "color_mode"),
        modifiers=(TRANSITION,),
        plan=_Lamp().temperature,
        needs=_NEEDS,
        adapt=lambda write, known: replace(write, plan=_lamp(known).temperature),
    ),
)


# Actions -------------------------------------------------------------------------------------------------------------

_UP, _DOWN = 1, 3
"""Of a step or a move (ZCL8, 5.2.2.3.3, 5.2.2.3.4); 0 stops."""
_NO_BOUNDS: Final = words(0, 0)
"""Of a colour temperature: the lamp's own."""


def _amount(given: PropertyValue | None, name: str, size: int) -> bytes:
    """Direction and size of a step or a move."""
    wanted = amount(given, name, _most(size))
    mode = 0 if not wanted and name == "rate" else _DOWN if wanted < 0 else _UP
    return bytes((mode,)) + abs(wanted).to_bytes(size, "little")


def _stepping(size: int, tail: bytes) -> Callable[[PropertyValue | None], bytes]:
    """A step; its transition time is as wide as its size."""

    def payload(given: PropertyValue | None) -> bytes:
        seconds = fields_of(given).get("transition")
        tenths = round(seconds * TENTHS) if isinstance(seconds, int | float) else 0
        return _amount(given, "step", size) + min(tenths, _most(size) + 1).to_bytes(size, "little") + tail

    return payload


def _moving(size: int, tail: bytes) -> Callable[[PropertyValue | None], bytes]:
    return lambda given: _amount(given, "rate", size) + tail


def _offered(needed: int) -> Callable[[ActionMapping, Particulars], ActionMapping | None]:
    """The action of lamps with this capability; of one that doesn't say there is none."""
    return lambda row, known: row if _capabilities(known) & needed else None


def _changes() -> Iterator[ActionMapping]:
    for name, step, move, size, tail, needed, attributes in (
        ("hue", 0x02, 0x01, 1, b"", _HUE | _ENHANCED_HUE, (0x0000, 0x4000)),
        ("saturation", 0x05, 0x04, 1, b"", _HUE | _ENHANCED_HUE, (0x0001,)),
        ("color_temp", 0x4C, 0x4B, 2, _NO_BOUNDS, _TEMPERATURE, (0x0007,)),
    ):
        number = signed(_most(size))
        for kind, command, payload, schema in (
            (
                "step",
                step,
                _stepping(size, tail),
                record(("step", number), ("transition", SECONDS), required=("step",)),
            ),
            ("move", move, _moving(size, tail), record(("rate", number), required=("rate",))),
        ):
            yield ActionMapping(
                cluster=_CLUSTER,
                command=command,
                action=ActionAffordance(name=f"{name}_{kind}", input=schema, entity="light"),
                payload=payload,
                reads=(*attributes, 0x0008),
                needs=_NEEDS,
                adapt=_offered(needed),
            )


def _loop(given: PropertyValue | None) -> bytes:
    """Color Loop Set (ZCL8, 5.2.2.3.19): from the present hue on; a round takes ``time`` seconds."""
    wanted = fields_of(given)
    time = wanted.get("time")
    if not wanted.get("active"):
        return bytes((0x01, 0x00, 0x00)) + words(0, 0)
    flags = 0x01 | 0x02 | (0x04 if time is not None else 0)
    seconds = round(time) if isinstance(time, int | float) else 0
    return bytes((flags, 0x02, wanted.get("direction") != "down")) + words(seconds, 0)


ACTIONS: Final = (
    *_changes(),
    ActionMapping(
        cluster=_CLUSTER,
        command=0x44,
        action=ActionAffordance(
            name="color_loop",
            input=record(
                ("active", DataSchema(type=DataType.BOOLEAN)),
                ("direction", DataSchema(type=DataType.STRING, enum=("up", "down"))),
                ("time", DataSchema(type=DataType.INTEGER, minimum=1, maximum=0xFFFE)),
                required=("active",),
            ),
            idempotent=True,
            entity="light",
        ),
        payload=_loop,
        needs=_NEEDS,
        adapt=_offered(_LOOP),
    ),
)
EVENTS: Final = COLOUR_EVENTS
