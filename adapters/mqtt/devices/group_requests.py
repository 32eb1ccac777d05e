"""Groups, scenes and bindings in the words of zigbee2mqtt: requests, set keys, and the retained list of all groups.

``{base}/bridge/request/group/...`` and ``device/bind`` change them; ``{base}/{group}/set`` takes ``scene_store``,
``scene_recall`` and the like; ``{base}/bridge/groups`` has ``[{id, friendly_name, scenes, members}]``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

from adapters.mqtt.devices.topics import Get, HomeSpace, Set
from adapters.mqtt.devices.values import read_transaction
from adapters.mqtt.news import News
from carriage import strict_json
from carriage.mqtt.messages import read_object
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import DeviceView, Peer, Reason
from gateway.api.ports import AdapterContext

MAX_AT_ONCE: Final = 8
DEFAULT: Final = "default"
"""zigbee2mqtt's word for the endpoint that is meant if none is named."""

Do = Callable[[dict[str, Any], AdapterContext, Peer], Awaitable[Mapping[str, Any]]]


def _only(values: Mapping[str, Any], *known: str) -> None:
    if unknown := sorted(set(values) - set(known)):
        raise PeerError(f"unknown: {', '.join(unknown)}; expected {', '.join(known)}")


def _endpoint(values: Mapping[str, Any], key: str = "endpoint") -> dict[str, int]:
    """The endpoint, unless it is the default one."""
    found = values.get(key)
    if found is None or found == DEFAULT:
        return {}
    if isinstance(found, str) and found.isdecimal() and len(found) <= 3:
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool):
        raise PeerError(f"{key}: expected a number")
    return {key: found}


def _asked(values: Mapping[str, Any], key: str) -> str | int:
    """A name or a number of a group, an address or a name of a device."""
    found = values.get(key)
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise PeerError(f"expected {key}")
    return found


