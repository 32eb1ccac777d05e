"""The kinds of rows of ``clusters``: how an attribute becomes a property, a command an action, an event or a write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import inf

from adapters.zigbee.transaction import Content
from carriage.zigbee.datatypes import BOOL, FLOATS, INTEGERS, SIGNED, TEXTS, TYPES, Value, ZclType
from gateway.api.model import ActionAffordance, DataSchema, DataType, EventAffordance, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue


@dataclass(frozen=True, slots=True)
class Reporting:
    """A reporting configuration: at most every ``minimum`` s, at least every ``maximum`` s, and on such a change.

    ``change`` is in the attribute's own units and counts for numbers only.
    """

    minimum: int
    maximum: int
    change: int | float = 0


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is known of one device's cluster when a row is adapted to it.

    ``constants``: the values of the attributes that the row needs, without those that the device doesn't have.
    ``basic``: the same of its Basic cluster. ``options``: what the administrator set for the device.
    """

    constants: Mapping[int, Value] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Scalar] = dataclasses.field(default_factory=dict)
    basic: Mapping[int, Value] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOption:
    """Something that the administrator can set for a device, and that rows are adapted to by ``Particulars.options``.

    ``about``: what it does, in a few words. ``clusters``: a device has it if it has one of these.
    """

    name: str
    schema: DataSchema
    about: str
    clusters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeMapping:
    """One attribute of one cluster as a property; several rows may be of the same attribute.

    ``manufacturer``: the code with which frames must carry a manufacturer's own attribute.
    ``part``: of a value that holds several (a structure, a list of tags) the one of this row; None: it is not there. It
    is given the octets of a report: of a string those that it says it has, of a collection all behind its type. It
    raises PeerError if they are malformed.
    ``field`` and ``schema``: the property is an object, and the attribute this field of it, of this schema.
    ``range``: the least and the greatest number of the attribute that is a value. (Of a boolean 0 and 1 are.)
    ``scale``: the property's unit in one of the attribute's; then ``offset`` is added, and it is rounded to ``digits``.
    ``convert``: in place of it the property's number by the attribute's, if that is no multiple (a logarithm); it can
    be set only if ``revert`` has the way back.
    ``invalid``: the number that says "no value". ``words``: of an enumeration, its numbers as strings.
    ``mask``: of a bitmap those bits of which one makes a boolean true. ``inverted``: it is true if none of them is set,
    or the attribute is false. ``bits``: of a bitmap, for a string: the word of the first mask of which a bit is set; a
    mask of 0 has its word in any case.
    ``reporting`` None: it is read once and never asked to be reported. ``optional``: many devices with the cluster
    don't have it; it is a property once the device reported it. ``poll``: no device can report it, so it is read every
    so many seconds. ``unasked``: the device tells it by itself; it is neither read nor asked to be reported.
    ``ends``: of a boolean of which the device never says that it is over: false so many seconds after it was last true.
    ``commands``: the cluster command without payload that sets a value; a writable property without commands is
    written as the attribute, unless a row of ``WRITES`` sets it. A value that has ``words`` is what the device
    reports, not what a command asks for: a cover that closes is open for a while. ``answered``: the cluster answers
    them by a command with the same id, which begins with a status, and not by a default response.
    ``beside``: only an endpoint that has one of these clusters too has it. ``endpoints``: only these have it, if any
    are named; what another endpoint has by the same name is the same property then.
    ``needs``: attributes of the cluster that the device is asked once, since the row depends on them; ``needs_basic``:
    such of its Basic cluster. ``adapt``: the row as it is for one device; None: it doesn't have it.
    """

    cluster: int
    attribute: int
    type: ZclType
    property: PropertyAffordance
    manufacturer: int = 0
    part: Callable[[bytes], Value] | None = None
    field: str = ""
    schema: DataSchema | None = None
    range: tuple[int | float, int | float] = (-inf, inf)
    scale: Fraction | int = 1
    offset: int | float = 0
    digits: int | None = None
    convert: Callable[[int | float], int | float] | None = None
    revert: Callable[[int | float], int | float] | None = None
    invalid: int | None = None
    words: Mapping[int, str] = dataclasses.field(default_factory=dict)
    mask: int = 0
    inverted: bool = False
    bits: tuple[tuple[int, str], ...] = ()
    reporting: Reporting | None = None
    optional: bool = False
    poll: float = 0.0
    unasked: bool = False
    ends: int | float = 0
    commands: Mapping[Scalar, int] = dataclasses.field(default_factory=dict)
    answered: bool = False
    needs: tuple[int, ...] = ()
    needs_basic: tuple[int, ...] = ()
    adapt: Callable[[AttributeMapping, Particulars], AttributeMapping | None] | None = None
    beside: tuple[int, ...] = ()
    endpoints: tuple[int, ...] = ()
    ratio: tuple[int, int] = dataclasses.field(init=False)
    """``scale``: a method of Fraction is a Python function, and this is needed for each value."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", self.scale.as_integer_ratio())
        if self.convert is not None and (self.scale != 1 or (self.property.writable and self.revert is None)):
            raise ValueError(f"{self.property.name}: a row with convert has no scale, and can be set with revert only")

    def value(self, raw: Value) -> Scalar | None:
        """The property's value, or its field's. None: the device has none now, or reported one that can't be."""
        kind = self.property.type if self.schema is None else self.schema.type
        if kind is DataType.STRING:
            if self.words:
                return self.words.get(raw) if isinstance(raw, int) else None
            if self.bits and isinstance(raw, int):
                return next((word for mask, word in self.bits if not mask or raw & mask), None)
            return raw if isinstance(raw, str) else None
        if not isinstance(raw, (int, float)) or raw == self.invalid:
            return None
        if kind is DataType.BOOLEAN:
            if self.mask:
                return bool(raw & self.mask) is not self.inverted if isinstance(raw, int) else None
            return (raw == 1) is not self.inverted if raw in (0, 1) else None
        low, high = self.range
        if not low <= raw <= high:
            return None
        if self.convert is not None:
            return self._rounded(self.convert(raw))
        numerator, denominator = self.ratio
        number: int | float = raw * numerator if denominator == 1 else raw * numerator / denominator
        return number if self.digits is None and not self.offset else self._rounded(number)

    def _rounded(self, number: int | float) -> int | float:
        if self.offset:
            number += self.offset
        return number if self.digits is None else round(number, self.digits or None)

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
        """The attribute's value for a property's. ValueError: it has none."""
        if isinstance(value, str):
            for code, word in self.words.items():
                if word == value:
                    return code
            if self.words:
                raise ValueError(value)
            return value
        if self.inverted:
            value = not value
        plain: int | float | Fraction = value - self.offset if self.offset else value
        plain = plain / self.scale if self.revert is None else self.revert(float(plain))
        return float(plain) if self.type.id in FLOATS else round(plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteMapping:
    """A cluster command that sets properties of an endpoint, several of them in one frame if it can.

    ``properties``: those of ``ROWS`` that it can set, by name; a device has it if it has the first of them.
    ``modifiers``: properties that only say how others are set; those of one name are one for all rows of an endpoint.
    ``secrets``: the names of those whose values are kept nowhere, so a write with one isn't held for a sleeping device.
    ``plan``: of the values of a write, by name, the command's payload and what the properties are set to by it; None:
    it is not for these. It is given only those that the device has, and that no row before it has set; a value that
    can't be set raises UsageError. ``command``, or that which ``plan`` returns in front of the payload. ``unanswered``:
    devices answer nothing unless they refuse; what they became they report. ``answered``, ``manufacturer``, ``needs``
    and ``adapt`` as of an ``AttributeMapping``.
    """

    cluster: int
    command: int
    properties: tuple[str, ...]
    modifiers: tuple[PropertyAffordance, ...] = ()
    secrets: frozenset[str] = frozenset()
    plan: Callable[[Mapping[str, PropertyValue]], Plan | None]
    manufacturer: int = 0
    answered: bool = False
    unanswered: bool = False
    needs: tuple[int, ...] = ()
    adapt: Callable[[WriteMapping, Particulars], WriteMapping | None] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command sets: its payload, and what the properties are set to by it, by name.

    ``command``: in place of its row's. ``sets``: the properties that it takes care of; None: all that it was given.
    ``asks``: a property of the row that the device is asked first; ``then`` makes the plan by its value (None: it
    has none), and of this one only ``sets`` counts.
    """

    payload: bytes = dataclasses.field(repr=False)
    became: Mapping[str, PropertyValue] = dataclasses.field(default_factory=dict)
    command: int | None = None
    sets: tuple[str, ...] | None = None
    asks: str = ""
    then: Callable[[PropertyValue | None], Plan] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionMapping:
    """A cluster command as an action. ``payload``: of its input; what can't be done raises UsageError.

    ``command``, or that which ``payload`` returns in front of the octets. ``reads``: attributes that are read behind
    it. ``beside``: only an endpoint that has one of these clusters too offers it. ``unanswered`` as of a
    ``WriteMapping``; ``manufacturer``, ``answered``, ``needs`` and ``adapt`` as of an ``AttributeMapping``.
    """

    cluster: int
    command: int
    action: ActionAffordance
    payload: Callable[[PropertyValue | None], bytes | tuple[int, bytes]] = lambda given: b""
    reads: tuple[int, ...] = ()
    beside: tuple[int, ...] = ()
    manufacturer: int = 0
    answered: bool = False
    unanswered: bool = False
    needs: tuple[int, ...] = ()
    adapt: Callable[[ActionMapping, Particulars], ActionMapping | None] | None = None


Happening = tuple[str, PropertyValue | None]
"""An event by its name in the row, and its data."""
Reply = Callable[[bytes, bool], tuple[int, bytes] | None]
"""Of a payload, and whether something waits for the device: a command of the cluster and its payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMapping:
    """A cluster command that a device sends, as an event or as values, or both.

    ``by_client``: the device is the cluster's client (a remote), else its server (a sensor). ``events``: those that
    ``read`` makes of the payload; None: it is none of them. ``values``: the attributes that the command reports too:
    their ids, types and values. ``reply``: the command of the cluster that is sent back, and its payload; None: none.
    It is given the payload, and whether something waits for the device. All of them raise PeerError if the payload is
    malformed. ``endpoints`` as of a ``ReportedEventMapping``. ``numbered``: the payload begins with the number of a
    press, by which a copy is known.
    """

    cluster: int
    command: int
    by_client: bool
    events: tuple[EventAffordance, ...] = ()
    read: Callable[[bytes], Happening | None] = lambda payload: None
    values: Callable[[bytes], Iterable[tuple[int, int, Value]]] = lambda payload: ()
    reply: Reply | None = None
    manufacturer: int = 0
    endpoints: Mapping[int, str] = dataclasses.field(default_factory=dict)
    numbered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedEventMapping:
    """An attribute that a device reports to say that something happened: a button that was pressed.

    ``events``: those that ``read`` makes of the value; None: it is none of them. It is no property's, unless a row says
    so. ``endpoints``: only these have it, if any are named, and there the names have this in front (``button_2_``) or
    behind (``_left``).
    """

    cluster: int
    attribute: int
    events: tuple[EventAffordance, ...]
    read: Callable[[Value], Happening | None]
    endpoints: Mapping[int, str] = dataclasses.field(default_factory=dict)
    manufacturer: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingMapping:
    """An attribute that the gateway itself sets, once, when it sets a device up; the cluster is bound then.

    ``value``: by what the device said of ``needs``; None: it stays as it is. ``manufacturer`` and ``beside`` as of an
    ``AttributeMapping``.
    """

    cluster: int
    attribute: int
    type: ZclType
    value: Callable[[Particulars], int | None]
    needs: tuple[int, ...] = ()
    manufacturer: int = 0
    beside: tuple[int, ...] = ()


def plain(cluster: int, command: int, name: str, *, by_client: bool = True) -> EventMapping:
    """The row of a command that is an event without data."""
    happening: Happening = (name, None)
    return EventMapping(
        cluster=cluster,
        command=command,
        by_client=by_client,
        events=(EventAffordance(name=name),),
        read=lambda payload: happening,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupMapping:
    """A request that is made once to each device with the cluster, after its interview, before its values are read.

    ``content``: by our own EUI64. The device's answer is kept under ``name`` and shown to the administrator; whatever
    it is, the setup goes on. It is made again when the device was without power.
    """

    cluster: int
    name: str
    content: Callable[[int], Content]
