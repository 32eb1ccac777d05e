"""A house of sensors and a lamp: their load on the gateway, and on bellows with and without zigpy's own path.

``prepare DONGLE DIRECTORY COUNT``: forms the network and interviews so many devices, then ends. ``reports SOCKET``:
lets the devices of a simulator report the temperature; a message is one report. ``hook DONGLE DIRECTORY``: bellows
whose packet hook only decodes the report. ``attributes DONGLE DIRECTORY``: bellows and zigpy as they are; a
report ends as an attribute event. ``set SOCKET PORT USER PASSWORD_FILE TOPIC``: MQTT in, time until the lamp has the
command. ``call DONGLE DIRECTORY SOCKET``: the same from the call of bellows' ``send_packet``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import LoadSpec, Stamp, serve_orders

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
        devices = await self.ask("devices")
        return next(float(each["commanded"] or 0.0) for each in devices if each["name"] == LAMP_NAME)


async def reports(socket: str) -> None:
    control = await Control.connect(socket)

    async def work(order: LoadSpec) -> dict[str, Any]:
        async def load(seconds: float) -> Any:
            what = {"name": NAME, "rate": order.rate, "devices": order.devices, "ack": False}
            return await control.ask("load", seconds=seconds, **what)

        await load(order.warm)
        await asyncio.sleep(DRAIN)
        before = Stamp.take(0, order.pids)
        totals = await load(order.seconds)
        await asyncio.sleep(DRAIN)
        return before.until(Stamp.take(totals["sent"], order.pids), totals["failed"]) | {"seconds": totals["seconds"]}

    await serve_orders(work)


async def times(order: LoadSpec, control: Control, begin: Any) -> dict[str, Any]:
    """One after the other: ``await begin(on)`` sends, gives the time when it began; how long until the lamp had it."""
    found: list[float] = []
    before = Stamp.take(0, order.pids)
    ends = time.monotonic() + order.warm + order.seconds
    begun = time.monotonic()
    on = True
    while time.monotonic() < ends:
        began = await begin(on)
        on = not on
        while (arrived := await control.commanded()) < began:  # noqa: ASYNC110 - another process's clock
            await asyncio.sleep(PAUSE)
        if time.monotonic() > begun + order.warm:
            found.append(arrived - began)
        await asyncio.sleep(PAUSE)
    after = Stamp.take(len(found), order.pids)
    return before.until(after) | {"latency": median(found)}


async def set_by_mqtt(socket: str, port: int, user: str, password: str, topic: str) -> None:
    from carriage.mqtt.client import MqttClient
    from carriage.mqtt.options import MqttOptions

    control = await Control.connect(socket)
    options = MqttOptions(
        host="127.0.0.1", port=port, client_id="bench-set", username=user, password=password, tls=None
    )
    up = asyncio.Event()
    client = MqttClient(options, _Quiet(up))

    async def begin(on: bool) -> float:
        began = time.monotonic()
        client.publish(topic, b'{"state":"ON"}' if on else b'{"state":"OFF"}', qos=0)
        await asyncio.sleep(5 * PAUSE)
        return began

    async with asyncio.TaskGroup() as tasks:
        client.start(tasks)
        await up.wait()
        await serve_orders(lambda order: times(order, control, begin))
        await client.stop(drain=0.1)
        raise SystemExit


class _Quiet:
    """A client's handler that receives nothing."""

    def __init__(self, up: asyncio.Event) -> None:
        self._up = up

    def connected(self, session_present: bool) -> None:
        self._up.set()

    def refused(self, code: int, reason: str) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def subscribed(self, topic_filter: str, code: int) -> None: ...
    def message(self, message: object) -> None: ...
    def published(self, token: object, code: int) -> None: ...
    def dropped(self, token: object, reason: object) -> None: ...


def main(what: str, *rest: str) -> None:
    if what == "reports":
        asyncio.run(reports(rest[0]))
    elif what == "set":
        asyncio.run(set_by_mqtt(rest[0], int(rest[1]), rest[2], Path(rest[3]).read_text().strip(), rest[4]))
    else:
        from bench import sensor_network_bellows

        asyncio.run(sensor_network_bellows.run(what, *rest))


if __name__ == "__main__":
    main(*sys.argv[1:])
