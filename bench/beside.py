"""The cost of a gateway beside that of another checkout: both measured in the same turns, and one over the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

Pairs = dict[str, dict[str, list[list[dict[str, float]]]]]
"""Row, level of load; then the repetitions of this checkout, and those of the other."""

MIB = 1 / 2**20
KINDS = {
    "cpu": ("CPU us/message", 1e6),
    "latency": ("takes us", 1e6),
    "start": ("takes s", 1.0),
    "start_cpu": ("CPU s", 1.0),
    "private": ("private MiB", MIB),
    "pss": ("PSS MiB", MIB),
    "rss": ("RSS MiB", MIB),
}
"""What of a measurement is compared: its heading, and its unit over that of the measurement."""


def add(pairs: Pairs, row: str, level: str, measured: Sequence[Mapping[str, float]]) -> None:
    """One turn: of this checkout and of the other; of this one alone there is nothing to compare."""
    if len(measured) == 2:
        both = pairs.setdefault(row, {}).setdefault(level, [[], []])
        for turns, each in zip(both, measured, strict=True):
            turns.append({key: value for key, value in each.items() if key in KINDS})


def table(pairs: Pairs) -> list[dict[str, Any]]:
    """For each figure the medians, and the ratio of the two turn by turn: its median, least and most."""
    found = []
    for row, levels in pairs.items():
        for level, (here, there) in levels.items():
            for key in [key for key in KINDS if key in here[0]]:
                ours, theirs = [each[key] for each in here], [each[key] for each in there]
                values = [mine / other for mine, other in zip(ours, theirs, strict=True)]
                ratio = {"median": median(values), "least": min(values), "most": max(values)}
                figures = {"here": median(ours), "beside": median(theirs), "ratio": ratio}
                found.append({"row": row, "level": level, "of": key, **figures})
    return found


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The table for people."""
    if "beside" not in report:
        return
    yield _title(report)
    for each, of, here, there, ratio in _cells(report):
        yield f"  {each['row']:26} {each['level']:>17} {of:>14} {here:>8} {there:>8}  {ratio}"
    yield ""


def page(report: Mapping[str, Any]) -> Iterator[str]:
    """The table of docs/bench.md."""
    if "beside" not in report:
        return
    yield ""
    yield _title(report)
    yield ""
    yield "| row | load | of | here | beside | ratio (least-most) |"
    yield "|---|---|---|---|---|---|"
    for each, of, here, there, ratio in _cells(report):
        yield f"| {each['row']} | {each['level']} | {of} | {here} | {there} | {ratio} |"


def _title(report: Mapping[str, Any]) -> str:
    other = report["beside"]
    name = other["checkout"] if other["checkout"] == other["commit"] else f"{other['checkout']} ({other['commit']})"
    build = ", compiled," if report.get("compiled") else ""
    return f"commit {report['machine']['commit']}{build} beside {name}, the same load in the same turns:"


def _cells(report: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str, str, str]]:
    for each in report["beside"]["rows"]:
        of, factor = KINDS[each["of"]]
        ratio = each["ratio"]
        spread = f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"
        yield each, of, f"{each['here'] * factor:.4g}", f"{each['beside'] * factor:.4g}", spread
