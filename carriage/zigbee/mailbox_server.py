"""A tunnel's mailbox for a device that sleeps: units wait here until the device asks for the next one with GET.

The keeper's side of the exchange; ``mailbox_client`` is the device's. One GET is answered with one unit, or with the
answer that nothing waits. The next GET names the unit after it, and so confirms what came before. A unit that was sent
in full and acknowledged by the stack counts as delivered without that after a while. A unit that could not be sent in
full waits for the next GET, which says from which slice on it is wanted. Pure: time enters through ``clock``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from carriage.zigbee.events import FailReason
from carriage.zigbee.retransmission import Job, next_live
from carriage.zigbee.segmentation import FURTHEST_AHEAD, cut, nearest, slice_count
from carriage.zigbee.transfer import MAX_REMAINING, Get, GetResponse
from layer.errors import PeerError, TransportError, UsageError

CONFIRM_WAIT: Final = 10.0
"""Seconds after the last slice was acknowledged in which the next GET should come; after that the stack's
acknowledgement counts.
"""
REPEAT_WAIT: Final = 1.0
"""A GET for the unit that is under way is a repetition if a slice got through so recently; otherwise the unit is sent
again."""


@dataclass(slots=True, eq=False)
class _Kept:
    """A unit that waits. ``size``: octets a slice, fixed when it is sent for the first time. ``sent``: when it was
    acknowledged in full."""

    data: bytes
    size: int = 0
    sent: float | None = None


class MailboxServer:
    """Units of one tunnel towards a device that asks for them. It has the methods of ``sending.UnitSender``.

    ``wrap(sequence, data)`` makes a frame of the data of one TransferData, ``size()`` gives the octets per slice,
    ``report(n, reason)`` is called at the end of each unit, with None if the device has it.
    """

    def __init__(
        self,
        limit: int,
        wrap: Callable[[int, bytes], bytes],
        size: Callable[[], int],
        report: Callable[[int, FailReason | None], None],
        clock: Callable[[], float],
    ) -> None:
        self._limit = limit
        self._wrap = wrap
        self._size = size
        self._report = report
        self._clock = clock
        self._kept: dict[int, _Kept] = {}
        """In the order of their numbers."""
        self._withdrawn: dict[int, int] = {}
        """Units that may be added again, with the octets per slice of those that were begun."""
        self._last = self._given = -1
        """The last unit that was added, and the last that was given out before a restart."""
        self._unsure = 0
        """How far the device may be ahead of what we know: after a restart it is the one who knows."""
        self._asked = 0
        """The lowest unit that the device hasn't confirmed."""
        self._empty: Job | None = None
        """The answer that nothing waits, until its fate is known."""
        self._tell_empty = False
        self._n = -1
        self._index = self._missing = 0
        self._progress = 0.0
        self._jobs: list[Job] = []
        self._retry: deque[Job] = deque()
        self.held = False
        """True while the remote's flow control holds us back."""

    @property
    def idle(self) -> bool:
        return not self._kept

    @property
    def next(self) -> int:
        """One above the last unit's number."""
        return max(self._last, self._given) + 1

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due."""
        return min((kept.sent + CONFIRM_WAIT for kept in self._kept.values() if kept.sent is not None), default=None)

    def begin_at(self, n: int) -> None:
        """The unit that comes next is number ``n`` or one near it: the tunnel goes on after a restart."""
        self._given = n - 1
        self._unsure = FURTHEST_AHEAD
        self._last = max(-1, self._given - RESENT)
        self._asked = self._last + 1

    def add(self, n: int, data: bytes) -> None:
        """Keep a unit. TransportError: the mailbox is full (transient), or 16 bits can't tell ``n`` from the last.

        UsageError: the number doesn't grow, and is not of one that was withdrawn.
        """
        if not data:
            raise UsageError("a unit has at least one octet")
        if n <= self._last:
            self._add_again(n, data)
            return
        if n - self._last - 1 > FURTHEST_AHEAD:
            raise TransportError("unit number too far ahead of the last one", transient=False)
        if len(self._kept) >= self._limit:
            raise TransportError("too many units wait on this tunnel", transient=True)
        self._last = n
        self._kept[n] = _Kept(data)

    def _add_again(self, n: int, data: bytes) -> None:
        size = self._withdrawn.pop(n, None)
        if size is None:
            raise UsageError("unit numbers grow")
        if n < self._asked:
            self._report(n, None)  # the device had it already
            return
        self._kept[n] = _Kept(data, size)
        self._kept = dict(sorted(self._kept.items()))

    def withdraw(self, n: int) -> None:
        """Forget a unit, without a report. It may be added again."""
        kept = self._kept.pop(n, None)
        if kept is None:
            return
        if n == self._n:
            self._stop()
        self._withdrawn[n] = kept.size
        if len(self._withdrawn) > self._limit:
            del self._withdrawn[next(iter(self._withdrawn))]

    def asked(self, get: Get) -> None:
        """The device asks. PeerError if it names what never was."""
        n = nearest(get.number, self._asked)
        if n > self.next + self._unsure:
            raise PeerError("GET names a unit that never was")
        if n < self._asked:
            return  # it came late
        self._asked = n
        for had in [number for number in self._kept if number < n]:
            self._end(had, None)
        first = next(iter(self._kept), None)
        if first is None:
            self._tell_empty = self._empty is None
        elif first != self._n or self._clock() >= self._progress + REPEAT_WAIT:
            self._begin(first, get.index if first == n else 0)

    def next_job(self) -> Job | None:
        """The next frame of the answer."""
        if self.held:
            return None
        job = next_live(self._retry)
        if job is not None:
            return job
        if self._tell_empty:
            self._tell_empty = False
            self._empty = self._job(GetResponse(max(self.next, self._asked) % 0x10000), self._empty_sent)
            return self._empty
        kept = self._kept.get(self._n)
        if kept is None or self._index == slice_count(len(kept.data), kept.size):
            return None
        part = cut(self._n, kept.data, self._index, kept.size)
        self._index += 1
        job = self._job(GetResponse(part.number, min(len(self._kept), MAX_REMAINING), part), self._settle)
        self._jobs.append(job)
        return job

    def fail_current(self, reason: FailReason) -> None:
        """Give up the unit that was sent last."""
        if self._kept and (self._n >= 0 or next(iter(self._kept.values())).sent is not None):
            self._end(self._n if self._n >= 0 else next(iter(self._kept)), reason)

    def fail_all(self, reason: FailReason) -> None:
        for n in list(self._kept):
            self._end(n, reason)

    def tick(self, now: float) -> None:
        for n, kept in list(self._kept.items()):
            if kept.sent is not None and now >= kept.sent + CONFIRM_WAIT:
                self._end(n, None)

    def _job(self, answer: GetResponse, settle: Callable[[bool], None]) -> Job:
        octets = answer.encode()
        return Job(lambda sequence: self._wrap(sequence, octets), settle, self._retry)

    def _empty_sent(self, _: bool) -> None:
        self._empty = None

    def _begin(self, n: int, index: int) -> None:
        self._stop()
        kept = self._kept[n]
        kept.size = kept.size or self._size()
        kept.sent = None
        count = slice_count(len(kept.data), kept.size)
        self._n, self._index = n, index if index < count else 0
        self._missing = count - self._index
        self._progress = self._clock()

    def _stop(self) -> None:
        for job in self._jobs:
            job.cancelled = True
        self._jobs.clear()
        self._n = -1

    def _settle(self, delivered: bool) -> None:
        if not delivered:
            self._stop()  # until it asks again
            return
        self._progress = self._clock()
        self._missing -= 1
        if not self._missing:
            self._kept[self._n].sent = self._progress
            self._stop()

    def _end(self, n: int, reason: FailReason | None) -> None:
        del self._kept[n]
        if n == self._n:
            self._stop()
        self._report(n, reason)


RESENT: Final = 64
"""After a restart, how far below the number that is known to be the next a unit may begin: what was not settled is
given out again."""
