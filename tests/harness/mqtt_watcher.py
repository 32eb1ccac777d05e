"""The broker's messages about devices, as mosquitto_sub and mosquitto_pub see and send them for Home Assistant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from demo.stack import Stack

USER = "home-assistant"


class Watcher:
    """What mosquitto_sub printed: topic to its messages."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Any]] = {}
        self.news = asyncio.Event()

    async def read(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            topic, _, payload = line.decode().rstrip("\n").partition(" ")
            self.heard.setdefault(topic, []).append(json.loads(payload) if payload else None)
            self.news.set()

    def last(self, topic: str) -> Any:
        found = self.heard.get(topic)
        return found[-1] if found else {}

    async def until(self, holds: Callable[[], object], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                self.news.clear()
                await self.news.wait()


def login(stack: Stack) -> list[str]:
    assert stack.broker is not None
    password = stack.broker.passwords[USER].read_text().strip()
    return ["-h", "127.0.0.1", "-p", str(stack.broker.port), "-u", USER, "-P", password]


@asynccontextmanager
async def watching(stack: Stack) -> AsyncIterator[Watcher]:
    filters = [each for topic in ("home/#", "homeassistant/#") for each in ("-t", topic)]
    process = await asyncio.create_subprocess_exec(
        "mosquitto_sub", *login(stack), "-F", "%t %p", *filters, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    watcher = Watcher()
    reading = asyncio.create_task(watcher.read(process.stdout))
    try:
        yield watcher
    finally:
        process.terminate()
        await process.wait()
        await reading


async def publish(stack: Stack, topic: str, payload: str, *options: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "mosquitto_pub", *login(stack), "-q", "1", "-t", topic, "-m", payload, *options
    )
    assert await process.wait() == 0


def gateway_id(stack: Stack) -> str:
    return f"atls_{(stack.directory / 'state' / 'gateway-id').read_text()[:12]}"


def config_topic(stack: Stack, eui64: str) -> str:
    return f"homeassistant/device/{gateway_id(stack)}_{eui64}/config"
