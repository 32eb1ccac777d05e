"""Monotonic seconds to wall-clock seconds and back, as the store needs them: over restarts and jumps of the clock.

While the daemon runs only its monotonic clock counts. The file holds wall-clock times, which are moved when the wall
clock jumps, so that a restart finds what was meant. Pure: both clocks are handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

JUMP = 2.0
"""Seconds by which the wall clock must have moved against the monotonic one to have been set, not slewed."""
CLOCK_IS_SET = 1_767_225_600.0
"""2026-01-01: a machine without a battery-backed clock starts long before."""


@dataclass(frozen=True, slots=True)
class Timebase:
    """``offset``: wall clock minus monotonic clock, both in seconds."""

    offset: float

    def wall(self, monotonic: float) -> float:
        return monotonic + self.offset

    def monotonic(self, wall: float) -> float:
        return wall - self.offset

    def moved(self, wall: float, monotonic: float) -> float:
        """By how many seconds the wall clock was set since; 0.0 if it only drifts."""
        by = wall - monotonic - self.offset
        return by if abs(by) > JUMP else 0.0


def after_restart(saved_at: float, wall: float, monotonic: float) -> Timebase:
    """The time base by which stored wall-clock times are read. ``saved_at``: the wall clock when they were written.

    The time since then counts, unless the clock is behind what was stored, or was not set then but is now: its length
    is unknown, so it counts as none. Nothing is revived by that, for what had expired was taken out.
    """
    known = wall >= saved_at and (saved_at >= CLOCK_IS_SET or wall < CLOCK_IS_SET)
    return Timebase((wall if known else saved_at) - monotonic)
