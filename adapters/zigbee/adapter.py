"""The ZigBee adapter as the gateway sees it: its config, and what runs by it (``running``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from adapters.zigbee.administration import COMMANDS
from adapters.zigbee.clusters import TABLE, ClusterTable
from adapters.zigbee.config import ZigbeeConfig
from adapters.zigbee.coordinator import recorded
from adapters.zigbee.dongle import DATABASE
from adapters.zigbee.doubts import doubts
from adapters.zigbee.group_commands import COMMANDS as GROUP_COMMANDS
from adapters.zigbee.group_commands import GroupCommands
from adapters.zigbee.members import FILE as MEMBERS
from adapters.zigbee.members import Members
from adapters.zigbee.network import described
from adapters.zigbee.quirk_packages import ZHA, QuirkSource
from adapters.zigbee.running import COUNTERS, RunningAdapter
from adapters.zigbee.times import TIMES, ZigbeeTimes
from gateway.api.errors import NoCommandError, PeerError
from gateway.api.facts import PolicyFacts
from gateway.api.model import Address, EnvelopeId, Receipt, Transmit, Update
from gateway.api.ports import AdapterContext

WINDOW: Final = 4
"""Units of one session that we ask for ahead: what we hold, the engine can't expire."""


class ZigbeeAdapter:
    """One dongle, as it is configured. See ``gateway.api.ports.Adapter``. It runs once."""

    def __init__(
        self,
        config: ZigbeeConfig,
        table: ClusterTable = TABLE,
        times: ZigbeeTimes = TIMES,
        quirks: QuirkSource = ZHA,
    ) -> None:
        self._quirks = quirks
        self._times = times
        self._config = config
        self._table = table
        self.running: RunningAdapter | None = None
        """None: it was not started."""

    @property
    def window(self) -> int:
        return min(WINDOW, self._config.limits.units_queued)

    async def run(self, context: AdapterContext) -> None:
        self.running = RunningAdapter(self._config, self._table, context, self._times, self._quirks)
        await self.running.run()

    def send(self, transmit: Transmit) -> None:
        if self.running is not None:
            self.running.send(transmit)

    def withdraw(self, envelope: EnvelopeId) -> None:
        if self.running is not None:
            self.running.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        if self.running is not None:
            self.running.tunnels.receipt(receipt)

    def update(self, update: Update) -> None:
        """No watch was submitted, so none has news."""

    def refresh(self, device: Address) -> None:
        if self.running is not None:
            self.running.devices.refresh(device)

    def flush(self) -> None:
        if self.running is not None:
            self.running.flush()

    # For the administrator -----------------------------------------------------------------------------------------

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        return doubts(facts, self._config)

    def status(self) -> Mapping[str, Any]:
        running = self.running
        link = None if running is None else running.dongle.link
        counters = dict.fromkeys(COUNTERS, 0) if running is None else running.counters
        if link is not None:
            counters = {
                **counters,
                **{f"radio_{name}": count for name, count in link.radio.counters.items()},
                **{f"frames_{name}": count for name, count in link.sender.counters.items()},
            }
        return {
            "link": "down" if link is None else "up",
            "network": {} if link is None else link.radio.network,
            **({} if link is None or not link.radio.note else {"note": link.radio.note}),
            "devices": 0 if link is None else sum(1 for _ in link.radio.devices()),
            "reach": {} if running is None else running.devices.reach(),
            "tunnels": 0 if running is None else running.tunnels.count,
            "counters": counters,
        }

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        running = self.running
        if name not in COMMANDS and name not in GROUP_COMMANDS and name != "network":
            raise NoCommandError(
                f"the zigbee adapter knows {', '.join(sorted((*COMMANDS, *GROUP_COMMANDS, 'network')))}"
            )
        if running is None:
            raise PeerError("the dongle can't be used now: the start is not done yet")
        link = running.dongle.link
        if name in GROUP_COMMANDS:
            return await GROUP_COMMANDS[name](GroupCommands(running.devices.groups, self._times.group), arguments)
        if name == "network":
            return self._network(running)
        if link is None:
            if name == "remove" and arguments.get("force"):
                return self._forget(running, str(arguments.get("eui64")))
            raise PeerError(f"the dongle can't be used now: {running.dongle.trouble or 'the start is not done yet'}")
        answer = await COMMANDS[name](link.radio, running.devices, arguments, self._times)
        return {**answer, "note": link.radio.note} if name == "devices" and link.radio.note else answer

    def _network(self, running: RunningAdapter) -> Mapping[str, Any]:
        dongle = running.dongle
        if dongle.foreign is not None:
            return described(dongle.foreign.ours, dongle.foreign.held)
        if dongle.link is not None:
            identity = dongle.link.radio.identity
            return described(identity, identity)
        return described(recorded(running.state_dir / DATABASE), None, dongle.trouble)

    def _forget(self, running: RunningAdapter, eui64: str) -> Mapping[str, Any]:
        """Without the dongle: the device is taken out of zigpy's database when it is back."""
        Members(running.state_dir / MEMBERS).leave(eui64)
        running.device_left(eui64)
        running.devices.groups.setup.forget(eui64)
        return {"known": True, "left": False}