async def _add(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    _only(values, "friendly_name", "id")
    given = {"name": _asked(values, "friendly_name")} | ({"id": values["id"]} if values.get("id") is not None else {})
    answer = await context.administer(source, "group-add", given)
    return {"friendly_name": answer["name"], "id": answer["id"]}


async def _remove(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """``force`` changes nothing: a group is gone at once, and its members are rid of it as they are heard."""
    _only(values, "id", "force")
    await context.administer(source, "group-remove", {"group": _asked(values, "id")})
    return {"id": values["id"], "force": bool(values.get("force"))}


async def _rename(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    _only(values, "from", "to", "homeassistant_rename")
    answer = await context.administer(source, "group-rename", {key: _asked(values, key) for key in ("from", "to")})
    return {"from": values["from"], "to": answer["name"], "homeassistant_rename": False}


def _membership(command: str) -> Do:
    async def do(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
        _only(values, "group", "device", "endpoint", "skip_disable_reporting")
        given = {key: _asked(values, key) for key in ("group", "device")} | _endpoint(values)
        answer = await context.administer(source, command, given)
        endpoint = values.get("endpoint", DEFAULT)
        return {"group": answer["group"], "device": answer["device"], "endpoint": endpoint} | _pending(answer)

    return do


async def _clear(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """A device out of all groups, as in zigbee2mqtt; or all devices out of a group."""
    _only(values, "group", "device", "endpoint", "skip_disable_reporting")
    key = "device" if "device" in values else "group"
    answer = await context.administer(source, "group-members-clear", {key: _asked(values, key)})
    return {key: values[key], "endpoint": values.get("endpoint", DEFAULT)} | _pending(answer)


def _binding(command: str) -> Do:
    async def do(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
        _only(values, "from", "from_endpoint", "to", "to_endpoint", "clusters", "skip_disable_reporting")
        given: dict[str, Any] = {key: _asked(values, key) for key in ("from", "to")}
        given |= _endpoint(values, "from_endpoint") | _endpoint(values, "to_endpoint")
        if values.get("clusters") is not None:
            given["clusters"] = values["clusters"]
        answer = await context.administer(source, command, given)
        return {
            **{key: values.get(key, DEFAULT) for key in ("from", "from_endpoint", "to", "to_endpoint")},
            "clusters": [each["cluster"] for each in answer["bindings"]],
            "failed": [each["cluster"] for each in answer["failed"]],
        } | _pending(answer)

    return do


async def _groups(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """All groups, as ``bridge/groups`` has them; for an administrator."""
    _only(values)
    return {"groups": _listed(await context.administer(source, "groups", {}))}


def _pending(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a device has still to do its part: it does when it is heard."""
    return {"pending": True} if answer.get("pending") else {}


REQUESTS: Final[Mapping[str, Do]] = {
    "group/add": _add,
    "group/remove": _remove,
    "group/rename": _rename,
    "group/members/add": _membership("group-members-add"),
    "group/members/remove": _membership("group-members-remove"),
    "group/members/remove_all": _clear,
    "device/bind": _binding("bind"),
    "device/unbind": _binding("unbind"),
    "groups": _groups,
}


def _listed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": group["id"],
            "friendly_name": group["name"] or f"{group['id']}",
            "description": None,
            "scenes": [{"id": each["id"], "name": each["name"] or f"Scene {each['id']}"} for each in group["scenes"]],
            "members": [
                {"ieee_address": "0x" + each["address"].replace(":", ""), "endpoint": each["endpoint"]}
                for each in group["members"]
            ],
        }
        for group in answer["groups"]
    ]


# Scenes as keys of a set

RECALL: Final = "scene_recall"


def _scene(value: Any) -> dict[str, Any]:
    """A scene by its number, its name, or a table with ``ID`` and ``name``."""
    if isinstance(value, dict):
        number, name = value.get("ID"), value.get("name")
        return ({"scene": number} if number is not None else {}) | ({"name": name} if name is not None else {})
    return {"scene": value} if isinstance(value, int) and not isinstance(value, bool) else {"name": value}


def _stored(value: Any) -> tuple[str, dict[str, Any]]:
    return "scene-store", _scene(value)


def _added(value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise PeerError("expected ID, name and what the scene sets")
    sets = {key: each for key, each in value.items() if key not in ("ID", "name", "group_id", "transition")}
    transition = {"transition": value["transition"]} if "transition" in value else {}
    return "scene-add", {**_scene(value), **transition, "values": sets}


def _removed(value: Any) -> tuple[str, dict[str, Any]]:
    return "scene-remove", {"scene": _which(value)}


def _all_removed(value: Any) -> tuple[str, dict[str, Any]]:
    return "scene-remove", {}


def _renamed(value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise PeerError("expected ID and name")
    return "scene-rename", {"scene": value.get("ID"), "name": value.get("name")}


def _which(value: Any) -> Any:
    return value.get("ID", value.get("name")) if isinstance(value, dict) else value


SCENE_KEYS: Final[Mapping[str, Callable[[Any], tuple[str, dict[str, Any]]]]] = {
    "scene_store": _stored,
    "scene_add": _added,
    "scene_remove": _removed,
    "scene_remove_all": _all_removed,
    "scene_rename": _renamed,
}


def _recalled(value: Any) -> dict[str, Any]:
    """The input of the action."""
    more = {"transition": value["transition"]} if isinstance(value, dict) and "transition" in value else {}
    return {"scene": f"{_which(value)}", **more}


class Taking(Protocol):
    """The part that carries out sets (``commands``)."""

    def take(self, topic: Set | Get, message: Message, source: Peer, lost: bool) -> None: ...


class GroupTopics:
    """The scenes of groups as keys of a set, and the retained list of groups.

    ``answer(topic, body, correlation)`` publishes an answer; ``acknowledge`` acknowledges a message to the broker.
    """

    def __init__(
        self,
        context: AdapterContext,
        topics: HomeSpace,
        news: News,
        answer: Callable[[str, bytes, bytes | None], None],
        commands: Taking,
        acknowledge: Callable[[Message], None],
    ) -> None:
        self._context = context
        self._topics = topics
        self._news = news
        self._answer = answer
        self._commands = commands
        self._acknowledge = acknowledge
        self._tasks: set[asyncio.Task[None]] = set()
        self._published: bytes | None = None
        """None: what the broker has is not known."""
        self._seen: frozenset[object] = frozenset()
        self.changed = False
        """The gateway is another one than before: groups may have other names."""
        self._stale = False
        """The list is asked for, and was asked for again meanwhile."""
        self._asking: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        tasks = [*self._tasks, *(() if self._asking is None else (self._asking,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def took(self, topic: Set | Get, message: Message, source: Peer, lost: bool) -> bool:
        """Begin what a set asks of a group's scenes; False: it is about something else. PeerError: malformed.

        To recall one is an action of the group, for which its number gets another form; the rest is an administrator's.
        ``lost``: an earlier run of the gateway may have done it.
        """
        if isinstance(topic, Get) or (not topic.property.startswith("scene_") and b'"scene_' not in message.payload):
            return False
        values = {topic.property: _bare(message.payload)} if topic.property else read_object(message.payload)
        transaction = read_transaction(values)
        asked = [name for name in values if name in SCENE_KEYS]
        if not asked and RECALL in values:
            values[RECALL] = _recalled(values[RECALL])
            body = values | ({} if transaction is None else {"transaction": transaction})
            self._commands.take(Set(topic.device), replace(message, payload=json.dumps(body).encode()), source, lost)
            return True
        if not asked:
            return False
        if len(asked) < len(values):
            raise PeerError("scenes are changed in a set without other keys")
        for name in asked:
            if lost or len(self._tasks) >= MAX_AT_ONCE:  # a scene that is stored twice may not be what it was
                self._say(topic, message, name, transaction, (Reason.RESTARTED if lost else Reason.BUSY).value)
                continue
            work = self._do(topic, message, name, values[name], transaction, source)
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._acknowledge(message)
        return True

    async def _do(
        self, topic: Set, message: Message, name: str, value: Any, transaction: str | int | None, source: Peer
    ) -> None:
        error = ""
        try:
            command, given = SCENE_KEYS[name](value)
            await self._context.administer(source, command, {"group": topic.device, **given})
        except PeerError as refusal:
            error = str(refusal)
        self._say(topic, message, name, transaction, error)
        self.tell(source)

    def _say(self, topic: Set, message: Message, name: str, transaction: str | int | None, error: str) -> None:
        body: dict[str, Any] = {"property": name, "status": "failed" if error else "delivered"}
        if transaction is not None:
            body["transaction"] = transaction
        if error:
            body["detail"] = error
        octets = json.dumps(body, separators=(",", ":")).encode()
        self._answer(self._topics.answer(topic.device, message.response_topic), octets, message.correlation)

    # The list of groups

    def seen(self, views: Iterable[DeviceView], broker: Peer) -> None:
        """The devices that the broker may use, or the policy, are others now: see whether groups are."""
        groups = frozenset((view.name, view.members, view.actions) for view in views if view.members is not None)
        if groups != self._seen or self.changed:
            self._seen, self.changed = groups, False
            self.tell(broker)

    def tell(self, broker: Peer, *, again: bool = False) -> None:
        """Publish the list if it is another one; with ``again`` in any case. Only for a broker that may administer:
        from another one it is taken away, since it names devices that the broker's clients may not see."""
        if again:
            self._published = None
        if not self._context.may_administer(broker):
            self._stand(b"")
            return
        if self._asking is not None and not self._asking.done():
            self._stale = True
            return
        self._asking = asyncio.get_running_loop().create_task(self._list(broker))

    async def _list(self, broker: Peer) -> None:
        while True:
            self._stale = False
            try:
                groups = _listed(await self._context.administer(broker, "groups", {}))
            except PeerError:  # there is no network of devices, it does not run yet, or the broker is over its rate
                return
            if not self._context.may_administer(broker):  # not any longer
                return
            self._stand(json.dumps(groups, separators=(",", ":")).encode())
            if not self._stale:
                return

    def _stand(self, payload: bytes) -> None:
        if payload != self._published:
            self._published = payload
            self._news.stand(self._topics.bridge("groups"), payload)


def _bare(payload: bytes) -> Any:
    if payload.lstrip().startswith((b"{", b"[")):
        return strict_json.read(payload, "JSON object")
    try:
        return strict_json.read(payload)
    except PeerError:
        return payload.decode(errors="replace").strip()
