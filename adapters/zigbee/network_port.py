"""The port between the ZigBee network and the adapter above it: values and protocols, and what stands for a radio that
is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVarTuple

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.device_view import Device
from adapters.zigbee.radio_port import Frame, IncomingFrame, SendOutcome
from carriage.zigbee.zdo import SimpleDescriptor

Arguments = TypeVarTuple("Arguments")


class BlankDongleError(Exception):
    """The dongle holds no network, and none may be formed."""


class Radio(Protocol):
    """Requests to the radio about devices; every call that is not awaited returns at once."""

    @property
    def eui64(self) -> int:
        """Our own."""

    def devices(self) -> Iterator[Device]: ...

    def device(self, eui64: str) -> Device | None: ...

    def node(self, eui64: str) -> Any:
        """zigpy's object of a device, for its quirk; None: it isn't in the network."""

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        """A device described one of its endpoints, after its interview."""

    async def cast(self, group: int, frame: Frame) -> SendOutcome:
        """Send one frame to all members of a group. Never raises."""

    async def subscribe(self, group: int) -> bool:
        """Have the dongle hand on what others send to a group; whether it does."""


class FrameSender(Protocol):
    """The sender of frames to devices (``SendScheduler``, ``AWAY``); every call returns at once."""

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        """Send a frame when it is its turn; ``frame.done`` may be called before the return."""

    def withdraw(self, device: ZigbeeDevice, frame: Frame) -> bool:
        """Take a frame back that still waits. False: it is too late."""

    def listens(self, device: ZigbeeDevice) -> bool:
        """Whether what is sent to a sleeping device now can reach it."""


class _Away:
    """A radio and a sender while there is none: every frame fails at once, and no device is in the network."""

    eui64 = 0

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        frame.done(SendOutcome.FAILED)

    def withdraw(self, device: ZigbeeDevice, frame: Frame) -> bool:
        return False

    def listens(self, device: ZigbeeDevice) -> bool:
        return False

    def devices(self) -> Iterator[Device]:
        return iter(())

    def device(self, eui64: str) -> Device | None:
        return None

    def node(self, eui64: str) -> Any:
        return None

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        """Too late: the next start asks again."""

    async def cast(self, group: int, frame: Frame) -> SendOutcome:
        return SendOutcome.FAILED

    async def subscribe(self, group: int) -> bool:
        return False


AWAY: Final = _Away()


class RadioEvents(Protocol):
    """The radio's events; every call returns at once and never raises. ``now``: by the adapter's clock."""

    def in_turn(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """See ``gateway.api.ports.AdapterContext``: around all that is heard in one read of the line."""

    def heard(self, device: ZigbeeDevice, now: float) -> None:
        """A frame of any kind came from a device; called before the frame is handed on."""

    def tunnel_frame(self, device: ZigbeeDevice, frame: IncomingFrame) -> None:
        """A tunnelling frame came."""

    def zcl_frame(self, device: ZigbeeDevice, frame: IncomingFrame, now: float) -> bool:
        """Any other frame came, ZDO's from endpoint 0. False: it isn't ours, zigpy may get it."""

    def device_asked(self, eui64: str) -> None:
        """A device has come in, and is asked what it is: its interview begins."""

    def device_joined(self, found: Device) -> None:
        """A device is in, and its interview is over (or took too long: then ``interviewed`` is false)."""

    def device_changed(self, found: Device) -> None:
        """A device that was in already has another endpoint."""

    def device_restarted(self, device: ZigbeeDevice) -> None:
        """A device that was in already, and is always on, announced itself: it was without power, say."""

    def device_left(self, eui64: str) -> None: ...
