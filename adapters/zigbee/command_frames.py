"""The frames that carry out an interaction with a device: ``reading``, ``writing``, ``invoking``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.zigbee.cluster_mappings import Plan, WriteMapping
from adapters.zigbee.device_model import Deed, Model, Slot, Values, place
from adapters.zigbee.portions import portions, read_size
from adapters.zigbee.transaction import DEFAULT_RESPONSE, Content
from carriage.zigbee import foundation
from carriage.zigbee.foundation import General
from gateway.api.model import DataType, Scalar, Value
from gateway.api.schema import types_of
from layer.errors import UsageError

_SWITCH: Final = "state"
"""The property that says whether a device is on, by its name in the row."""


@dataclass(slots=True, eq=False)
class CommandFrame:
    """One frame of an interaction. ``names``: its properties. ``result``: their values once it is carried out.

    ``last``: it only reads what the frame before it changed; the outcome is that of the others. ``order``: of several
    frames, the lowest goes first. ``then``: it asks for a value only, by which this makes the frame that sets.
    """

    endpoint: int
    cluster: int
    content: Content = field(repr=False)
    names: tuple[str, ...]
    slots: tuple[Slot, ...] = ()
    result: Values = ()
    last: bool = False
    order: int = 0
    then: Callable[[Value | None], CommandFrame] | None = None

    @property
    def place(self) -> int:
        return place(self.endpoint, self.cluster, self.content.manufacturer)


def reading(model: Model, names: Iterable[str]) -> list[CommandFrame]:
    """The frames that ask for properties, by cluster. UsageError: one that can't be asked for."""
    places: dict[int, list[Slot]] = {}
    for name in names:
        if name in model.modifiers:
            raise UsageError("it has no value")
        for slot in model.slots[name].asked:
            places.setdefault(slot.place, []).append(slot)
    frames = []
    for slots in places.values():
        types = {slot.row.attribute: slot.type for slot in slots}
        code = slots[0].row.manufacturer
        for group in portions(types.items(), lambda one: read_size(one[1]), code):
            attributes = dict(group)
            frames.append(asking(tuple(slot for slot in slots if slot.row.attribute in attributes)))
    return frames


def asking(slots: tuple[Slot, ...]) -> CommandFrame:
    """The frame that asks for attributes of one place."""
    first = slots[0]
    payload = foundation.read(dict.fromkeys(slot.row.attribute for slot in slots))
    content = Content(General.READ, payload, General.READ_RESPONSE, manufacturer=first.row.manufacturer)
    names = tuple(dict.fromkeys(slot.property.name for slot in slots))
    return CommandFrame(first.endpoint, first.row.cluster, content, names, slots)


def writing(model: Model, values: Mapping[str, Value]) -> tuple[list[CommandFrame], list[str]]:
    """The frames that set properties, and the names that none of them sets. UsageError: no such value.

    What switches a device on goes first, and what switches it off last, since many take nothing while they are off.
    Between these: what a command sets together, then what has its own command, then attributes, by cluster.
    """
    left = dict(values)
    used: set[str] = set()
    frames: list[CommandFrame] = []
    only = next(iter(left)) if len(left) == 1 else ""
    switch = model.slots.get(only)
    if switch is None or not switch.row.commands or type(left[only]) is not bool:  # what is switched alone has no plan
        for endpoint, writes in model.writes.items():
            for write in writes:
                frame = _together(model, endpoint, write, left, used)
                if frame is not None:
                    frames.append(frame)
    written: dict[int, list[Slot]] = {}
    for name in [name for name in left if name in model.slots]:
        slot, value = model.slots[name], left.pop(name)
        row = slot.row
        if not _fits(slot, value) or not isinstance(value, Scalar):
            raise UsageError("not a value of this property")
        if row.commands:
            command = row.commands.get(value)
            if command is None:
                raise UsageError("no command for this value")
            content = command_of(command, b"", row.answered, row.manufacturer)
            order = _order(value) if row.property.name == _SWITCH else 0
            result: Values = () if row.words or row.part else ((name, value),)
            frames.append(CommandFrame(slot.endpoint, row.cluster, content, (name,), result=result, order=order))
        else:
            written.setdefault(slot.place, []).append(slot)
    for slots in written.values():
        first = slots[0]
        raw = _attributes(slots, values)
        payload = foundation.write([(slot.row.attribute, slot.row.type, each) for slot, each in raw])
        content = Content(General.WRITE, payload, General.WRITE_RESPONSE, manufacturer=first.row.manufacturer)
        told = [(each, number) for slot, number in raw for each in _of_attribute(model, slot)]
        result = tuple({each.property.name: each.row.value(number) for each, number in told}.items())
        names, of = tuple(slot.property.name for slot in slots), tuple(each for each, _ in told)
        frames.append(CommandFrame(first.endpoint, first.row.cluster, content, names, of, result))
    if len(frames) > 1:
        frames.sort(key=lambda frame: frame.order)
    return frames, [name for name in left if name not in used]


