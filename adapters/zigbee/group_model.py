"""What the members of a cast group share, as a model like that of one device; and its values, by those of its members.

Pure: no radio, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.zigbee.cluster_mappings import ActionMapping
from adapters.zigbee.clusters import ClusterTable
from adapters.zigbee.device_view import NETWORK_KEY, Device, Endpoint
from adapters.zigbee.group_store import Group
from adapters.zigbee.reports import Deed, Model, Notes, Slot, Values, model_of
from carriage.zigbee import groups as zcl_groups
from gateway.api.errors import PeerError
from gateway.api.model import ActionAffordance, DataSchema, DataType, Peer, PropertyAffordance, Value
from layer.errors import UsageError

CLAIM: Final = "zigbee-group:"
ENDPOINT: Final = 1
"""Of the model only: a group cast names no endpoint."""
RECALL: Final = "scene_recall"
_HOME_AUTOMATION: Final = 0x0104

Member = tuple[Model, int]
"""A device and the endpoint of it that is in the group."""


def claim_of(group: int) -> str:
    return f"{CLAIM}0x{group:04x}"


def peer_of(group: int) -> Peer:
    return Peer(scheme="zigbee", claims=(claim_of(group),), link=NETWORK_KEY)


def model_of_group(group: Group, members: Sequence[Member], table: ClusterTable) -> Model:
    """A model with what every member has and can be set, within the bounds of each; and with the group's scenes."""
    common = frozenset.intersection(*[_clusters(model, endpoint) for model, endpoint in members]) if members else ()
    endpoint = Endpoint(
        number=ENDPOINT, profile=_HOME_AUTOMATION, device_id=0, in_clusters=tuple(sorted(common)), out_clusters=()
    )
    name = claim_of(group.number)
    model = model_of(
        Device(
            eui64=name,
            nwk=0,
            manufacturer="",
            model="",
            interviewed=True,
            sleepy=False,
            lqi=None,
            rssi=None,
            last_seen=None,
            endpoints=(endpoint,),
            tunnel_endpoints=(),
        ),
        table,
        Notes(),
    )
    model.facts = (("kind", "group"), ("members", f"{len(group.members)}"))
    model.peer = model.peer_link_key = peer_of(group.number)
    for own, slot in tuple(model.slots.items()):
        theirs = [_slot(member, slot) for member in members]
        if any(each is None or each.absent or not each.property.writable for each in theirs):
            del model.slots[own]
            del model.places[slot.place][slot.row.attribute]
        else:
            slot.property = _narrowed(slot.property, [each.property for each in theirs if each is not None])
    for at in [at for at, slots in model.places.items() if not slots]:
        del model.places[at]
    model.writes = {each: row for each, row in model.writes.items() if each << 16 | row.cluster in model.places}
    model.modifiers = {name: each for name, each in model.modifiers.items() if each.endpoint in model.writes}
    if group.scenes:
        model.deeds[RECALL] = Deed(_recall(group), ENDPOINT, _recall_row(group))
    return model


def _clusters(model: Model, endpoint: int) -> frozenset[int]:
    slots = {at & 0xFFFF for at in model.places if at >> 16 == endpoint}
    return frozenset(slots | {deed.row.cluster for deed in model.deeds.values() if deed.endpoint == endpoint})


def _slot(member: Member, slot: Slot) -> Slot | None:
    model, endpoint = member
    return model.places.get(endpoint << 16 | slot.row.cluster, {}).get(slot.row.attribute)


def _narrowed(own: PropertyAffordance, theirs: Iterable[PropertyAffordance]) -> PropertyAffordance:
    """The property with the narrowest bounds of all."""
    found = list(theirs)
    least = [each.minimum for each in found if each.minimum is not None]
    most = [each.maximum for each in found if each.maximum is not None]
    return replace(
        found[0], name=own.name, minimum=max(least, default=own.minimum), maximum=min(most, default=own.maximum)
    )


def members_names(group: Model, member: Member) -> dict[str, str]:
    """The member's own names of the group's properties."""
    found = {own: _slot(member, slot) for own, slot in group.slots.items()}
    return {own: slot.property.name for own, slot in found.items() if slot is not None}


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
    anything else is as the member says that was heard of last."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[str, int], Value | None]] = {}
        self._own: dict[str, Value | None] = {}

    def keep(self, members: Iterable[tuple[str, int]]) -> None:
        """Forget who is no longer in the group."""
        there = set(members)
        self._of = {
            name: {each: value for each, value in values.items() if each in there} for name, values in self._of.items()
        }

    def take(self, member: tuple[str, int], values: Values) -> Values:
        """A member's values under the group's names: what changes for the group by them."""
        news = []
        for name, value in values:
            theirs = self._of.setdefault(name, {})
            theirs[member] = value
            own = any(each is True for each in theirs.values()) if isinstance(value, bool) else value
            if name not in self._own or self._own[name] != own:
                self._own[name] = own
                news.append((name, own))
        return tuple(news)


def checked_scene_name(text: object) -> str:
    """A scene's name. PeerError: none."""
    if not isinstance(text, str) or not 0 < len(text) <= 32 or not text.isprintable() or text != text.strip():
        raise PeerError("name: expected at most 32 printable characters")
    return text
