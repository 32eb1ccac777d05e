"""``python -m bench.soak``: whether the memory of a real gateway stays flat over a million messages. See docs/bench.md.

Each way runs by itself, as fast as it goes: ``coaps`` (to MQTT), ``reports`` (of ZigBee thermometers, to MQTT) and
``tunnel`` (ZigBee to coaps, 60,000 at the most: the phone's association has 65,536 message ids for 247 s).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.checkout import CheckoutStack
from bench.cpu import memory
from bench.hubs import OurGateway, devices
from bench.peers_measure import MEASURE, join
from bench.result_files import write
from bench.scenario import ROOT, Site, full
from bench.scenarios import CLIENTS, coaps_to_mqtt, zigbee_to_coaps
from bench.sensor_network_control import DRAIN
from bench.start import running_broker
from demo.process import ProcessFailedError
from demo.stack import Stack

RESULTS = ROOT / "bench" / "results"
MILLION = 1_000_000
SAMPLES = 18
"""How many there are behind the warm-up."""
WARM = 0.1
"""What part of the messages goes before the first sample: what is bounded has then reached its bound."""
CHUNK = 2.0
"""Seconds of load between two looks at the count, at the most."""
LEAST = 0.15
"""And at the least, in which a busy machine, too, gets a message through."""
PER_MESSAGE = 1.0
"""Octets by which the memory may grow with each message. The smallest object of Python takes 16, an entry of a table
some 100: a leak of one for each message, or even for each tenth, is far above."""
NOISE = 1 << 20
"""Octets that it may grow in any run: Python takes memory from the system in arenas of 256 KiB, a few of which come and
go."""
SENSORS = 10


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Octets of private memory (``RssAnon``) after so many messages."""

    messages: int
    private: int


@dataclass(frozen=True, slots=True)
class MemoryVerdict:
    """``slope``: octets a message, by least squares over the samples; ``bound``: what it may be."""

    slope: float
    bound: float

    @property
    def flat(self) -> bool:
        return self.slope <= self.bound


def judge(samples: Sequence[MemorySample]) -> MemoryVerdict:
    """Whether memory grows with messages; of two samples or more."""
    count = len(samples)
    middle = sum(each.messages for each in samples) / count
    level = sum(each.private for each in samples) / count
    spread = sum((each.messages - middle) ** 2 for each in samples)
    slope = sum((each.messages - middle) * (each.private - level) for each in samples) / spread
    return MemoryVerdict(slope, max(PER_MESSAGE, NOISE / (samples[-1].messages - samples[0].messages)))


@dataclass(frozen=True, slots=True)
class Way:
    """A gateway and its load: ``send`` loads it for so many seconds and gives how many messages went through."""

    pid: int
    send: Callable[[float], Awaitable[int]]


@contextlib.asynccontextmanager
async def _of_scenario(
    directory: Path, stack: Stack, make: Callable[..., Awaitable[Any]], in_flight: int
) -> AsyncIterator[Way]:
    site = Site(directory)
    async with stack:
        level = full(in_flight)
        try:
            row = await make(site, stack, (level,))

            async def send(seconds: float) -> int:
                return int((await row.measure(level, warm=0.0, seconds=seconds))["messages"])

            yield Way(row.pid, send)
        finally:
            await site.stop()


@contextlib.asynccontextmanager
async def coaps(directory: Path, stack: Stack) -> AsyncIterator[Way]:
    async with _of_scenario(directory, stack, coaps_to_mqtt, CLIENTS) as way:
        yield way


@contextlib.asynccontextmanager
async def tunnel(directory: Path, stack: Stack) -> AsyncIterator[Way]:
    async with _of_scenario(directory, stack, zigbee_to_coaps, 8) as way:
        yield way


