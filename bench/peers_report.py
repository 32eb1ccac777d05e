"""The table of ``bench.peers``: each figure of all hubs, this gateway's over zigbee2mqtt's and over those of an earlier
commit, and what the former is to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from bench.checkout import BASELINE

Runs = dict[str, dict[str, list[dict[str, Any]]]]
"""Row, hub, turns."""
OURS, COMPILED, THEIRS, LIBRARY = "gateway", "compiled", "zigbee2mqtt", "bellows"
NAMES: Final = (OURS, COMPILED, THEIRS, LIBRARY, BASELINE)
"""The hubs, in the order of the columns."""
RATIOS: Final = ((OURS, THEIRS), (COMPILED, THEIRS), (OURS, BASELINE), (COMPILED, BASELINE))
JUDGED: Final = RATIOS[:2]
"""Those that have a goal."""
FAILED: Final = "failed"
"""What a turn has in the place of figures."""
Ratio = tuple[float, float, float]
"""Median, least and most of the turns."""


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
    Goal("join, 10 kinds", "seconds", "s", 1, 1.5),
    Goal("reports, 10 devices, full", "rate", "/s", 1, 1.8, least=True),
    Goal("reports, 200 mixed, full", "rate", "/s", 1, 1.8, least=True),
    Goal("reports, 10 devices, full", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 200 mixed, full", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 50/s", "cpu", "s CPU/1000", 1000, 0.5),
    Goal("reports, 50/s", "latency", "ms p50", 1000, 0.75),
    Goal("set, one by one", "latency", "ms p50", 1000, 1.0),
    Goal("set, one by one", "cpu", "s CPU/1000", 1000, None),
    Goal("set, 50 lamps at once", "rate", "/s", 1, 0.9, least=True),
    Goal("memory, idle", "rss", "MiB", 1, 0.6),
    Goal("memory, idle", "private", "MiB private", 1, None),
    Goal("memory, after load", "rss", "MiB", 1, 0.5),
    Goal("memory, after load", "private", "MiB private", 1, None),
)


@dataclass(frozen=True, slots=True)
class Line:
    """``values``: the median of each hub, without those that failed in all turns; ``ratios``: by the two hubs."""

    goal: Goal
    values: Mapping[str, float]
    ratios: Mapping[tuple[str, str], Ratio]

    def verdict(self, pair: tuple[str, str]) -> str:
        met = self.goal.met(self.ratios[pair][0]) if pair in self.ratios else None
        return {None: "", True: "yes", False: "no"}[met]


def table(runs: Runs) -> list[Line]:
    found = []
    for goal in GOALS:
        hubs = runs.get(goal.row, {})
        taken = {name: [each.get(goal.key) for each in turns] for name, turns in hubs.items()}
        known = {name: [each for each in turns if each is not None] for name, turns in taken.items()}
        values = {name: median(turns) * goal.times for name, turns in known.items() if turns}
        ratios = {pair: ratio for pair in RATIOS if (ratio := _ratio(*(taken.get(name, []) for name in pair)))}
        if values:
            found.append(Line(goal, values, ratios))
    return found


def _ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio | None:
    """Of the turns in which neither failed."""
    turns = [mine / other for mine, other in zip(ours, theirs, strict=False) if mine is not None and other]
    return (median(turns), min(turns), max(turns)) if turns else None


def failures(runs: Runs) -> Iterator[str]:
    """What could not be measured, and why."""
    for row, hubs in runs.items():
        for name, turns in hubs.items():
            said = [each[FAILED] for each in turns if FAILED in each]
            if said:
                yield f"{row}, {name}: failed in {len(said)} of {len(turns)} turns: {said[0]}"


SHARES: Final = ("hub", "dongle", "broker", "subscriber")


def shares(runs: Runs) -> Iterator[tuple[str, ...]]:
    """Of each row of reports and hub: what part of all cores each process took, in per cent; the rest is idle or of
    others."""
    for row, hubs in runs.items():
        for name in NAMES:
            turns = [each for each in hubs.get(name, []) if f"share of {SHARES[0]}" in each]
            if turns:
                found = [median(each[f"share of {part}"] for each in turns) * 100 for part in SHARES]
                yield (row, name, *(f"{each:.0f}" for each in (*found, 100 - sum(found))))


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


def _spread(ratio: Ratio) -> str:
    middle, least, most = ratio
    return f"{middle:.2f}" if least == most else f"{middle:.2f} ({least:.2f}-{most:.2f})"


def _cells(line: Line, runs: Runs, names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    values = []
    for name in names:
        failed = any(FAILED in each for each in runs[line.goal.row].get(name, []))
        values.append(_number(line.values[name]) if name in line.values else FAILED if failed else "")
    ratios = []
    for pair in pairs:
        ratios.append(_spread(line.ratios[pair]) if pair in line.ratios else "")
    verdicts = [verdict for pair in pairs if pair in JUDGED and (verdict := line.verdict(pair))]
    return (line.goal.row, line.goal.unit, *values, *ratios, line.goal.text, ", ".join(verdicts))


def rows(runs: Runs) -> list[tuple[str, ...]]:
    """The table with its headings; hubs that were left out have no column. ``met`` is said of the first two ratios."""
    found = table(runs)
    names = [name for name in NAMES if any(name in hubs for hubs in runs.values())]
    pairs = [pair for pair in RATIOS if any(pair in line.ratios for line in found)]
    ratios = [f"{ours} / {theirs}" for ours, theirs in pairs]
    cells = [_cells(line, runs, names, pairs) for line in found]
    return [("row", "unit", *names, *ratios, "goal", "met"), *cells]


SHARE_HEADINGS: Final = ("% of all cores", "hub measured", "hub", "virtual dongle", "broker", "subscriber", "rest")


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield from _head(report)
    runs = report["runs"]
    for each in _tables(runs):
        yield ""
        widths = [max(map(len, column)) for column in zip(*each, strict=True)]
        for cells in each:
            yield "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
    yield from _notes(runs)


def page(report: Mapping[str, Any]) -> Iterator[str]:
    """The tables of docs/performance.md."""
    yield from _head(report)
    runs = report["runs"]
    for each in _tables(runs):
        yield ""
        for number, cells in enumerate(each):
            yield "| " + " | ".join(cells) + " |"
            if not number:
                yield "|---" * len(cells) + "|"
    yield from _notes(runs)


def _tables(runs: Runs) -> Iterator[list[tuple[str, ...]]]:
    yield rows(runs)
    taken = list(shares(runs))
    if taken:
        yield [SHARE_HEADINGS, *taken]


def _notes(runs: Runs) -> Iterator[str]:
    said = [*losses(runs), *failures(runs)]
    if said:
        yield ""
        yield from said
