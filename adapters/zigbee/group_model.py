"""What the members of a cast group share, as a model like that of one device; and its values, by those of its members.

Pure: no radio, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping
from adapters.zigbee.device_model import Deed, Model, Notes, Slot, Values, Whole, place
from adapters.zigbee.device_view import NETWORK_KEY
from adapters.zigbee.group_store import DeviceEndpoint, Group
from carriage.zigbee import groups as zcl_groups
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, Peer, PropertyAffordance, Value
from layer.errors import UsageError

CLAIM: Final = "zigbee-group:"
ENDPOINT: Final = 1
"""Of the model only: a group cast names no endpoint."""
RECALL: Final = "scene_recall"

Member = tuple[Model, int]
"""A device and the endpoint of it that is in the group."""


def claim_of(group: int) -> str:
    return f"{CLAIM}0x{group:04x}"


def peer_of(group: int) -> Peer:
    return Peer(scheme="zigbee", claims=(claim_of(group),), link=NETWORK_KEY)


def model_of_group(group: Group, members: Sequence[Member]) -> Model:
    """A model with what every member can be set to, within the bounds of each; and with the group's scenes.

    What the members say of the clusters of these properties belongs to it too, such as the mode of a colour.
    """
    name = claim_of(group.number)
    model = Model(
        eui64=name,
        sleepy=False,
        facts=(("kind", "group"), ("members", f"{len(group.members)}")),
        peer=peer_of(group.number),
        peer_link_key=peer_of(group.number),
        slots={},
        places={},
        clusters=frozenset(),
        endpoint=ENDPOINT,
        notes=Notes(),
    )
    if members:
        _share(model, members)
    if group.scenes:
        model.deeds[RECALL] = Deed(_recall(group), ENDPOINT, _recall_row(group))
    return model


def _share(model: Model, members: Sequence[Member]) -> None:
    offers = [_slots(member) for member in members]
    least, endpoint = min(members, key=lambda member: len(_slots(member)))
    shared = {
        name: [each[name] for each in offers]
        for name in _slots((least, endpoint))
        if all(name in each for each in offers)
    }
    clusters = {slots[0].row.cluster for slots in shared.values() if all(each.property.writable for each in slots)}
    for name, slots in shared.items():
        if slots[0].row.cluster in clusters:
            _enter(model, name, _narrowed(name, [each.property for each in slots]), _slots((least, endpoint))[name])
    for write in least.writes.get(endpoint, ()):
        everywhere = all(place(number, write.cluster) in each.clusters for each, number in members)
        if everywhere and write.properties[0] in model.slots:
            model.writes.setdefault(ENDPOINT, []).append(write)
            names = {modifier.name for modifier in write.modifiers}
            for own in least.modifiers.values():
                if own.endpoint == endpoint and own.base in names:
                    what = replace(own.property, name=own.base, entity=_first_entity(own.property.entity))
                    model.modifiers[own.base] = replace(own, property=what, endpoint=ENDPOINT)
    for deed in least.deeds.values():
        if deed.endpoint == endpoint and all(_does(member, deed) for member in members):
            action = replace(deed.action, name=deed.row.action.name, entity=deed.row.action.entity)
            model.deeds[action.name] = Deed(action, ENDPOINT, deed.row)


def _enter(model: Model, name: str, offered: PropertyAffordance, like: Slot) -> None:
    """A property of the group, in the form in which a member has it."""
    whole = None if like.whole is None else Whole([], {})
    for each in like.slots:
        slot = Slot(offered, ENDPOINT, each.row, each.row.type, whole=whole)
        if whole is not None:
            whole.slots.append(slot)
        model.slots.setdefault(name, slot)
        there = model.places.setdefault(slot.place, {})
        before = there.get(slot.row.attribute)
        if before is None:
            there[slot.row.attribute] = slot
        else:
            before.chain()[-1].next = slot


def _slots(member: Member) -> dict[str, Slot]:
    """What a member has, by its names in the rows."""
    model, endpoint = member
    return {
        slot.row.property.name: slot
        for slot in model.slots.values()
        if slot.endpoint == endpoint and not all(each.absent for each in slot.slots)
    }


def _does(member: Member, deed: Deed) -> bool:
    model, endpoint = member
    row = deed.row
    return any(
        (each.endpoint, each.row.cluster, each.row.command) == (endpoint, row.cluster, row.command)
        for each in model.deeds.values()
    )


def _narrowed(name: str, theirs: Sequence[PropertyAffordance]) -> PropertyAffordance:
    """The property with the narrowest bounds of all."""
    least = [each.minimum for each in theirs if each.minimum is not None]
    most = [each.maximum for each in theirs if each.maximum is not None]
    writable = all(each.writable for each in theirs)
    return replace(
        theirs[0],
        name=name,
        minimum=max(least, default=None),
        maximum=min(most, default=None),
        writable=writable,
        entity=_first_entity(theirs[0].entity),
    )


def _first_entity(entity: str) -> str:
    """``light_2`` of a further endpoint is the ``light`` of the group."""
    return entity.rstrip("0123456789").rstrip("_")


def members_names(group: Model, member: Member) -> dict[str, str]:
    """The member's own names of the group's properties."""
    return {name: slot.property.name for name, slot in _slots(member).items() if name in group.slots}


# Scenes


def scene_names(group: Group) -> tuple[str, ...]:
    """What stands for a scene: its name and its number."""
    numbers = (f"{number}" for number in group.scenes)
    return tuple(dict.fromkeys([*(name for name in group.scenes.values() if name), *numbers]))


def _recall(group: Group) -> ActionAffordance:
    scene = DataSchema(type=DataType.STRING, enum=scene_names(group))
    seconds = DataSchema(type=DataType.NUMBER, unit="s", minimum=0, maximum=6553)
    fields = (("scene", scene), ("transition", seconds))
    given = DataSchema(type=DataType.OBJECT, fields=fields, required=frozenset({"scene"}))
    return ActionAffordance(name=RECALL, input=given, idempotent=True)


def scene_number(group: Group, asked: object) -> int | None:
    """The number of a scene by its name or number; None: the group has no such scene."""
    for number, name in group.scenes.items():
        if asked in (name, number, f"{number}") and asked != "" and not isinstance(asked, bool):
            return number
    return None


def _recall_row(group: Group) -> ActionMapping:
    def payload(given: Value | None) -> bytes:
        wanted: Mapping[str, Value] = given if isinstance(given, dict) else {}
        number, seconds = scene_number(group, wanted.get("scene")), wanted.get("transition")
        if number is None or isinstance(seconds, str | list | dict):
            raise UsageError("no such scene")
        return zcl_groups.recall_scene(group.number, number, seconds)

    action = ActionAffordance(name=RECALL)
    return ActionMapping(cluster=zcl_groups.SCENES, command=zcl_groups.RECALL_SCENE, action=action, payload=payload)


# Values


class GroupValues:
    """The last values of the members of a group, by which it has its own: a boolean is true if it is for any member;
    anything else is as the member says that was heard of last. What only former members said it no longer has."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[str, int], Value | None]] = {}
        self._own: dict[str, Value | None] = {}

    def keep(self, members: Iterable[tuple[str, int]]) -> Values:
        """Forget who is no longer in the group: what changes for the group by that."""
        there, news = set(members), []
        for name, values in self._of.items():
            left = {each: value for each, value in values.items() if each in there}
            if len(left) < len(values):
                self._of[name] = left
                last = next(reversed(left.values()), None)
                news.append((name, any(each is True for each in left.values()) if isinstance(last, bool) else last))
        return self._changed(news)

    def last(self, name: str) -> Value | None:
        """A member's last value of a property; None: no member has said one."""
        return next(reversed(self._of.get(name, {}).values()), None)

    def take(self, member: tuple[str, int], values: Values) -> Values:
        """A member's values under the group's names: what changes for the group by them."""
        news = []
        for name, value in values:
            theirs = self._of.setdefault(name, {})
            theirs.pop(member, None)  # the last is the one that was heard of last
            theirs[member] = value
            news.append((name, any(each is True for each in theirs.values()) if isinstance(value, bool) else value))
        return self._changed(news)

    def _changed(self, found: Iterable[tuple[str, Value | None]]) -> Values:
        news = tuple((name, own) for name, own in found if name not in self._own or self._own[name] != own)
        self._own.update(news)
        return news


def checked_scene_name(text: object) -> str:
    """A scene's name. PeerError: none."""
    if not isinstance(text, str) or not 0 < len(text) <= 32 or not text.isprintable() or text != text.strip():
        raise PeerError("name: expected at most 32 printable characters")
    return text


class LiveGroup:
    """A group with what is made of it. ``names``: by member its own names of the group's properties."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.model: Model | None = None
        self.members: dict[DeviceEndpoint, Model] = {}
        self.names: dict[DeviceEndpoint, dict[str, str]] = {}
        self.own: dict[DeviceEndpoint, dict[str, str]] = {}
        """The other way round."""
        self.values = GroupValues()
        self.offered: tuple[object, ...] | None = None
        """What the engine has of it."""
        self.online: bool | None = None
        self.sequence = 0
