"""What a device has, by the rows of ``clusters`` and its interview: its properties, actions, events and their places.

No radio, no clock. ``reports`` reads what it tells.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from adapters.zigbee import device_ids
from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    EventMapping,
    Particulars,
    SettingMapping,
    SetupMapping,
    WriteMapping,
)
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device_view import LINK_KEY, NETWORK_KEY, Device, Endpoint
from adapters.zigbee.families import poll_control
from adapters.zigbee.presses import Presses
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import Value, ZclType
from gateway.api.model import (
    ActionAffordance,
    DataSchema,
    DataType,
    EventAffordance,
    Peer,
    PropertyAffordance,
    Scalar,
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
_CAST: Final = DataSchema(
    type=DataType.OBJECT, fields=((GROUP, DataSchema(type=DataType.INTEGER, minimum=0, maximum=0xFFFF)),)
)

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
    another property of the same attribute. ``whole``: of a field, the object."""

    property: PropertyAffordance
    endpoint: int
    row: AttributeMapping
    type: ZclType
    absent: bool = False
    next: Slot | None = None
    whole: Whole | None = None

    @builtins.property
    def place(self) -> int:
        """The cluster on its endpoint as one number, a key of tables."""
        return place(self.endpoint, self.row.cluster, self.row.manufacturer)

    @builtins.property
    def slots(self) -> list[Slot]:
        """All slots of its property."""
        return [self] if self.whole is None else self.whole.slots

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
        return tuple({each.name: each for named, _ in self.events.values() for each in named.values()}.values())

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


def model_of(
    device: Device,
    table: ClusterTable,
    notes: Notes,
    constants: Mapping[int, Mapping[int, Value]] | None = None,
    options: Mapping[str, Scalar] | None = None,
) -> Model:
    """What a device's interview says, as properties; those of a further endpoint have its number: ``state_2``.

    ``constants``: by place what the device said of the attributes that its rows depend on; a row that depends on some
    which are not known is left out. ``options``: what the administrator set for the device.
    """
    builder = _Builder(constants or {}, options or {})
    clusters: set[int] = set()
    for endpoint in device.endpoints:
        clusters.update(place(endpoint.number, cluster) for cluster in endpoint.in_clusters + endpoint.out_clusters)
        for cluster in endpoint.in_clusters:
            for row in table.of.get(cluster, ()):
                builder.add(endpoint, row)
            builder.set_up(endpoint, cluster, table.settings.get(cluster, ()))
    model = Model(
        eui64=device.eui64,
        sleepy=device.sleepy,
        polls_often=device.sleepy and _polls_often(device, constants or {}),
        facts=facts_of(device),
        peer=peer_of(device.eui64),
        peer_link_key=peer_of(device.eui64, link_key=True),
        slots=builder.slots,
        places=builder.places,
        clusters=frozenset(clusters),
        endpoint=next((endpoint.number for endpoint in device.endpoints if BASIC in endpoint.in_clusters), 1),
        notes=notes,
        constants=builder.needed,
        settings=builder.settings,
    )
    for endpoint in device.endpoints:
        _commands(model, builder, endpoint, table)
    return model


def _polls_often(device: Device, constants: Mapping[int, Mapping[int, Value]]) -> bool:
    clusters = {cluster for endpoint in device.endpoints for cluster in endpoint.in_clusters}
    known = [constants.get(place(endpoint.number, poll_control.CLUSTER)) for endpoint in device.endpoints]
    return poll_control.polls_often(clusters, next((each for each in known if each), {}))


