"""A bar chart of a saved result of ``bench.peers`` as SVG: ``python -m bench.plot NAME`` writes bench/results/NAME.svg.

Two bars for each line of the table: this gateway's figure, pure and compiled, over zigbee2mqtt's, and a mark at the
goal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.peers_report import COMPILED, JUDGED, OURS, THEIRS, Line, table

RESULTS = Path(__file__).parent / "results"
ROW, TOP, LEFT, WIDTH, MARGIN = 34, 40, 330, 360, 60
BAR = 13
MET, MISSED, PLAIN = "#2e7d32", "#c62828", "#546e7a"
OPACITY = {OURS: "1", COMPILED: "0.6"}


def svg(lines: Sequence[Line]) -> str:
    """The chart. The scale ends at the longest bar or mark."""
    shown = [line for line in lines if any(pair in line.ratios for pair in JUDGED)]
    bars = [line.ratios[pair][0] for line in shown for pair in JUDGED if pair in line.ratios]
    most = max([1.0, *bars, *(line.goal.bound or 0.0 for line in shown)])
    title = f"{OURS} / {THEIRS}, and {COMPILED} / {THEIRS} in the lighter bar"
    parts = [f'<text x="{LEFT}" y="24" font-weight="bold">{title}</text>']
    for number, line in enumerate(shown):
        parts += _bars(line, TOP + number * ROW, WIDTH / most)
    one = LEFT + WIDTH / most
    bottom = TOP + len(shown) * ROW
    parts.append(f'<line x1="{one:.1f}" y1="{TOP - 6}" x2="{one:.1f}" y2="{bottom}" stroke="#9e9e9e"/>')
    size = f'width="{LEFT + WIDTH + MARGIN}" height="{bottom + 16}"'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _bars(line: Line, y: int, scale: float) -> list[str]:
    goal = line.goal
    parts = [f'<text x="{LEFT - 8}" y="{y + 18}" text-anchor="end">{escape(f"{goal.row}: {goal.unit}")}</text>']
    for number, pair in enumerate(JUDGED):
        if pair not in line.ratios:
            continue
        ratio, top = line.ratios[pair][0], y + 2 + number * BAR
        colour = {"": PLAIN, "yes": MET, "no": MISSED}[line.verdict(pair)]
        shape = f'width="{ratio * scale:.1f}" height="{BAR - 1}" fill="{colour}" opacity="{OPACITY[pair[0]]}"'
        parts.append(f'<rect x="{LEFT}" y="{top}" {shape}/>')
        parts.append(f'<text x="{LEFT + ratio * scale + 4:.1f}" y="{top + 11}" font-size="11">{ratio:.2f}</text>')
    if goal.bound is not None:
        x = LEFT + goal.bound * scale
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + ROW - 5}" stroke="black" stroke-width="2"/>')
    return parts


def main(argv: Sequence[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description="Draws a saved result as SVG beside it.")
    parser.add_argument("name", metavar="NAME", help="a result that python -m bench.peers --save NAME kept")
    name = parser.parse_args(argv).name
    try:
        report: Mapping[str, Any] = json.loads((results / f"{name}.json").read_text())
    except FileNotFoundError:
        kept = sorted(path.stem for path in results.glob("*.json"))
        parser.error(f"no result {name} in {results}; there are {', '.join(kept) or 'none'}")
    path = results / f"{name}.svg"
    path.write_text(svg(table(report["runs"])))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