@contextlib.asynccontextmanager
async def reports(directory: Path, stack: Stack) -> AsyncIterator[Way]:
    with running_broker(directory) as (port, pid):
        async with stack:
            hub = OurGateway(stack, Site(directory), port, pid, devices(climate=SENSORS), "gateway")
            try:
                await hub.start_dongle()
                await hub.start()
                await join(hub, one_by_one=False)

                async def send(seconds: float) -> int:
                    load = {"name": MEASURE, "rate": 0, "devices": SENSORS, "ack": False}
                    totals = await hub.ask("load", seconds=seconds, **load)
                    await asyncio.sleep(DRAIN)
                    return int(totals["delivered"])

                yield Way(hub.pid, send)
            finally:
                await hub.close()


WAYS = {"coaps": (coaps, 1.0), "reports": (reports, 1.0), "tunnel": (tunnel, 0.06)}
"""By name: what makes it, and which part of the messages goes through it."""


async def soak(name: str, messages: int, directory: Path, stack: Stack | None = None) -> list[MemorySample]:
    """So many messages through one way; the samples behind the warm-up. ``stack``: another gateway than this one."""
    begun = time.monotonic()
    async with WAYS[name][0](directory, stack or CheckoutStack(directory / name)) as way:
        done, samples = 0, []
        due = warm = messages * WARM
        seconds = LEAST
        while done < messages:
            first = time.monotonic()
            sent = await way.send(seconds)
            rate = sent / (time.monotonic() - first)
            done += sent
            if done >= min(due, messages):
                samples.append(MemorySample(done, memory(way.pid)["private"]))
                due = warm + (messages - warm) * len(samples) / SAMPLES
            seconds = min(CHUNK, max(LEAST, (min(due, messages) - done) / rate))
            text = f"{name}: {done} of {messages} messages, {memory(way.pid)['private'] / 2**20:.1f} MiB"
            sys.stderr.write(f"\r{text}, {time.monotonic() - begun:.0f} s".ljust(78))
            sys.stderr.flush()
    sys.stderr.write("\r".ljust(78) + "\r")
    return samples


def lines(name: str, samples: Sequence[MemorySample]) -> list[str]:
    """All samples of one way."""
    return [f"{name}: {each.messages:>8} messages, {each.private / 2**20:7.2f} MiB private" for each in samples]


def page(found: Mapping[str, Sequence[MemorySample]]) -> list[str]:
    """The table of docs/bench.md, and whether each way is flat."""
    rows = ["| way | messages | MiB after the first tenth | at the most | at the end | octets/message | bound | flat |"]
    rows.append("|---" * 8 + "|")
    for name, samples in found.items():
        verdict, held = judge(samples), [each.private / 2**20 for each in samples]
        cells = [name, f"{samples[-1].messages}", *(f"{each:.2f}" for each in (held[0], max(held), held[-1]))]
        cells += [f"{verdict.slope:.2f}", f"{verdict.bound:.2f}", "yes" if verdict.flat else "no"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description="Memory of a real gateway over many messages. A million each way take some three minutes.",
        epilog="The exit code is 1 if the memory of a way is not flat.",
    )
    parser.add_argument("--messages", type=int, default=MILLION, help=f"at least 1000 (default {MILLION})")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only these; may be repeated")
    parser.add_argument("--save", metavar="NAME", help="keep the result as bench/results/NAME.json")
    chosen = parser.parse_args(argv)
    if chosen.messages < 1000:
        parser.error("--messages is at least 1000")
    return chosen


def main(argv: list[str], results: Path = RESULTS) -> int:
    """``results``: the folder of saved results."""
    chosen = options(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    found: dict[str, list[MemorySample]] = {}
    failed = False
    try:
        for name in chosen.way or WAYS:
            with tempfile.TemporaryDirectory(prefix="atls-soak-") as directory:
                messages = max(1000, int(chosen.messages * WAYS[name][1]))
                found[name] = asyncio.run(soak(name, messages, Path(directory)))
            print("\n".join(lines(name, found[name])))
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe soak failed: {error}\n")
        failed = True
    print("\n" + "\n".join(page(found)))
    table = {name: [[each.messages, each.private] for each in samples] for name, samples in found.items()}
    write({"date": date, "machine": machine.facts(), "samples": table}, results, "soak-", chosen.save)
    return 1 if failed or not all(judge(samples).flat for samples in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
