"""Publishers that do nothing else, QoS 1, with the topics that the gateway has for units: bare paho, and our client.

``python -m bench.mqtt paho|ours PORT USER PASSWORD_FILE TOPIC SIZE``. One message is one PUBLISH, done at its PUBACK.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bench.load import Done, LoadSpec, Stamp, say, serve
from bench.messages import record
from carriage.mqtt.client import MqttClient
from carriage.mqtt.messages import CONTENT_TYPES, UNIT_EXPIRY
from carriage.mqtt.options import DropReason, Message, MqttOptions, Token

CONTENT_TYPE = CONTENT_TYPES["adtls"]


def bare(port: int, user: str, password: str, topic: str, size: int) -> None:
    """paho as its documentation shows: ``loop_start`` and ``publish``; no properties, to be fair to it."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"bench-{os.getpid()}", protocol=MQTTProtocolVersion.MQTTv5
    )
    client.username_pw_set(user, password)
    client.max_queued_messages_set(0)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    if not connected.wait(10):
        raise SystemExit("no broker")
    payload = record(size)
    taken = threading.Semaphore(0)
    landed = 0

    def on_publish(*_: Any) -> None:
        nonlocal landed
        landed += 1
        taken.release()

    client.on_publish = on_publish
    say(event="ready")
    n = 0
    for line in sys.stdin:
        order = LoadSpec.read(line)
        begin = time.monotonic()
        warm_until, until = begin + order.warm, begin + order.warm + order.seconds
        before: Stamp | None = None
        first, sent, base = n, 0, landed
        for _ in range(order.in_flight):
            taken.release()
        while True:
            now = time.monotonic()
            if before is None and now >= warm_until:
                before = Stamp.take(landed, order.pids)
            if now >= until:
                break
            if order.in_flight:
                taken.acquire()
            else:
                time.sleep(max(0.0, begin + sent / order.rate - now))
            client.publish(f"{topic}/{n}", payload, qos=1)
            n += 1
            sent += 1
        assert before is not None
        after = Stamp.take(landed, order.pids)
        deadline = time.monotonic() + 10
        while landed - base < n - first and time.monotonic() < deadline:
            time.sleep(0.01)
        while taken.acquire(blocking=False):
            pass
        say(**before.until(after, n - first - (landed - base)), units=n)
    client.disconnect()
    client.loop_stop()


class Ours:
    """Our client's handler."""

    def __init__(self) -> None:
        self.waiting: dict[Token, Done] = {}
        self.up = asyncio.Event()

    def connected(self, session_present: bool) -> None:
        self.up.set()

    def refused(self, code: int, reason: str) -> None:
        raise SystemExit(reason)

    def disconnected(self, reason: str) -> None:
        pass

    def subscribed(self, topic_filter: str, code: int) -> None:
        pass

    def message(self, message: Message) -> None:
        pass

    def published(self, token: Token, code: int) -> None:
        self.waiting.pop(token)()

    def dropped(self, token: Token, reason: DropReason) -> None:
        raise SystemExit(reason.value)


async def ours(port: int, user: str, password: str, topic: str, size: int) -> None:
    handler = Ours()
    client = MqttClient(
        MqttOptions(host="127.0.0.1", port=port, client_id=f"bench-{os.getpid()}", username=user, password=password),
        handler,
    )
    payload = record(size)
    n = 0

    def send(done: Done) -> None:
        nonlocal n
        token = client.publish(f"{topic}/{n}", payload, qos=1, content_type=CONTENT_TYPE, expiry=UNIT_EXPIRY)
        n += 1
        handler.waiting[token] = done

    async with asyncio.TaskGroup() as tasks:
        client.start(tasks)
        await handler.up.wait()
        await serve(send, lambda: {"units": n})
        await client.stop()


if __name__ == "__main__":
    kind, port, user, password_file, topic, size = sys.argv[1:]
    password = Path(password_file).read_text().strip()
    if kind == "paho":
        bare(int(port), user, password, topic, int(size))
    else:
        asyncio.run(ours(int(port), user, password, topic, int(size)))
