"""Questions to the gateway itself, in the form that users of zigbee2mqtt know.

``{base}/bridge/request/{command}`` has a JSON object, or nothing; the answer on ``bridge/response/{command}`` has
``data``, ``status`` (``ok`` or ``error``, then with ``error``) and the request's ``transaction``.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.mqtt.devices import group_requests
from adapters.mqtt.devices.topics import HomeSpace, TopicRequest
from adapters.mqtt.devices.values import json_of, read_transaction
from carriage.mqtt.messages import read_object
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import DeviceView, Peer, Value
from gateway.api.ports import AdapterContext

MAX_AT_ONCE: Final = 8
MAX_JOIN: Final = 254
DEFAULT_JOIN: Final = 60
"""Seconds, if a ``permit_join`` says only ``true``."""
MAX_ANSWER: Final = 256 * 1024
"""Octets; a longer answer is an error."""


class AdminRequests:
    """``publish(topic, body, correlation)`` publishes an answer; ``groups`` shows what they changed."""

    def __init__(
        self,
        context: AdapterContext,
        topics: HomeSpace,
        publish: Callable[[str, bytes, bytes | None], None],
        groups: group_requests.GroupTopics,
    ) -> None:
        self._context = context
        self._topics = topics
        self._publish = publish
        self._groups = groups
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, request: TopicRequest, message: Message, source: Peer) -> None:
        """Begin to answer a request. PeerError: malformed."""
        values = read_object(message.payload) if message.payload.strip() else {}
        transaction = read_transaction(values)
        if len(self._tasks) >= MAX_AT_ONCE:
            self._respond(request, message, transaction, {}, "busy")
            return
        task = asyncio.get_running_loop().create_task(self._do(request, message, transaction, values, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._groups.stop()

    async def _do(
        self,
        request: TopicRequest,
        message: Message,
        transaction: str | int | None,
        values: dict[str, Any],
        source: Peer,
    ) -> None:
        do = _COMMANDS.get(request.command)
        data: Mapping[str, Any] = {}
        error = ""
        if do is None:
            error = "unknown request"
        else:
            try:
                data = await do(values, self._context, source)
            except PeerError as refusal:
                error = str(refusal)
        self._respond(request, message, transaction, data, error)
        if "/" in request.command and not error:
            self._groups.tell(source)

    def _respond(
        self,
        request: TopicRequest,
        message: Message,
        transaction: str | int | None,
        data: Mapping[str, Any],
        error: str,
    ) -> None:
        body: dict[str, Any] = {"data": data, "status": "error" if error else "ok"}
        if error:
            body["error"] = error
        if transaction is not None:
            body["transaction"] = transaction
        octets = json.dumps(body, separators=(",", ":")).encode()
        if len(octets) > MAX_ANSWER:
            octets = json.dumps({**body, "data": {}, "status": "error", "error": "too long"}).encode()
        self._publish(self._topics.response(request.command, message.response_topic), octets, message.correlation)


async def _permit_join(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    if not values:
        status = await context.administer(source, "status", {})
        return {"time": math.ceil(status["joining"])}
    seconds = values.pop("time", None)
    if seconds is None and isinstance(values.get("value"), bool):  # how zigbee2mqtt 1 asks
        seconds = DEFAULT_JOIN if values.pop("value") else 0
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MAX_JOIN or values:
        raise PeerError(f"expected time, a whole number of seconds from 0 to {MAX_JOIN}")
    await context.administer(source, "permit-join", {"seconds": seconds})
    return {"time": seconds}


async def _health_check(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return {"healthy": context.gateway().healthy}  # what is wrong is for administrators


async def _status(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return await context.administer(source, "status", {})


async def _sessions(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return await context.administer(source, "sessions", {})


async def _rename(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """``from`` may be the address of a device without a name, which then gets one, as in zigbee2mqtt."""
    values.pop("homeassistant_rename", None)  # its ids don't depend on names
    if not isinstance(values.get("from"), str) or not isinstance(values.get("to"), str):
        raise PeerError("expected from (a name or an address) and to (a name)")
    answer = await context.administer(source, "rename-device", values)
    return {"from": values["from"], "to": answer["name"], "groups": answer["groups"]}


async def _remove(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    asked, force = values.pop("id", None), values.pop("force", False)
    if not isinstance(asked, str) or not isinstance(force, bool) or values:
        raise PeerError("expected id (a name or an address), and force: true or false")
    answer = await context.administer(source, "remove-device", {"device": asked, "force": force})
    return {"id": asked, "force": force, "left": bool(answer.get("left"))}


async def _devices(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    """The devices that the policy lets the broker use; an administrator gets all, with the radio's facts of each."""
    seen = {view.name: _device(view) for view in context.devices(source)}
    if context.may_administer(source):
        try:
            answer = await context.administer(source, "devices", {})
        except PeerError:  # over its rate, say: then as anybody else
            return {"devices": list(seen.values())}
        for found in answer["devices"]:
            listed = _listed(found)
            seen[listed["friendly_name"]] = seen.get(found.get("name") or "", {}) | listed
    return {"devices": list(seen.values())}


async def _restart(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    await context.administer(source, "restart", {})
    return {}


def _device(view: DeviceView) -> dict[str, Any]:
    return {
        "friendly_name": view.name,
        "online": view.online,
        "sleepy": view.sleepy,
        "may": sorted(view.may),
        "facts": dict(view.facts),
        "properties": {
            each.name: {"type": each.type.value, "unit": each.unit, "writable": each.writable}
            for each in view.properties
        },
        "actions": [each.name for each in view.actions],
        "events": [each.name for each in view.events],
        "state": {
            each.name: _word(sample.value, each.writable)
            for each in view.properties
            if (sample := view.samples.get(each.name)) is not None
        },
    }


def _listed(found: Mapping[str, Any]) -> dict[str, Any]:
    """A device as the administrator's list has it, in the words of zigbee2mqtt."""
    eui64 = str(found.get("identity", "")).startswith("eui64:")
    address = "0x" + str(found.get("address")).replace(":", "") if eui64 else found.get("address")
    return {
        "friendly_name": found.get("name") or address,
        "ieee_address": address,
        "named": bool(found.get("name")),
        "model_id": found.get("model") or None,
        "manufacturer": found.get("manufacturer") or None,
        "interviewing": bool(found.get("interviewing")),
        "interview_completed": found.get("interviewed", True) and not found.get("interviewing"),
        "linkquality": found.get("lqi"),
        "last_seen": found.get("last_seen"),
        "state": {
            each["name"]: _word(each["value"], bool(each.get("writable")))
            for each in found.get("properties", ())
            if "value" in each
        },
    }


def _word(value: Value | None, writable: bool) -> Any:
    """A value as the device's state topic has it."""
    return json.loads(json_of(value, writable))


_COMMANDS: Final = {
    "permit_join": _permit_join,
    "devices": _devices,
    "device/rename": _rename,
    "device/remove": _remove,
    "status": _status,
    "sessions": _sessions,
    "health_check": _health_check,
    "restart": _restart,
    **group_requests.REQUESTS,
}
