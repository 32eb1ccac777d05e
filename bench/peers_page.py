"""A run of ``bench.peers`` on docs/performance.md: facts and tables between a heading and what people wrote below."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

from bench.peers_report import page

NAME: Final = "peers-2-core"
"""The saved run that the page shows."""
_HEADING, _BELOW = "## One run\n\n", "\n\nReading it:\n"
_PACKAGES: Final = ("zigbee2mqtt", "zigbee-herdsman", "zigpy", "bellows", "paho-mqtt", "mosquitto", "commit")
_WIDTH: Final = 110


def facts(report: Mapping[str, Any]) -> str:
    """When and on what it ran, in lines."""
    machine, (before, after) = report["machine"], report["load_average"]
    text = (
        f"{report['date'][:10]}; {machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']},"
        f" Node.js {machine['node']}; {', '.join(f'{name} {machine[name]}' for name in _PACKAGES)}; load average"
        f" {before:.1f} before and {after:.1f} after; {report['repeats']} turns, {report['seconds']:g} s a load."
        f" Differences below a fifth mean nothing. The chart is `bench/results/{NAME}.svg`."
    )
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def written(text: str, report: Mapping[str, Any]) -> str:
    """The page with this run in the place of the one that it shows. ValueError if it has no such place."""
    head, rest = text.split(_HEADING, 1)
    _, below = rest.split(_BELOW, 1)
    _, tables = "\n".join(page(report)).split("\n\n", 1)
    return f"{head}{_HEADING}{facts(report)}\n\n{tables}{_BELOW}{below}"
