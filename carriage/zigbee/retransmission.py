"""Retransmission to one remote device: which frames are in flight, which wait for another try, and when to give one up.

Every try gets its own ZCL sequence number from the caller, so no two tries have the same octets: zigpy drops a
frame that it has seen from the same device within 10 s. Pure: time enters as ``now``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from layer.errors import UsageError


@dataclass(init=False, slots=True, unsafe_hash=True)
class OutFrame:
    """ZCL octets to send with APS acknowledgement; ``id`` names them in the report of their outcome."""

    id: Final[int]
    octets: Final[bytes]

    def __init__(self, id: int, octets: bytes) -> None:
        self.id = id
        self.octets = octets

    def __repr__(self) -> str:
        return f"OutFrame(id={self.id}, {len(self.octets)} octets)"


@dataclass(slots=True, eq=False)
class Job:
    """Something to deliver, in as many tries as it takes.

    ``build(sequence)`` gives the octets of one try;
    ``settle(delivered)`` is called once, unless ``cancelled``; ``queue`` is where the job waits for its next try.
    """

    build: Callable[[int], bytes]
    settle: Callable[[bool], None]
    queue: deque[Job]
    tries: int = 0
    cancelled: bool = False
    began: float = 0.0
    due: float = 0.0


@dataclass(slots=True)
class _Flight:
    job: Job
    deadline: float


class Retransmissions:
    """Window of frames in flight and bounded retry with growing waits.

    ``waits[i]`` seconds pass between failure ``i`` and the next try; after ``len(waits) + 1`` tries, or at the first
    failure ``give_up`` seconds after the first try, the job has failed: one try can take a real radio six seconds.
    A frame whose fate isn't reported within ``delivery_timeout`` counts as failed.
    """

    __slots__ = ("_delivery_timeout", "_flights", "_give_up", "_next_id", "_resting", "_waits", "_window", "ready")

    def __init__(self, window: int, waits: tuple[float, ...], delivery_timeout: float, give_up: float) -> None:
        if window < 1:
            raise UsageError("a window holds at least one frame")
        self._window = window
        self._waits = waits
        self._delivery_timeout = delivery_timeout
        self._give_up = give_up
        self._flights: dict[int, _Flight] = {}
        self._resting: list[Job] = []
        self._next_id = 0
        self.ready: deque[Job] = deque()
        """Jobs that belong to no unit: requests, answers, errors, closes. They go before slices."""

    @property
    def has_room(self) -> bool:
        return len(self._flights) < self._window

    @property
    def deadline(self) -> float | None:
        if not self._flights and not self._resting:
            return None
        times = [flight.deadline for flight in self._flights.values()]
        times += [job.due for job in self._resting if not job.cancelled]
        return min(times, default=None)

    def next_ready(self) -> Job | None:
        return next_live(self.ready)

    def launch(self, job: Job, octets: bytes, now: float) -> OutFrame:
        frame = OutFrame(self._next_id, octets)
        self._next_id += 1
        if not job.tries:
            job.began = now
        job.tries += 1
        self._flights[frame.id] = _Flight(job, now + self._delivery_timeout)
        return frame

    def report(self, frame_id: int, delivered: bool, now: float) -> None:
        """The outcome of a frame; a report on an unknown one (late or repeated) changes nothing."""
        flight = self._flights.pop(frame_id, None)
        if flight is None or flight.job.cancelled:
            return
        job = flight.job
        if delivered or job.tries > len(self._waits) or now - job.began >= self._give_up:
            job.settle(delivered)
            return
        job.due = now + self._waits[job.tries - 1]
        self._resting.append(job)

    def tick(self, now: float) -> None:
        for frame_id in [key for key, flight in self._flights.items() if now >= flight.deadline]:
            self.report(frame_id, False, now)
        if self._resting:
            resting, self._resting = self._resting, []
            for job in resting:
                if job.cancelled:
                    continue
                if now >= job.due:
                    job.queue.append(job)
                else:
                    self._resting.append(job)


def next_live(queue: deque[Job]) -> Job | None:
    """The next job of ``queue`` that isn't cancelled."""
    while queue:
        job = queue.popleft()
        if not job.cancelled:
            return job
    return None
