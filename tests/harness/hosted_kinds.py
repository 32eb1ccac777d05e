"""Devices of the simulator's kinds in the network of ``world``, and what a person does to them. Nothing else."""

from __future__ import annotations

from typing import Any

from gateway.api.model import Join
from simulator.network.arguments import Arguments
from simulator.network.config import NetworkFile
from simulator.network.control import COMMANDS, Simulation
from simulator.network.population import Population
from tests.harness.zcl_asked import Asked


class HostedDevice:
    """One device of a kind. ``eui64`` as the adapter writes it."""

    def __init__(self, simulation: Simulation, name: str, eui64: str) -> None:
        self._simulation = simulation
        self.name = name
        self.eui64 = eui64

    def does(self, order: str, **arguments: Any) -> Any:
        """An order of the simulator's ``ctl``; its answer."""
        answers: list[Any] = []
        COMMANDS[order](self._simulation, Arguments({"device": self.name, **arguments}), answers.append)
        return answers[0] if answers else None

    def has(self, name: str) -> float:
        """A value as the device has it."""
        return float(self.does("devices")[0]["values"][name])


class HostedKinds:
    """A population of ``world``'s network; each device joins when it is made."""

    def __init__(self, world: Any) -> None:
        self._population = Population(world.network, NetworkFile(), None)
        self._simulation = Simulation(self._population)

    async def join(self, gateway: Any, kind: str, *, poll_interval: float = 0.2) -> tuple[HostedDevice, Asked]:
        """A device of a kind: interviewed, bound, its values read."""
        before = len(gateway.context.of(Join))
        await gateway.adapter.command("permit-join", {"seconds": 60})
        (station,) = self._population.populate(kind, 1, members=False, poll_interval=poll_interval)
        eui64 = station.device.eui64.to_bytes(8, "big").hex(":")
        device = HostedDevice(self._simulation, self._population.name_of(station.device.eui64), eui64)

        def known() -> bool:
            joins = gateway.context.of(Join)[before:]
            return any(each.source.claims == (f"eui64:{eui64}",) and each.facts for each in joins)

        await gateway.until(known, 30)
        await gateway.until(lambda: not gateway.semantics.shown(eui64)["setup_steps_left"], 30)
        return device, Asked(gateway, device)
