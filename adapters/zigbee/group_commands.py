"""An administrator's commands about cast groups, their members and scenes, and bindings between devices.

Devices come by EUI64 and groups by number here; the gateway knows their names. A command that devices have to carry out
waits some seconds for their answers; what is not done by then is done as soon as the device is heard (``pending``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from adapters.zigbee.binding_commands import BindingCommands, bound
from adapters.zigbee.device_model import Model
from adapters.zigbee.group_arguments import Answers, endpoints_of, fields, member_of
from adapters.zigbee.group_model import checked_scene_name, scene_number
from adapters.zigbee.group_store import (
    MAX_GROUPS,
    MAX_MEMBERS,
    MAX_SCENES,
    DeviceEndpoint,
    Group,
)
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.transaction import Content, NoReply, Reply
from carriage.zigbee import foundation
from carriage.zigbee import groups as zcl_groups
from gateway.api.errors import PeerError
from layer.errors import UsageError

Status = int | None
"""None: no answer yet."""


class GroupCommands(BindingCommands):
    """The commands by their names in ``COMMANDS``. Each raises PeerError with what is wrong."""

    # Groups --------------------------------------------------------------------------------------------------------

    async def add(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``id``, or the next that is free."""
        (asked,) = fields(arguments, id=int, optional=("id",))
        number = self._store.free_number() if asked is None else _number(asked)
        if number in self._store.groups:
            raise PeerError(f"there is a group {number} already")
        if number is None or len(self._store.groups) >= MAX_GROUPS:
            raise PeerError(f"there are {len(self._store.groups)} groups, which is all there can be")
        group = self._store.groups[number] = Group(number)
        self._store.save()
        self._groups.changed(group)
        return _shown(group)

    async def remove(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The group is gone at once; its members are rid of it as they are heard."""
        (group,) = self._group(arguments)
        del self._store.groups[group.number]
        self._store.save()
        self._groups.removed(group)
        for binding in [each for each in self._store.bindings if each.to == group.number]:
            self._groups.setup.unbind(binding)
        return {"id": group.number, **await self._out((group, place) for place in tuple(group.members))}

    async def members_add(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``eui64``; ``endpoint``, or the first that has the cluster of groups."""
        group, eui64, endpoint = self._group(arguments, eui64=str, endpoint=int, optional=("endpoint",))
        place = self._endpoint(eui64, endpoint)
        if place not in group.members and len(group.members) >= MAX_MEMBERS:
            raise PeerError(f"the group has {MAX_MEMBERS} members, which is all there can be")
        said = Answers(self._within, self._groups.listens)
        self._groups.setup.add(group, place, said.of(place))
        await said.wait({place: place})
        status = said.found.get(place)
        if status:
            raise PeerError(f"the device refuses: {foundation.status_name(status)}")
        return {"id": group.number, "endpoint": place.endpoint, "pending": status is None}

    async def members_remove(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``eui64``, and ``endpoint`` unless all of its endpoints are meant."""
        group, eui64, endpoint = self._group(arguments, eui64=str, endpoint=int, optional=("endpoint",))
        places = [each for each in group.members if each.eui64 == eui64 and endpoint in (None, each.endpoint)]
        if not places:
            raise PeerError("it is not in this group")
        return {"id": group.number, **await self._out((group, place) for place in places)}

    async def members_clear(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """All of them. With ``eui64``: that device out of all groups; ``id`` is left out then."""
        if "eui64" in arguments:
            (eui64,) = fields(arguments, eui64=str)
            memberships = tuple(self._store.of(eui64))
            return {"groups": len(memberships), **await self._out(memberships)}
        (group,) = self._group(arguments)
        return {"id": group.number, **await self._out((group, place) for place in tuple(group.members))}

    async def _out(self, memberships: Iterable[tuple[Group, DeviceEndpoint]]) -> dict[str, Any]:
        """All of them are asked for before the first answer is awaited: who asked may not wait for long."""
        said, places = Answers(self._within, self._groups.listens), dict[tuple[int, DeviceEndpoint], DeviceEndpoint]()
        for group, place in memberships:
            places[group.number, place] = place
            self._groups.setup.take_out(group, place, said.of((group.number, place)))
        await said.wait(places)
        return {"pending": [f"{place}" for key, place in places.items() if key not in said.found]}

    async def listed(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        fields(arguments)
        return {
            "groups": [
                _shown(group) | {"leaving": [member_of(place) for place in self._store.leaving(group.number)]}
                for group in sorted(self._store.groups.values(), key=lambda group: group.number)
            ],
            "bindings": [bound(each) | {"pending": not done} for each, done in self._store.bindings.items()],
        }

    # Scenes --------------------------------------------------------------------------------------------------------

    async def scene_store(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the members are now becomes a scene: ``scene`` (number, or the next that is free) and ``name``."""
        group, asked, name = self._group(arguments, scene=int, name=str, optional=("scene", "name"))
        number, named = _new_scene(group, asked, name)
        return await self._keep(group, number, named, zcl_groups.STORE_SCENE, zcl_groups.scene(group.number, number))

    async def scene_add(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``scene_store``, of ``values``: state, brightness, color_temp, color. ``transition``: seconds."""
        optional = ("scene", "name", "transition")
        group, asked, name, values, seconds = self._group(
            arguments, scene=int, name=str, values=dict, transition=object, optional=optional
        )
        number, named = _new_scene(group, asked, name)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float | None):
            raise PeerError("transition: expected seconds")
        try:
            sets = zcl_groups.scene_sets(values)
            payload = zcl_groups.add_scene(group.number, number, seconds or 0, named, sets)
        except UsageError as error:
            raise PeerError(str(error)) from None
        return await self._keep(group, number, named, zcl_groups.ADD_SCENE, payload)

    async def _keep(self, group: Group, number: int, name: str, command: int, payload: bytes) -> Mapping[str, Any]:
        """Have the members keep a scene; it is one if any of them does."""
        found = await self._ask_members(group, command, payload)
        if not any(status == 0 for status in found.values()):
            raise PeerError("no member has stored it: " + _why(found))
        group.scenes[number] = name
        self._store.save()
        self._groups.changed(group)
        return {"id": group.number, "scene": number, "name": name, "failed": _failed(found)}

    async def scene_recall(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``scene``, by its number or name, and ``transition`` in seconds unless the scene's own counts."""
        group, scene, seconds = self._group(arguments, scene=object, transition=object, optional=("transition",))
        number = _scene(group, scene)
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float)):
            raise PeerError("transition: expected seconds")
        try:
            sent = await self._groups.recall(group, number, seconds)
        except UsageError as error:
            raise PeerError(str(error)) from None
        if sent is not SendOutcome.DELIVERED:
            raise PeerError(f"not sent: {sent.value}")
        return {"id": group.number, "scene": number, "name": group.scenes[number]}

    async def scene_rename(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        group, scene, name = self._group(arguments, scene=object, name=str)
        number, named = _scene(group, scene), checked_scene_name(name)
        if any(other == named for each, other in group.scenes.items() if each != number):
            raise PeerError(f"there is a scene {named} already")
        group.scenes[number] = named
        self._store.save()
        self._groups.changed(group)
        return {"id": group.number, "scene": number, "name": named}

    async def scene_remove(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``scene``, by its number or name; without it all of them."""
        group, scene = self._group(arguments, scene=object, optional=("scene",))
        if scene is None:
            number, command, payload = None, zcl_groups.REMOVE_ALL_SCENES, zcl_groups.all_scenes(group.number)
        else:
            number = _scene(group, scene)
            command, payload = zcl_groups.REMOVE_SCENE, zcl_groups.scene(group.number, number)
        found = await self._ask_members(group, command, payload)
        for each in tuple(group.scenes) if number is None else (number,):
            del group.scenes[each]
        self._store.save()
        self._groups.changed(group)
        return {"id": group.number, "scene": number, "failed": _failed(found)}

    async def _ask_members(self, group: Group, command: int, payload: bytes) -> dict[DeviceEndpoint, Status]:
        """What each member that has the cluster of scenes answers to a command of it."""
        said = Answers(self._within, self._groups.listens)
        content = Content(command, payload, cluster_specific=True, response=command)
        places = []
        for place in group.members:
            device = self._groups.records.get(place.eui64)
            if device is not None and device.model is not None and _has(device.model, place, zcl_groups.SCENES):
                places.append(place)
                done = said.of(place)

                def answered(answer: Reply | NoReply, done: Callable[[int], None] = done) -> None:
                    if isinstance(answer, Reply):
                        done(_scene_status(group.number, answer))

                self._groups.transactions.ask(device, place.endpoint, zcl_groups.SCENES, content, answered)
        await said.wait({each: each for each in places})
        return {place: said.found.get(place) for place in group.members}

    def _endpoint(self, eui64: str, endpoint: int | None) -> DeviceEndpoint:
        """The endpoint of a device that is to be in a group."""
        offered = endpoints_of(self._groups.radio, eui64)
        found = [number for number, (served, _) in offered.items() if zcl_groups.GROUPS in served]
        if not found:
            raise PeerError("it can't be in a group: it has no cluster for that")
        if endpoint not in (None, *found):
            raise PeerError(f"endpoint: expected one of {', '.join(map(str, found))}")
        return DeviceEndpoint(eui64, found[0] if endpoint is None else endpoint)

    def _group(self, arguments: Mapping[str, Any], *, optional: tuple[str, ...] = (), **kinds: type) -> tuple[Any, ...]:
        number, *others = fields(arguments, id=int, optional=optional, **kinds)
        group = self._store.groups.get(number)
        if group is None:
            raise PeerError("no such group")
        return (group, *others)


COMMANDS: Final[Mapping[str, Callable[[GroupCommands, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]]] = {
    "groups": GroupCommands.listed,
    "group-add": GroupCommands.add,
    "group-remove": GroupCommands.remove,
    "group-members-add": GroupCommands.members_add,
    "group-members-remove": GroupCommands.members_remove,
    "group-members-clear": GroupCommands.members_clear,
    "scene-store": GroupCommands.scene_store,
    "scene-add": GroupCommands.scene_add,
    "scene-recall": GroupCommands.scene_recall,
    "scene-rename": GroupCommands.scene_rename,
    "scene-remove": GroupCommands.scene_remove,
    "bind": GroupCommands.bind,
    "unbind": GroupCommands.unbind,
}


def _number(asked: int) -> int:
    if not zcl_groups.FIRST_GROUP <= asked <= zcl_groups.LAST_GROUP:
        raise PeerError(f"id: expected a number from {zcl_groups.FIRST_GROUP} to {zcl_groups.LAST_GROUP}")
    return asked


def _shown(group: Group) -> dict[str, Any]:
    return {
        "id": group.number,
        "members": [member_of(place) | {"pending": not done} for place, done in group.members.items()],
        "scenes": [{"id": number, "name": name} for number, name in sorted(group.scenes.items())],
    }


def _has(model: Model, place: DeviceEndpoint, cluster: int) -> bool:
    return place.endpoint << 16 | cluster in model.clusters


def _new_scene(group: Group, asked: int | None, name: str | None) -> tuple[int, str]:
    """The number and the name that a scene is to have."""
    if not group.members:
        raise PeerError("the group has no members")
    number = _free_scene(group, name) if asked is None else asked
    if number is None or not 0 <= number <= 0xFF or (number not in group.scenes and len(group.scenes) >= MAX_SCENES):
        raise PeerError(f"scene: expected a number from 0 to 255, and at most {MAX_SCENES} in a group")
    named = checked_scene_name(name) if name is not None else group.scenes.get(number, "")
    if any(other == named for each, other in group.scenes.items() if named and each != number):
        raise PeerError(f"there is a scene {named} already")
    return number, named


def _free_scene(group: Group, name: str | None) -> int | None:
    """The number of the scene with this name; for a new one the least that is free, from 1."""
    known = scene_number(group, name) if name else None
    return known if known is not None else next((each for each in range(1, 256) if each not in group.scenes), None)


def _scene(group: Group, asked: object) -> int:
    number = scene_number(group, asked)
    if number is None:
        known = ", ".join(name or f"{each}" for each, name in sorted(group.scenes.items()))
        raise PeerError(f"the group has no such scene (it has {known or 'none'})")
    return number


def _scene_status(group: int, answer: Reply) -> int:
    try:
        if answer.specific:
            return zcl_groups.status_for(group, answer.payload)
        return foundation.default_responded(answer.payload)[1] or int(foundation.Status.UNSUP_COMMAND)
    except PeerError:
        return int(foundation.Status.MALFORMED_COMMAND)


def _failed(found: Mapping[DeviceEndpoint, Status]) -> list[dict[str, Any]]:
    return [
        member_of(place) | {"why": "no answer" if status is None else foundation.status_name(status)}
        for place, status in found.items()
        if status != 0
    ]


def _why(found: Mapping[DeviceEndpoint, Status]) -> str:
    return "; ".join(sorted({each["why"] for each in _failed(found)})) or "none has the cluster of scenes"
