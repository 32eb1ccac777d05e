"""``make bench``: CPU per message of the gateway and of its peers, in one run. See docs/bench.md."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.scenario import ROOT, Site
from bench.scenarios import UNIT, rows
from bench.sensor_network_scenarios import memory
from demo.process import ProcessFailedError

RESULTS = ROOT / "bench" / "results"
MEMORY_OF = "gateway, report to mqtt"
PARTS = ("floor", "ip", "house", "zigbee", "micro")


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure CPU per message beside peers.")
    parser.add_argument("--part", action="append", choices=PARTS, help="only these; may be repeated")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions, in turns over the rows (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (default 1.5)")
    parser.add_argument("--warm", type=float, default=0.4, help="seconds of the same load before it (default 0.4)")
    parser.add_argument("--calls", type=int, default=10_000, help="of each micro row and repetition (default 10000)")
    parser.add_argument("--save", metavar="NAME", help="keep the result as bench/results/NAME.json")
    parser.add_argument("--show", metavar="NAME", help="measure nothing; print the tables of a saved result")
    return parser.parse_args(argv)


async def run(chosen: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Measure; the whole report."""
    parts = chosen.part or PARTS
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": machine.facts(),
        "repeats": chosen.repeats,
        "seconds": chosen.seconds,
    }
    before = machine.load_average()
    runs: dict[str, dict[str, list[dict[str, float]]]] = {}
    octets: dict[str, int] = {}
    micro = await _micro(chosen, directory) if "micro" in parts else {}
    async with rows(directory, parts) as all_rows:
        if "house" in parts:
            found["memory"] = await memory(next(row for row in all_rows if row.name == MEMORY_OF))
        for turn in range(chosen.repeats):
            for row in all_rows:
                octets[row.name] = row.octets
                for level in row.levels:
                    sys.stderr.write(f"\r{turn + 1} of {chosen.repeats}: {row.name}, {level.name}".ljust(70))
                    measured = await row.measure(level, warm=chosen.warm, seconds=chosen.seconds)
                    runs.setdefault(row.name, {}).setdefault(level.name, []).append(measured)
    sys.stderr.write("\r".ljust(70) + "\r")
    for name, seconds in micro.items():
        runs[name] = {"calls": [{"cpu": each} for each in seconds]}
        octets[name] = UNIT
    found["load_average"] = [before, machine.load_average()]
    found["octets"] = octets
    found["rows"] = report.summary(runs)
    found["ratios"] = report.ratios(runs)
    found["runs"] = runs
    rounded: dict[str, Any] = _rounded(found)
    return rounded


def _rounded(value: Any) -> Any:
    """Five digits say more than was measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


async def _micro(chosen: argparse.Namespace, directory: Path) -> dict[str, list[float]]:
    site = Site(directory)
    try:
        process = await site.start("micro", "bench.micro", UNIT, chosen.calls, chosen.repeats)
        measured = await process.expect_event("micro", seconds=300)
    finally:
        await site.stop()
    seconds: dict[str, list[float]] = measured["seconds"]
    return seconds


def main(argv: list[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    chosen = options(argv)
    if chosen.show:
        print("\n".join(report.page(json.loads((results / f"{chosen.show}.json").read_text()))))
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="atls-bench-") as directory:
            found = asyncio.run(run(chosen, Path(directory)))
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe benchmark failed: {error}\n")
        return 1
    print("\n".join(report.lines(found)))
    local = results / "local"
    local.mkdir(parents=True, exist_ok=True)
    places = [local / f"{found['date'].replace(':', '')}.json"]
    if chosen.save:
        places.append(results / f"{chosen.save}.json")
    for place in places:
        place.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written to {os.path.relpath(place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
