"""Counters of a process: CPU seconds (user and system), voluntary context switches; and its memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_CPUCLOCK_SCHED = 2  # linux/posix-timers: the clock of a whole process, every thread of it, to the nanosecond


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of CPU, and how often a thread of the process went to sleep voluntarily (its wake-ups)."""

    cpu: float
    sleeps: int

    def since(self, before: Usage) -> Usage:
        return Usage(self.cpu - before.cpu, self.sleeps - before.sleeps)


def usage(pid: int) -> Usage:
    """What ``/proc/PID/stat`` counts in hundredths of a second, from the process's own clock instead."""
    sleeps = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        _, _, rest = status.read_text().partition("\nvoluntary_ctxt_switches:")
        sleeps += int(rest.split("\n", 1)[0])
    return Usage(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED), sleeps)


def memory(pid: int) -> dict[str, int]:
    """Octets that a process has in RAM: ``pss`` has its share of what others map too, ``rss`` all of that, and
    ``private`` (``RssAnon``) none, so that libraries don't count."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {"private": _kib(status, "RssAnon"), "pss": _kib(rollup, "Pss"), "rss": _kib(rollup, "Rss")}


def _kib(text: str, name: str) -> int:
    """Octets of a line ``NAME:   N kB``."""
    _, _, rest = text.partition(f"\n{name}:")
    return int(rest.split("kB", 1)[0]) * 1024
