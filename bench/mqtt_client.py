"""An MQTT client for loads, on asyncio: paho without a thread, which writes in the call.

It is not the gateway's own client, so that no fault of that one hides in what is measured.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

KEEPALIVE = 600


class LoadClient:
    """Connected to a broker on loopback; ``receive`` gets topic and payload of what it subscribed to."""

    def __init__(self, port: int, receive: Callable[[str, bytes], None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"bench-{os.getpid()}-{id(self)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        self._answered = asyncio.Event()
        client.on_connect = self._answer
        client.on_subscribe = self._answer
        client.on_message = lambda _client, _data, message: receive(message.topic, bytes(message.payload))
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = lambda _client, _data, sock: loop.add_writer(sock, client.loop_write)
        client.on_socket_unregister_write = self._written
        client.connect("127.0.0.1", port, keepalive=KEEPALIVE)

    @classmethod
    async def connect(cls, port: int, receive: Callable[[str, bytes], None], *topics: str) -> LoadClient:
        """``topics`` are subscribed to with QoS 0."""
        self = cls(port, receive)
        await self._answered.wait()
        for topic in topics:
            self._answered.clear()
            self._client.subscribe(topic)
            await self._answered.wait()
        return self

    def _answer(self, *_: Any) -> None:
        self._answered.set()

    def _opened(self, client: paho.Client, _data: object, sock: Any) -> None:
        self._loop.add_reader(sock, client.loop_read)

    def _closed(self, _client: paho.Client, _data: object, sock: Any) -> None:
        self._loop.remove_reader(sock)

    def _written(self, _client: paho.Client, _data: object, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def publish(self, topic: str, payload: bytes) -> None:
        """QoS 0, written before the return."""
        self._client.publish(topic, payload)

    def close(self) -> None:
        self._client.disconnect()
