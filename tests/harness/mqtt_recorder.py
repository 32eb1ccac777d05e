"""An MQTT client whose handler records each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from carriage.mqtt.client import MqttClient
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token


class Recorder:
    """A handler that keeps everything; ``until`` waits for a condition on it."""

    def __init__(self) -> None:
        self.connections: list[bool] = []
        self.refusals: list[tuple[int, str]] = []
        self.disconnections: list[str] = []
        self.subscriptions: list[tuple[str, int]] = []
        self.messages: list[Message] = []
        self.ends: list[tuple[Token, int]] = []
        self.drops: list[tuple[Token, DropReason]] = []
        self.on_message: Callable[[Message], None] = self.messages.append
        self._changed = asyncio.Event()

    def connected(self, session_present: bool) -> None:
        self.connections.append(session_present)
        self._changed.set()

    def refused(self, code: int, reason: str) -> None:
        self.refusals.append((code, reason))
        self._changed.set()

    def disconnected(self, reason: str) -> None:
        self.disconnections.append(reason)
        self._changed.set()

    def subscribed(self, topic_filter: str, code: int) -> None:
        self.subscriptions.append((topic_filter, code))
        self._changed.set()

    def message(self, message: Message) -> None:
        self._changed.set()
        self.on_message(message)

    def published(self, token: Token, code: int) -> None:
        self.ends.append((token, code))
        self._changed.set()

    def dropped(self, token: Token, reason: DropReason) -> None:
        self.drops.append((token, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(
    port: int,
    client_id: str,
    *,
    recorder: Recorder | None = None,
    wake: Callable[[], None] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[MqttClient, Recorder]]:
    """A client with its recorder, running; stopped at the end. ``wake``: of its owner."""
    recorder = recorder or Recorder()
    settings = {"host": "127.0.0.1", "backoff_first": 0.05, "backoff_limit": 0.3, **options}
    given = MqttOptions(port=port, client_id=client_id, **settings)
    client = MqttClient(given, recorder, wake=wake, jitter=lambda: 0.5)
    async with asyncio.TaskGroup() as group:
        client.start(group)
        await asyncio.sleep(0)
        try:
            yield client, recorder
        finally:
            await client.stop()
