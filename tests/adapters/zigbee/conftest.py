"""What the tests of the ZigBee adapter share: a gateway side that records, and devices that speak in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.zigbee.config import ZigbeeConfig
<<<<<<< HEAD
=======
from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.plugin import ZigbeePlugin
from adapters.zigbee.radio_port import HOME_AUTOMATION, IncomingFrame
from adapters.zigbee.running import RunningAdapter
from adapters.zigbee.send_scheduler import SendScheduler
from adapters.zigbee.times import TIMES
>>>>>>> kit
from adapters.zigbee.tunnel_bridge import TunnelBridge
from adapters.zigbee.tunnel_mapping import BridgeKey, TunnelMapping
from adapters.zigbee.tunnel_store import TunnelStore
from carriage.zigbee.events import Event, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from gateway.api.model import (
    SessionId,
)
from simulator.serial_port import serve_pty, serve_tcp
from tests.adapters.zigbee.recording_context import RecordingContext
from tests.adapters.zigbee.zigbee_world import World, _form

EUI64 = "00:0d:6f:00:0b:5d:e3:b6"


class InMemory:
    """One conversation and a device's tunnel endpoint, joined without a radio. ``loses(octets)``: the frame is lost."""

    def __init__(self, tmp_path: Path, config: ZigbeeConfig, *, link_key: bool = False, salt: str = "salt") -> None:
        self.time = 1000.0
        self.context = RecordingContext(tmp_path, lambda: self.time)
        self.sessions: dict[SessionId, tuple[BridgeKey, Handle]] = {}
        self.shared = TunnelMapping(
            context=self.context,
            config=config,
            sessions=self.sessions,
            orders={},
            counters=defaultdict(int),
            memory=TunnelStore(tmp_path, 16),
            salt=salt,
        )
        limits = TunnelLimits(window=2)
        self.gateway = TunnelBridge((EUI64, 1, link_key), TunnelEndpoint(limits=limits), self.shared)
        self.device = TunnelEndpoint(limits=limits, first_sequence=7)
        self.loses: Callable[[bytes], bool] = lambda octets: False
        self.events: list[Event] = []

    def run(self, seconds: float = 0.0) -> list[Event]:
        """Let everything happen that happens within ``seconds``; what the device saw."""
        end = self.time + seconds
        self.events = []
        while True:
            while self._carry():
                pass
            due = min(
                (t for t in (self.gateway.next_deadline(), self.device.next_deadline()) if t is not None),
                default=None,
            )
            if due is None or due > end:
                self.time = end
                return self.events
            self.time = max(self.time, due)
            self.gateway.tick(self.time)
            self.device.tick(self.time)

    def _carry(self) -> bool:
        self.gateway.digest(self.time)
        moved = False
        for source, target in (
            (self.gateway.tunnels, self.device),
            (self.device, self.gateway.tunnels),
        ):
            for frame in source.frames_to_send():
                moved = True
                if self.loses(frame.octets):
                    source.frame_failed(frame.id, self.time)
                else:
                    target.receive(frame.octets, self.time)
                    source.frame_delivered(frame.id, self.time)
        while (event := self.device.next_event()) is not None:
            self.events.append(event)
        return moved


@pytest.fixture
def in_memory(tmp_path: Path) -> Callable[..., InMemory]:
    return lambda config, **options: InMemory(tmp_path, config, **options)


<<<<<<< HEAD
=======
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
        options = NcpOptions(seed=seed, scan_pace=0.0, unicast_messages=buffers, ezsp=ezsp, rewritable=rewritable)
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
        context = RecordingContext(self.state_dir, asyncio.get_running_loop().time)
        context.survivors = changes.pop("survivors", [])
        table, times = changes.pop("table", TABLE), changes.pop("times", TIMES)
        config = self.config(**changes)
        adapter = (
            ZigbeeAdapter(config, table, times)
            if table is not TABLE
            else ZigbeePlugin(times).configure(config, self.tmp_path)
        )
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
    """An adapter and what it told its context."""

    def __init__(self, adapter: ZigbeeAdapter, context: RecordingContext, task: asyncio.Task[None]) -> None:
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
        """Let a device in; what the adapter told of it."""
        before = len(self.context.of(Join))
        await self.adapter.command("permit-join", {"seconds": 60})
        await device.client.join(20)
        await self.until(lambda: len(self.context.of(Join)) > before, seconds)
        return self.context.of(Join)[-1]


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


>>>>>>> kit
@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[World]]]:
    """Makes worlds with their dongle at a pseudo-terminal, or with ``tcp=True`` at a TCP port: ``world.path``."""
    async with AsyncExitStack() as stack:

        async def make(*, tcp: bool = False, blank: bool = False, **options: Any) -> World:
            if not blank:
                await _form(tmp_path)
            world = World(tmp_path, **options)
            stack.callback(world.driver.close)
            stack.callback(world.ncp.close)
            if tcp:
                world.port = await stack.enter_async_context(serve_tcp(world.ncp))
                world.path = world.port.url
            else:
                world.port = await stack.enter_async_context(serve_pty(world.ncp, Path(world.path)))
            await world.server.start()
            stack.push_async_callback(world.server.close)
            stack.callback(lambda: [device.close() for device in world.devices])
            return world

        yield make


@pytest.fixture
async def world(make_world: Callable[..., Awaitable[World]], request: pytest.FixtureRequest) -> World:
    """Of EZSP 13, or of the version that the test is parametrised with: ``@BOTH_EZSP``."""
    return await make_world(ezsp=getattr(request, "param", 13))
