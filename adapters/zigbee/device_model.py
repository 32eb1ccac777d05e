"""What a device has, by the rows of ``clusters`` and its interview: its properties, actions, events and their places.

No radio, no clock. ``reports`` reads what it tells.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    ReportedEventMapping,
    SetupMapping,
    WriteMapping,
)
from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY, Device
from adapters.zigbee.presses import Presses
from adapters.zigbee.radio_port import IncomingFrame
from carriage.zigbee.datatypes import ZclType
from gateway.api.model import (
    ActionAffordance,
    EventAffordance,
    Peer,
    PropertyAffordance,
)
from gateway.api.model import Value as PropertyValue

_LOG = logging.getLogger(__name__)

BASIC: Final = 0x0000
MAX_PROPERTIES: Final = 64
"""Of one device, and as many actions; what its further endpoints offer is left out."""
MAX_EVENTS: Final = 512
"""Commands of one device that are events."""
RECENT: Final = 8
"""Frames of a device that are remembered to know their copies."""
RECENT_SECONDS: Final = 5.0
"""A copy comes within the APS retries of its sender (3 of 1.6 s); later the counters may have gone round."""
COUNTERS: Final = ("values_out_of_range", "values_of_another_type", "values_of_a_wrong_type")
"""Values that count as none; values taken although their type is another; values of a type that can't carry them."""

GROUP: Final = "group"
"""The field of an event's data that has the group to which a remote cast it."""

Values = tuple[tuple[str, PropertyValue | None], ...]


@dataclass(slots=True, eq=False)
class Whole:
    """A property that is an object: the slots of its fields, and their last values."""

    slots: list[Slot]
    values: dict[str, PropertyValue]


