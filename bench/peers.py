"""``make bench-peers``: this gateway, zigbee2mqtt and bellows at equal virtual dongles, in turns in one run. See
docs/performance.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine, peers_report
from bench import peers_measure as measure
from bench.hubs import Bellows, Device, MeasuredHub, OurGateway, Zigbee2mqtt, devices
from bench.result_files import write
from bench.scenario import ROOT, Site
from bench.start import broker
from demo.node_packages import NODE, installed
from demo.process import ProcessFailedError
from demo.stack import Stack

RESULTS = ROOT / "bench" / "results"
PACKAGES = ROOT / "bench" / "zigbee2mqtt"
HUBS: tuple[type[MeasuredHub], ...] = (OurGateway, Zigbee2mqtt, Bellows)
SENSORS, LAMPS = 200, 50
JOINING = {"10 mains devices": devices(lamp=10), "5 mains and 5 sleeping": devices(lamp=5, thermometer=5)}
SETTLE_LIMIT = 300.0
"""Seconds that a hub may take for the whole home."""
DELAY = 0.01
"""Seconds of a frame over the air while devices join, twice as much at the most: without, only the CPU would count."""
IDLE = 10.0
"""Seconds from a start until memory is looked at."""
PARTS = ("join", "reports", "sets", "memory")


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.split(". See")[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only these; may be repeated")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load of reports (default 3)")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds of the same load before it (default 0.5)")
    parser.add_argument("--sets", type=int, default=100, help="one after another, each turn (default 100)")
    parser.add_argument("--rounds", type=int, default=20, help=f"of a burst over {LAMPS} lamps (default 20)")
    parser.add_argument("--save", metavar="NAME", help="keep the result as bench/results/NAME.json")
    parser.add_argument("--show", metavar="NAME", help="measure nothing; print the table of a saved result")
    return parser.parse_args(argv)


@contextlib.asynccontextmanager
async def opened(
    kind: type[MeasuredHub], directory: Path, name: str, broker: int, home: list[Device]
) -> AsyncIterator[MeasuredHub]:
    """A hub below ``directory / name``, at the Mosquitto on the port ``broker``; its processes end with it."""
    site = Site(directory)
    async with Stack(directory / name) as stack:
        more: dict[str, Any] = {"packages": installed(PACKAGES), "node": NODE} if kind is Zigbee2mqtt else {}
        hub = kind(stack, site, broker, home, **more)
        try:
            yield hub
        finally:
            await hub.close()
            await site.stop()


class Run:
    """One run: what was found, by row and hub, a figure set for each turn."""

    def __init__(self, chosen: argparse.Namespace, directory: Path, port: int) -> None:
        self._chosen = chosen
        self._directory = directory
        self._port = port
        self.found: peers_report.Runs = {}

    async def all(self) -> None:
        parts = self._chosen.part or PARTS
        if "join" in parts:
            for turn in range(self._chosen.repeats):
                for name, home in JOINING.items():
                    await self._joining(turn, name, home)
        if {"reports", "sets", "memory"} & set(parts):
            async with contextlib.AsyncExitStack() as exits:
                home = devices(lamp=LAMPS, climate=SENSORS)
                hubs = [await exits.enter_async_context(self._settled(kind, home)) for kind in HUBS]
                await asyncio.sleep(IDLE)
                self._memory("memory, idle", hubs)
                for turn in range(self._chosen.repeats):
                    await self._turn(turn, hubs, parts)
                self._memory("memory, after load", hubs)

    async def _joining(self, turn: int, row: str, home: list[Device]) -> None:
        for kind in HUBS if turn % 2 else reversed(HUBS):
            _progress(f"{turn + 1} of {self._chosen.repeats}: joining, {row}, {kind.name}")
            name = f"{kind.name[0]}{turn}{list(JOINING).index(row)}"
            async with opened(kind, self._directory, name, self._port, home) as hub:
                await hub.start_dongle("manual", DELAY)
                await hub.start()
                self._note(f"join, {row}", hub, await measure.join(hub))
                await hub.stop()

    @contextlib.asynccontextmanager
    async def _settled(self, kind: type[MeasuredHub], home: list[Device]) -> AsyncIterator[MeasuredHub]:
        """A hub that has let the whole home in, and was started again since."""
        async with opened(kind, self._directory, kind.name, self._port, home) as hub:
            _progress(f"{kind.name} lets {len(home)} devices in")
            await hub.start_dongle()
            await hub.start()
            await measure.join(hub, one_by_one=False, limit=SETTLE_LIMIT)
            await hub.stop()
            await hub.start()
            yield hub

    async def _turn(self, turn: int, hubs: list[MeasuredHub], parts: Sequence[str]) -> None:
        chosen = self._chosen
        reports = partial(measure.reports, warm=chosen.warm, seconds=chosen.seconds)
        rows: dict[str, Any] = {}
        if "reports" in parts or "memory" in parts:
            rows |= {
                "reports, 10 devices, full": partial(reports, count=10, rate=0.0),
                "reports, 200 devices, full": partial(reports, count=SENSORS, rate=0.0),
                "reports, 50/s": partial(reports, count=10, rate=50.0),
            }
        if "sets" in parts or "memory" in parts:
            rows |= {
                "set, one by one": partial(measure.sets, count=chosen.sets),
                f"set, {LAMPS} lamps at once": partial(measure.burst, rounds=chosen.rounds),
            }
        for row, work in rows.items():
            for hub in hubs if turn % 2 else reversed(hubs):
                _progress(f"{turn + 1} of {chosen.repeats}: {row}, {hub.name}")
                self._note(row, hub, await work(hub))

    def _memory(self, row: str, hubs: list[MeasuredHub]) -> None:
        for hub in hubs:
            self._note(row, hub, measure.held(hub))

    def _note(self, row: str, hub: MeasuredHub, figures: Mapping[str, float]) -> None:
        self.found.setdefault(row, {}).setdefault(hub.name, []).append(dict(figures))


def _progress(text: str) -> None:
    sys.stderr.write(f"\r{text}".ljust(78))
    sys.stderr.flush()


def facts() -> dict[str, Any]:
    """Machine and versions."""
    lock = json.loads((PACKAGES / "package-lock.json").read_text())["packages"]
    node = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    names = ("zigbee2mqtt", "zigbee-herdsman")
    return {**machine.facts(), "node": node, **{name: lock[f"node_modules/{name}"]["version"] for name in names}}


def main(argv: list[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    chosen = options(argv)
    if chosen.show:
        print("\n".join(peers_report.page(json.loads((results / f"{chosen.show}.json").read_text()))))
        return 0
    # SIGTERM too is to unwind to where the processes are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before = machine.load_average()
    found: dict[str, Any] = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")}
    try:
        with tempfile.TemporaryDirectory(prefix="atls-peers-") as directory, broker(Path(directory)) as port:
            run = Run(chosen, Path(directory), port)
            asyncio.run(run.all())
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe benchmark failed: {error}\n")
        return 1
    _progress("")
    sys.stderr.write("\r")
    found |= {"machine": facts(), "load_average": [before, machine.load_average()]}
    found |= {"repeats": chosen.repeats, "seconds": chosen.seconds, "runs": run.found}
    print("\n".join(peers_report.lines(found)))
    write(found, results, "peers-", chosen.save)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
