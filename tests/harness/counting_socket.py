"""The writes of an MQTT client, counted at its socket."""

from __future__ import annotations

from typing import Any

from carriage.mqtt.client import MqttClient


class CountingSocket:
    """Counts what is written; all else is the socket's own."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.writes: list[int] = []

    def send(self, octets: bytes) -> int:
        sent = self._inner.send(octets)
        self.writes.append(sent)
        return int(sent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def count_writes(client: MqttClient) -> list[int]:
    """The sizes of the client's writes from now on."""
    assert client._wire is not None
    counting = CountingSocket(client._wire._socket)
    client._wire._socket = counting  # type: ignore[assignment]
    return counting.writes
