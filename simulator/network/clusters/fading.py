"""Transitions: whole-number attributes of one server that move to their targets together, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from simulator.network.cluster_server import ClusterServer

_FADE: Final = "fade"
#: what a time of 0xFFFF tenths means: as fast as the device can
AS_FAST_AS_POSSIBLE: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class _Plan:
    """``ways``: of each attribute its start and the signed way to go. ``circles``: those that begin again at 0."""

    ways: Mapping[int, tuple[int, int]]
    circles: Mapping[int, int]
    steps: int
    pause: float
    #: the attribute that has the tenths that are left
    remaining: int | None
    on_end: Callable[[ClusterServer], None] | None


def fade(
    server: ClusterServer,
    ways: Mapping[int, int],
    tenths: int,
    *,
    circles: Mapping[int, int] | None = None,
    remaining: int | None = None,
    on_end: Callable[[ClusterServer], None] | None = None,
) -> None:
    """Move each attribute by its signed way within ``tenths`` of a second, in steps of at least a tenth and at least 1.

    What went on before ends. Without an endpoint, without time and without a way it is done at once.
    """
    stop(server)
    if tenths == AS_FAST_AS_POSSIBLE:
        tenths = 0
    steps = max(1, min(tenths, max((abs(way) for way in ways.values()), default=0)))
    plan = _Plan(
        {number: (server.whole(number), way) for number, way in ways.items()},
        circles or {},
        steps,
        tenths / 10 / steps,
        remaining,
        on_end,
    )
    if server.host is None or not tenths or not any(ways.values()):
        _step(server, plan, steps)
    else:
        _left(server, plan, 0)
        server.begin(_FADE, plan.pause, _step, server, plan, 1)


def fade_to(
    server: ClusterServer,
    targets: Mapping[int, int],
    tenths: int,
    *,
    remaining: int | None = None,
    on_end: Callable[[ClusterServer], None] | None = None,
) -> None:
    """As :func:`fade`, with targets in place of ways."""
    ways = {number: target - server.whole(number) for number, target in targets.items()}
    fade(server, ways, tenths, remaining=remaining, on_end=on_end)


def stop(server: ClusterServer) -> None:
    """What moves stays as it is now."""
    server.end(_FADE)


def tenths_for(way: int, rate: int) -> int:
    """How long a way takes at so many units a second; at least a tenth."""
    return max(1, round(10 * abs(way) / rate))


def _left(server: ClusterServer, plan: _Plan, done: int) -> None:
    if plan.remaining is not None:
        server.attributes[plan.remaining].value = min(round(10 * plan.pause * (plan.steps - done)), 0xFFFF)


def _step(server: ClusterServer, plan: _Plan, done: int) -> None:
    _left(server, plan, done)
    if done < plan.steps:
        server.begin(_FADE, plan.pause, _step, server, plan, done + 1)
    for number, (start, way) in plan.ways.items():
        value = start + round(way * done / plan.steps)
        server.set(number, value % plan.circles[number] if number in plan.circles else value)
    if done == plan.steps and plan.on_end is not None:
        plan.on_end(server)
