"""Questions to the gateway itself, in the form that users of zigbee2mqtt know; ``gateway_requests`` has the commands.

``{base}/bridge/request/{command}`` has a JSON object, a bare value, or nothing; the answer on
``bridge/response/{command}`` has ``data``, ``status`` (``ok`` or ``error``, then with ``error``) and the request's
``transaction``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from adapters.mqtt.devices.gateway_requests import BARE, COMMANDS, UNSUPPORTED
from adapters.mqtt.devices.gateway_requests import MAX_JOIN as MAX_JOIN
from adapters.mqtt.devices.group_requests import GroupTopics
from adapters.mqtt.devices.topics import HomeSpace, TopicRequest
from adapters.mqtt.devices.values import read_transaction
from carriage import strict_json
from carriage.mqtt.messages import MAX_BODY, read_object
from carriage.mqtt.options import Message
from gateway.api.errors import PeerError
from gateway.api.model import Peer
from gateway.api.ports import AdapterContext

MAX_AT_ONCE: Final = 8
MAX_ANSWER: Final = 256 * 1024
"""Octets; a longer answer is an error."""


def read_request(command: str, payload: bytes) -> dict[str, Any]:
    """The values of a request. PeerError: malformed."""
    body = payload.strip()
    if not body or body.startswith(b"{"):
        return read_object(payload) if body else {}
    key = BARE.get(command) or ("id" if command.startswith(("device/", "group/")) else "")
    if not key or len(body) > MAX_BODY:
        raise PeerError("message body is no JSON object")
    value: Any
    try:
        value = strict_json.read(body)
    except PeerError:
        value = body.decode(errors="replace")
    if isinstance(value, list | dict):
        raise PeerError("message body is no JSON object")
    return {"value": value} if isinstance(value, bool) else {key: value}


class AdminRequests:
    """``publish(topic, body, correlation)`` publishes an answer; ``groups`` shows what requests change of groups."""

    def __init__(
        self,
        context: AdapterContext,
        topics: HomeSpace,
        publish: Callable[[str, bytes, bytes | None], None],
        groups: GroupTopics,
    ) -> None:
        self._context = context
        self._topics = topics
        self._publish = publish
        self._groups = groups
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, request: TopicRequest, message: Message, source: Peer) -> None:
        """Begin to answer a request. PeerError: malformed."""
        values = read_request(request.command, message.payload)
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
        do = COMMANDS.get(request.command)
        data: Mapping[str, Any] = {}
        error = ""
        if do is None:
            error = UNSUPPORTED.get(request.command, "unknown request")
        else:
            try:
                data = await do(values, self._context, source)
            except PeerError as refusal:
                error = str(refusal)
        self._respond(request, message, transaction, data, error)
        if request.command.startswith("group/") and not error:
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
