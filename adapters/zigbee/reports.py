"""The values and events in what a device sends, by the rows of its model. No radio, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final

from adapters.zigbee.cluster_mappings import Reply
from adapters.zigbee.device_model import Model, Slot, Values, Whole
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import ODD_WIDTHS, SIGNED, STRINGS, STRUCTS, TYPES, Value
from carriage.zigbee.foundation import Status
from gateway.api.errors import PeerError
from gateway.api.model import EventAffordance, Scalar
from gateway.api.model import Value as PropertyValue

_RECORD_HEAD: Final = Struct("<HB")
"""Attribute and type of a record in a report (ZCL8, 2.5.11)."""


def happened(
    model: Model, at: int, command: int, by_client: bool, payload: bytes
) -> tuple[EventAffordance | None, PropertyValue | None, Values, Reply | None] | None:
    """A cluster command as an event and its data, the property values in it, and what makes the command that is sent
    back.

    None: no row has it. PeerError: malformed.
    """
    known = model.events.get((at, command, by_client))
    if known is None:
        return None
    named, mapping = known
    happening = mapping.read(payload)
    event = None if happening is None else named.get(happening[0])
    values = values_of(model, at, mapping.values(payload))
    return event, None if happening is None else happening[1], values, mapping.reply


def reported(model: Model, at: int, payload: bytes) -> tuple[Values, str]:
    """The values in a report of the cluster at ``at``, and why what follows them can't be read ("": all was read)."""
    slots = model.places.get(at)
    if slots is not None and (usual := _usual(slots, payload)) is not None:
        return usual, ""
    records, fault = foundation.reported(payload, model.whole.get(at, frozenset()))
    try:
        return values_of(model, at, records), fault
    except PeerError as error:  # a value that its row takes apart is malformed
        return (), str(error)


def told(model: Model, at: int, payload: bytes) -> list[tuple[EventAffordance, PropertyValue | None]]:
    """The events in a report of the cluster at ``at``, and their data."""
    known = model.reported_events.get(at)
    found: list[tuple[EventAffordance, PropertyValue | None]] = []
    if known is not None:
        for attribute, _, raw in foundation.reported(payload)[0]:
            if attribute in known:
                named, mapping = known[attribute]
                happening = mapping.read(raw)
                if happening is not None:
                    found.append((named[happening[0]], happening[1]))
    return found


def values_of(model: Model, at: int, records: Iterable[tuple[int, int, Value]]) -> Values:
    """The values in records (attribute, type id, value) of the cluster at ``at``, each property once."""
    slots = model.places.get(at)
    found: dict[str, PropertyValue | None] = {}
    if slots is not None:
        for attribute, type_id, raw in records:
            slot = slots.get(attribute)
            while slot is not None:
                _enter(model, slot, type_id, raw, found)
                slot = slot.next
    return tuple(found.items())


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
        width = layout.size if layout is not None else ODD_WIDTHS.get(type_id, 0)
        following = body + width
        if not width or following > end:
            return None
        if slot is not None:
            row = slot.row
            if slot.absent or type_id != row.type.id or slot.next is not None or slot.whole is not None:
                return None
            if layout is not None:
                raw = layout.unpack_from(payload, body)[0]
            else:
                raw = int.from_bytes(payload[body:following], "little", signed=type_id in SIGNED)
            value = row.value(raw)
            if value is None:
                return None
            values.append((slot.property.name, value))
        start = following
    return tuple(values)


def answered(model: Model, at: int, records: list[foundation.ReadRecord]) -> Values:
    """The values in a read response. What the device says it doesn't have is no property of it from now on."""
    found: dict[str, PropertyValue | None] = {}
    for record in records:
        first = model.places[at].get(record.attribute)
        if first is None:
            continue
        if not record.status:
            for slot in first.chain():
                if _enter(model, slot, record.type, record.value, found):
                    slot.type = TYPES[record.type]
        elif record.status == Status.UNSUPPORTED_ATTRIBUTE:
            missing(model, first)
    return tuple(found.items())


def missing(model: Model, slot: Slot) -> None:
    """The device doesn't have the attribute. It has it after all when it tells it."""
    changed = False
    for each in slot.chain():
        changed = changed or not each.absent
        each.absent = True
    if changed:
        model.notes.changed(model)


def _enter(model: Model, slot: Slot, type_id: int, raw: Value, found: dict[str, PropertyValue | None]) -> bool:
    """Enter the value of one slot; False: the attribute has none of it, or of a type that can't carry it."""
    row = slot.row
    if row.part is not None:
        same = type_id == row.type.id or (type_id in STRINGS and row.type.id in STRINGS)
        raw = row.part(raw) if same and isinstance(raw, bytes) else None
        if raw is None:
            return False
        type_id = row.type.id
    value = row.value(raw) if type_id == row.type.id else None
    if value is None or slot.absent:
        unusual = _unusual(model, slot, type_id, raw)
        if unusual is None:
            return False
        (value,) = unusual
    if slot.property.readable:
        found[slot.property.name] = value if slot.whole is None else _joined(slot.whole, row.field, value)
    return True


def _joined(whole: Whole, field: str, value: Scalar | None) -> PropertyValue | None:
    """An object with a new value of one of its fields; None: no field has one."""
    if value is None:
        whole.values.pop(field, None)
    else:
        whole.values[field] = value
    return dict(whole.values) or None


def became(model: Model, values: Values) -> Values:
    """The values that a command set; of an object it may be some of the fields."""
    found: list[tuple[str, PropertyValue | None]] = []
    for name, value in values:
        whole = model.slots[name].whole
        if whole is not None and isinstance(value, dict):
            whole.values.update(value)
            value = dict(whole.values)
        found.append((name, value))
    return tuple(found)


def _unusual(model: Model, slot: Slot, type_id: int, raw: Value) -> tuple[Scalar | None] | None:
    """A value that may be of another type than the row's, out of its range, or the first of its attribute."""
    row, notes = slot.row, model.notes
    if type_id != row.type.id:
        found = row.of_type(type_id, raw)
        came = f"came as {TYPES[type_id].name}, not {row.type.name}"
        if found is None:
            notes.odd(model, slot, "values_of_a_wrong_type", f"{came}, which can't carry it: it is left out")
            return None
        notes.odd(model, slot, "values_of_another_type", f"{came}: it is taken")
        raw = found
    if slot.absent:
        slot.absent = False
        notes.changed(model)
    value = row.value(raw)
    if value is None and raw != row.invalid and raw == raw:
        notes.odd(model, slot, "values_out_of_range", f"is sent as {raw!r}, which can't be: it counts as no value")
    return (value,)
