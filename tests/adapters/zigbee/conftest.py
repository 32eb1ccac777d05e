"""What the tests of the ZigBee adapter share: a gateway side that records, and devices that speak in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.quirk_packages import missing
from adapters.zigbee.tunnel_bridge import TunnelBridge
from adapters.zigbee.tunnel_mapping import BridgeKey, TunnelMapping
from adapters.zigbee.tunnel_store import TunnelStore
from carriage.zigbee.events import Event, Handle, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint
from gateway.api.model import (
    SessionId,
)
from simulator.serial_port import serve_pty, serve_tcp
from tests.adapters.zigbee.zigbee_world import World, _form
from tests.harness.accepting_context import AcceptingContext

collect_ignore = ["test_zigbee_quirks_of_zha.py"] if missing() else []
"""Without zha-quirks; ``make quirks-test`` has it."""
EUI64 = "00:0d:6f:00:0b:5d:e3:b6"


class InMemory:
    """One conversation and a device's tunnel endpoint, joined without a radio. ``loses(octets)``: the frame is lost."""

    def __init__(self, tmp_path: Path, config: ZigbeeConfig, *, link_key: bool = False, salt: str = "salt") -> None:
        self.time = 1000.0
        self.context = AcceptingContext(tmp_path, lambda: self.time)
        self.sessions: dict[SessionId, dict[str, tuple[BridgeKey, Handle]]] = {}
        self.shared = TunnelMapping(
            context=self.context,
            config=config,
            sessions=self.sessions,
            unsettled={},
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
