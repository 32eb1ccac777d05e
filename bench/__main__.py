"""``make bench``: CPU per message of the gateway, of its peers, and of the gateway of another checkout, in one run. See
docs/bench.md."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import beside, checkout, compiled, machine, report
from bench.checkout import Checkout, NoSuchCheckoutError
from bench.compiled import CompileFailedError
from bench.cpu import memory
from bench.fades import fades
from bench.long_polls import long_polls
from bench.result_files import write
from bench.scenario import ROOT, Scenario, Site
from bench.scenarios import UNIT, rows
from bench.sensor_network_scenarios import held
from bench.start import starts
from demo.process import ProcessFailedError

RESULTS = ROOT / "bench" / "results"
MEMORY_OF = "gateway, report to mqtt"
PARTS = ("floor", "ip", "http", "house", "fades", "zigbee", "micro", "start")
WITH_GATEWAY = {"ip", "http", "house", "zigbee", "micro", "start"}


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure CPU per message beside peers.")
    parser.add_argument("--part", action="append", choices=PARTS, help="only these; may be repeated")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions, in turns over the rows (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (default 1.5)")
    parser.add_argument("--warm", type=float, default=0.4, help="seconds of the same load before it (default 0.4)")
    parser.add_argument("--calls", type=int, default=10_000, help="of each micro row and repetition (default 10000)")
    checkout.add_option(parser, f"{checkout.BASELINE} if the history has it")
    parser.add_argument(
        "--compiled", action="store_true", help="measure the compiled build of this checkout; compiles it first"
    )
    parser.add_argument("--save", metavar="NAME", help="keep the result as bench/results/NAME.json")
    parser.add_argument("--show", metavar="NAME", help="measure nothing; print the tables of a saved result")
    return parser.parse_args(argv)


async def run(
    chosen: argparse.Namespace,
    directory: Path,
    here: Checkout,
    other: Checkout | None,
    started: list[list[dict[str, float]]],
) -> dict[str, Any]:
    """Measure ``here`` and ``other``; the whole report. ``started``: what their starts were found to take."""
    parts = chosen.part or PARTS
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": machine.facts(),
        "repeats": chosen.repeats,
        "seconds": chosen.seconds,
        "compiled": chosen.compiled,
    }
    before = machine.load_average()
    runs: report.Runs = {}
    pairs: beside.Pairs = {}
    octets: dict[str, int] = {}
    micro = await _micro(chosen, directory, here, other, pairs) if "micro" in parts else {}
    if started:
        found["start"] = {key: report.spread([each[key] for each in started[0]]) for key in started[0][0]}
        if other:
            pairs["start"] = {"until ready": started}
    if "http" in parts:
        sys.stderr.write("\rclients in long poll".ljust(70))
        found["long_polls"] = await long_polls(directory, here)
    if "fades" in parts:
        sys.stderr.write("\rcolour fades".ljust(70))
        found["fades"] = await fades(directory, here)
    async with rows(directory, parts, other, here) as all_rows:
        if "house" in parts:
            row = next(row for row in all_rows if row.name == MEMORY_OF)
            found["memory"] = await held(row)
            if row.beside:
                found["memory_beside"] = await held(row.beside)
        _add_memory(pairs, all_rows, "before")
        for turn in range(chosen.repeats):
            for row in all_rows:
                octets[row.name] = row.octets
                for level in row.levels:
                    sys.stderr.write(f"\r{turn + 1} of {chosen.repeats}: {row.name}, {level.name}".ljust(70))
                    pair = [row, row.beside] if row.beside else [row]
                    measured = {}
                    for each in pair if turn % 2 else reversed(pair):
                        measured[each.pid] = await each.measure(level, warm=chosen.warm, seconds=chosen.seconds)
                    runs.setdefault(row.name, {}).setdefault(level.name, []).append(measured[row.pid])
                    beside.add(pairs, row.name, level.name, [measured[each.pid] for each in pair])
            _add_memory(pairs, all_rows, "after each turn")
    sys.stderr.write("\r".ljust(70) + "\r")
    for name, seconds in micro.items():
        runs[name] = {"calls": [{"cpu": each} for each in seconds]}
        octets[name] = UNIT
    found["load_average"] = [before, machine.load_average()]
    found["octets"] = octets
    found["rows"] = report.summary(runs)
    found["ratios"] = report.ratios(runs)
    found["runs"] = runs
    if other:
        found["beside"] = {"checkout": other.name, "commit": machine.commit(other.root), "rows": beside.table(pairs)}
        found["beside"]["pairs"] = pairs
    rounded: dict[str, Any] = _rounded(found)
    return rounded


def _add_memory(pairs: beside.Pairs, all_rows: list[Scenario], level: str) -> None:
    """What each gateway holds now, once for each process."""
    seen = set()
    for row in all_rows:
        if row.beside and row.pid not in seen:
            seen.add(row.pid)
            beside.add(pairs, row.name, level, [memory(each.pid) for each in (row, row.beside)])


def _rounded(value: Any) -> Any:
    """Five digits say more than was measured."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


async def _micro(
    chosen: argparse.Namespace, directory: Path, here: Checkout, other: Checkout | None, pairs: beside.Pairs
) -> dict[str, list[float]]:
    """Seconds per call of each row, by repetition; those of ``other``, by its own ``bench.micro``, go to ``pairs``."""
    found: dict[str, list[float]] = {}
    both = [here, other] if other else [here]
    for turn in range(chosen.repeats):
        measured: dict[str, dict[str, list[float]]] = {}
        for each in both if turn % 2 else reversed(both):
            site = Site(directory)
            name = f"micro {turn} {both.index(each)}"
            try:
                process = await site.start(name, "bench.micro", UNIT, chosen.calls, 1, path=each.root)
                measured[each.name] = (await process.expect_event("micro", seconds=300))["seconds"]
            finally:
                await site.stop()
        for row, (seconds,) in measured[here.name].items():
            found.setdefault(row, []).append(seconds)
            if not row.startswith(("aiocoap", "nothing")):
                each_cpu = [{"cpu": measured[each.name][row][0]} for each in both if row in measured[each.name]]
                beside.add(pairs, row, "calls", each_cpu)
    return found


def _beside(chosen: argparse.Namespace) -> str:
    """What to measure beside this checkout: nothing if no gateway is measured at all."""
    if not WITH_GATEWAY & set(chosen.part or PARTS):
        return checkout.NONE
    return chosen.beside or checkout.default()


def main(argv: list[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    chosen = options(argv)
    if chosen.show:
        print("\n".join(report.page(json.loads((results / f"{chosen.show}.json").read_text()))))
        return 0
    try:
        with (
            checkout.opened(_beside(chosen)) as other,
            compiled.measured(chosen.compiled) as here,
            tempfile.TemporaryDirectory(prefix="atls-bench-") as directory,
        ):
            both = (here, *([other] if other else []))
            started = starts(Path(directory), both, chosen.repeats) if "start" in (chosen.part or PARTS) else []
            found = asyncio.run(run(chosen, Path(directory), here, other, started))
    except NoSuchCheckoutError as error:
        sys.stderr.write(f"--beside: {error}\n")
        return 2
    except CompileFailedError as error:
        sys.stderr.write(f"--compiled: {error}\n")
        return 1
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe benchmark failed: {error}\n")
        return 1
    print("\n".join(report.lines(found)))
    write(found, results, "", chosen.save)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
