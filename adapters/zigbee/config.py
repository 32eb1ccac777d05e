"""The ZigBee adapter's config table and nothing else: what it may say, its defaults, and its limits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from adapters.zigbee.path import checked
from carriage.zigbee.events import DeliveryMode
from gateway.api.eui64 import is_eui64, parse_eui64
from gateway.api.model import ContentKind

MAX_EUI64: Final = (1 << 64) - 1


def eui64_text(value: int) -> str:
    """The usual notation of an EUI64: eight colon-separated octets in lower case, most significant first."""
    return value.to_bytes(8, "big").hex(":")


Eui64 = Annotated[str, AfterValidator(parse_eui64)]
ProtocolId = Annotated[int, Field(ge=200, le=254)]
"""Tunnelling protocol ids that the Smart Energy standard (D.6.2.2) leaves to manufacturers."""

Seconds = Annotated[float, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TunnelTarget(_Table):
    """The target of a tunnel that a device opens: an alias of the policy, and the content kind."""

    to: Annotated[str, Field(min_length=1, max_length=64)]
    """Alias of the policy."""
    content: Literal["adtls", "atls"] = "adtls"
    """DTLS datagrams or a TLS flight."""
    mailbox: bool = False
    """The device sleeps: what is for it waits until it asks."""

    @property
    def kind(self) -> ContentKind:
        return ContentKind(self.content)

    @property
    def mode(self) -> DeliveryMode:
        return DeliveryMode.KEPT if self.mailbox else DeliveryMode.PUSHED


class DeviceTable(_Table):
    """What differs for one device."""

    protocols: dict[ProtocolId, TunnelTarget] = {}
    """Tunnels that this device may open: each one instead of that of all with the same id, or besides them."""
    quirk: bool | None = None
    """Whether it goes by its quirk of zha-quirks; by default only a device of which no row says what it does."""


class IncomingTable(_Table):
    """Protocol ids of the tunnels that the gateway opens towards a device, by content and by whether it sleeps."""

    adtls: ProtocolId = 250
    """For DTLS datagrams."""
    atls: ProtocolId = 251
    """For a TLS flight."""
    mailbox_adtls: ProtocolId = 252
    """For DTLS datagrams, to a device that sleeps."""
    mailbox_atls: ProtocolId = 253
    """For a TLS flight, to a device that sleeps."""

    def protocol(self, content: ContentKind, mode: DeliveryMode) -> int | None:
        """None: no tunnel carries this kind."""
        return {
            (ContentKind.ADTLS, DeliveryMode.PUSHED): self.adtls,
            (ContentKind.ATLS, DeliveryMode.PUSHED): self.atls,
            (ContentKind.ADTLS, DeliveryMode.KEPT): self.mailbox_adtls,
            (ContentKind.ATLS, DeliveryMode.KEPT): self.mailbox_atls,
        }.get((content, mode))


class TunnelTimes(_Table):
    """Bounds of tables, queues and times; times in seconds."""

    in_flight: Annotated[int, Field(ge=2, le=32)] = 10
    """Unicasts in the dongle at once; a dongle has some 10 buffers for them."""
    sleepy_in_flight: Annotated[int, Field(ge=1, le=16)] = 4
    """How many of those are for sleeping devices, and for no others; half of ``in_flight`` if only that is given, and
    is less than 8."""
    awake: Annotated[float, Field(gt=0, le=60)] = 1.0
    """A sleeping device is sent to only for so long after it was heard."""
    device_window: Annotated[int, Field(ge=1, le=8)] = 2
    """Frames in flight to one device."""
    devices: Annotated[int, Field(ge=1, le=4096)] = 512
    """Device endpoints whose tunnels are kept in memory."""
    tunnels_per_device: Annotated[int, Field(ge=1, le=64)] = 8
    """Both directions together."""
    units_queued: Annotated[int, Field(ge=1, le=256)] = 32
    """Units that wait on one tunnel."""
    idle: Annotated[float, Field(ge=1, le=65535)] = 65535.0
    """CloseTunnelTimeout: a tunnel without data for so long is closed."""
    interview: Seconds = 180.0
    """A device that hasn't described itself by then is taken in without."""
    reconnect_first: Seconds = 1.0
    """First wait before the dongle is tried again; doubles up to ``reconnect_most``, with jitter."""
    reconnect_most: Seconds = 60.0
    """Longest wait before the dongle is tried again."""
    start: Annotated[float, Field(ge=5)] = 90.0
    """A dongle that isn't up by then is tried again."""

    @model_validator(mode="before")
    @classmethod
    def _half_for_sleepers(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "sleepy_in_flight" in given or type(given.get("in_flight")) is not int:
            return given
        default = cls.model_fields["sleepy_in_flight"].default
        return {**given, "sleepy_in_flight": max(1, min(default, given["in_flight"] // 2))}


class PresenceTimes(_Table):
    """When a device counts as offline; times in seconds."""

    always_on: Annotated[float, Field(ge=10)] = 600.0
    """A device that is always on and was silent for so long is asked; without an answer it is offline."""
    sleepy: Annotated[float, Field(ge=60)] = 90_000.0
    """A sleeping device that was silent for so long is offline."""


class ZigbeeConfig(_Table):
    """The table of one ZigBee adapter."""

    path: Annotated[str, Field(min_length=1), AfterValidator(checked)]
    """Serial device (best the stable name under /dev/serial/by-id), or ``socket://host:port`` (or ``tcp://``)."""
    baudrate: Annotated[int, Field(ge=9600, le=2_000_000)] = 115200
    """Symbols per second, as the dongle's firmware has it; it doesn't matter on a TCP port."""
    flow_control: Literal["hardware", "software"] = "software"
    """As the dongle's firmware has it: RTS/CTS or XON/XOFF."""
    channel: Annotated[int, Field(ge=11, le=26)] | None = None
    """Only for forming; without it the quietest of 11, 15, 20, 25 is taken."""
    form: Literal["never", "if-blank"] = "never"
    """Whether a dongle without a network gets a new one (or the last backup of this gateway's)."""
    protocols: dict[ProtocolId, TunnelTarget] = {}
    """Tunnels that devices may open, by protocol id. Others are refused with status 3."""
    devices: dict[Eui64, DeviceTable] = {}
    """What differs for single devices, by EUI64."""
    incoming: IncomingTable = IncomingTable()
    """Protocol ids of the tunnels that the gateway opens towards devices."""
    quirks: Literal["never", "if-installed", "required"] = "if-installed"
    """Whether zha-quirks is used for devices that nothing else understands; ``required``: no start without it."""
    manufacturer_code: Annotated[int, Field(ge=0, le=0xFFFF)] = 0xFFFF
    """Goes with the protocol ids above; 0xFFFF: of no manufacturer."""
    presence: PresenceTimes = PresenceTimes()
    """When devices count as offline."""
    limits: TunnelTimes = TunnelTimes()
    """Bounds; the defaults suit one dongle at 115,200 baud."""

    @field_validator("devices", mode="before")
    @classmethod
    def _each_once(cls, devices: Any) -> Any:
        """One address has several spellings; as keys they would be two devices, of which the last counts."""
        addresses = [parse_eui64(name) for name in devices if is_eui64(name)] if isinstance(devices, dict) else []
        if twice := next((address for address, times in Counter(addresses).items() if times > 1), None):
            raise ValueError(f"expected each device once, {twice} is there in two spellings")
        return devices

    def routes(self, eui64: str) -> dict[int, TunnelTarget]:
        """The tunnels that one device may open: those of all devices, and its own on top."""
        own = self.devices.get(eui64)
        return {**self.protocols, **own.protocols} if own is not None else self.protocols

    def by_quirk(self) -> dict[str, bool]:
        """By EUI64 the devices of which it is said whether they go by their quirk."""
        return {eui64: each.quirk for eui64, each in self.devices.items() if each.quirk is not None}

    def located(self, base: Path) -> ZigbeeConfig:
        """The same with a relative ``path`` resolved against ``base``. A URL stays as it is."""
        if "://" in self.path:
            return self
        return self.model_copy(update={"path": str(base / self.path)})
