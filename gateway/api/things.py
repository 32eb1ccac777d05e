"""Devices as Things (W3C WoT Thing Description 1.1): what they offer, and what they report.

A device has *properties*, *actions* and *events*; each is an interaction affordance (TD 1.1, section 5.3.1) whose
values a data schema describes (section 5.3.2). What a peer wants of a device stands in ``gateway.api.interactions``.
Values only, no behaviour but ``fits``; times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from gateway.api.identity import Address, EnvelopeId, Peer

Scalar = bool | int | float | str
Value = Scalar | list["Value"] | dict[str, "Value"]
"""A value of a property, of an action's input or output, of an event: what JSON can say, without null.

None in its place: there is none now (a sensor's "invalid", an action without input). Never changed once it is made.
"""


class DataType(Enum):
    """``type`` of a data schema (TD 1.1, section 5.3.2.1)."""

    __hash__ = object.__hash__  # tables of each value have it as their key, and that of Enum is a Python function

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    OBJECT = "object"
    ARRAY = "array"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSchema:
    """The schema of a value (TD 1.1, section 5.3.2).

    ``unit``: of a number, from the SenML registry (RFC 8428, section 12.1): ``Cel``, ``%RH``, ``s``, or a secondary
    unit of RFC 8798: ``hPa``, ``kWh``, ``mV``. ``minimum`` and ``maximum`` (both included) and ``multiple_of`` (the
    step) bound a number. ``enum``: the only values of a string. ``fields`` are an object's by name,
    ``required`` those that must be there, others are refused; ``items`` is what an array holds, at most
    ``max_items``.
    """

    type: DataType
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: float | None = None
    enum: tuple[str, ...] = ()
    fields: tuple[tuple[str, DataSchema], ...] = ()
    required: frozenset[str] = frozenset()
    items: DataSchema | None = None
    max_items: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyAffordance(DataSchema):
    """One property of a device. Its adapter makes it; the carriages that pass it on need nothing else.

    ``name``: ``[a-z][a-z0-9_]*``, at most 32; the MQTT key and the last segment of the CoAP path. ``resource_type``:
    ``rt`` in link format (RFC 6690), an IPSO object and resource as ``urn:oma:lwm2m:ext:3303``. ``device_class``: Home
    Assistant's word. ``writable``: it may be set; ``readable``: it has a value that can be asked for and observed. One
    that can only be set says how other properties of the same write are set (a ``transition`` in seconds), and is of
    no effect alone. ``lifetime``: a value older than so many seconds is stale.
    """

    name: str
    resource_type: str = ""
    device_class: str = ""
    writable: bool = False
    readable: bool = True
    lifetime: float = 86_400.0
    entity: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionAffordance:
    """Something that a device can do (TD 1.1, section 5.3.1.4). ``name`` as of a property.

    ``input``, ``output`` None: it takes none, gives none. ``idempotent``: doing it twice is as good as once (``toggle``
    is not). One that is not needs a ``transaction`` on a carriage that may deliver twice. ``entity`` as of a property.
    An input that is an object has one required field at most, which a bare value stands for.
    """

    name: str
    input: DataSchema | None = None
    output: DataSchema | None = None
    idempotent: bool = False
    entity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventAffordance:
    """Something that a device says when it happens (TD 1.1, section 5.3.1.5). ``data`` None: it has none."""

    name: str
    data: DataSchema | None = None


# What devices say


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A device came into an adapter's network, came back, or (after a start of the adapter) is still there.

    ``facts`` are what its interview found (model, ...); the affordances are all that it offers. The last Join of a
    device counts; it says that the device is known, not that it can be reached: that is ``Presence``.

    ``members``: None but of a cast group, which one message reaches as a whole: the addresses of the devices in it. It
    is a Thing like a device, with what its members share, and a peer may do with it what it may do with every member.
    """

    id: EnvelopeId
    source: Peer
    received_at: float
    facts: tuple[tuple[str, str], ...] = ()
    properties: tuple[PropertyAffordance, ...] = ()
    actions: tuple[ActionAffordance, ...] = ()
    events: tuple[EventAffordance, ...] = ()
    sleepy: bool = False
    members: tuple[Address, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A device left an adapter's network for good."""

    id: EnvelopeId
    source: Peer
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Whether a device can be reached, as its adapter knows it now (it was heard; it stays silent too long)."""

    id: EnvelopeId
    source: Peer
    online: bool
    received_at: float


@dataclass(init=False, slots=True)
class Reading:
    """Property values that a device reported in one message, as (property, value). Unknown properties are ignored."""

    id: Final[EnvelopeId]
    source: Final[Peer]
    values: Final[tuple[tuple[str, Value | None], ...]]
    received_at: Final[float]

    def __init__(
        self, *, id: EnvelopeId, source: Peer, values: tuple[tuple[str, Value | None], ...], received_at: float
    ) -> None:
        self.id = id
        self.source = source
        self.values = values
        self.received_at = received_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened at a device (a button was pressed). It is passed on at once or never, and never stored.

    An event that the device's last Join doesn't name, or whose data its schema doesn't fit, is ignored and counted.
    """

    id: EnvelopeId
    source: Peer
    name: str
    data: Value | None = field(repr=False)
    """It may be a secret: a code that a user typed at a keypad."""
    received_at: float


# What peers may see


class Sample(NamedTuple):
    """A property's last value. ``at``: when the device reported it, monotonic seconds; may be before this start."""

    value: Value | None
    at: float
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """A device as one peer may see it. ``may``: what it may do with it: ``read``, ``observe``, ``write``, ``invoke``.

    ``online`` is None while it is not known. ``samples`` has the properties of which a value was reported, and none for
    a peer that may not read. ``members``: as of ``Join``; a peer that may use a cast group may use each of them.
    """

    name: str
    address: Address
    may: frozenset[str]
    online: bool | None
    sleepy: bool
    facts: tuple[tuple[str, str], ...]
    properties: tuple[PropertyAffordance, ...]
    samples: Mapping[str, Sample]
    actions: tuple[ActionAffordance, ...] = ()
    events: tuple[EventAffordance, ...] = ()
    members: tuple[Address, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """The gateway itself, as an adapter may describe it to a peer.

    ``id``: 32 lower-case hex digits, made at the first start and kept; never derived from a name. ``joining_until``:
    monotonic seconds, until when new devices may come into a network; 0.0: joining is closed. ``healthy``: it does
    all that its files ask of it; what it doesn't is for administrators.
    """

    id: str
    name: str
    version: str
    joining_until: float = 0.0
    healthy: bool = True


class Change(Enum):
    """The kind of an ``Update``."""

    VALUES = "values"
    """It reported something; the value may be the same as before."""
    STALE = "stale"
    """Some values are too old to be trusted."""
    EVENT = "event"
    """Something happened."""
    PRESENCE = "presence"
    """It can be reached now, or can't any longer."""
    DEVICE = "device"
    """It is new, or its facts or affordances are others."""
    GONE = "gone"
    """It left, or the subscriber may no longer observe it; a subscription to one device ends with it."""
    ENDED = "ended"
    """The whole subscription is over: ``device`` is empty if it was to every device."""


@dataclass(init=False, slots=True)
class Update:
    """One update for one subscription. ``samples``: by property, of ``VALUES`` and ``STALE``, as they are from now on.

    ``at``: when the device reported it. ``event`` and ``data``: of ``EVENT`` only.
    """

    subscription: Final[EnvelopeId]
    change: Final[Change]
    device: Final[str]
    samples: Final[tuple[tuple[str, Sample], ...]]
    at: Final[float]
    online: Final[bool | None]
    event: Final[str]
    data: Value | None = field(repr=False)  # see Event

    def __init__(
        self,
        subscription: EnvelopeId,
        change: Change,
        device: str,
        samples: tuple[tuple[str, Sample], ...],
        at: float,
        online: bool | None = None,
        event: str = "",
        data: Value | None = None,
    ) -> None:
        self.subscription = subscription
        self.change = change
        self.device = device
        self.samples = samples
        self.at = at
        self.online = online
        self.event = event
        self.data = data
