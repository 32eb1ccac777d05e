"""A network under a clock that the test turns, and a coordinator that remembers what it hears."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator.air import ApsFrame, JoinKind, NetworkParameters, Reach
from simulator.network.aps import AirOptions
from simulator.network.config import load
from simulator.network.population import Population
from simulator.network.radio import Conditions
from simulator.network.scheduler import Agenda
from simulator.network.station import Station
from simulator.network.virtual import VirtualNetwork

COORDINATOR = 0x000D6F0000000000
LAMP, THERMOMETER = 0x000D6F0000000001, 0x000D6F0000000002
NETWORK_FILE = """
devices:
  - {eui64: "00:0d:6f:00:00:00:00:01", kind: lamp, name: kitchen, manufacturer: ACME, model: L1}
  - {eui64: "00:0d:6f:00:00:00:00:02", kind: thermometer, name: attic, poll_interval: 2.0}
"""


def parameters(extended_pan_id: int = 0x1122334455667788) -> NetworkParameters:
    return NetworkParameters(
        pan_id=0x1A62,
        extended_pan_id=extended_pan_id,
        channel=15,
        tx_power=8,
        nwk_update_id=0,
        coordinator_eui64=COORDINATOR,
        network_key=bytes(range(16)),
    )


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class RecordingCoordinator:
    open: bool = True
    buffers: int = 100
    received: list[tuple[int, ApsFrame, Reach]] = field(default_factory=list)
    updates: list[tuple[int, int, int, JoinKind]] = field(default_factory=list)

    def incoming(
        self, sender: int, sender_eui64: int | None, aps: ApsFrame, *, reach: Reach, lqi: int, rssi: int
    ) -> None:
        assert sender_eui64 is not None and 0 <= lqi <= 255 and rssi < 0
        self.received.append((sender, aps, reach))

    def device_update(self, nwk: int, eui64: int, parent: int, kind: JoinKind) -> None:
        self.updates.append((nwk, eui64, parent, kind))

    def room(self) -> int:
        return self.buffers

    def admits(self, eui64: int) -> bool:
        return self.open

    def take(self) -> list[ApsFrame]:
        """What came since the last call."""
        taken = [aps for _, aps, _ in self.received]
        self.received.clear()
        return taken


class World:
    """A whole simulation without a loop: network, devices, coordinator, clock."""

    def __init__(self, file: str = NETWORK_FILE, *, path: Any = None, seed: int = 1, **options: Any) -> None:
        self.clock = Clock()
        self.agenda = Agenda(self.clock)
        conditions = options.pop("conditions", Conditions())
        self.network = VirtualNetwork(self.agenda, seed=seed, conditions=conditions, options=AirOptions(**options))
        self.population = Population(self.network, load(file), path)
        self.coordinator = RecordingCoordinator()
        self.sequence = 0

    def run(self, seconds: float) -> None:
        """Let time pass, call by call."""
        end = self.clock.time + seconds
        while (due := self.agenda.next_due()) is not None and due <= end:
            self.clock.time = max(self.clock.time, due)
            self.agenda.run(self.clock.time)
        self.clock.time = end

    def form(self, extended_pan_id: int = 0x1122334455667788) -> World:
        """The network runs and joining is open; everybody who looks for a network joins."""
        self.network.start(self.coordinator, parameters(extended_pan_id))
        self.network.permit_joining(60)
        self.run(1.0)
        return self

    def station(self, eui64: int) -> Station:
        return self.network.station(eui64)

    def send(self, eui64: int, payload: bytes, **changes: Any) -> list[bool]:
        """A unicast to a device; the list gets its fate."""
        self.sequence = (self.sequence + 1) & 0xFF
        values: dict[str, Any] = {
            "profile": 0x0104,
            "cluster": 0x0006,
            "source_endpoint": 1,
            "destination_endpoint": 1,
            "sequence": self.sequence,
            "ack_request": True,
        }
        values.update(changes)
        fate: list[bool] = []
        nwk = self.network.nwk_of(eui64)
        self.network.unicast(nwk or 0xFFF0, ApsFrame(payload=payload, **values), fate.append)
        return fate


@pytest.fixture
def world() -> World:
    return World().form()


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    return World
