"""Outgoing units of one tunnel: one after another, each cut into slices that are delivered as jobs of the outbox."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from carriage.zigbee.events import FailReason
from carriage.zigbee.mailbox_server import RESENT
from carriage.zigbee.retransmission import Job, next_live
from carriage.zigbee.segmentation import FURTHEST_AHEAD, cut, slice_count
from layer.errors import TransportError, UsageError


class UnitSender:
    """Queue of units and the one that is under way.

    ``wrap(sequence, data)`` makes a frame of one slice, ``size()`` gives the octets per slice when a unit begins,
    ``report(n, reason)`` is called at the end of each unit, with None if it was delivered.
    """

    __slots__ = (
        "_count",
        "_data",
        "_jobs",
        "_last",
        "_limit",
        "_missing",
        "_n",
        "_next",
        "_queue",
        "_report",
        "_retry",
        "_size",
        "_slice",
        "_wrap",
        "held",
    )

    def __init__(
        self,
        limit: int,
        wrap: Callable[[int, bytes], bytes],
        size: Callable[[], int],
        report: Callable[[int, FailReason | None], None],
    ) -> None:
        self._limit = limit
        self._wrap = wrap
        self._size = size
        self._report = report
        self._queue: deque[tuple[int, bytes]] = deque()
        self._retry: deque[Job] = deque()
        self._jobs: list[Job] = []
        self._last = -1
        self._n = -1
        self._data = b""
        self._slice = self._count = self._next = self._missing = 0
        self.held = False
        """True while the remote's flow control holds us back."""

    @property
    def next(self) -> int:
        """One above the last unit's number."""
        return self._last + 1

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due: never."""
        return None

    def tick(self, now: float) -> None:
        """Nothing here takes its time."""

    @property
    def idle(self) -> bool:
        return self._n < 0 and not self._queue

    def add(self, n: int, data: bytes) -> None:
        """Queue a unit.

        TransportError: the queue is full (transient), or 16 bits can't tell ``n`` from the last one.
        """
        if not data:
            raise UsageError("a unit has at least one octet")
        if n <= self._last:
            raise UsageError("unit numbers grow")
        if n - self._last - 1 > FURTHEST_AHEAD:
            raise TransportError("unit number too far ahead of the last one", transient=False)
        if len(self._queue) >= self._limit:
            raise TransportError("too many units wait on this tunnel", transient=True)
        self._last = n
        self._queue.append((n, data))

    def begin_at(self, n: int) -> None:
        """The unit that comes next is number ``n`` or one near it: the tunnel goes on after a restart."""
        self._last = max(-1, n - 1 - RESENT)

    def withdraw(self, n: int) -> None:
        """Forget a unit that isn't under way yet, without a report."""
        self._queue = deque(entry for entry in self._queue if entry[0] != n)

    def next_job(self) -> Job | None:
        """The next slice to send: one that is due again, else a new one; a new unit if the last one is through."""
        if self.held:
            return None
        job = next_live(self._retry)
        if job is not None:
            return job
        if self._n < 0:
            if not self._queue:
                return None
            self._begin(*self._queue.popleft())
        if self._next == self._count:
            return None
        octets = cut(self._n, self._data, self._next, self._slice).encode()
        self._next += 1
        job = Job(lambda sequence: self._wrap(sequence, octets), self._settle, self._retry)
        self._jobs.append(job)
        return job

    def fail_current(self, reason: FailReason) -> None:
        """Give up the unit under way, if there is one."""
        if self._n >= 0:
            self._end(reason)

    def fail_all(self, reason: FailReason) -> None:
        """Give up everything."""
        self.fail_current(reason)
        while self._queue:
            self._report(self._queue.popleft()[0], reason)

    def _begin(self, n: int, data: bytes) -> None:
        self._n, self._data = n, data
        self._slice = self._size()
        self._count = self._missing = slice_count(len(data), self._slice)
        self._next = 0

    def _settle(self, delivered: bool) -> None:
        if not delivered:
            self._end(FailReason.UNDELIVERABLE)
            return
        self._missing -= 1
        if not self._missing:
            self._end(None)

    def _end(self, reason: FailReason | None) -> None:
        for job in self._jobs:
            job.cancelled = True
        self._jobs.clear()
        n, self._n, self._data = self._n, -1, b""
        self._report(n, reason)
