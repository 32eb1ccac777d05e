"""A Home Assistant in the scene: its process, and what one sees and does there by its own API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

from demo.process import Process
from demo.stack import Stack, free_port

PATIENCE: Final = 15.0
BARE: Final = Path(__file__).with_name("bare.py")


class SceneError(Exception):
    """What was expected, and what was found."""


async def until(what: str, seen: Callable[[], Awaitable[Any]], seconds: float = PATIENCE) -> Any:
    """What ``seen`` returns once it is true. SceneError: it never was."""
    last: Any = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                last = await seen()
                if last:
                    return last
                await asyncio.sleep(0.1)
    raise SceneError(f"expected within {seconds:.0f} s: {what}; found {last!r}")


class HomeAssistant:
    """``python``: of its virtual environment. Its folder is kept over restarts, as its settings are."""

    def __init__(self, stack: Stack, python: str) -> None:
        self._stack = stack
        self._python = python
        self._folder = stack.directory / "home-assistant"
        self._folder.mkdir()
        (self._folder / "configuration.yaml").touch()
        self._port = free_port()
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self.version = ""

    async def start(self) -> None:
        broker = self._stack.broker
        assert broker is not None
        user = "home-assistant"
        arguments = [str(self._folder), str(broker.port), user, str(broker.passwords[user]), str(self._port)]
        self._process = await self._stack.start("home-assistant", [self._python, str(BARE), *arguments])
        ready = await self._process.expect_event("ready", seconds=60)
        self.version = ready["version"]
        self._session = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._port}", headers={"Authorization": f"Bearer {ready['token']}"}
        )
        self._token = ready["token"]

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._process is not None:
            await self._process.stop()
            self._process = None

    def log(self) -> list[str]:
        """What it complained of so far, by its MQTT integration or anywhere."""
        lines = (self._stack.directory / "home-assistant.log").read_text(errors="replace").splitlines()
        return [each for each in lines if each.startswith(("WARNING", "ERROR", "CRITICAL"))]

    async def states(self) -> dict[str, dict[str, Any]]:
        """Entity id to state, with its attributes."""
        assert self._session is not None
        async with self._session.get("/api/states") as answer:
            return {each["entity_id"]: each for each in await answer.json()}

    async def call(self, service: str, entity: str, **data: Any) -> None:
        """Do as a user does there. SceneError: it refuses."""
        assert self._session is not None
        path = f"/api/services/{service.replace('.', '/')}"
        async with self._session.post(path, json={"entity_id": entity, **data}) as answer:
            if answer.status != 200:
                raise SceneError(f"{service} of {entity} {data}: {answer.status} {await answer.text()}")

    async def entities(self) -> dict[str, dict[str, Any]]:
        """Unique id to entry of its registry."""
        return {each["unique_id"]: each for each in await self.ask("config/entity_registry/list")}

    async def devices(self) -> dict[str, dict[str, Any]]:
        """Name to entry of its registry."""
        return {each["name"]: each for each in await self.ask("config/device_registry/list")}

    async def ask(self, kind: str, **more: Any) -> Any:
        """One command of its websocket API."""
        assert self._session is not None
        async with self._session.ws_connect("/api/websocket") as socket:
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": self._token})
            await socket.receive_json()
            await socket.send_json({"id": 1, "type": kind, **more})
            answer = await socket.receive_json()
        if not answer["success"]:
            raise SceneError(f"{kind} {more}: {answer['error']}")
        return answer["result"]

    async def shows(self, entity: str, state: str | None = None, seconds: float = PATIENCE, **attributes: Any) -> None:
        """Wait until an entity has this state and these attributes."""

        async def seen() -> bool:
            nonlocal found
            found = (await self.states()).get(entity)
            return found is not None and (state is None or found["state"] == state) and all(
                _near(found["attributes"].get(key), value) for key, value in attributes.items()
            )  # fmt: skip

        found: dict[str, Any] | None = None
        try:
            await until("", seen, seconds)
        except SceneError:
            raise SceneError(f"expected {entity}: {state} {attributes}; found {_brief(found, attributes)}") from None


def _near(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float):
        return abs(found - wanted) <= max(0.02, abs(wanted) / 50)
    if isinstance(wanted, tuple):
        return isinstance(found, list) and all(map(_near, found, wanted))
    return bool(found == wanted)


def _brief(found: dict[str, Any] | None, attributes: dict[str, Any]) -> str:
    if found is None:
        return "no such entity"
    return f"{found['state']} { {key: found['attributes'].get(key) for key in attributes} }"
