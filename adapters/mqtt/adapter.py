"""The MQTT adapter: one broker, the sessions of its clients and the topics of the devices. It decides nothing.

The peer that this gateway knows is the broker. Sessions need more: see ``sessions``; the devices' topics: ``devices``.
Both are parts that a config may go without, and whose modules are loaded by the plug-in if it has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from adapters.mqtt.doubts import doubts
from adapters.mqtt.health import Health
from adapters.mqtt.link import NO_LINK, SCHEME
from carriage.mqtt.options import MqttOptions
from gateway.api.errors import NoCommandError
from gateway.api.facts import PolicyFacts
from gateway.api.model import Address, Close, EnvelopeId, Exchange, Outcome, Peer, Reason, Receipt, Transmit, Update
from gateway.api.ports import AdapterContext

if TYPE_CHECKING:
    from adapters.mqtt.devices.devices import DeviceTopics
    from adapters.mqtt.sessions import Sessions

Report = Callable[[str], None]
"""Takes the trouble of a connection; an empty text says that it serves."""

SUFFIX: Final = "-devices"
"""What the client identifier of the devices' connection ends in: each connection has its own."""


class MqttAdapter:
    """``sessions`` and ``devices`` make a part, of the options of its connection and of whom to tell its trouble. None:
    no sessions, no topics of devices."""

    window = 16

    def __init__(
        self,
        options: MqttOptions,
        sessions: Callable[[MqttOptions, Report], Sessions] | None,
        devices: Callable[[MqttOptions, Report], DeviceTopics] | None,
    ) -> None:
        self._options = options
        self._context: AdapterContext | None = None
        health = Health(self._ready, self._fault)
        self.sessions = None if sessions is None else sessions(options, health.part("sessions"))
        self.devices = (
            None
            if devices is None
            else devices(replace(options, client_id=options.client_id + SUFFIX), health.part("devices"))
        )

    async def run(self, context: AdapterContext) -> None:
        self._context = context
        if self.sessions is None:  # they can't go on, and both ends must learn that
            for end in context.surviving():
                source = Peer(scheme=SCHEME, claims=(end.claim,), link=NO_LINK)
                identifier, now = context.next_id(), context.now()
                context.submit(
                    Close(id=identifier, source=source, session=end.session, reason=Reason.RESTARTED, received_at=now)
                )
        async with asyncio.TaskGroup() as tasks:
            for part in (self.sessions, self.devices):
                if part is not None:
                    tasks.create_task(part.run(context))

    def send(self, transmit: Transmit) -> None:
        if self.sessions is not None:
            self.sessions.send(transmit)
        elif self._context is not None:
            reason = Reason.CONTENT if isinstance(transmit.envelope, Exchange) else Reason.UNREACHABLE
            self._context.settle(Receipt(transmit.envelope.id, Outcome.DROPPED, reason))

    def withdraw(self, envelope: EnvelopeId) -> None:
        if self.sessions is not None:
            self.sessions.withdraw(envelope)

    def receipt(self, receipt: Receipt) -> None:
        for part in (self.sessions, self.devices):
            if part is not None:
                part.receipt(receipt)

    def update(self, update: Update) -> None:
        if self.devices is not None:
            self.devices.update(update)

    def refresh(self, device: Address) -> None:
        """No device of this carriage reports values."""

    def doubts(self, facts: PolicyFacts) -> Iterator[tuple[str, str]]:
        parts = {"sessions": self.sessions is not None, "devices": self.devices is not None}
        return doubts(facts, self._options.host, **parts)

    def gateway_changed(self) -> None:
        if self.devices is not None:
            self.devices.gateway_changed()

    def flush(self) -> None:
        for part in (self.sessions, self.devices):
            if part is not None:
                part.flush()

    def status(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"broker": f"{self._options.host}:{self._options.port}"}
        if self.sessions is not None:
            found |= self.sessions.status()
        if self.devices is not None:
            found["devices"] = dict(self.devices.status())
        return found

    async def command(self, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        del arguments
        raise NoCommandError(f"mqtt has no command {name}")

    def _ready(self) -> None:
        assert self._context is not None
        self._context.ready()

    def _fault(self, text: str) -> None:
        assert self._context is not None
        self._context.fault(text)
