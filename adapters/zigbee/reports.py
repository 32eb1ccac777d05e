"""What a device has and tells, by the rows of ``clusters``: its properties, and the values in its reports and answers.

No radio, no clock.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final

from adapters.zigbee import device_ids
from adapters.zigbee.cluster_mappings import ActionMapping, AttributeMapping, EventMapping, WriteMapping
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY, Device, Endpoint
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import STRUCTS, TYPES, Value, ZclType
from carriage.zigbee.foundation import Status
from gateway.api.model import ActionAffordance, EventAffordance, Peer, PropertyAffordance, Scalar
from gateway.api.model import Value as PropertyValue

_LOG = logging.getLogger(__name__)

BASIC: Final = 0x0000
MAX_PROPERTIES: Final = 64
"""Of one device; what its further endpoints offer is left out."""
RECENT: Final = 8
"""Frames of a device that are remembered to know their copies."""
RECENT_SECONDS: Final = 5.0
"""A copy comes within the APS retries of its sender (3 of 1.6 s); later the counters may have gone round."""
COUNTERS: Final = ("values_out_of_range", "values_of_another_type", "values_of_a_wrong_type")
"""Values that count as none; values taken although their type is another; values of a type that can't carry them."""

_RECORD_HEAD: Final = Struct("<HB")
"""Attribute and type of a record in a report (ZCL8, 2.5.11)."""

Values = tuple[tuple[str, Scalar | None], ...]


