"""Commands to a virtual device of a running gateway, and the receipts that come of them."""

from __future__ import annotations

from typing import Any

from gateway.api.model import (
    Address,
    DataType,
    EnvelopeId,
    LinkRequirement,
    LinkSecurity,
    Outcome,
    Peer,
    PropertyAffordance,
    Reading,
    Receipt,
    Scalar,
    Transmit,
)
from simulator.network.device_kinds import Identity, on_off
from tests.harness.interactions import read_or_write
from tests.harness.zcl_device import ZclDevice, settled

LAMP = 0x000D6F0000000022


IDENTITY = Identity("ACME", "Z1", mains=True)


APP = Peer(scheme="mqtt", claims=("user:app",), link=LinkSecurity(protocol="tls1.3"))


ON, OFF = 0x01, 0x00


OTHER = PropertyAffordance(name="other", type=DataType.NUMBER, writable=True)


class Orders:
    """Gives orders as the engine would, and keeps the receipts."""

    def __init__(self, gateway: Any, device: ZclDevice) -> None:
        self.gateway = gateway
        self.claim = f"eui64:{device.eui64}"
        self._next = 1000
        self._sent: dict[EnvelopeId, Transmit] = {}

    def send(
        self,
        value: Scalar | None,
        name: str = "state",
        require: LinkRequirement | None = None,
        expires_at: float | None = None,
    ) -> EnvelopeId:
        self._next += 1
        command = read_or_write(
            id=EnvelopeId(self._next),
            source=APP,
            to="lamp",
            name=name,
            value=value,
            received_at=0.0,
            expires_at=expires_at,
        )
        to = Address(scheme="zigbee", claim=self.claim)
        self._sent[command.id] = Transmit(command, to, require or LinkRequirement())
        self.gateway.adapter.send(self._sent[command.id])
        return command.id

    def again(self, order: EnvelopeId) -> None:
        """Take an order back, and give it once more, as under another policy."""
        self.gateway.adapter.withdraw(order)
        self.gateway.adapter.send(self._sent[order])

    def receipts(self, envelope: EnvelopeId) -> list[Receipt]:
        return [receipt for receipt in self.gateway.context.receipts if receipt.id == envelope]

    async def final(self, envelope: EnvelopeId) -> Receipt:
        def ended() -> list[Receipt]:
            return [each for each in self.receipts(envelope) if each.outcome is not Outcome.HELD]

        return (await self.gateway.until(ended))[0]

    def values(self) -> list[Any]:
        return [value for reading in self.gateway.context.of(Reading) for value in reading.values]


async def joined(world: Any, gateway: Any, *clusters: Any, **options: Any) -> tuple[ZclDevice, Orders]:
    device = ZclDevice(LAMP, *(make(IDENTITY) for make in clusters or (on_off,)))
    await device.attach(world.socket, **options)
    world.devices.append(device)
    await gateway.join(device)
    await settled(gateway, device)
    device.asked.clear()
    return device, Orders(gateway, device)
