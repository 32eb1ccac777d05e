"""The devices of an adapter without a radio: one device, whose frames a test makes up, and what it would be sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.config import PresenceTimes
from adapters.zigbee.device import DeviceRecords, ZigbeeDevice
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.radio_port import Frame, IncomingFrame, SendOutcome
from adapters.zigbee.zcl_devices import COUNTERS, ZclDevices
from carriage.zigbee.zdo import SimpleDescriptor
from tests.adapters.zigbee.recording_context import RecordingContext
from tests.adapters.zigbee.zigbee_world import came


class Air:
    """In the sender's place: takes frames, and is done with them when the test says so."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        self.frames.append(frame)

    def withdraw(self, device: ZigbeeDevice, frame: Frame) -> bool:
        return False

    def listens(self, device: ZigbeeDevice) -> bool:
        return True


class OneDevice:
    """In the radio's place: knows one device, of which it hears nothing new."""

    eui64 = 1

    def __init__(self, device: Device) -> None:
        self._device = device

    def devices(self) -> Iterator[Device]:
        yield self._device

    def device(self, eui64: str) -> Device | None:
        return self._device if eui64 == self._device.eui64 else None

    def described(self, eui64: str, descriptor: SimpleDescriptor) -> None:
        raise AssertionError("nobody was asked")


EUI64 = "00:0d:6f:00:00:00:00:61"


class House:
    """The devices of an adapter without a radio. ``set_up``: the device is as good as set up."""

    def __init__(self, folder: Path, *, set_up: bool = True) -> None:
        self.time = 0.0
        self.context = RecordingContext(folder, lambda: self.time)
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.records = DeviceRecords()
        self.semantics = ZclDevices(self.context, self.records, TABLE, PresenceTimes(), self.counters, lambda: None)
        self.air = Air()
        endpoint = Endpoint(
            number=1, profile=0x0104, device_id=0, in_clusters=(0, 1, 6, 0x0402, 0x0405), out_clusters=(0x0019,)
        )
        device = Device(
            eui64=EUI64,
            nwk=1,
            manufacturer="",
            model="",
            interviewed=True,
            sleepy=False,
            lqi=None,
            rssi=None,
            last_seen=None,
            endpoints=(endpoint,),
            tunnel_endpoints=(),
        )
        self.semantics.up(self.air, OneDevice(device))
        if set_up:
            self.semantics._setup.clear()
            self.semantics._presence.clear()  # nobody is asked whether it is there
            self.air.frames.clear()

    @property
    def record(self) -> ZigbeeDevice:
        return self.records.of(EUI64)

    def takes(self, frame: IncomingFrame) -> bool:
        return self.semantics.take(self.record, frame, self.time)

    def responses(self, cluster: int, octets: bytes, *, unicast: bool = True) -> list[Frame]:
        """The default responses that a frame makes the adapter send."""
        self.time += 10.0
        self.takes(came(1, cluster, 0, octets, unicast=unicast))
        self.semantics.turn(self.time)
        sent, self.air.frames = self.air.frames, []
        for frame in sent:
            frame.done(SendOutcome.DELIVERED)
        return sent
