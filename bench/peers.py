"""``make bench-peers``: this gateway (pure, compiled, as it was), zigbee2mqtt and bellows at equal virtual dongles, in
turns in one run. See docs/performance.md."""

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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench import checkout, compiled, machine, peers_page, peers_report, plot
from bench import peers_measure as measure
from bench.checkout import BASELINE, HERE, NONE, Checkout, CheckoutStack
from bench.compiled import CompileFailedError
from bench.hubs import MIXED, VALUES, Bellows, Device, MeasuredHub, OurGateway, Zigbee2mqtt, devices
from bench.peers_page import NAME
from bench.peers_report import COMPILED, LIBRARY, OURS, THEIRS
from bench.result_files import write
from bench.scenario import ROOT, Site
from bench.start import running_broker
from demo.node_packages import NODE, installed
from demo.process import ProcessFailedError

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "performance.md"
PACKAGES = ROOT / "bench" / "zigbee2mqtt"
LAMPS = 50
"""Lights that are switched at once."""
JOINING = {
    "10 mains devices": devices(lamp=10),
    "5 mains and 5 sleeping": devices(lamp=5, thermometer=5),
    "10 kinds": devices(**dict.fromkeys(VALUES, 1)),
}
ALL_REPORT = f"reports, {sum(MIXED.values())} mixed, full"
LEFT_OUT = {"join, 10 kinds": {BASELINE}, ALL_REPORT: {BASELINE, LIBRARY}}
"""Who takes no part in a row: the earlier commit knows four clusters, and bellows' hook reads temperatures."""
SETTLE_LIMIT = 600.0
"""Seconds that a hub may take for the whole home."""
DELAY = 0.01
"""Seconds of a frame over the air while devices join, twice as much at the most: without, only the CPU would count."""
IDLE = 10.0
"""Seconds without a load until memory is looked at."""
PARTS = ("join", "reports", "sets", "memory")


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__.split(". See")[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only these; may be repeated")
    parser.add_argument(
        "--without", action="append", choices=peers_report.NAMES, default=[], help="leave a hub out; may be repeated"
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load of reports (default 3)")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds of the same load before it (default 0.5)")
    parser.add_argument("--sets", type=int, default=100, help="one after another, each turn (default 100)")
    parser.add_argument("--rounds", type=int, default=20, help=f"of a burst over {LAMPS} lamps (default 20)")
    parser.add_argument("--save", metavar="NAME", help="keep the result as bench/results/NAME.json")
    parser.add_argument("--write", action="store_true", help=f"keep it as {NAME}, drawn and in docs/performance.md")
    parser.add_argument("--show", metavar="NAME", help="measure nothing; print the table of a saved result")
    return parser.parse_args(argv)


@dataclass(frozen=True, slots=True)
class Contender:
    """One hub of the comparison; ``checkout`` is whose gateway it is."""

    name: str
    kind: type[MeasuredHub]
    checkout: Checkout = HERE


@contextlib.contextmanager
def contenders(without: Sequence[str]) -> Iterator[list[Contender]]:
    """All but those; what is compiled or checked out for them goes at the end. Raises CompileFailedError."""
    baseline = NONE if BASELINE in without else checkout.default()
    with checkout.opened(baseline) as before, compiled.measured(COMPILED not in without) as built:
        found = {OURS: Contender(OURS, OurGateway), COMPILED: Contender(COMPILED, OurGateway, built)}
        if before is not None:
            found[BASELINE] = Contender(BASELINE, OurGateway, before)
        found |= {THEIRS: Contender(THEIRS, Zigbee2mqtt), LIBRARY: Contender(LIBRARY, Bellows)}
        yield [each for name, each in found.items() if name not in without]


@contextlib.asynccontextmanager
async def opened(
    contender: Contender, directory: Path, name: str, broker: int, broker_pid: int, home: list[Device]
) -> AsyncIterator[MeasuredHub]:
    """A hub below ``directory / name``, at the Mosquitto on the port ``broker``; its processes end with it."""
    site = Site(directory)
    async with CheckoutStack(directory / name, checkout=contender.checkout) as stack:
        node: dict[str, Any] = {"packages": installed(PACKAGES), "node": NODE}
        more = node if contender.kind is Zigbee2mqtt else {}
        hub = contender.kind(stack, site, broker, broker_pid, home, contender.name, **more)
        try:
            yield hub
        finally:
            await hub.close()
            await site.stop()


class Run:
    """One run: what was found, by row and hub, a figure set for each turn; and what failed."""

    def __init__(
        self, chosen: argparse.Namespace, hubs: list[Contender], directory: Path, port: int, broker_pid: int
    ) -> None:
        self._chosen = chosen
        self._hubs = hubs
        self._directory = directory
        self._port = port
        self._broker_pid = broker_pid
        self.found: peers_report.Runs = {}
        parts = chosen.part or PARTS
        self._rows = {**self._reports(parts), **self._sets(parts)}
        rows = [*(f"join, {each}" for each in JOINING if "join" in parts), *self._rows]
        turns = sum(_takes_part(each, row) for each in hubs for row in rows)
        self.progress = RunProgress(chosen.repeats * turns + len(hubs) * bool(self._rows))

    async def all(self) -> None:
        if "join" in (self._chosen.part or PARTS):
            for turn in range(self._chosen.repeats):
                for name, home in JOINING.items():
                    await self._joining(turn, name, home)
        if self._rows:
            async with contextlib.AsyncExitStack() as exits:
                home = devices(**MIXED)
                hubs = [hub for each in self._hubs if (hub := await self._settled(exits, each, home)) is not None]
                await asyncio.sleep(IDLE)
                self._memory("memory, idle", hubs)
                for turn in range(self._chosen.repeats):
                    await self._turn(turn, hubs)
                self._memory("memory, after load", hubs)

    def _opened(
        self, contender: Contender, name: str, home: list[Device]
    ) -> contextlib.AbstractAsyncContextManager[MeasuredHub]:
        return opened(contender, self._directory, name, self._port, self._broker_pid, home)

    async def _joining(self, turn: int, row: str, home: list[Device]) -> None:
        for number, contender in _in_turn(turn, list(enumerate(self._hubs))):
            if not _takes_part(contender, f"join, {row}"):
                continue
            self.progress.next(f"turn {turn + 1} of {self._chosen.repeats}: joining, {row}, {contender.name}")
            name = f"{number}-{turn}-{list(JOINING).index(row)}"
            async with self._opened(contender, name, home) as hub:

                async def work(hub: MeasuredHub = hub) -> measure.Figures:
                    await hub.start_dongle("manual", DELAY)
                    await hub.start()
                    found = await measure.join(hub)
                    await hub.stop()
                    return found

                await self._noted(f"join, {row}", contender.name, work)

    async def _settled(
        self, exits: contextlib.AsyncExitStack, contender: Contender, home: list[Device]
    ) -> MeasuredHub | None:
        """A hub that has let the whole home in, and was started again since; None if it can't."""
        hub = await exits.enter_async_context(self._opened(contender, contender.name, home))
        self.progress.next(f"{contender.name} lets {len(home)} devices in")
        try:
            await hub.start_dongle("manual")
            await hub.start()
            await measure.settle(hub, SETTLE_LIMIT)
            await hub.stop()
            await hub.start()
            await measure.awake(hub)
        except FAILURES as error:
            for row in ("memory, idle", *self._rows, "memory, after load"):
                self.found.setdefault(row, {}).setdefault(hub.name, []).append(_failed(error))
            return None
        return hub

    def _reports(self, parts: Sequence[str]) -> dict[str, Work]:
        if not {"reports", "memory"} & set(parts):
            return {}
        reports = partial(measure.reports, warm=self._chosen.warm, seconds=self._chosen.seconds)
        return {
            "reports, 10 devices, full": partial(reports, count=10, rate=0.0),
            ALL_REPORT: partial(reports, name=None, count=None, rate=0.0),
            "reports, 50/s": partial(reports, count=10, rate=50.0),
        }

    def _sets(self, parts: Sequence[str]) -> dict[str, Work]:
        if not {"sets", "memory"} & set(parts):
            return {}
        return {
            "set, one by one": partial(measure.sets, count=self._chosen.sets),
            f"set, {LAMPS} lamps at once": partial(measure.burst, count=LAMPS, rounds=self._chosen.rounds),
        }

    async def _turn(self, turn: int, hubs: list[MeasuredHub]) -> None:
        for row, work in self._rows.items():
            for hub in _in_turn(turn, [each for each in hubs if _takes_part(each, row)]):
                self.progress.next(f"turn {turn + 1} of {self._chosen.repeats}: {row}, {hub.name}")
                await self._noted(row, hub.name, partial(work, hub))

    def _memory(self, row: str, hubs: list[MeasuredHub]) -> None:
        for hub in hubs:
            with contextlib.suppress(OSError):  # its process has ended, which the row says in which it did
                self._note(row, hub.name, measure.held(hub))

    async def _noted(self, row: str, name: str, work: Callable[[], Awaitable[measure.Figures]]) -> None:
        """What fails stands in the row and stops nothing."""
        try:
            found: Mapping[str, Any] = await work()
        except FAILURES as error:
            found = _failed(error)
        self._note(row, name, found)

    def _note(self, row: str, name: str, figures: Mapping[str, Any]) -> None:
        self.found.setdefault(row, {}).setdefault(name, []).append(dict(figures))


def _takes_part(hub: Contender | MeasuredHub, row: str) -> bool:
    return hub.name not in LEFT_OUT.get(row, ())


FAILURES = (ProcessFailedError, TimeoutError, OSError)
Work = Callable[[MeasuredHub], Awaitable[measure.Figures]]


def _failed(error: Exception) -> dict[str, str]:
    return {peers_report.FAILED: (str(error) or type(error).__name__).split("\n", 1)[0]}


T = TypeVar("T")


def _in_turn(turn: int, hubs: Sequence[T]) -> Iterable[T]:
    """Who is first changes from turn to turn."""
    return hubs if turn % 2 else reversed(hubs)


class RunProgress:
    """A line on standard error: what is measured, which of how many that is, and how long it may still take."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._begun = total, 0, time.monotonic()

    def next(self, text: str) -> None:
        left = ""
        if self._done:
            minutes = (time.monotonic() - self._begun) / self._done * (self._total - self._done) / 60
            left = f", some {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
        self._done += 1
        _line(f"[{self._done} of {self._total}{left}] {text}")

    def end(self) -> None:
        _line("")
        sys.stderr.write("\r")


def _line(text: str) -> None:
    sys.stderr.write(f"\r{text}".ljust(110))
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
    sys.stderr.write("Five hubs and five turns take some half an hour; --repeats 2 and --without shorten it.\n")
    try:
        with (
            contenders(chosen.without) as hubs,
            tempfile.TemporaryDirectory(prefix="atls-peers-") as directory,
            running_broker(Path(directory)) as (port, pid),
        ):
            run = Run(chosen, hubs, Path(directory), port, pid)
            asyncio.run(run.all())
    except CompileFailedError as error:
        sys.stderr.write(f"{error}\n--without {COMPILED} measures the others\n")
        return 1
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe benchmark failed: {error}\n")
        return 1
    run.progress.end()
    found |= {"machine": facts(), "load_average": [before, machine.load_average()]}
    found |= {"repeats": chosen.repeats, "seconds": chosen.seconds, "runs": run.found}
    print("\n".join(peers_report.lines(found)))
    write(found, results, "peers-", NAME if chosen.write else chosen.save)
    if chosen.write:
        plot.main([NAME], results)
        PAGE.write_text(peers_page.written(PAGE.read_text(), found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
