"""A device whose clusters are the simulator's own servers, and a test its script: has, answers, refuses, reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carriage.zigbee import attach, zcl
from carriage.zigbee.attach_client import AttachClient
from carriage.zigbee.foundation import General
from simulator.network.foundation import ClusterServer, respond

REPORT = int(General.REPORT)


class ZclDevice:
    """One endpoint of a device. ``asked``: every frame that came. ``answer`` may put another answer in place of the
    server's, or none."""

    def __init__(self, eui64: int, *clusters: ClusterServer, endpoint: int = 1, clients: tuple[int, ...] = ()) -> None:
        self.address = eui64
        self.eui64 = eui64.to_bytes(8, "big").hex(":")
        self.endpoint = endpoint
        self.clients = clients
        self.clusters = {cluster.id: cluster for cluster in clusters}
        self.asked: list[tuple[int, zcl.ZclFrame]] = []
        self.answer: Callable[[int, zcl.ZclFrame, zcl.ZclFrame | None], zcl.ZclFrame | None] = lambda at, asked, own: (
            own
        )
        self._client: AttachClient | None = None
        self._sequence = 0

    async def attach(
        self,
        path: Path,
        *,
        sleepy: bool = False,
        poll: float = 0.2,
        manufacturer: str = "ACME",
        model: str = "Z1",
        device_id: int = 0x0007,
    ) -> ZclDevice:
        self._client = await AttachClient.connect(
            str(path),
            attach.Attach(
                eui64=self.address,
                endpoint=self.endpoint,
                device_id=device_id,
                input_clusters=tuple(self.clusters),
                output_clusters=self.clients,
                manufacturer=manufacturer,
                model=model,
                sleepy=sleepy,
                poll_interval=poll if sleepy else 0.0,
            ),
            on_received=self._take,
        )
        return self

    @property
    def client(self) -> AttachClient:
        assert self._client is not None
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _take(self, received: attach.Received) -> None:
        frame = zcl.decode(received.payload)
        self.asked.append((received.cluster, frame))
        now = asyncio.get_running_loop().time()
        own = respond(self.clusters.get(received.cluster), frame, now)
        answer = self.answer(received.cluster, frame, own)
        if answer is not None:
            self.say(received.cluster, answer.encode(), link_key=received.link_key)

    def say(self, cluster: int, octets: bytes, *, link_key: bool = False) -> None:
        self.client.send_soon(octets, lambda delivered: None, cluster=cluster, link_key=link_key)

    def report(self, cluster: int, payload: bytes | str, **header: Any) -> bytes:
        """Send a report; its octets."""
        self._sequence = (self._sequence + 1) & 0xFF
        frame = zcl.ZclFrame(
            REPORT,
            bytes.fromhex(payload) if isinstance(payload, str) else payload,
            header.pop("sequence", self._sequence),
            cluster_specific=False,
            to_client=True,
            **header,
        ).encode()
        self.say(cluster, frame)
        return frame

    def commands(self, cluster: int) -> list[int]:
        """The cluster commands that came."""
        return [frame.command for at, frame in self.asked if at == cluster and frame.cluster_specific]


async def shown(gateway: Any, device: ZclDevice) -> dict[str, Any]:
    """The device as the administrator sees it."""
    listed = (await gateway.adapter.command("devices", {}))["devices"]
    return next(each for each in listed if each["eui64"] == device.eui64)


async def settled(gateway: Any, device: ZclDevice) -> None:
    """Until nothing is left to set up."""
    await gateway.until(lambda: not gateway.semantics.shown(device.eui64)["setup_steps_left"], 20)
