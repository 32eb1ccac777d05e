"""The making of a device's model from its interview, by the rows of ``clusters``. No radio, no clock."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from adapters.zigbee import device_ids, device_options
from adapters.zigbee.cluster_mappings import (
    ActionMapping,
    AttributeMapping,
    Particulars,
    SettingMapping,
)
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device_model import (
    BASIC,
    GROUP,
    MAX_EVENTS,
    MAX_PROPERTIES,
    Deed,
    Model,
    Modifier,
    Notes,
    Slot,
    Whole,
    facts_of,
    peer_of,
    place,
)
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.families import poll_control
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import Value
from gateway.api.model import (
    DataSchema,
    DataType,
    EventAffordance,
    Scalar,
)

_HOME_AUTOMATION: Final = 0x0104
_CAST: Final = DataSchema(
    type=DataType.OBJECT, fields=((GROUP, DataSchema(type=DataType.INTEGER, minimum=0, maximum=0xFFFF)),)
)


def model_of(
    device: Device,
    table: ClusterTable,
    notes: Notes,
    constants: Mapping[int, Mapping[int, Value]] | None = None,
    options: Mapping[str, Scalar] | None = None,
) -> Model:
    """What a device's interview says, as properties; those of a further endpoint have its number: ``state_2``.

    ``constants``: by place what the device said of the attributes that its rows depend on, None: it doesn't have it; a
    row that depends on some of a place that isn't there is left out. ``options``: what the administrator set.
    """
    table = table.for_device(device.manufacturer, device.model)
    device = _with_unlisted(device, table.unlisted)
    basic = next((endpoint.number for endpoint in device.endpoints if BASIC in endpoint.in_clusters), 1)
    builder = _Builder(constants or {}, options or {}, basic)
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
        debounce=device_options.debounce(options or {}),
        endpoint=basic,
        notes=notes,
        constants=builder.needed,
        settings=builder.settings,
        whole=builder.whole,
        ends={slot.property.name: slot.row.ends for slot in builder.slots.values() if slot.row.ends},
        maker=table.maker,
    )
    for endpoint in device.endpoints:
        for code in table.codes:
            for cluster in endpoint.in_clusters:
                if (at := place(endpoint.number, cluster, code)) not in model.places:  # else it has a meaning there
                    model.aliases[at] = place(endpoint.number, cluster)
    for endpoint in device.endpoints:
        _commands(model, builder, endpoint, table)
    return model


def _with_unlisted(device: Device, unlisted: Mapping[int, tuple[int, ...]]) -> Device:
    """The device with the endpoints and clusters that it has and doesn't list."""
    if not unlisted:
        return device
    endpoints = {endpoint.number: endpoint for endpoint in device.endpoints}
    for number, clusters in unlisted.items():
        there = endpoints.get(number) or Endpoint(
            number=number, profile=_HOME_AUTOMATION, device_id=0, in_clusters=(), out_clusters=()
        )
        more = (each for each in clusters if each not in there.in_clusters)
        endpoints[number] = replace(there, in_clusters=(*there.in_clusters, *more))
    return replace(device, endpoints=tuple(endpoints[number] for number in sorted(endpoints)))


def _polls_often(device: Device, constants: Mapping[int, Mapping[int, Value]]) -> bool:
    clusters = {cluster for endpoint in device.endpoints for cluster in endpoint.in_clusters}
    known = [constants.get(place(endpoint.number, poll_control.CLUSTER)) for endpoint in device.endpoints]
    return poll_control.polls_often(clusters, next((each for each in known if each), {}))


