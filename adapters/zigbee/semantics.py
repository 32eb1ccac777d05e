"""The devices whose clusters the gateway understands: their reports become readings, their interviews joins.

Synchronous; ``adapter`` calls ``turn`` after every wake. What comes in is queued by ``take`` (bounded) so that bellows'
callback never waits for the engine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from adapters.zigbee.air import Device
from adapters.zigbee.clusters import Table
from adapters.zigbee.reports import Model, model_of, peer_of, reported
from carriage.zigbee.foundation import General
from gateway.api.errors import PeerError
from gateway.api.model import Join, Leave, Reading
from gateway.api.ports import AdapterContext

_LOG = logging.getLogger(__name__)

INBOX: Final = 1024
"""Frames that wait to be decoded; more are dropped and counted."""
BATCH: Final = 64
"""Frames decoded before anything else gets its turn."""
COUNTERS: Final = ("reports", "reports_repeated", "reports_malformed", "reports_unknown", "reports_dropped")

_GLOBAL: Final = 0x07
"""Frame type and manufacturer bit of the ZCL frame control: zero in a general frame of the standard."""
_REPORT: Final = int(General.REPORT)


class Semantics:
    """All devices of one adapter. ``wake`` asks for a ``turn``."""

    def __init__(
        self, context: AdapterContext, table: Table, counters: dict[str, int], wake: Callable[[], None]
    ) -> None:
        self._context = context
        self._table = table
        self._counters = counters
        self._wake = wake
        self._models: dict[str, Model] = {}
        self._inbox: deque[tuple[str, int, int, bytes, bool]] = deque()

    # The radio -----------------------------------------------------------------------------------------------------

    def up(self, devices: Iterable[Device]) -> None:
        """The radio is up with these devices."""
        for device in devices:
            self.joined(device)

    def joined(self, device: Device) -> None:
        """A device is in the network, and its interview over."""
        model = model_of(device, self._table) if device.interviewed else None
        if model is not None:
            self._models[device.eui64] = model
        self._context.submit(
            Join(
                id=self._context.next_id(),
                source=peer_of(device.eui64),
                received_at=self._context.now(),
                facts=facts_of(device) if device.interviewed else (),
                properties=() if model is None else model.properties,
                sleepy=device.sleepy,
            )
        )

    def left(self, eui64: str, now: float) -> None:
        self._models.pop(eui64, None)
        self._context.submit(Leave(id=self._context.next_id(), source=peer_of(eui64), received_at=now))

    def take(self, eui64: str, endpoint: int, cluster: int, aps_counter: int, payload: bytes, link_key: bool) -> bool:
        """See ``air.RadioEvents.zcl_frame``."""
        if len(payload) < 3 or not endpoint or payload[0] & _GLOBAL or payload[2] != _REPORT:
            return False
        if cluster not in self._table.of:
            return False
        if len(self._inbox) >= INBOX:
            self._counters["reports_dropped"] += 1
            return True
        self._inbox.append((eui64, endpoint << 16 | cluster, aps_counter, payload, link_key))
        self._wake()
        return True

    # The work ------------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Frames are left for another turn."""
        return bool(self._inbox)

    def turn(self, now: float) -> None:
        inbox = self._inbox
        for _ in range(min(BATCH, len(inbox))):
            self._digest(*inbox.popleft(), now)

    def _digest(self, eui64: str, at: int, aps_counter: int, payload: bytes, link_key: bool, now: float) -> None:
        model = self._models.get(eui64)
        if model is None:
            self._counters["reports_unknown"] += 1
            return
        if model.repeated(aps_counter, at, payload, now):
            self._counters["reports_repeated"] += 1
            return
        slots = model.places.get(at)
        try:
            values = () if slots is None else reported(slots, payload[3:])
        except PeerError:
            self._counters["reports_malformed"] += 1
            return
        if not values:
            self._counters["reports_unknown"] += 1
            return
        self._counters["reports"] += 1
        context = self._context
        context.submit(
            Reading(
                id=context.next_id(),
                source=model.peer_link_key if link_key else model.peer,
                values=values,
                received_at=now,
            )
        )


def facts_of(device: Device) -> tuple[tuple[str, str], ...]:
    return (
        ("manufacturer", device.manufacturer),
        ("model", device.model),
        ("power", "sleepy" if device.sleepy else "always on"),
    )
