"""The kinds of rows of ``clusters``: how an attribute becomes a property, a command an action, an event or a write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import inf

from carriage.zigbee.datatypes import BOOL, FLOATS, INTEGERS, SIGNED, TEXTS, TYPES, Value, ZclType
from gateway.api.model import ActionAffordance, DataType, EventAffordance, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue


@dataclass(frozen=True, slots=True)
class Reporting:
    """A reporting configuration: at most every ``minimum`` s, at least every ``maximum`` s, and on such a change.

    ``change`` is in the attribute's own units and counts for numbers only.
    """

    minimum: int
    maximum: int
    change: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeMapping:
    """One attribute of one cluster as a property.

    ``range``: the least and the greatest number of the attribute that is a value. (Of a boolean 0 and 1 are.)
    ``scale``: the property's unit in one of the attribute's. ``convert``: in place of it the property's number by the
    attribute's, if that is no multiple (a logarithm); it can't be set then. ``invalid``: the number that says "no
    value".
    ``mask``: of a bitmap those bits of which one makes a boolean true. ``reporting`` None: it is read once and never
    asked to be reported. ``commands``: the cluster command without payload that sets a value; a writable property
    without commands is written as the attribute, unless a row of ``WRITES`` sets it.
    """

    cluster: int
    attribute: int
    type: ZclType
    property: PropertyAffordance
    range: tuple[int | float, int | float] = (-inf, inf)
    scale: Fraction | int = 1
    convert: Callable[[float], float] | None = None
    invalid: int | None = None
    mask: int = 0
    reporting: Reporting | None = None
    commands: Mapping[Scalar, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.convert is not None and (self.property.writable or self.scale != 1):
            raise ValueError(f"{self.property.name}: a row with convert has no scale and can't be written")

    def value(self, raw: Value) -> Scalar | None:
        """The property's value. None: the device has no value now, or reported one that can't be."""
        kind = self.property.type
        if kind is DataType.STRING:
            return raw if isinstance(raw, str) else None
        if not isinstance(raw, (int, float)) or raw == self.invalid:
            return None
        if kind is DataType.BOOLEAN:
            if self.mask:
                return bool(raw & self.mask) if isinstance(raw, int) else None
            return raw == 1 if raw in (0, 1) else None
        low, high = self.range
        if not low <= raw <= high:
            return None
        if self.convert is not None:
            return self.convert(raw)
        numerator, denominator = self.scale.as_integer_ratio()
        return raw * numerator if denominator == 1 else raw * numerator / denominator

    def of_type(self, type_id: int, raw: Value) -> Value:
        """A value that came as another type than the row's, as if it had come as that. None: it can't be one.

        Any integer type carries a whole number or a boolean, but a boolean no number. Of the same width the octets
        are right and the sign is the row's: 0xFF9C for an int16 is -100 though it came as uint16, for -100 can be a
        value and 65436 can't. Of another width the type is believed.
        """
        own = self.type
        if own.id in FLOATS:
            return raw if type_id in FLOATS else None
        if own.id in TEXTS:
            return raw if type_id in TEXTS else None
        if type_id not in INTEGERS or not (own.id in INTEGERS or own is BOOL) or not isinstance(raw, int):
            return None
        if TYPES[type_id].size != own.size:
            return raw
        return int.from_bytes(
            raw.to_bytes(own.size, "little", signed=type_id in SIGNED), "little", signed=own.id in SIGNED
        )

    def raw(self, value: Scalar) -> int | float | str:
        """The attribute's value for a property's."""
        if isinstance(value, str):
            return value
        return float(value) if self.type.id in FLOATS else round(value / self.scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteMapping:
    """A cluster command that sets several properties of an endpoint in one frame.

    ``properties``: those of ``ROWS`` that it can set, by name; a device has it if it has the first of them.
    ``modifiers``: properties that only it has, which say how. ``plan``: of the values of a write, by name, the
    command's payload and what the properties are set to by it; None: it is not for these.
    """

    cluster: int
    command: int
    properties: tuple[str, ...]
    modifiers: tuple[PropertyAffordance, ...] = ()
    plan: Callable[[Mapping[str, PropertyValue]], tuple[bytes, dict[str, Scalar]] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionMapping:
    """A cluster command as an action. ``payload``: of its input. ``reads``: attributes that are read behind it."""

    cluster: int
    command: int
    action: ActionAffordance
    payload: Callable[[PropertyValue | None], bytes] = lambda given: b""
    reads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMapping:
    """A cluster command that a device sends, as an event.

    ``by_client``: the device is the cluster's client (a remote), else its server (a sensor). ``data``: of the payload;
    PeerError: malformed. ``attribute`` and ``raw``: the attribute of ``ROWS`` that the command reports too.
    """

    cluster: int
    command: int
    by_client: bool
    event: EventAffordance
    data: Callable[[bytes], PropertyValue | None] = lambda payload: None
    attribute: int | None = None
    raw: Callable[[bytes], Value] = lambda payload: None
