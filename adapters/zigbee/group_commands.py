"""An administrator's commands about cast groups, their members and scenes, and bindings between devices.

Devices come by EUI64 and groups by number here; the gateway knows their names. A command that devices have to carry out
waits some seconds for their answers; what is not done by then is done as soon as the device is heard (``pending``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from adapters.zigbee.cast_groups import CastGroups
from adapters.zigbee.device_model import Model
from adapters.zigbee.group_model import checked_scene_name, scene_number
from adapters.zigbee.group_store import MAX_BINDINGS, MAX_GROUPS, MAX_MEMBERS, MAX_SCENES, Binding, Group, Place
from adapters.zigbee.radio_port import SendOutcome
from adapters.zigbee.transaction import Content, NoReply, Reply
from carriage.zigbee import foundation, zdo
from carriage.zigbee import groups as zcl_groups
from gateway.api.errors import PeerError
from layer.errors import UsageError

ANSWER_TIME: Final = 4.0
"""Seconds that a command waits for devices; the gateway waits 10 for the whole of it."""
BINDABLE: Final = (0x0005, 0x0006, 0x0008, 0x0102, 0x0201, 0x0202, 0x0300, 0x0400, 0x0402, 0x0405, 0x0406)
"""The clusters that are bound if none is named, so far as the one device is their client and the other their server."""

Status = int | None
"""None: no answer yet."""


class GroupCommands:
    """The commands by their names in ``COMMANDS``. Each raises PeerError with what is wrong."""

    def __init__(self, groups: CastGroups) -> None:
        self._groups = groups
        self._store = groups.store

    # Groups --------------------------------------------------------------------------------------------------------

    async def add(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``id``, or the next that is free."""
        (asked,) = _fields(arguments, id=int, optional=("id",))
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
        self._groups.removed(group)
        for binding in [each for each in self._store.bindings if each.to == group.number]:
            self._groups.setup.unbind(binding)
        return {"id": group.number, **await self._out(group, tuple(group.members))}

    async def members_add(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``eui64``; ``endpoint``, or the first that has the cluster of groups."""
        group, eui64, endpoint = self._group(arguments, eui64=str, endpoint=int, optional=("endpoint",))
        place = self._endpoint(eui64, endpoint, zcl_groups.GROUPS, "can't be in a group: it has no cluster for that")
        if place not in group.members and len(group.members) >= MAX_MEMBERS:
            raise PeerError(f"the group has {MAX_MEMBERS} members, which is all there can be")
        said = _Answers()
        self._groups.setup.add(group, place, said.of(place))
        await said.wait([place])
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
        return {"id": group.number, **await self._out(group, places)}

    async def members_clear(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """All of them. With ``eui64``: that device out of all groups; ``id`` is left out then."""
        if "eui64" in arguments:
            (eui64,) = _fields(arguments, eui64=str)
            pending = [(await self._out(group, [place]))["pending"] for group, place in tuple(self._store.of(eui64))]
            return {"groups": len(pending), "pending": [each for row in pending for each in row]}
        (group,) = self._group(arguments)
        return {"id": group.number, **await self._out(group, tuple(group.members))}

    async def _out(self, group: Group, places: Iterable[Place]) -> dict[str, Any]:
        said, places = _Answers(), tuple(places)
        for place in places:
            self._groups.setup.take_out(group, place, said.of(place))
        await said.wait(places)
        return {"pending": [f"{place}" for place in places if place not in said.found]}

    async def listed(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        _fields(arguments)
        return {
            "groups": [
                _shown(group) | {"leaving": [_member(place) for place in self._store.leaving(group.number)]}
                for group in sorted(self._store.groups.values(), key=lambda group: group.number)
            ],
            "bindings": [_bound(binding) | {"pending": not done} for binding, done in self._store.bindings.items()],
        }

    # Scenes --------------------------------------------------------------------------------------------------------

    async def scene_store(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the members are now becomes a scene: ``scene`` (number, or the next that is free) and ``name``."""
        group, asked, name = self._group(arguments, scene=int, name=str, optional=("scene", "name"))
        if not group.members:
            raise PeerError("the group has no members")
        number = _free_scene(group, name) if asked is None else asked
        if (
            number is None
            or not 0 <= number <= 0xFF
            or (number not in group.scenes and len(group.scenes) >= MAX_SCENES)
        ):
            raise PeerError(f"scene: expected a number from 0 to 255, and at most {MAX_SCENES} in a group")
        named = checked_scene_name(name) if name is not None else group.scenes.get(number, "")
        if any(other == named for each, other in group.scenes.items() if named and each != number):
            raise PeerError(f"there is a scene {named} already")
        payload = zcl_groups.scene(group.number, number)
        found = await self._ask_members(group, zcl_groups.STORE_SCENE, payload)
        if not any(status == 0 for status in found.values()):
            raise PeerError("no member has stored it: " + _why(found))
        group.scenes[number] = named
        self._store.save()
        self._groups.changed(group)
        return {"id": group.number, "scene": number, "name": named, "failed": _failed(found)}

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

    async def _ask_members(self, group: Group, command: int, payload: bytes) -> dict[Place, Status]:
        """What each member that has the cluster of scenes answers to a command of it."""
        said = _Answers()
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
        await said.wait(places)
        return {place: said.found.get(place) for place in group.members}

    # Bindings ------------------------------------------------------------------------------------------------------

    async def bind(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """``from``, ``from_endpoint``; ``to`` (a device) and ``to_endpoint``, or ``group``; ``clusters`` (numbers)."""
        wanted = self._bindings(arguments)
        if len(self._store.bindings.keys() | set(wanted)) > MAX_BINDINGS:
            raise PeerError(f"there are {len(self._store.bindings)} bindings, which is all there can be")
        said = _Answers()
        for binding in wanted:
            self._store.rest.pop(binding, None)
            self._store.bindings[binding] = False
        self._store.save()
        for binding in wanted:
            self._groups.setup.bind(binding, said.of(binding))
        await said.wait(wanted)
        return _outcome(wanted, said, "refuses")

    async def unbind(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As ``bind``; without ``clusters`` all that is bound between the two."""
        wanted = self._bindings(arguments, undo=True)
        said = _Answers()
        for binding in wanted:
            self._groups.setup.unbind(binding, said.of(binding))
        await said.wait(wanted)
        return _outcome(wanted, said, "refuses")

    def _bindings(self, arguments: Mapping[str, Any], *, undo: bool = False) -> list[Binding]:
        eui64, endpoint, target, target_endpoint, number, clusters = _fields(
            arguments, **{"from": str}, from_endpoint=int, to=str, to_endpoint=int, group=int, clusters=list,
            optional=("from_endpoint", "to", "to_endpoint", "group", "clusters"),
        )  # fmt: skip
        if (target is None) == (number is None):
            raise PeerError("expected either to (a device) or group")
        if number is not None and number not in self._store.groups:
            raise PeerError("no such group")
        if clusters is not None and not all(type(each) is int and 0 <= each <= 0xFFFF for each in clusters):
            raise PeerError("clusters: expected numbers from 0 to 65535")
        known = [
            each
            for each in self._store.bindings
            if each.source.eui64 == eui64
            and endpoint in (None, each.source.endpoint)
            and (clusters is None or each.cluster in clusters)
            and (each.to == number if number is not None else _is_at(each.to, target, target_endpoint))
        ]
        if undo and (known or clusters is None):
            if not known:
                raise PeerError("nothing is bound between them")
            return known
        return self._new_bindings(eui64, endpoint, target, target_endpoint, number, clusters)

    def _new_bindings(
        self, eui64: str, endpoint: int | None, target: str | None, target_endpoint: int | None, number: int | None,
        clusters: list[int] | None,
    ) -> list[Binding]:  # fmt: skip
        endpoints = self._endpoints(eui64)
        others = {} if target is None else self._endpoints(target)
        found: list[Binding] = []
        for cluster in BINDABLE if clusters is None else clusters:
            source = next((e for e, (_, out) in endpoints.items() if cluster in out and endpoint in (None, e)), None)
            if source is None and clusters is not None:  # a server's reports may be bound as well
                source = next(
                    (e for e, (in_, _) in endpoints.items() if cluster in in_ and endpoint in (None, e)), None
                )
            if source is None:
                continue
            if number is not None:
                found.append(Binding(Place(eui64, source), cluster, number))
                continue
            at = next(
                (e for e, (in_, out) in others.items() if cluster in in_ + out and target_endpoint in (None, e)), None
            )
            if at is not None and target is not None:
                found.append(Binding(Place(eui64, source), cluster, Place(target, at)))
        if not found:
            raise PeerError("the two have no cluster in common that can be bound; clusters says which one is meant")
        return found

    # Devices -------------------------------------------------------------------------------------------------------

    def _endpoints(self, eui64: str) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
        """The clusters of a device by endpoint: those that it serves, and those that it is a client of."""
        found = self._groups.radio.device(eui64)
        if found is None:
            raise PeerError(f"{eui64}: no such device in the network, or the dongle can't be used now")
        return {each.number: (each.in_clusters, each.out_clusters) for each in found.endpoints}

    def _endpoint(self, eui64: str, endpoint: int | None, cluster: int, wrong: str) -> Place:
        found = [number for number, (served, _) in self._endpoints(eui64).items() if cluster in served]
        if not found or endpoint not in (None, *found):
            raise PeerError(wrong if not found else f"endpoint: expected one of {', '.join(map(str, found))}")
        return Place(eui64, found[0] if endpoint is None else endpoint)

    def _group(self, arguments: Mapping[str, Any], *, optional: tuple[str, ...] = (), **kinds: type) -> tuple[Any, ...]:
        number, *others = _fields(arguments, id=int, optional=optional, **kinds)
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
    "scene-recall": GroupCommands.scene_recall,
    "scene-rename": GroupCommands.scene_rename,
    "scene-remove": GroupCommands.scene_remove,
    "bind": GroupCommands.bind,
    "unbind": GroupCommands.unbind,
}


class _Answers:
    """The statuses that come in while a command waits."""

    def __init__(self) -> None:
        self.found: dict[Any, int] = {}
        self._news = asyncio.Event()

    def of(self, key: Any) -> Callable[[int], None]:
        def said(status: int) -> None:
            self.found[key] = status
            self._news.set()

        return said

    async def wait(self, keys: Iterable[Any]) -> None:
        """Until all have answered, or the time is over."""
        try:
            async with asyncio.timeout(ANSWER_TIME):
                while any(key not in self.found for key in keys):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass


def _fields(arguments: Mapping[str, Any], *, optional: tuple[str, ...] = (), **kinds: type) -> tuple[Any, ...]:
    """The arguments in the order of ``kinds``; None for an optional one that is left out."""
    if unknown := sorted(set(arguments) - set(kinds)):
        raise PeerError(f"unknown: {', '.join(unknown)}; expected {', '.join(kinds) or 'nothing'}")
    found: list[Any] = []
    for name, kind in kinds.items():
        value = arguments.get(name)
        if value is None and name in optional:
            found.append(None)
        elif value is None or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {int: "a whole number", str: "text", list: "a list"}
            raise PeerError(f"{name}: expected {words.get(kind, 'a value')}")
        else:
            found.append(value)
    return tuple(found)


def _number(asked: int) -> int:
    if not zcl_groups.FIRST_GROUP <= asked <= zcl_groups.LAST_GROUP:
        raise PeerError(f"id: expected a number from {zcl_groups.FIRST_GROUP} to {zcl_groups.LAST_GROUP}")
    return asked


def _shown(group: Group) -> dict[str, Any]:
    return {
        "id": group.number,
        "members": [_member(place) | {"pending": not done} for place, done in group.members.items()],
        "scenes": [{"id": number, "name": name} for number, name in sorted(group.scenes.items())],
    }


def _member(place: Place) -> dict[str, Any]:
    return {"eui64": place.eui64, "endpoint": place.endpoint}


def _bound(binding: Binding) -> dict[str, Any]:
    source, to = binding.source, binding.to
    target = {"group": to} if isinstance(to, int) else {"to": to.eui64, "to_endpoint": to.endpoint}
    return {"from": source.eui64, "from_endpoint": source.endpoint, "cluster": binding.cluster, **target}


def _outcome(wanted: list[Binding], said: _Answers, word: str) -> dict[str, Any]:
    refused = {each: status for each in wanted if (status := said.found.get(each))}
    if len(refused) == len(wanted):
        status = next(iter(refused.values()))
        raise PeerError(f"the device {word}: {zdo.status_name(status)}")
    return {
        "bindings": [_bound(each) for each in wanted if each not in refused],
        "failed": [_bound(each) | {"why": zdo.status_name(status)} for each, status in refused.items()],
        "pending": [_bound(each) for each in wanted if each not in said.found],
    }


def _is_at(to: Place | int, eui64: str | None, endpoint: int | None) -> bool:
    return isinstance(to, Place) and to.eui64 == eui64 and endpoint in (None, to.endpoint)


def _has(model: Model, place: Place, cluster: int) -> bool:
    return place.endpoint << 16 | cluster in model.clusters


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


def _failed(found: Mapping[Place, Status]) -> list[dict[str, Any]]:
    return [
        _member(place) | {"why": "no answer" if status is None else foundation.status_name(status)}
        for place, status in found.items()
        if status != 0
    ]


def _why(found: Mapping[Place, Status]) -> str:
    return "; ".join(sorted({each["why"] for each in _failed(found)})) or "none has the cluster of scenes"
