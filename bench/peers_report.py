"""The table of ``bench.peers``: each figure of the three, this gateway's over zigbee2mqtt's, and what it is to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

Runs = dict[str, dict[str, list[dict[str, float]]]]
"""Row, hub, turns."""
OURS, THEIRS, LIBRARY = "gateway", "zigbee2mqtt", "bellows"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table: ``key`` of the figures of ``row``, shown ``times`` as large, in ``unit``. ``bound``: what
    the ratio to zigbee2mqtt is to be at the most, or at the ``least``."""

    row: str
    key: str
    unit: str
    times: float
    bound: float | None
    least: bool = False

    def met(self, ratio: float) -> bool | None:
        if self.bound is None:
            return None
        return ratio >= self.bound if self.least else ratio <= self.bound

    @property
    def text(self) -> str:
        return "" if self.bound is None else f"{'>=' if self.least else '<='} {self.bound:.2f}"


GOALS: Final = (
    Goal("join, 10 mains devices", "seconds", "s", 1, 1.5),
    Goal("join, 5 mains and 5 sleeping", "seconds", "s", 1, 1.5),
    Goal("reports, 10 devices, full", "rate", "/s", 1, 1.8, least=True),
    Goal("reports, 200 devices, full", "rate", "/s", 1, 1.8, least=True),
    Goal("reports, 10 devices, full", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 200 devices, full", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 50/s", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 50/s", "latency", "ms p50", 1000, 0.75),
    Goal("set, one by one", "latency", "ms p50", 1000, 1.0),
    Goal("set, one by one", "cpu", "s CPU/1000", 1000, None),
    Goal("set, 50 lamps at once", "rate", "/s", 1, 0.9, least=True),
    Goal("memory, idle", "rss", "MiB", 1, 0.6),
    Goal("memory, idle", "private", "MiB private", 1, None),
    Goal("memory, after load", "rss", "MiB", 1, 0.45),
    Goal("memory, after load", "private", "MiB private", 1, None),
)


@dataclass(frozen=True, slots=True)
class Line:
    """``values``: the median of each hub; ``ratio``: median, least and most of the turns."""

    goal: Goal
    values: Mapping[str, float]
    ratio: tuple[float, float, float]

    @property
    def verdict(self) -> str:
        return {None: "", True: "yes", False: "no"}[self.goal.met(self.ratio[0])]


def table(runs: Runs) -> list[Line]:
    found = []
    for goal in GOALS:
        hubs = runs.get(goal.row)
        if hubs is None:
            continue
        values = {
            name: median(each[goal.key] for each in turns) * goal.times
            for name, turns in hubs.items()
            if goal.key in turns[0]
        }
        ratios = [mine[goal.key] / other[goal.key] for mine, other in zip(hubs[OURS], hubs[THEIRS], strict=True)]
        found.append(Line(goal, values, (median(ratios), min(ratios), max(ratios))))
    return found


def losses(runs: Runs) -> Iterator[str]:
    """What did not come through, if any."""
    for row, hubs in runs.items():
        for name, turns in hubs.items():
            lost = [each["lost"] for each in turns if "lost" in each]
            if any(each > 0 for each in lost):
                yield f"{row}, {name}: {', '.join(f'{each:.0f}' for each in lost)} sets did not reach their lamps"
            shares = [each["published"] for each in turns if "published" in each]
            if any(abs(share - 1) > 0.001 for share in shares):
                yield f"{row}, {name}: {min(shares):.3f} to {max(shares):.3f} publications for each report"


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    facts = report["machine"]
    yield f"{facts['cpu']}, {facts['cores']} cores, {facts['kernel']}, {facts['python']}, Node.js {facts['node']}"
    names = ("zigbee2mqtt", "zigbee-herdsman", "zigpy", "bellows", "paho-mqtt", "mosquitto", "commit")
    yield ", ".join(f"{name} {facts[name]}" for name in names)
    load = report["load_average"]
    yield f"load average {load[0]:.1f} before and {load[1]:.1f} after, {report['repeats']} turns"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _cells(line: Line) -> tuple[str, ...]:
    values = [_number(line.values[name]) if name in line.values else "" for name in (OURS, THEIRS, LIBRARY)]
    middle, least, most = line.ratio
    spread = f"{middle:.2f}" if least == most else f"{middle:.2f} ({least:.2f}-{most:.2f})"
    return (line.goal.row, line.goal.unit, *values, spread, line.goal.text, line.verdict)


HEADINGS: Final = ("row", "unit", OURS, THEIRS, LIBRARY, "ratio (least-most)", "goal", "met")


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield from _head(report)
    yield ""
    shape = "{:30} {:>12} {:>9} {:>12} {:>9}  {:18} {:8} {}"
    yield shape.format(*HEADINGS)
    for line in table(report["runs"]):
        yield shape.format(*_cells(line))
    yield from losses(report["runs"])


def page(report: Mapping[str, Any]) -> Iterator[str]:
    """The table of docs/performance.md."""
    yield from _head(report)
    yield ""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|---" * len(HEADINGS) + "|"
    for line in table(report["runs"]):
        yield "| " + " | ".join(_cells(line)) + " |"
    yield from losses(report["runs"])
