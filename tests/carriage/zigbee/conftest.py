"""Two tunnel endpoints on a simulated radio link that loses, repeats and reorders frames, with a simulated clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings

from carriage.zigbee.events import Event, TunnelLimits
from carriage.zigbee.tunnel import TunnelEndpoint

# a machine shared with others may stop for longer than an example may take by default
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@dataclass(frozen=True)
class Link:
    """What the radio does to a frame. ``ack_loss``: the frame arrives, its sender gets a failure."""

    loss: float = 0.0
    ack_loss: float = 0.0
    repeat: float = 0.0
    jitter: float = 0.0
    dead: bool = False
    deduplicate: bool = True
    """Drop octets that came within the last 10 s, as zigpy does."""


@dataclass
class Side:
    endpoint: TunnelEndpoint
    events: list[Event] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    seen: dict[bytes, float] = field(default_factory=dict)


class Pair:
    """``a`` and ``b`` with the link between them. ``run`` moves the clock until nothing is left to do, or ``until``."""

    def __init__(
        self, link: Link, seed: int = 0, *, limits: TunnelLimits | None = None, react: Callable[..., None] | None = None
    ) -> None:
        limits = limits or TunnelLimits()
        self.link = link
        self.random = random.Random(seed)
        self.now = 1000.0
        self.a = Side(TunnelEndpoint(limits=limits, first_sequence=self.random.randrange(256)))
        self.b = Side(TunnelEndpoint(limits=limits, first_sequence=self.random.randrange(256)))
        self.react = react
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = 0

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._tie += 1
        heapq.heappush(self._queue, (when, self._tie, action))

    def _carry(self, side: Side, frame_id: int, octets: bytes) -> None:
        link, rng, far = self.link, self.random, self.other(side)
        side.frames.append(octets)
        if link.dead or rng.random() < link.loss:
            self._at(self.now + 1.0, lambda: side.endpoint.frame_failed(frame_id, self.now))
            return
        arrival = self.now + 0.01
        reported = rng.random() >= link.ack_loss

        def arrive() -> None:
            self._arrive(far, octets)
            if reported:
                side.endpoint.frame_delivered(frame_id, self.now)

        if reported:
            self._at(arrival, arrive)
        else:  # the copy may come long after the sender has tried again
            self._at(arrival + rng.random() * link.jitter, arrive)
            self._at(self.now + 1.0, lambda: side.endpoint.frame_failed(frame_id, self.now))
        if rng.random() < link.repeat:
            self._at(arrival + rng.random() * link.jitter, lambda: self._arrive(far, octets))

    def _arrive(self, far: Side, octets: bytes) -> None:
        if self.link.deduplicate:
            if self.now < far.seen.get(octets, -1e9) + 10.0:
                return
            far.seen[octets] = self.now
        far.endpoint.receive(octets, self.now)

    def pump(self) -> None:
        for side in (self.a, self.b):
            while (event := side.endpoint.next_event()) is not None:
                side.events.append(event)
                if self.react is not None:
                    self.react(self, side, event)
            for frame in side.endpoint.frames_to_send():
                self._carry(side, frame.id, frame.octets)

    def run(self, until: float | None = None, horizon: float = 3600.0) -> None:
        """Until both sides are quiet; deadlines beyond ``horizon`` (idle time-outs) count as quiet."""
        stop = self.now + horizon if until is None else until
        for _ in range(1_000_000):
            self.pump()
            times = [side.endpoint.next_deadline() for side in (self.a, self.b)]
            times.append(self._queue[0][0] if self._queue else None)
            due = min((time for time in times if time is not None), default=None)
            if due is None or due > stop:
                if until is not None:
                    self.now = stop
                return
            self.now = max(self.now, due)
            while self._queue and self._queue[0][0] <= self.now:
                heapq.heappop(self._queue)[2]()
            for side in (self.a, self.b):
                side.endpoint.tick(self.now)
        raise AssertionError("the endpoints never came to rest")


@pytest.fixture(scope="session")
def pair() -> type[Pair]:
    return Pair


@pytest.fixture(scope="session")
def link() -> type[Link]:
    return Link
