"""Jobs that devices are to carry out sooner or later: enter a group, leave it, bind a cluster, unbind it.

States of a job, and who moves it:

- *waiting*: ``add`` put it here. A device that is always on is asked at once, and again when it is heard, with pauses
  that grow; one that sleeps when it is heard.
- *asked*: its request is with the device (``_ask``). An answer ends it; without one it is waiting again.
- *over*: ``done`` was called with the status that the device gave (0: it is done). ``drop`` and ``left`` end a job
  without that.

Nothing is stored here: ``cast_groups`` makes the jobs again at a start from what its file says.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.transaction import Answer, NoReply, Reply, Transaction
from adapters.zigbee.zcl_transactions import ZclTransactions
from gateway.api.errors import PeerError

PAUSES: Final[tuple[float, ...]] = (5.0, 20.0, 60.0, 300.0)
"""Seconds from a request without an answer to the next, at the least; the last one counts for all further ones."""

Ask = Callable[[ZclTransactions, ZigbeeDevice, Callable[[Answer], None]], Transaction | None]


@dataclass(slots=True, eq=False)
class DeviceJob:
    """``key`` tells what it is. ``ask`` sends the request; ``status`` reads the answer to it (PeerError: malformed)."""

    key: Hashable
    ask: Ask
    status: Callable[[Reply], int]
    done: Callable[[int], None]
    asked: bool = False
    misses: int = 0
    not_before: float = 0.0


class DeviceJobs:
    """All jobs of one adapter, at most one for each device and key: a newer one takes the place of an older one."""

    def __init__(self, transactions: ZclTransactions, now: Callable[[], float]) -> None:
        self._transactions = transactions
        self._now = now
        self._up = False
        self.waiting: dict[ZigbeeDevice, dict[Hashable, DeviceJob]] = {}

    def add(self, device: ZigbeeDevice, job: DeviceJob) -> None:
        self.waiting.setdefault(device, {})[job.key] = job
        if self._up and self._transactions.sender.listens(device):
            self._ask(device, job)

    def drop(self, device: ZigbeeDevice, key: Hashable) -> None:
        jobs = self.waiting.get(device, {})
        jobs.pop(key, None)
        if not jobs:
            self.waiting.pop(device, None)

    def left(self, device: ZigbeeDevice) -> None:
        self.waiting.pop(device, None)

    def up(self) -> None:
        self._up = True
        for device in tuple(self.waiting):
            if not device.sleepy:
                self.heard(device)

    def down(self) -> None:
        self._up = False

    def heard(self, device: ZigbeeDevice) -> None:
        """A frame came from a device that has jobs."""
        if not self._up:
            return
        now = self._now()
        for job in tuple(self.waiting.get(device, {}).values()):
            if not job.asked and job.not_before <= now:
                self._ask(device, job)

    def _ask(self, device: ZigbeeDevice, job: DeviceJob) -> None:
        job.asked = True
        job.ask(self._transactions, device, lambda answer: self._answered(device, job, answer))

    def _answered(self, device: ZigbeeDevice, job: DeviceJob, answer: Answer) -> None:
        job.asked = False
        if isinstance(answer, NoReply):
            job.not_before = self._now() + PAUSES[min(job.misses, len(PAUSES) - 1)]
            job.misses += 1
            return
        try:
            status = job.status(answer)
        except PeerError:
            status = MALFORMED
        if self.waiting.get(device, {}).get(job.key) is job:  # else it was dropped, or there is a newer one
            self.drop(device, job.key)
            job.done(status)


MALFORMED: Final = 0x80
"""In place of a status: the answer can't be read (ZCL8: MALFORMED_COMMAND)."""
