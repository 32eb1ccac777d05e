"""Questions to the gateway itself, in the form that users of zigbee2mqtt know.

``{base}/bridge/request/{command}`` has a JSON object, or nothing; the answer on ``bridge/response/{command}`` has
``data``, ``status`` (``ok`` or ``error``, then with ``error``) and the request's ``transaction``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.mqtt.devices.topics import HomeSpace, Request
from adapters.mqtt.devices.values import read_transaction
from carriage.mqtt.messages import read_object
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import DeviceView, Peer
from gateway.api.ports import AdapterContext

MAX_AT_ONCE: Final = 8
MAX_JOIN: Final = 254
DEFAULT_JOIN: Final = 60
"""Seconds, where a ``permit_join`` says ``true`` only."""
MAX_ANSWER: Final = 256 * 1024
"""Octets; a longer answer is an error."""


class Requests:
    """``publish(topic, body, correlation)`` tells an answer."""

    def __init__(self, topics: HomeSpace, publish: Callable[[str, bytes, bytes | None], None]) -> None:
        self._topics = topics
        self._publish = publish
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, request: Request, message: Message, context: AdapterContext, source: Peer) -> None:
        """Begin to answer a request. PeerError: malformed."""
        values = read_object(message.payload) if message.payload.strip() else {}
        transaction = read_transaction(values)
        if len(self._tasks) >= MAX_AT_ONCE:
            self._respond(request, message, transaction, {}, "busy")
            return
        task = asyncio.get_running_loop().create_task(self._do(request, message, transaction, values, context, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _do(
        self,
        request: Request,
        message: Message,
        transaction: str | int | None,
        values: dict[str, Any],
        context: AdapterContext,
        source: Peer,
    ) -> None:
        do = _COMMANDS.get(request.command)
        data: Mapping[str, Any] = {}
        error = ""
        if do is None:
            error = "unknown request"
        else:
            try:
                data = await do(values, context, source)
            except PeerError as refusal:
                error = str(refusal)
        self._respond(request, message, transaction, data, error)

    def _respond(
        self, request: Request, message: Message, transaction: str | int | None, data: Mapping[str, Any], error: str
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
    seconds = values.pop("time", None)
    if seconds is None and isinstance(values.get("value"), bool):  # how zigbee2mqtt 1 asks
        seconds = DEFAULT_JOIN if values.pop("value") else 0
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MAX_JOIN or values:
        raise PeerError(f"expected time, a whole number of seconds from 0 to {MAX_JOIN}")
    await context.administer(source, "permit-join", {"seconds": seconds})
    return {"time": seconds}


async def _devices(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return {"devices": [_device(view) for view in context.devices(source)]}


async def _health_check(values: dict[str, Any], context: AdapterContext, source: Peer) -> Mapping[str, Any]:
    return {"healthy": context.gateway().healthy}  # what is wrong is for administrators


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
            each.name: {"type": each.kind.value, "unit": each.unit, "writable": each.writable}
            for each in view.properties
        },
    }


_COMMANDS: Final = {
    "permit_join": _permit_join,
    "devices": _devices,
    "health_check": _health_check,
    "restart": _restart,
}
