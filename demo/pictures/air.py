"""The air beside one virtual ZigBee device, as a sniffer with the network key sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carriage.zigbee import tunneling
from carriage.zigbee.attach import Received, Send, decode
from demo.pictures.wire import Wire

_HEADER: Final = 3
"""Octets of a ZCL header without manufacturer code: frame control, sequence number, command (ZCL8 2.4.1)."""


class Sniffer(Wire):
    """Between a device's process, which attaches at ``place``, and the virtual network at ``network``: each APS frame
    passes here under the network key only, so it is in clear."""

    def __init__(self, place: Path, network: Path) -> None:
        super().__init__(0)
        self.place = place
        self._network = network

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._connection, str(self.place))

    async def _onward(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self._network))

    def frames(self) -> Iterator[tuple[bool, int, bytes]]:
        """Of each APS frame, in order of each direction: whether the device sent it, its cluster and its payload."""
        for crossing in self.crossings:
            for up in (True, False):
                for line in crossing.of(up).splitlines():
                    message = decode(line)
                    if isinstance(message, Send | Received):
                        yield up, message.cluster, message.payload

    def lines(self, device: str) -> list[str]:
        """The commands that went each way, in order of their first frame, with the longest of each."""
        sizes: dict[tuple[bool, int, str], int] = {}
        for up, cluster, payload in self.frames():
            command = type(tunneling.decode(payload[2], payload[_HEADER:], to_client=not up)).__name__
            key = (up, cluster, command)
            sizes[key] = max(sizes.get(key, 0), len(payload))
        return [
            f"{f'{device} -> gateway' if up else f'gateway -> {device}':18} cluster {cluster:04x}  {command},"
            f" {size} octets at most"
            for (up, cluster, command), size in sizes.items()
        ]

    def heard(self) -> bytes:
        """All payloads, each direction's one after the other, without ZCL headers: what a reader could put together."""
        return b"".join(payload[_HEADER:] for _, _, payload in self.frames())
