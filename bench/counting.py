"""Counting what a message costs a process: a program under ``bench.counting_gateway``, and what it counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scenario import COUNTING
from demo.stack import Stack

PATIENCE = 60.0
Load = Callable[[], Awaitable[int]]
"""Carries messages through; how many."""


@dataclass(frozen=True, slots=True)
class Count:
    """What one message costs. ``turns`` is None if batches of messages share them, ``publications`` (of the state of
    a device) if none is concerned."""

    calls: float
    objects: float
    turns: float | None = None
    publications: float | None = None

    def cells(self) -> list[str]:
        return [f"{self.calls:.0f}", *("" if n is None else f"{n:.1f}" for n in self.numbers()[1:])]

    def numbers(self) -> tuple[float, float, float | None, float | None]:
        return self.calls, self.objects, self.turns, self.publications


@dataclass(slots=True)
class CountingGateway:
    """A gateway of the checkout ``root`` that counts its calls, started by ``stack``."""

    stack: Stack
    root: Path
    modules: dict[str, Mapping[str, float]]

    async def start(self) -> None:
        program = [sys.executable, str(COUNTING)]
        environment = {**os.environ, "PYTHONPATH": str(self.root), "COUNT_FILE": str(self._file)}
        await self.stack.start_gateway(environment, program=program)

    @property
    def _file(self) -> Path:
        return self.stack.directory / "count"

    async def count(self, name: str, load: Load) -> dict[str, float]:
        """What the gateway does while ``load`` runs, for each of its messages."""
        assert self.stack.gateway is not None
        return await counted(self.stack.gateway.pid, self._file, self.modules, name, load)

    async def stop(self) -> None:
        assert self.stack.gateway is not None
        await self.stack.gateway.stop()


async def counted(
    pid: int, file: Path, modules: dict[str, Mapping[str, float]], name: str, load: Load
) -> dict[str, float]:
    """What the counting process does while ``load`` runs, for each of its messages. ``file``: its COUNT_FILE."""
    _forget(file)
    os.kill(pid, signal.SIGUSR1)
    await until(file.exists)
    messages = await load()
    os.kill(pid, signal.SIGUSR2)
    await until(lambda: file.stat().st_size > 0)
    found = _read(file)
    modules[name] = {module: calls / messages for module, calls in found["modules"].items()}
    return {key: found[key] / messages for key in ("calls", "objects", "turns")}


def _forget(file: Path) -> None:
    file.unlink(missing_ok=True)


def _read(file: Path) -> Any:
    return json.loads(file.read_text())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.01)
