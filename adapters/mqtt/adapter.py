"""The MQTT adapter: one broker, the sessions of its clients and the topics of the devices. It decides nothing.

The peer that this gateway knows is the broker. Sessions need more: see ``sessions``; the devices' topics: ``devices``.
Both are parts that a config may go without, and whose modules are loaded by the plug-in if it has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.mqtt.doubts import doubts
from adapters.mqtt.health import Health
from adapters.mqtt.link import NO_LINK, SCHEME
from carriage.mqtt.options import MqttOptions
from common.within import within
from gateway.api.errors import NoCommandError
from gateway.api.facts import PolicyFacts
from gateway.api.model import (
    Address,
    Close,
    DeviceView,
    EnvelopeId,
    Exchange,
    Forms,
    Outcome,
    Peer,
    Reason,
    Receipt,
    Transmit,
    Update,
)
from gateway.api.ports import AdapterContext

if TYPE_CHECKING:
    from adapters.mqtt.devices.devices import ConfiguredDevices, DeviceTopics
    from adapters.mqtt.sessions import ConfiguredSessions, Sessions


@dataclass(frozen=True, slots=True)
class Running:
    """A run of the adapter, with the parts that the config has."""

    context: AdapterContext
    sessions: Sessions | None
    devices: DeviceTopics | None


class MqttAdapter:
    """One broker, as it is configured; ``sessions`` None: no sessions, ``devices`` None: no topics of devices. See
    ``gateway.api.ports.Adapter``. It runs once."""

    window = 16

    def __init__(
        self, options: MqttOptions, sessions: ConfiguredSessions | None, devices: ConfiguredDevices | None
    ) -> None:
        self._options = options
        self._sessions = sessions
        self._devices = devices
        self._early: list[Transmit] = []
        """Transmits that came before the run."""
        self.running: Running | None = None
        """None: it was not started."""

    async def run(self, context: AdapterContext) -> None:
        if self._sessions is None:  # they can't go on, and both ends must learn that
            for end in context.surviving():
                source = Peer(scheme=SCHEME, claims=(end.claim,), link=NO_LINK)
                identifier, now = context.next_id(), context.now()
                context.submit(
                    Close(id=identifier, source=source, session=end.session, reason=Reason.RESTARTED, received_at=now)
                )
        health = Health(context.ready, context.fault)
        sessions = None if self._sessions is None else self._sessions.begin(context, health.part("sessions"))
        devices = None if self._devices is None else self._devices.begin(context, health.part("devices"))
        self.running = Running(context, sessions, devices)
        early, self._early = self._early, []
        for transmit in early:
            self.send(transmit)
        await within(asyncio.TaskGroup(), self._run_parts)

    async def _run_parts(self, tasks: asyncio.TaskGroup) -> None:
        running = self.running
        assert running is not None
        for part in (running.sessions, running.devices):
            if part is not None:
                tasks.create_task(part.run())

    def send(self, transmit: Transmit) -> None:
        running = self.running
        if running is None:
            self._early.append(transmit)
        elif running.sessions is not None:
            running.sessions.send(transmit)
        else:
            reason = Reason.CONTENT if isinstance(transmit.envelope, Exchange) else Reason.UNREACHABLE
            running.context.settle(Receipt(transmit.envelope.id, Outcome.DROPPED, reason))

    def withdraw(self, envelope: EnvelopeId) -> None:
        running = self.running
        if running is None:
            self._early = [transmit for transmit in self._early if transmit.envelope.id != envelope]
        elif running.sessions is not None:
            running.sessions.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        running = self.running
        if running is not None:
            if running.sessions is not None:
                running.sessions.receipt(receipt)
            if running.devices is not None:
                running.devices.receipt(receipt)

    def update(self, update: Update) -> None:
        running = self.running
        if running is not None and running.devices is not None:
            running.devices.update(update)

    def refresh(self, device: Address) -> None:
        """No device of this carriage reports values."""

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        parts = {"sessions": self._sessions is not None, "devices": self._devices is not None}
        return doubts(facts, self._options.host, **parts)

    def gateway_changed(self) -> None:
        if self.running is not None and self.running.devices is not None:
            self.running.devices.gateway_changed()

    def forms(self, device: DeviceView) -> Forms | None:
        running = self.running
        return None if running is None or running.devices is None else running.devices.forms(device)

    def flush(self) -> None:
        running = self.running
        if running is not None:
            if running.sessions is not None:
                running.sessions.flush()
            if running.devices is not None:
                running.devices.flush()

    def status(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"broker": f"{self._options.host}:{self._options.port}"}
        running = self.running
        sessions = self._sessions if running is None else running.sessions
        devices = self._devices if running is None else running.devices
        if sessions is not None:
            found |= sessions.status()
        if devices is not None:
            found["devices"] = dict(devices.status())
        return found

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        raise NoCommandError(f"mqtt has no command {name}")