@dataclass(slots=True, eq=False)
class Slot:
    """One property of one device, or one field of it, and its place. ``type``: that of its attribute by its last
    answer, which may differ from the row's. ``absent``: the device says that it doesn't have the attribute. ``next``:
    another property of the same attribute. ``whole``: of a field, the object. An optional one is absent until the
    device reported it."""

    property: PropertyAffordance
    endpoint: int
    row: AttributeMapping
    type: ZclType
    absent: bool = False
    next: Slot | None = None
    whole: Whole | None = None
    others: tuple[Slot, ...] = ()
    """Further attributes that are the same property: of other clusters, or of endpoints that their rows name."""
    attempt: int = 0
    """The number of reporting configurations that the device refused as such."""

    @builtins.property
    def place(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return place(self.endpoint, self.row.cluster, self.row.manufacturer)

    @builtins.property
    def slots(self) -> list[Slot]:
        """All slots of its property."""
        return [self, *self.others] if self.whole is None else self.whole.slots

    @builtins.property
    def asked(self) -> list[Slot]:
        """Those of which the device is asked for the property: of several that are the same the first that it has and
        doesn't tell by itself only."""
        if not self.others:
            return self.slots
        there = [each for each in self.slots if not each.absent] or [self]
        return [next((each for each in there if not each.row.unasked), there[0])]

    def chain(self) -> list[Slot]:
        """The slots of its attribute."""
        return [self] if self.next is None else [self, *self.next.chain()]


def place(endpoint: int, cluster: int, manufacturer: int = 0) -> int:
    """A cluster on an endpoint as one number; a manufacturer's own attributes are at another place."""
    return manufacturer << 32 | endpoint << 16 | cluster


@dataclass(frozen=True, slots=True)
class Modifier:
    """A property that only says how others of its endpoint are set."""

    property: PropertyAffordance
    endpoint: int
    base: str
    """Its name in the row."""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Deed:
    """One action of one device, and its place."""

    action: ActionAffordance
    endpoint: int
    row: ActionMapping


class Notes:
    """What is noticed while values are read. ``changed``: a device has another set of properties than before."""

    def __init__(
        self, counters: dict[str, int] | None = None, changed: Callable[[Model], None] = lambda model: None
    ) -> None:
        self._counters = dict.fromkeys(COUNTERS, 0) if counters is None else counters
        self.changed = changed

    def odd(self, model: Model, slot: Slot, counter: str, text: str) -> None:
        """Count what is odd about a value; the log has it once for each device."""
        self._counters[counter] += 1
        if counter not in model.odd:
            model.odd.add(counter)
            _LOG.info("%s: %s %s (further ones are only counted)", model.eui64, slot.property.name, text)


@dataclass(slots=True, eq=False)
class Model:
    """One device as this adapter understands it. ``places``: the slots of a cluster on an endpoint by attribute.

    ``clusters``: all that it described, by the same numbers as ``places``. ``odd``: what the log has of its values.
    """

    eui64: str
    sleepy: bool
    facts: tuple[tuple[str, str], ...]
    peer: Peer
    peer_link_key: Peer
    slots: dict[str, Slot]
    places: dict[int, dict[int, Slot]]
    clusters: frozenset[int]
    endpoint: int
    """One with the Basic cluster, as every device has it."""
    notes: Notes
    polls_often: bool = False
    """It sleeps, and can be sent to all the same: what waits at its parent is soon fetched."""
    constants: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By place the attributes that its rows depend on."""
    setups: dict[int, dict[str, SetupMapping]] = field(default_factory=dict)
    """By place the requests that it gets once."""
    settings: dict[int, bytes] = field(default_factory=dict)
    """By place what is written to it when it is set up, which may be nothing; it is bound in any case."""
    writes: dict[int, list[WriteMapping]] = field(default_factory=dict)
    """By endpoint the commands that set properties, the first one first."""
    modifiers: dict[str, Modifier] = field(default_factory=dict)
    deeds: dict[str, Deed] = field(default_factory=dict)
    events: dict[tuple[int, int, bool], tuple[dict[str, EventAffordance], EventMapping]] = field(default_factory=dict)
    """By place, command and whether the device is the client there: its events by their names in the row."""
    reported_events: dict[int, dict[int, tuple[dict[str, EventAffordance], ReportedEventMapping]]] = field(
        default_factory=dict
    )
    """By place and attribute: events that the device reports, by their names in the row."""
    aliases: dict[int, int] = field(default_factory=dict)
    """Places with a manufacturer code that means nothing, and those without."""
    whole: dict[int, frozenset[int]] = field(default_factory=dict)
    """By place the attributes whose rows take their octets apart."""
    ends: dict[str, int | float] = field(default_factory=dict)
    """Of ``endings``: properties that are false so many seconds after they were last true."""
    maker: str = ""
    """Whose rows it has beside the standard's, or in their place."""
    debounce: float = 0.0
    """Seconds for which its values wait for others; 0: not at all."""
    polled: dict[str, float] = field(default_factory=dict)
    """Of ``polling``: properties that are read from time to time, and when they were reported."""
    odd: set[str] = field(default_factory=set)
    presses: Presses | None = None
    """Of a remote, once it has sent a command."""
    recent: dict[int, float] = field(default_factory=dict)
    """When the last frames came, by their hashes: with the frames themselves a house would not fit into the cache of
    the processor. Of one device two different frames with the same 64 bits do not come within seconds."""

    @property
    def properties(self) -> tuple[PropertyAffordance, ...]:
        there = [slot.property for slot in self.slots.values() if not all(each.absent for each in slot.slots)]
        return (*there, *(each.property for each in self.modifiers.values()))

    @property
    def actions(self) -> tuple[ActionAffordance, ...]:
        return tuple(deed.action for deed in self.deeds.values())

    @property
    def offered_events(self) -> tuple[EventAffordance, ...]:
        named = [named for named, _ in self.events.values()]
        named += [named for told in self.reported_events.values() for named, _ in told.values()]
        return tuple({each.name: each for every in named for each in every.values()}.values())

    def known_place(self, frame: IncomingFrame) -> int:
        """The place of a frame, whose manufacturer code may mean nothing."""
        return self.aliases.get(frame.place, frame.place)

    def repeated(self, key: tuple[int, int, bool, bytes], now: float) -> bool:
        """Whether this frame came already: the same APS counter, place, protection and octets (with the ZCL sequence) a
        moment ago."""
        recent, frame = self.recent, hash(key)
        before = recent.get(frame)
        if before is not None and now - before < RECENT_SECONDS:
            return True
        if before is not None:
            del recent[frame]  # so that it is the youngest again
        elif len(recent) >= RECENT:
            del recent[next(iter(recent))]
        recent[frame] = now
        return False

    def pressed(self, endpoint: int, number: int, content: int, way: int, now: float) -> bool:
        """Whether this command of a remote is a copy; see ``Presses.repeated``."""
        if self.presses is None:
            self.presses = Presses()
        return self.presses.repeated(endpoint, number, content, way, now)


def peer_of(eui64: str, *, link_key: bool = False) -> Peer:
    return Peer(scheme="zigbee", claims=(f"eui64:{eui64}",), link=LINK_KEY if link_key else NETWORK_KEY)


def facts_of(device: Device) -> tuple[tuple[str, str], ...]:
    return (
        ("manufacturer", device.manufacturer),
        ("model", device.model),
        ("power", "sleepy" if device.sleepy else "always on"),
    )