@dataclass(slots=True, eq=False)
class Slot:
    """One property of one device, and its place. ``type``: that of its attribute by its last answer, which may differ
    from the row's. ``absent``: the device says that it doesn't have the attribute."""

    property: PropertyAffordance
    endpoint: int
    row: AttributeMapping
    type: ZclType
    absent: bool = False

    @builtins.property
    def place(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return self.endpoint << 16 | self.row.cluster


@dataclass(frozen=True, slots=True)
class Modifier:
    """A property that only says how others of its endpoint are set."""

    property: PropertyAffordance
    endpoint: int
    base: str
    """Its name in the row."""


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
    writes: dict[int, WriteMapping] = field(default_factory=dict)
    """By endpoint the command that sets several properties."""
    modifiers: dict[str, Modifier] = field(default_factory=dict)
    deeds: dict[str, Deed] = field(default_factory=dict)
    events: dict[tuple[int, int, bool], tuple[EventAffordance, EventMapping]] = field(default_factory=dict)
    """By place, command and whether the device is the client there."""
    odd: set[str] = field(default_factory=set)
    recent: dict[int, float] = field(default_factory=dict)
    """When the last frames came, by their hashes: with the frames themselves a house would not fit into the cache of
    the processor. Of one device two different frames with the same 64 bits do not come within seconds."""

    @property
    def properties(self) -> tuple[PropertyAffordance, ...]:
        there = tuple(slot.property for slot in self.slots.values() if not slot.absent)
        return (*there, *(each.property for each in self.modifiers.values()))

    @property
    def actions(self) -> tuple[ActionAffordance, ...]:
        return tuple(deed.action for deed in self.deeds.values())

    @property
    def offered_events(self) -> tuple[EventAffordance, ...]:
        return tuple({each.name: each for each, _ in self.events.values()}.values())

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


def peer_of(eui64: str, *, link_key: bool = False) -> Peer:
    return Peer(scheme="zigbee", claims=(f"eui64:{eui64}",), link=LINK_KEY if link_key else NETWORK_KEY)


def facts_of(device: Device) -> tuple[tuple[str, str], ...]:
    return (
        ("manufacturer", device.manufacturer),
        ("model", device.model),
        ("power", "sleepy" if device.sleepy else "always on"),
    )


def model_of(device: Device, table: ClusterTable, notes: Notes) -> Model:
    """What a device's interview says, as properties; those of a further endpoint have its number: ``state_2``."""
    slots: dict[str, Slot] = {}
    places: dict[int, dict[int, Slot]] = {}
    clusters: set[int] = set()
    for endpoint in device.endpoints:
        clusters.update(endpoint.number << 16 | cluster for cluster in endpoint.in_clusters + endpoint.out_clusters)
        for cluster in endpoint.in_clusters:
            for row in table.of.get(cluster, {}).values():
                name = row.property.name
                if name in slots:
                    name = f"{name}_{endpoint.number}"
                if name in slots or len(slots) >= MAX_PROPERTIES:
                    continue
                found = device_ids.described(row.property, endpoint.profile, endpoint.device_id)
                slot = slots[name] = Slot(replace(found, name=name), endpoint.number, row, row.type)
                places.setdefault(slot.place, {})[row.attribute] = slot
    model = Model(
        eui64=device.eui64,
        sleepy=device.sleepy,
        facts=facts_of(device),
        peer=peer_of(device.eui64),
        peer_link_key=peer_of(device.eui64, link_key=True),
        slots=slots,
        places=places,
        clusters=frozenset(clusters),
        endpoint=next((endpoint.number for endpoint in device.endpoints if BASIC in endpoint.in_clusters), 1),
        notes=notes,
    )
    for endpoint in device.endpoints:
        _commands(model, endpoint, table)
    return model


def _commands(model: Model, endpoint: Endpoint, table: ClusterTable) -> None:
    """What an endpoint can do beside telling attributes and having them set."""
    number = endpoint.number
    for cluster in endpoint.in_clusters:
        write = table.writes.get(cluster)
        if write is not None and number << 16 | cluster in model.places:
            model.writes[number] = write
            for modifier in write.modifiers:
                name = _free_name(modifier.name, number, {**model.slots, **model.modifiers})
                model.modifiers[name] = Modifier(replace(modifier, name=name), number, modifier.name)
        for row in table.actions.get(cluster, ()):
            name = _free_name(row.action.name, number, model.deeds)
            model.deeds[name] = Deed(replace(row.action, name=name), number, row)
    names = {event.name for event, _ in model.events.values()}
    for (cluster, command, by_client), mapping in table.events.items():
        if cluster in (endpoint.out_clusters if by_client else endpoint.in_clusters):
            name = _free_name(mapping.event.name, number, names)
            known = (replace(mapping.event, name=name), mapping)
            model.events[number << 16 | cluster, command, by_client] = known


def _free_name(name: str, endpoint: int, taken: Container[str]) -> str:
    return f"{name}_{endpoint}" if name in taken else name


def happened(
    model: Model, at: int, command: int, by_client: bool, payload: bytes
) -> tuple[EventAffordance, PropertyValue | None, Values] | None:
    """A cluster command as an event, its data and the property values in it. None: no row has it.

    PeerError: malformed.
    """
    known = model.events.get((at, command, by_client))
    if known is None:
        return None
    event, mapping = known
    data = mapping.data(payload)
    slot = None if mapping.attribute is None else model.places.get(at, {}).get(mapping.attribute)
    values: Values = ()
    if slot is not None:
        values = ((slot.property.name, slot.row.value(mapping.raw(payload))),)
        if slot.absent:
            slot.absent = False
            model.notes.changed(model)
    return event, data, values


def reported(model: Model, at: int, payload: bytes) -> tuple[Values, str]:
    """The values in a report of the cluster at ``at``, and why what follows them can't be read ("": all was read)."""
    slots = model.places.get(at)
    if slots is not None and (usual := _usual(slots, payload)) is not None:
        return usual, ""
    records, fault = foundation.reported(payload)
    if slots is None:
        return (), fault
    values: list[tuple[str, Scalar | None]] = []
    for attribute, type_id, raw in records:
        slot = slots.get(attribute)
        if slot is not None:
            row = slot.row
            value = row.value(raw) if type_id == row.type.id else None
            if value is not None and not slot.absent:
                values.append((slot.property.name, value))
            else:
                values += _unusual(model, slot, type_id, raw)
    return tuple(values), fault


def _usual(slots: dict[int, Slot], payload: bytes) -> Values | None:
    """The values of a report as nearly all are: numbers of a fixed width, of their rows' types and in range."""
    values: list[tuple[str, Scalar | None]] = []
    start, end = 0, len(payload)
    while start < end:
        body = start + _RECORD_HEAD.size
        if body >= end:
            return None
        attribute, type_id = _RECORD_HEAD.unpack_from(payload, start)
        layout, slot = STRUCTS.get(type_id), slots.get(attribute)
        if layout is None or body + layout.size > end:
            return None
        if slot is not None:
            row = slot.row
            if slot.absent or type_id != row.type.id:
                return None
            value = row.value(layout.unpack_from(payload, body)[0])
            if value is None:
                return None
            values.append((slot.property.name, value))
        start = body + layout.size
    return tuple(values)


def answered(model: Model, at: int, records: list[foundation.ReadRecord]) -> Values:
    """The values in a read response. What the device says it doesn't have is no property of it from now on."""
    values: Values = ()
    for record in records:
        slot = model.places[at].get(record.attribute)
        if slot is None:
            continue
        if not record.status:
            found = _unusual(model, slot, record.type, record.value)
            if found:
                slot.type = TYPES[record.type]
            values += found
        elif record.status == Status.UNSUPPORTED_ATTRIBUTE:
            missing(model, slot)
    return values


def missing(model: Model, slot: Slot) -> None:
    """The device doesn't have the attribute. It has it after all when it tells it."""
    if not slot.absent:
        slot.absent = True
        model.notes.changed(model)


def _unusual(model: Model, slot: Slot, type_id: int, raw: Value) -> Values:
    """A value that may be of another type than the row's, out of its range, or the first of its attribute."""
    row, notes = slot.row, model.notes
    if type_id != row.type.id:
        found = row.of_type(type_id, raw)
        came = f"came as {TYPES[type_id].name}, not {row.type.name}"
        if found is None:
            notes.odd(model, slot, "values_of_a_wrong_type", f"{came}, which can't carry it: it is left out")
            return ()
        notes.odd(model, slot, "values_of_another_type", f"{came}: it is taken")
        raw = found
    if slot.absent:
        slot.absent = False
        notes.changed(model)
    value = row.value(raw)
    if value is None and raw != row.invalid and raw == raw:
        notes.odd(model, slot, "values_out_of_range", f"is sent as {raw!r}, which can't be: it counts as no value")
    return ((slot.property.name, value),)
