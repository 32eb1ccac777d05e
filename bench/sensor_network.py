"""A house of sensors and a lamp: their load on the gateway, and on bellows with and without zigpy's own path.

``prepare DONGLE DIRECTORY COUNT``: forms the network and interviews so many devices, then ends. ``reports SOCKET``:
lets the devices of a simulator report the temperature; a message is one report. ``hook DONGLE DIRECTORY``: bellows
whose packet hook only decodes the report. ``attributes DONGLE DIRECTORY``: bellows and zigpy as they are; a
report ends as an attribute event. ``set SOCKET PORT USER PASSWORD_FILE TOPIC``: MQTT in, time until the lamp has the
command. ``call DONGLE DIRECTORY SOCKET``: the same from the call of bellows' ``send_packet``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.load import LoadSpec, Stamp, serve_orders
from bench.sensor_network_control import DRAIN, NAME, PAUSE, Control, times

if TYPE_CHECKING:
    from carriage.mqtt.options import Message

PATIENCE = 10.0
"""Seconds that the state of a lamp may take that was set."""


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


async def set_by_mqtt(socket: str, port: int, user: str, password: str, topic: str) -> None:
    from carriage.mqtt.client import MqttClient
    from carriage.mqtt.options import MqttOptions

    control = await Control.connect(socket)
    options = MqttOptions(
        host="127.0.0.1", port=port, client_id="bench-set", username=user, password=password, tls=None
    )
    handler = _States()
    client = MqttClient(options, handler)

    async def begin(order: LoadSpec, on: bool) -> float:
        state = b'"state":"ON"' if on else b'"state":"OFF"'
        handler.wanted = state
        handler.seen.clear()
        began = time.monotonic()
        client.publish(topic, b"{%s}" % state, qos=0)
        if order.in_flight:
            async with asyncio.timeout(PATIENCE):
                await handler.seen.wait()
        else:
            await asyncio.sleep(5 * PAUSE)
        return began

    async with asyncio.TaskGroup() as tasks:
        client.start(tasks)
        await handler.up.wait()
        client.subscribe([topic.removesuffix("/set")])
        await serve_orders(lambda order: times(order, control, partial(begin, order)))
        await client.stop(drain=0.1)
        raise SystemExit


class _States:
    """The handler of a client that waits for a state."""

    def __init__(self) -> None:
        self.up, self.seen = asyncio.Event(), asyncio.Event()
        self.wanted = b""

    def connected(self, session_present: bool) -> None:
        self.up.set()

    def message(self, message: Message) -> None:
        if self.wanted in message.payload:
            self.seen.set()

    def refused(self, code: int, reason: str) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def subscribed(self, topic_filter: str, code: int) -> None: ...
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