def _order(state: Value | None) -> int:
    return -1 if state is True else 1 if state is False else 0


def _attributes(slots: list[Slot], values: Mapping[str, Value]) -> list[tuple[Slot, int | float | str]]:
    """What is written, each attribute once: a fan that is switched on, and set to a mode, gets the mode."""
    found: dict[int, tuple[Slot, int | float | str]] = {}
    for slot in slots:
        raw = _raw(slot, values[slot.property.name])
        if slot.row.attribute not in found or slot.property.type is not DataType.BOOLEAN:
            found[slot.row.attribute] = slot, raw
    return list(found.values())


def _of_attribute(model: Model, slot: Slot) -> list[Slot]:
    """The properties that have another value once this slot's attribute is written: itself, and others of it."""
    chain = model.places[slot.place][slot.row.attribute].chain()
    return [each for each in chain if each is slot or (each.whole is None and each.row.part is None)]


def command_of(command: int, payload: bytes, answered: bool, manufacturer: int, unanswered: bool = False) -> Content:
    """A command of a cluster. ``answered``: by another one with the same id; ``unanswered``: by nothing."""
    response = command if answered else -1
    return Content(command, payload, DEFAULT_RESPONSE, True, response, manufacturer, unanswered)


def _together(
    model: Model, endpoint: int, mapping: WriteMapping, left: dict[str, Value], used: set[str]
) -> CommandFrame | None:
    """The command that sets properties of an endpoint, if it is for these; they are taken out of ``left``, and the
    modifiers that said how are entered in ``used``."""
    slots = {each.row.property.name: each for each in model.slots.values() if each.endpoint == endpoint}
    of = {base: slot.property.name for base, slot in slots.items() if base in mapping.properties}
    modifiers = {each.base: name for name, each in model.modifiers.items() if each.endpoint == endpoint}
    of |= {each.name: modifiers[each.name] for each in mapping.modifiers if each.name in modifiers}
    theirs = {base: left[name] for base, name in of.items() if name in left}
    if not theirs:
        return None
    if not all(_fits(slots[base], value) for base, value in theirs.items() if base in slots):
        raise UsageError("not a value of this property")
    planned = mapping.plan(theirs)
    if planned is None:
        return None
    asked = slots.get(planned.asks)
    if planned.then is not None and asked is None:
        return None
    sets = tuple(theirs) if planned.sets is None else planned.sets
    for base in sets:
        if base in slots:
            del left[of[base]]
        else:
            used.add(of[base])
    names = tuple(of[base] for base in sets)

    def framed(plan: Plan) -> CommandFrame:
        result = tuple((of[base], value) for base, value in plan.became.items() if base in of)
        command = mapping.command if plan.command is None else plan.command
        content = command_of(command, plan.payload, mapping.answered, mapping.manufacturer, mapping.unanswered)
        return CommandFrame(
            endpoint, mapping.cluster, content, names, (), result, order=_order(plan.became.get(_SWITCH))
        )

    then = planned.then
    if asked is None or then is None:
        return framed(planned)
    first = asking((asked,))
    first.names, first.order = names, _order(theirs.get(_SWITCH))
    first.then = lambda value: framed(then(value))
    return first


def invoking(model: Model, deed: Deed, given: Value | None) -> list[CommandFrame]:
    """The frame that has a device do something, and one that reads what may be another value then."""
    row = deed.row
    made = row.payload(given)
    command, payload = made if isinstance(made, tuple) else (row.command, made)
    content = command_of(command, payload, row.answered, row.manufacturer, row.unanswered)
    frames = [CommandFrame(deed.endpoint, row.cluster, content, ())]
    slots = model.places.get(place(deed.endpoint, row.cluster), {})
    read = [slots[attribute].property.name for attribute in row.reads if attribute in slots]
    for frame in reading(model, read):
        frame.last = True
        frames.append(frame)
    return frames


def _fits(slot: Slot, value: Value) -> bool:
    return slot.property.writable and type(value) in types_of(slot.property)


def _raw(slot: Slot, value: Value) -> int | float | str:
    row = slot.row
    try:
        raw = row.raw(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):  # not a number, or infinite
        raise UsageError("out of range") from None
    if row.value(raw) is None:
        raise UsageError("out of range")
    return raw
