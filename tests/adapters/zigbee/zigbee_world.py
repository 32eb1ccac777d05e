"""A formed virtual network with its dongle, and a gateway at it, for the tests of the ZigBee adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import randrange
from typing import Any, TypeVar

import pytest

from adapters.zigbee.adapter import ZigbeeAdapter
from adapters.zigbee.clusters import TABLE
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.plugin import ZigbeePlugin
from adapters.zigbee.quirk_packages import ZHA
from adapters.zigbee.radio_port import HOME_AUTOMATION, IncomingFrame
from adapters.zigbee.running import RunningAdapter
from adapters.zigbee.send_scheduler import SendScheduler
from adapters.zigbee.times import TIMES
from adapters.zigbee.zcl_devices import ZclDevices
from carriage.zigbee import attach
from carriage.zigbee.attach_client import AttachClient
from carriage.zigbee.events import DeliveryMode, Event, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from carriage.zigbee.tunneling import CLUSTER_ID
from gateway.api.model import (
    Join,
)
from simulator.ncp.dongle import Ncp
from simulator.ncp.options import NcpOptions
from simulator.network.aps import AirOptions
from simulator.network.attach_session import greet
from simulator.network.loop import LoopDriver
from simulator.network.radio import Conditions
from simulator.network.server import SocketServer
from simulator.network.virtual import VirtualNetwork
from simulator.serial_port import PtyPort, TcpPort, serve_pty
from tests.harness.accepting_context import AcceptingContext

E = TypeVar("E")


ENDPOINT = 7


class Device:
    """A process behind a virtual device: the attachment protocol below, a tunnel endpoint above."""

    def __init__(self, *, link_key: bool = False) -> None:
        self.link_key = link_key
        self.tunnels = TunnelEndpoint(
            limits=TunnelLimits(window=2),
            first_sequence=randrange(256),
            maximum_payload_length=attach.payload_limit(link_key),
        )
        self.events: list[Event] = []
        self.received: list[bytes] = []
        """Every frame that came, of any cluster."""
        self.links: set[bool] = set()
        """Whether they came under the link key."""
        self.answers: bool = True
        self._client: AttachClient | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

    async def attach(self, path: Path, eui64: int, *, sleepy: bool = False, model: str = "T1") -> None:
        self._client = await AttachClient.connect(
            str(path),
            attach.Attach(
                eui64=eui64,
                endpoint=ENDPOINT,
                input_clusters=(CLUSTER_ID,),
                output_clusters=(CLUSTER_ID,),
                manufacturer="ACME",
                model=model,
                sleepy=sleepy,
                poll_interval=0.2 if sleepy else 0.0,
            ),
            on_received=self._take,
        )

    @property
    def client(self) -> AttachClient:
        assert self._client is not None
        return self._client

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._client is not None:
            self._client.close()

    def _take(self, received: attach.Received) -> None:
        self.received.append(received.payload)
        self.links.add(received.link_key)
        if self.answers and received.cluster == CLUSTER_ID:
            self.tunnels.receive(received.payload, self.now())
            self.pump()

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def pump(self) -> None:
        """After every call to ``tunnels``."""
        for frame in self.tunnels.frames_to_send():
            self.client.send_soon(
                frame.octets, partial(self._sent, frame.id), cluster=CLUSTER_ID, link_key=self.link_key
            )
        while (event := self.tunnels.next_event()) is not None:
            self.events.append(event)
            self._news.set()
        if self._timer is not None:
            self._timer.cancel()
        due = self.tunnels.next_deadline()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        self.tunnels.tick(self.now())
        self.pump()

    def _sent(self, frame: int, delivered: bool) -> None:
        (self.tunnels.frame_delivered if delivered else self.tunnels.frame_failed)(frame, self.now())
        self.pump()

    async def wait(self, kind: type[E], count: int = 1, seconds: float = 20.0) -> E:
        """The ``count``-th event of its kind, since the beginning."""
        async with asyncio.timeout(seconds):
            while True:
                found = [event for event in self.events if isinstance(event, kind)]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()

    def open(self, protocol: int, unit_limit: int = 4096, mode: DeliveryMode = DeliveryMode.PUSHED) -> Handle:
        handle = self.tunnels.open(protocol, 0xFFFF, self.now(), unit_limit=unit_limit, mode=mode)
        self.pump()
        return handle

    def fetch(self, handle: Handle) -> None:
        self.tunnels.fetch(handle, self.now())
        self.pump()

    def send(self, handle: Handle, n: int, octets: bytes) -> None:
        self.tunnels.send_unit(handle, n, octets, self.now())
        self.pump()


FORMED: dict[str, bytes] = {}
"""A dongle's memory and zigpy's database with a network; made by the first test that needs them, for all."""


BOTH_EZSP = pytest.mark.parametrize("world", [13, 18], ids="ezsp{}".format, indirect=True)
"""For tests of the whole adapter that have to hold with each version of the dongle's protocol."""


