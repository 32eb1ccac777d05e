"""What both halves of the house of sensors use: names and numbers, the simulator's control socket, how a command's time
is taken. Their commands are in ``bench.sensor_network``."""

from __future__ import annotations

import asyncio
import json
import time
from statistics import median
from typing import Any

from bench.load import LoadSpec, Stamp

TEMPERATURE = 0x0402
ON_OFF = 0x0006
HA_PROFILE = 0x0104
NAME = "temperature"
LAMP_NAME = "lamp"
DRAIN = 0.3
"""Seconds that the last reports of a measurement have to get through the process that is measured."""
PAUSE = 0.01
"""Seconds between two commands whose time is taken."""


class Control:
    """A simulator's control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, path: str) -> Control:
        return cls(*await asyncio.open_unix_connection(path, limit=1 << 22))

    async def ask(self, do: str, **arguments: object) -> Any:
        self._writer.write(json.dumps({"type": "control", "id": 1, "do": do, **arguments}).encode() + b"\n")
        answer = json.loads(await self._reader.readline())
        if answer.get("type") != "result":
            raise SystemExit(f"the simulator: {answer}")
        return answer["value"]

    def close(self) -> None:
        self._writer.close()

    async def commanded(self) -> float:
        """When the lamp had its last command, on the monotonic clock."""
        (lamp,) = await self.ask("devices", device=LAMP_NAME)
        return float(lamp["commanded"] or 0.0)


async def times(order: LoadSpec, control: Control, begin: Any) -> dict[str, Any]:
    """One after the other: ``await begin(on)`` sends, gives the time when it began; how long until the lamp had it.
    With one in flight the next one follows as soon as ``begin`` is back and the lamp has had it."""
    found: list[float] = []
    before = Stamp.take(0, order.pids)
    ends = time.monotonic() + order.warm + order.seconds
    begun = time.monotonic()
    on = True
    while time.monotonic() < ends:
        began = await begin(on)
        on = not on
        while (arrived := await control.commanded()) < began:  # noqa: ASYNC110 - another process's clock
            await asyncio.sleep(0 if order.in_flight else PAUSE)
        if time.monotonic() > begun + order.warm:
            found.append(arrived - began)
        if not order.in_flight:
            await asyncio.sleep(PAUSE)
    after = Stamp.take(len(found), order.pids)
    return before.until(after) | {"latency": median(found)}
