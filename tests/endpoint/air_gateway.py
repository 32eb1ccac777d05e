"""A gateway's ZigBee side as a script: the real tunnel state machine behind the coordinator of a virtual network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from carriage.zigbee import events, tunneling
from carriage.zigbee.segmentation import TLS_UNIT_LIMIT
from carriage.zigbee.tunnel import TunnelEndpoint
from endpoint.transports.zigbee import HA_PROFILE
from simulator.air import ApsFrame, JoinKind, NetworkParameters, Reach
from simulator.network import attach_session
from simulator.network.aps import AirOptions
from simulator.network.loop import LoopDriver
from simulator.network.radio import Conditions
from simulator.network.server import Connection, Handler, SocketServer
from simulator.network.virtual import VirtualNetwork

EUI64 = "00:0d:6f:00:0b:5d:e3:b6"
DEVICE = int(EUI64.replace(":", ""), 16)


@dataclass
class Gateway:
    """``refusal``: what a tunnel request is answered; None grants. ``mute``: no request is answered."""

    network: VirtualNetwork
    path: Path
    refusal: tunneling.TunnelStatus | None = None
    mode: events.DeliveryMode = events.DeliveryMode.PUSHED
    mute: bool = False
    tunnels: TunnelEndpoint = field(default_factory=TunnelEndpoint)
    happened: list[events.Event] = field(default_factory=list)
    requested: list[events.TunnelRequested] = field(default_factory=list)
    attached: int = 0
    frames: int = 0
    sequence: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def up(self) -> None:
        parameters = NetworkParameters(
            pan_id=1,
            extended_pan_id=2,
            channel=15,
            tx_power=8,
            nwk_update_id=0,
            coordinator_eui64=0x000D6F0000000000,
            network_key=bytes(16),
        )
        self.network.start(self, parameters)
        self.network.permit_joining(255)

    def restart(self) -> None:
        """Forget every tunnel."""
        self.tunnels = TunnelEndpoint()

    def units(self, handle: events.Handle) -> list[tuple[int, bytes]]:
        return [
            (each.n, each.data)
            for each in self.happened
            if isinstance(each, events.UnitReceived) and each.handle == handle
        ]

    def closed(self, handle: events.Handle) -> events.TunnelClosed | None:
        found = (each for each in self.happened if isinstance(each, events.TunnelClosed) and each.handle == handle)
        return next(found, None)

    def flush(self) -> None:
        moved = True
        while moved:
            moved = False
            while (event := self.tunnels.next_event()) is not None:
                moved = True
                self.happened.append(event)
                if isinstance(event, events.TunnelRequested):
                    self._decide(event)
            for frame in self.tunnels.frames_to_send():
                moved = True
                self._send(frame.id, frame.octets)
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.tunnels.next_deadline()
        self.timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self.timer = None
        self.tunnels.tick(self.now)
        self.flush()

    def _decide(self, event: events.TunnelRequested) -> None:
        self.requested.append(event)
        if self.refusal is not None:
            self.tunnels.refuse(event.handle, self.refusal, self.now)
        else:
            self.tunnels.accept(event.handle, self.now, unit_limit=TLS_UNIT_LIMIT, mode=self.mode)

    def _send(self, frame: int, octets: bytes) -> None:
        self.sequence = (self.sequence + 1) & 0xFF
        tunnels = self.tunnels

        def settled(delivered: bool) -> None:
            report = tunnels.frame_delivered if delivered else tunnels.frame_failed
            report(frame, self.now)
            self.flush()

        aps = ApsFrame(
            profile=HA_PROFILE,
            cluster=tunneling.CLUSTER_ID,
            source_endpoint=1,
            destination_endpoint=1,
            payload=octets,
            sequence=self.sequence,
            ack_request=True,
        )
        self.network.unicast(self.network.nwk_of(DEVICE) or 0xFFF0, aps, settled)

    # simulator.network.virtual.Coordinator

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        if aps.cluster == tunneling.CLUSTER_ID:
            self.frames += 1
            if not self.mute:
                self.tunnels.receive(aps.payload, self.now)
                self.flush()

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        pass

    def room(self) -> int:
        return 100

    def admits(self, eui64: int) -> bool:
        return True


@asynccontextmanager
async def air(folder: Path, conditions: Conditions | None = None) -> AsyncIterator[Gateway]:
    """A virtual network with its attachment socket, and the gateway at its coordinator."""
    driver = LoopDriver(asyncio.get_running_loop())
    network = VirtualNetwork(
        driver.agenda, seed=1, conditions=conditions or Conditions(), options=AirOptions(ack_wait=0.02)
    )
    path = folder / "air"
    gateway = Gateway(network, path)

    def greet(connection: Connection, value: dict[str, object]) -> Handler:
        gateway.attached += 1
        return attach_session.greet(connection, network, value)

    server = SocketServer(path, greet)
    await server.start()
    try:
        yield gateway
    finally:
        if gateway.timer is not None:
            gateway.timer.cancel()
        await server.close()
        driver.close()