class World:
    """A virtual network and dongle on this loop, and gateways of adapters that use it."""

    def __init__(
        self,
        tmp_path: Path,
        *,
        seed: int = 1,
        conditions: Conditions | None = None,
        buffers: int = 10,
        ezsp: int = 13,
        rewritable: bool = True,
        endpoints: int = 16,
    ) -> None:
        self.tmp_path = tmp_path
        loop = asyncio.get_running_loop()
        self.driver = LoopDriver(loop)
        # A table that is large and never ages takes a new frame for an old one once the APS counter has gone round.
        air = AirOptions(dedup_size=4)
        self.network = VirtualNetwork(self.driver.agenda, seed=seed, conditions=conditions or Conditions(), options=air)
        self.state = tmp_path / "dongle"
        self.state_dir = tmp_path / "state"
        self.state_dir.mkdir(exist_ok=True)
        options = NcpOptions(
            seed=seed,
            scan_pace=0.0,
            unicast_messages=buffers,
            ezsp=ezsp,
            rewritable=rewritable,
            endpoints=endpoints,
        )
        self.ncp = Ncp(self.network, options, self.state, clock=loop.time)
        self.socket = tmp_path / f"attach{seed}"
        self.server = SocketServer(self.socket, lambda connection, value: greet(connection, self.network, value))
        self.path = str(tmp_path / "tty")
        self.port: PtyPort | TcpPort
        self.devices: list[Device] = []

    async def device(self, eui64: int, *, link_key: bool = False, **options: Any) -> Device:
        device = Device(link_key=link_key)
        await device.attach(self.socket, eui64, **options)
        self.devices.append(device)
        return device

    def config(self, **changes: Any) -> ZigbeeConfig:
        return ZigbeeConfig.model_validate(
            {
                "path": self.path,
                "form": "if-blank",
                "channel": 15,
                "protocols": {200: {"to": "cloud"}, 201: {"to": "store", "content": "atls"}},
                "limits": {"reconnect_first": 0.1, "reconnect_most": 0.2},
                **changes,
            }
        )

    @asynccontextmanager
    async def gateway(self, **changes: Any) -> AsyncIterator[Gateway]:
        """An adapter at work; it is up unless ``wait`` is false."""
        wait = changes.pop("wait", True)
        context = AcceptingContext(self.state_dir, asyncio.get_running_loop().time)
        context.survivors = changes.pop("survivors", [])
        table, times = changes.pop("table", TABLE), changes.pop("times", TIMES)
        source = changes.pop("source", ZHA)
        config = self.config(**changes)
        adapter = (
            ZigbeeAdapter(config, table, times, source)
            if table is not TABLE or source is not ZHA
            else ZigbeePlugin(times).configure(config, self.tmp_path)
        )
        context.flush = adapter.flush
        task = asyncio.get_running_loop().create_task(adapter.run(context))
        try:
            gateway = Gateway(adapter, context, task)
            if wait:
                await gateway.until(lambda: "ready" in context.states)
            yield gateway
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]


class Gateway:
    """An adapter and what its context recorded."""

    def __init__(self, adapter: ZigbeeAdapter, context: AcceptingContext, task: asyncio.Task[None]) -> None:
        self.adapter = adapter
        self.context = context
        self.task = task

    @property
    def running(self) -> RunningAdapter:
        assert self.adapter.running is not None
        return self.adapter.running

    @property
    def semantics(self) -> ZclDevices:
        return self.running.devices

    @property
    def radio(self) -> Any:
        link = self.running.dongle.link
        assert link is not None
        return link.radio

    @property
    def sender(self) -> SendScheduler:
        link = self.running.dongle.link
        assert link is not None
        return link.sender

    def record(self, eui64: str) -> ZigbeeDevice:
        return self.running.records.of(eui64)

    def takes(self, eui64: str, frame: IncomingFrame) -> bool:
        """A frame comes from a device; whether it is ours."""
        return self.running.zcl_frame(self.record(eui64), frame, self.context.now())

    async def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                if self.task.done():
                    await self.task
                await asyncio.sleep(0.01)
        return value

    async def join(self, device: Device, seconds: float = 10.0) -> Join:
        """Let a device in; the adapter's first join of it (more follow as it turns out what the device has)."""
        before = len(self.context.of(Join))
        await self.adapter.command("permit-join", {"seconds": 60})
        await device.client.join(20)
        await self.until(lambda: len(self.context.of(Join)) > before, seconds)
        return self.context.of(Join)[before]


async def _form(tmp_path: Path) -> None:
    """Put ``FORMED`` in place, after making it where this is the first time."""
    if not FORMED:
        (tmp_path / "form").mkdir()
        world = World(tmp_path / "form")
        async with serve_pty(world.ncp, Path(world.path)), world.gateway():
            await asyncio.sleep(0.3)  # zigpy's first backup
        world.ncp.close()
        world.driver.close()
        FORMED.update(dongle=world.state.read_bytes(), database=(world.state_dir / "zigbee.db").read_bytes())
    (tmp_path / "dongle").write_bytes(FORMED["dongle"])
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "zigbee.db").write_bytes(FORMED["database"])


def came(
    endpoint: int, cluster: int, counter: int, payload: bytes, link_key: bool = False, unicast: bool = True
) -> IncomingFrame:
    """A frame as the radio hands it over."""
    return IncomingFrame(1, HOME_AUTOMATION, cluster, endpoint, 1, counter, payload, unicast, link_key, 255, -40)
