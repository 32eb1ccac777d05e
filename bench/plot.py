"""A bar chart of a saved result of ``bench.peers`` as SVG: ``python -m bench.plot NAME`` writes bench/results/NAME.svg.

One bar for each line of the table: this gateway's figure over zigbee2mqtt's, and a mark at its goal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.peers_report import Line, table

RESULTS = Path(__file__).parent / "results"
ROW, TOP, LEFT, WIDTH, MARGIN = 26, 40, 330, 360, 60
MET, MISSED, PLAIN = "#2e7d32", "#c62828", "#546e7a"


def svg(lines: Sequence[Line]) -> str:
    """The chart. The scale ends at the longest bar or mark."""
    most = max(max(line.ratio[0], line.goal.bound or 0.0) for line in lines)
    parts = [f'<text x="{LEFT}" y="24" font-weight="bold">gateway / zigbee2mqtt</text>']
    for number, line in enumerate(lines):
        parts += _bar(line, TOP + number * ROW, WIDTH / most)
    one = LEFT + WIDTH / most
    bottom = TOP + len(lines) * ROW
    parts.append(f'<line x1="{one:.1f}" y1="{TOP - 6}" x2="{one:.1f}" y2="{bottom}" stroke="#9e9e9e"/>')
    size = f'width="{LEFT + WIDTH + MARGIN}" height="{bottom + 16}"'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _bar(line: Line, y: int, scale: float) -> list[str]:
    ratio, goal = line.ratio[0], line.goal
    colour = {"": PLAIN, "yes": MET, "no": MISSED}[line.verdict]
    name = escape(f"{goal.row}: {goal.unit}")
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{name}</text>',
        f'<rect x="{LEFT}" y="{y + 3}" width="{ratio * scale:.1f}" height="{ROW - 10}" fill="{colour}"/>',
        f'<text x="{LEFT + ratio * scale + 4:.1f}" y="{y + 15}">{ratio:.2f}</text>',
    ]
    if goal.bound is not None:
        x = LEFT + goal.bound * scale
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{y + ROW - 4}" stroke="black" stroke-width="2"/>')
    return parts


def main(argv: Sequence[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m bench.plot NAME, of a result that --save NAME kept\n")
        return 2
    report: Mapping[str, Any] = json.loads((results / f"{argv[0]}.json").read_text())
    path = results / f"{argv[0]}.svg"
    path.write_text(svg(table(report["runs"])))
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