class _Builder:
    """The slots of a device while they are made."""

    def __init__(
        self, constants: Mapping[int, Mapping[int, Value]], options: Mapping[str, Scalar], basic: int = 1
    ) -> None:
        self.slots: dict[str, Slot] = {}
        self.places: dict[int, dict[int, Slot]] = {}
        self.needed: dict[int, tuple[int, ...]] = {}
        self.settings: dict[int, bytes] = {}
        self.whole: dict[int, frozenset[int]] = {}
        self._basic = place(basic, BASIC)
        self._constants = constants
        self._options = options
        self._entities: dict[str, int] = {}

    def known(self, at: int, needs: tuple[int, ...], basic: tuple[int, ...] = ()) -> Particulars | None:
        """What the row of a cluster at ``at`` is adapted to; None: the device has to be asked first."""
        own, of_basic = self._said(at, needs), self._said(self._basic, basic)
        return None if own is None or of_basic is None else Particulars(own, self._options, of_basic)

    def _said(self, at: int, needs: tuple[int, ...]) -> Mapping[int, Value] | None:
        """The attributes of a place that rows depend on, without those that the device doesn't have."""
        if not needs:
            return {}
        self.needed[at] = tuple(dict.fromkeys((*self.needed.get(at, ()), *needs)))
        answers = self._constants.get(at)
        return None if answers is None else {each: value for each, value in answers.items() if value is not None}

    def add(self, endpoint: Endpoint, row: AttributeMapping) -> None:
        if not _is_beside(row.beside, endpoint) or (row.endpoints and endpoint.number not in row.endpoints):
            return
        at = place(endpoint.number, row.cluster, row.manufacturer)
        known = self.known(at, row.needs, row.needs_basic)
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
            first = self.slots.get(name)
            if first is not None and self._same(first, endpoint.number, row):
                row = device_options.adjusted(row, name, self._options)
                slot = Slot(first.property, endpoint.number, row, row.type, row.optional)
                first.others = (*first.others, slot)
                self._enter(at, slot)
                return
            if first is not None:
                if first.endpoint == endpoint.number and first.property.unit == row.property.unit:
                    return  # the same thing, which another cluster of the endpoint has too
                name = f"{name}_{endpoint.number}"
                whole = self._whole(name, at) if row.field else None
            if whole is None and (name in self.slots or len(self.slots) >= MAX_PROPERTIES):
                return
        row = device_options.adjusted(row, name, self._options)
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
        self._enter(at, slot)

    @staticmethod
    def _same(first: Slot, endpoint: int, row: AttributeMapping) -> bool:
        """Whether a row is another source of a property: such as power, by a meter's demand and by measurement. Of one
        cluster only what the device tells by itself is, of another endpoint only a row that names its endpoints."""
        one, other = first.property, row.property
        return (
            (first.endpoint == endpoint or endpoint in row.endpoints)
            and (first.row.cluster != row.cluster or row.unasked)
            and first.whole is None
            and not row.field
            and (one.type, one.unit, one.writable) == (other.type, other.unit, False)
        )

    def _enter(self, at: int, slot: Slot) -> None:
        row = slot.row
        if row.part is not None:
            self.whole[at] = self.whole.get(at, frozenset()) | {row.attribute}
        there = self.places.setdefault(at, {})
        before = there.get(row.attribute)
        if before is None:
            there[row.attribute] = slot
        else:
            before.chain()[-1].next = slot

    def set_up(self, endpoint: Endpoint, cluster: int, rows: Iterable[SettingMapping]) -> None:
        """What the gateway writes to a cluster unasked, as soon as it is known what."""
        for row in rows:
            at = place(endpoint.number, cluster, row.manufacturer)
            known = self.known(at, row.needs)
            if known is None or not _is_beside(row.beside, endpoint):
                continue
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
    _events(model, endpoint, table)


def _events(model: Model, endpoint: Endpoint, table: ClusterTable) -> None:
    """What an endpoint says to have happened: by commands, and by reports."""
    number, taken = endpoint.number, {each.name for each in model.offered_events}
    for by_client, clusters in ((True, endpoint.out_clusters), (False, endpoint.in_clusters)):
        for cluster in clusters:
            for mapping in table.events.get(cluster, ()):
                if mapping.endpoints and number not in mapping.endpoints:
                    continue
                if mapping.by_client is by_client and len(model.events) < MAX_EVENTS:
                    affix = mapping.endpoints.get(number, "")
                    named = _named(mapping.events, number, taken, by_client=by_client, affix=affix)
                    at = place(number, cluster, mapping.manufacturer)
                    model.events[at, mapping.command, by_client] = named, mapping
    for cluster in endpoint.in_clusters:
        for reported in table.reported_events.get(cluster, ()):
            if reported.endpoints and number not in reported.endpoints:
                continue
            affix = reported.endpoints.get(number, "")
            there = model.reported_events.setdefault(place(number, cluster, reported.manufacturer), {})
            there[reported.attribute] = _named(reported.events, number, taken, by_client=False, affix=affix), reported


def _named(
    events: Iterable[EventAffordance], endpoint: int, taken: Container[str], *, by_client: bool, affix: str = ""
) -> dict[str, EventAffordance]:
    """The events of a row by their names there, as those of this endpoint. ``affix``: see ``ReportedEventMapping``."""
    before, behind = (affix, "") if affix.endswith("_") else ("", affix)
    return {
        event.name: replace(
            event,
            name=_free_name(before + event.name + behind, endpoint, taken),
            data=_with_group(event.data) if by_client else event.data,
        )
        for event in events
    }


def _of_the_endpoint(action: ActionMapping, builder: _Builder, endpoint: Endpoint) -> ActionMapping | None:
    """The row of an action as it is for one endpoint; None: it doesn't have it, or the device has to be asked first."""
    if not _is_beside(action.beside, endpoint):
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


def _is_beside(clusters: tuple[int, ...], endpoint: Endpoint) -> bool:
    """Whether an endpoint has one of the clusters that a row needs beside its own, if it needs any."""
    return not clusters or any(cluster in endpoint.in_clusters for cluster in clusters)
