"""paho's own client over memory, as the other end of our stage: it reads what we write, and writes what we read."""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from carriage.mqtt.paho_side import PahoSocket

CONNACK = {5: bytes.fromhex("20 03 00 00 00"), 4: bytes.fromhex("20 02 00 00")}


class _OverMemory(Client):
    def __init__(self, version: int, memory: PahoSocket) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311
        super().__init__(CallbackAPIVersion.VERSION2, client_id="other", protocol=protocol)
        self._memory = memory

    def _create_socket(self) -> Any:
        return self._memory


class PahoEnd:
    """Connected. ``messages``: what it read; ``landed``: packet ids of what it published and we acknowledged."""

    def __init__(self, version: int) -> None:
        self.out = bytearray()
        self.messages: list[MQTTMessage] = []
        self.landed: list[int] = []
        self._memory = PahoSocket(self.out, 0)
        self.client = _OverMemory(version, self._memory)
        self.client.on_message = lambda _, __, message: self.messages.append(message)
        self.client.on_publish = lambda _, __, packet_id, ___, ____: self.landed.append(packet_id)
        self.client.max_inflight_messages_set(0)
        self.client.connect_async("nowhere", 1883)
        self.client.reconnect()
        self.read(CONNACK[version])
        self.out.clear()

    def read(self, octets: bytes) -> None:
        self._memory.feed(octets)
        while self._memory.has_more and not self._memory.closed:
            self.client.loop_read()

    def written(self) -> bytes:
        """What it wrote since the last time."""
        octets = bytes(self.out)
        self.out.clear()
        return octets
