"""The record of a device: all that the rooms of this adapter keep of it, found once for each frame that comes.

Each part belongs to one room, which alone changes it. Tunnels are kept by ``BridgeKey`` instead: theirs outlast the
device's place in the network and come back from a file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapters.zigbee.device_model import Model
from adapters.zigbee.frame_kinds import FROM_SERVER, is_cluster_command, start_of
from adapters.zigbee.radio_port import Frame, IncomingFrame
from adapters.zigbee.transaction import Transactions
from gateway.api.model import EnvelopeId

if TYPE_CHECKING:
    from adapters.zigbee.quirk_device import QuirkDevice


@dataclass(slots=True, eq=False)
class Availability:
    """Of ``availability``: what is known of a device that can be reached or not; times by the adapter's clock."""

    sleepy: bool
    heard: float
    limit: float
    """Seconds for which it may be silent."""
    online: bool | None = None
    waits: bool = False
    """It is asked, or about to be."""
    misses: int = 0
    """Things without an answer since it was heard."""
    questions: int = 0
    """The number of requests among them, since the last doubt."""
    calm: bool = False
    """It is online and answers: there is nothing to do when it is heard."""
    due: float = 0.0
    """When it is asked again, or is offline; not before ``heard`` and its time-out."""


@dataclass(slots=True, eq=False)
class Lane:
    """Of ``send_scheduler``: the frames that wait. ``active``: how many workers it has, or waits for, now."""

    sleepy: bool
    frames: deque[Frame] = field(default_factory=deque)
    active: int = 0


@dataclass(slots=True, eq=False)
class ZigbeeDevice:
    """One device, from when it is first named until it has left. Two of one EUI64 are never both in the records."""

    eui64: str
    """In lower case, with colons."""

    # Of the network (``coordinator``)
    node: Any = None
    """zigpy's object; None: it has to be looked for. ``sleepy`` and what else is made of it holds as long."""
    sleepy: bool = False
    """Its receiver is off while it idles; false while that isn't known."""
    interviewed: bool = False
    """Its interview is over, and in zigpy's database."""
    stored_at: float = float("-inf")
    """When zigpy last got the time at which it was heard."""

    # Of ``zcl_devices``
    model: Model | None = None
    """None: it isn't interviewed."""
    endpoints: set[int] = field(default_factory=set)
    """Those that it listed, and those that it was asked for."""
    unread: bool = False
    """It is to be read when the radio is back."""
    availability: Availability | None = None
    transactions: Transactions = field(default_factory=Transactions)
    held: dict[EnvelopeId, None] = field(default_factory=dict)
    """Of ``command_execution``: what waits until it is heard."""
    answering: bool = False
    """Of ``default_responses``: one is on its way to it."""
    quirk: QuirkDevice | None = None
    """Of ``quirk_lane``; None: it goes by rows alone, as nearly all do."""

    # Of ``send_scheduler``
    lane: Lane | None = None
    listens_until: float = float("-inf")

    @property
    def polls_often(self) -> bool:
        """It sleeps, and can be sent to all the same."""
        return self.model is not None and self.model.polls_often


class DeviceRecords:
    """The records of one adapter, by EUI64: those of the network's devices, and of those that have a tunnel."""

    def __init__(self) -> None:
        self._by_eui64: dict[str, ZigbeeDevice] = {}

    def of(self, eui64: str) -> ZigbeeDevice:
        """The device's record, a new one if there is none."""
        found = self._by_eui64.get(eui64)
        if found is None:
            found = self._by_eui64[eui64] = ZigbeeDevice(eui64)
        return found

    def get(self, eui64: str) -> ZigbeeDevice | None:
        return self._by_eui64.get(eui64)

    def claimed(self, claim: str) -> ZigbeeDevice | None:
        """The device that a claim names, if it is known."""
        kind, _, eui64 = claim.partition(":")
        return self._by_eui64.get(eui64) if kind == "eui64" else None

    def drop(self, device: ZigbeeDevice) -> None:
        """It has left: should it come back, nothing is known of it."""
        if self._by_eui64.get(device.eui64) is device:
            del self._by_eui64[device.eui64]

    def __iter__(self) -> Iterator[ZigbeeDevice]:
        return iter(self._by_eui64.values())


def is_event(device: ZigbeeDevice, frame: IncomingFrame, starting: bool = False) -> bool:
    """Whether a frame, of a group cast too, is its device's event; ``starting``: or may be, as none is known yet."""
    payload, model = frame.payload, device.model
    if model is None or not is_cluster_command(payload):
        return starting and is_cluster_command(payload)
    return (frame.place, payload[start_of(payload) - 1], not payload[0] & FROM_SERVER) in model.events
