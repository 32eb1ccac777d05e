"""Tunnels over links that lose, repeat and reorder: everything arrives exactly once, in order, or both sides learn."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from carriage.zigbee.events import (
    PeerMisbehaved,
    TunnelClosed,
    TunnelLimits,
    TunnelOpened,
    TunnelRequested,
    UnitFailed,
    UnitIncomplete,
    UnitReceived,
)

PATIENT = TunnelLimits(
    retry_waits=(0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0),
    give_up=600.0,
    max_queued_units=4096,
    max_events=100_000,
)


def units_of(seed: int, total: int) -> list[bytes]:
    rng = random.Random(seed)
    units: list[bytes] = []
    while total > 0:
        units.append(rng.randbytes(min(total, rng.choice((1, 64, 65, 500, 1152)))))
        total -= len(units[-1])
    return units


class Talk:
    """Accepts tunnels; each side queues all its units as soon as it has the tunnel."""

    def __init__(self, up: list[bytes], down: list[bytes]) -> None:
        self.todo = {True: up, False: down}
        self.requests = 0

    def __call__(self, pair: Any, side: Any, event: object) -> None:
        if isinstance(event, TunnelRequested):
            self.requests += 1
            side.endpoint.accept(event.handle, pair.now)
        if isinstance(event, TunnelOpened):
            for n, data in enumerate(self.todo[side is pair.a]):
                side.endpoint.send_unit(event.handle, n, data, pair.now)


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_64_kib_each_way_arrive_exactly_once_and_in_order(pair: Any, link: Any, seed: int, window: int) -> None:
    up, down = units_of(seed, 65536), units_of(seed + 100, 65536)
    talk = Talk(up, down)
    limits = replace(PATIENT, window=window)
    both = pair(link(loss=0.1, ack_loss=0.1, repeat=0.1, jitter=1.5), seed, limits=limits, react=talk)
    both.a.endpoint.open(200, 0xFFFF, both.now)
    both.run()
    for receiver, sent in ((both.b, up), (both.a, down)):
        received = [event for event in receiver.events if isinstance(event, UnitReceived)]
        assert [event.data for event in received] == sent
        assert [event.n for event in received] == list(range(len(sent)))
        assert not any(event.gap for event in received)
        assert not [e for e in receiver.events if isinstance(e, (UnitFailed, TunnelClosed, PeerMisbehaved))]
    assert talk.requests == 1


@pytest.mark.parametrize("when", ["before the request", "while open"])
def test_a_dead_link_is_learnt_on_both_ends(pair: Any, link: Any, when: str) -> None:
    talk = Talk([], [])
    both = pair(link(), react=talk)
    handle = both.a.endpoint.open(200, 0xFFFF, both.now)
    if when == "before the request":
        both.link = link(dead=True)
        both.run(until=both.now + 120.0)
        assert any(isinstance(event, TunnelClosed) for event in both.a.events)
        assert not both.b.events
        return
    both.run(until=both.now + 1.0)
    both.a.endpoint.send_unit(handle, 0, bytes(1000), both.now)
    both.run(until=both.now + 0.05)  # some slices are through
    both.link = link(dead=True)
    both.b.endpoint.send_unit(both.b.events[0].handle, 0, bytes(1000), both.now)
    both.run(until=both.now + 120.0)
    assert [event for event in both.a.events if isinstance(event, UnitFailed)]
    assert [event for event in both.b.events if isinstance(event, UnitFailed)]
    assert [event for event in both.b.events if isinstance(event, UnitIncomplete)]


def test_octets_on_the_air_are_never_repeated_within_10_s(pair: Any, link: Any) -> None:
    """zigpy would drop them."""
    talk = Talk(units_of(1, 20000), units_of(2, 20000))
    both = pair(link(loss=0.2, ack_loss=0.2, jitter=0.5), 5, limits=PATIENT, react=talk)
    both.a.endpoint.open(200, 0xFFFF, both.now)
    both.run()
    for side in (both.a, both.b):
        assert side.frames
        assert max(Counter(side.frames).values()) == 1