class _Builder:
    """The slots of a device while they are made."""

    def __init__(self, constants: Mapping[int, Mapping[int, Value]], options: Mapping[str, Scalar]) -> None:
        self.slots: dict[str, Slot] = {}
        self.places: dict[int, dict[int, Slot]] = {}
        self.needed: dict[int, tuple[int, ...]] = {}
        self.settings: dict[int, bytes] = {}
        self._constants = constants
        self._options = options
        self._entities: dict[str, int] = {}

    def known(self, at: int, needs: tuple[int, ...]) -> Particulars | None:
        """What the row of a cluster at ``at`` is adapted to; None: the device has to be asked first."""
        if not needs:
            return Particulars({}, self._options)
        self.needed[at] = tuple(dict.fromkeys((*self.needed.get(at, ()), *needs)))
        constants = self._constants.get(at)
        return None if constants is None else Particulars(constants, self._options)

    def add(self, endpoint: Endpoint, row: AttributeMapping) -> None:
        at = place(endpoint.number, row.cluster, row.manufacturer)
        known = self.known(at, row.needs)
        if known is None:
            return
        if row.adapt is not None:
            adapted = row.adapt(row, known)
            if adapted is None:
                return
            row = adapted
        name = row.property.name
        whole = self._whole(name, at) if row.field else None
        if whole is None:
            if name in self.slots:
                if self.slots[name].endpoint == endpoint.number:
                    return  # the same thing, which another cluster of the endpoint has too
                name = f"{name}_{endpoint.number}"
                whole = self._whole(name, at) if row.field else None
            if whole is None and (name in self.slots or len(self.slots) >= MAX_PROPERTIES):
                return
        if whole is None:
            found = device_ids.described(row.property, endpoint.profile, endpoint.device_id, endpoint.in_clusters)
            entity = self.entity(found.entity, endpoint.number)
            slot = Slot(replace(found, name=name, entity=entity), endpoint.number, row, row.type, row.optional)
            if row.field:
                slot.whole = Whole([slot], {})
            self.slots[name] = slot
        else:
            slot = Slot(self.slots[name].property, endpoint.number, row, row.type, row.optional, whole=whole)
            whole.slots.append(slot)
        there = self.places.setdefault(at, {})
        before = there.get(row.attribute)
        if before is None:
            there[row.attribute] = slot
        else:
            before.chain()[-1].next = slot

    def set_up(self, endpoint: Endpoint, cluster: int, rows: Iterable[SettingMapping]) -> None:
        """What the gateway writes to a cluster of its own accord, as soon as it is known what."""
        at = place(endpoint.number, cluster)
        for row in rows:
            known = self.known(at, row.needs)
            if known is None:
                return
            value = row.value(known)
            written = b"" if value is None else foundation.write([(row.attribute, row.type, value)])
            self.settings[at] = self.settings.get(at, b"") + written

    def _whole(self, name: str, at: int) -> Whole | None:
        slot = self.slots.get(name)
        return slot.whole if slot is not None and slot.place == at else None

    def entity(self, name: str, endpoint: int) -> str:
        """An entity's name on an endpoint: with its number if another endpoint has it already."""
        if not name or self._entities.setdefault(name, endpoint) == endpoint:
            return name
        return f"{name}_{endpoint}"


def _commands(model: Model, builder: _Builder, endpoint: Endpoint, table: ClusterTable) -> None:
    """What an endpoint can do beside telling attributes and having them set."""
    number = endpoint.number
    there = {slot.row.property.name for slot in model.slots.values() if slot.endpoint == number}
    for cluster in endpoint.in_clusters:
        if cluster in table.setups:
            model.setups[place(number, cluster)] = {each.name: each for each in table.setups[cluster]}
        for write in table.writes.get(cluster, ()):
            known = builder.known(place(number, cluster, write.manufacturer), write.needs)
            adapted = write if known is None or write.adapt is None else write.adapt(write, known)
            if known is None or adapted is None or adapted.properties[0] not in there:
                continue
            model.writes.setdefault(number, []).append(adapted)
            for modifier in adapted.modifiers:
                if len(model.slots) + len(model.modifiers) >= MAX_PROPERTIES or any(
                    each.base == modifier.name and each.endpoint == number for each in model.modifiers.values()
                ):
                    continue
                name = _free_name(modifier.name, number, {**model.slots, **model.modifiers})
                entity = builder.entity(modifier.entity, number)
                model.modifiers[name] = Modifier(
                    replace(modifier, name=name, entity=entity), number, modifier.name, modifier.name in adapted.secrets
                )
        for action in table.actions.get(cluster, ()):
            row = _of_the_endpoint(action, builder, endpoint)
            if row is None or len(model.deeds) >= MAX_PROPERTIES:
                continue
            name = _free_name(row.action.name, number, model.deeds)
            what = device_ids.entity_of(row.action.entity, endpoint.profile, endpoint.device_id, endpoint.in_clusters)
            entity = builder.entity(what, number)
            model.deeds[name] = Deed(replace(row.action, name=name, entity=entity), number, row)
    if number in model.writes:
        model.writes[number].sort(key=lambda write: write.cluster)
    taken = {each.name for each in model.offered_events}
    for by_client, clusters in ((True, endpoint.out_clusters), (False, endpoint.in_clusters)):
        for cluster in clusters:
            for mapping in table.events.get(cluster, ()):
                if mapping.by_client is not by_client or len(model.events) >= MAX_EVENTS:
                    continue
                named = {
                    event.name: replace(
                        event,
                        name=_free_name(event.name, number, taken),
                        data=_with_group(event.data) if by_client else event.data,
                    )
                    for event in mapping.events
                }
                model.events[place(number, cluster, mapping.manufacturer), mapping.command, by_client] = named, mapping


def _of_the_endpoint(action: ActionMapping, builder: _Builder, endpoint: Endpoint) -> ActionMapping | None:
    """The row of an action as it is for one endpoint; None: it doesn't have it, or the device has to be asked first."""
    if action.beside and not any(cluster in endpoint.in_clusters for cluster in action.beside):
        return None
    known = builder.known(place(endpoint.number, action.cluster, action.manufacturer), action.needs)
    if known is None or action.adapt is None:
        return None if known is None else action
    return action.adapt(action, known)


def _with_group(data: DataSchema | None) -> DataSchema:
    """What comes with an event of a remote: the group too if it was cast to one."""
    if data is None:
        return _CAST
    if data.type is not DataType.OBJECT or any(name == GROUP for name, _ in data.fields):
        return data
    return replace(data, fields=(*data.fields, *_CAST.fields))


def _free_name(name: str, endpoint: int, taken: Container[str]) -> str:
    return f"{name}_{endpoint}" if name in taken else name
