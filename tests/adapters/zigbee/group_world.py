"""Lamps of the simulator in the network of a ``World``, an adapter's groups of them, and an engine's orders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from carriage.zigbee.attach import format_eui64
from gateway.api.model import (
    Address,
    EnvelopeId,
    Interaction,
    InvokeAction,
    Join,
    LinkRequirement,
    LinkSecurity,
    Outcome,
    Peer,
    Reading,
    ReadProperties,
    Receipt,
    Transmit,
    WriteProperties,
)
from simulator.ezsp.codes import Counter
from simulator.network.config import NetworkFile
from simulator.network.population import Population
from simulator.network.station import Station

APP = Peer(scheme="mqtt", claims=("user:app",), link=LinkSecurity(protocol="tls1.3"))
ON_OFF, LEVEL, COLOR, GROUPS, SCENES = 0x0006, 0x0008, 0x0300, 0x0004, 0x0005


class Lamps:
    """``count`` devices of a kind that joined, and have been set up."""

    def __init__(self, world: Any, kind: str = "dimmable-lamp", count: int = 3) -> None:
        self.world = world
        self.population = Population(world.network, NetworkFile(), None)
        self.stations: list[Station] = self.population.populate(kind, count, members=False)
        self.names = [format_eui64(station.device.eui64) for station in self.stations]

    async def join(self, gateway: Any) -> None:
        await gateway.adapter.command("permit-join", {"seconds": 60})
        await gateway.until(lambda: all(gateway.record(name).model for name in self.names), 60)
        await self.settled(gateway)

    async def settled(self, gateway: Any) -> None:
        await gateway.until(
            lambda: not any(gateway.semantics.shown(name)["setup_steps_left"] for name in self.names), 60
        )

    def server(self, number: int, cluster: int) -> Any:
        return self.stations[number].device.endpoints[1].clusters[cluster]  # type: ignore[attr-defined]

    def values(self, cluster: int, attribute: int = 0x0000) -> list[Any]:
        """An attribute of each lamp, by the lamps themselves."""
        return [self.server(number, cluster).attributes[attribute].value for number in range(len(self.stations))]

    def groups(self, number: int = 0) -> list[str]:
        return sorted(self.server(number, GROUPS).memory)


class Grouped:
    """The adapter's groups as an administrator and the engine have them."""

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self._ids = itertools.count(5000)

    async def do(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self.gateway.adapter.command(command, arguments)
        return found

    async def made(self, *members: str) -> int:
        number: int = (await self.do("group-add"))["id"]
        for eui64 in members:
            await self.do("group-members-add", id=number, eui64=eui64)
        return number

    def join_of(self, number: int) -> Join:
        """The last that the engine has of it."""
        found: Join = [each for each in self.gateway.context.of(Join) if claim(number) in each.source.claims][-1]
        return found

    def readings(self, source: str) -> list[tuple[str, Any]]:
        """All values that the adapter has submitted of a device or group, in order."""
        return [
            item
            for reading in self.gateway.context.of(Reading)
            if reading.source.claims[0] == source
            for item in reading.values
        ]

    async def writes(self, number: int, require: LinkRequirement | None = None, **values: Any) -> Receipt:
        return await self._does(number, require, WriteProperties, values=values)

    async def reads(self, number: int, *names: str) -> Receipt:
        return await self._does(number, None, ReadProperties, names=names)

    async def invokes(self, number: int, name: str, given: Any = None) -> Receipt:
        return await self._does(number, None, InvokeAction, name=name, input=given)

    async def _does(
        self, number: int, require: LinkRequirement | None, kind: type[Interaction], **what: Any
    ) -> Receipt:
        wanted: Any = kind(id=EnvelopeId(next(self._ids)), source=APP, to="group", received_at=0.0, **what)
        to = Address(scheme="zigbee", claim=claim(number))
        self.gateway.adapter.send(Transmit(wanted, to) if require is None else Transmit(wanted, to, require))
        context = self.gateway.context

        def found() -> list[Receipt]:
            return [each for each in context.receipts if each.id == wanted.id and each.outcome is not Outcome.HELD]

        receipt: Receipt = (await self.gateway.until(found))[0]
        return receipt


def claim(number: int) -> str:
    return f"zigbee-group:0x{number:04x}"


def on_air(world: Any) -> tuple[int, int]:
    """How many multicasts or broadcasts, and unicasts, the dongle has sent."""
    counters = world.ncp._node.memory.counters
    return counters[Counter.APS_DATA_TX_BROADCAST], counters[Counter.APS_DATA_TX_UNICAST_SUCCESS]
