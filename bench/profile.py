"""``python -m bench.profile``: what takes the gateway's time under load, as shares of its rooms. See docs/bench.md.

Each row runs by itself; meanwhile py-spy (``pip install py-spy``; it needs the right to trace, so root or
``kernel.yama.ptrace_scope`` 0) looks at the gateway. A look counts for the room whose function runs, but for functions
that do little but a system call; what the kernel takes for the process is taken from its books. With strace installed,
system calls per message are counted in another run of the same load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.checkout import CheckoutStack
from bench.cpu import usage
from bench.http_scenarios import coaps_to_https, https_to_mqtt
from bench.hubs import OurGateway, devices
from bench.peers_measure import MEASURE, join, sets
from bench.scenario import Level, Scenario, Site, at, full
from bench.scenarios import CLIENTS, coaps_to_mqtt, zigbee_to_coaps
from bench.sensor_network_control import DRAIN
from bench.start import running_broker
from demo.process import ProcessFailedError

RATE = 1000
"""Looks a second: at low rates the gateway does something in one of twenty. It does not stand still for them."""
LEAD = 1.0
"""Seconds of load before and behind what is looked at."""
SENSORS = 10
SHOWN = 8
"""Functions that are named for each row."""

ROOMS = (
    ("adapters/zigbee", "adapters/zigbee"),
    ("adapters/mqtt", "adapters/mqtt"),
    ("adapters/coap", "adapters/coap"),
    ("adapters/http", "adapters/http"),
    ("carriage/zigbee", "carriage/zigbee"),
    ("carriage/mqtt", "carriage/mqtt"),
    ("carriage/coap", "carriage/coap"),
    ("carriage/http", "carriage/http"),
    ("gateway/engine", "engine"),
    ("gateway/runtime", "hub and runtime"),
    ("gateway/", "gateway/api and kit"),
    ("layer/", "DTLS (layer and OpenSSL)"),
    ("OpenSSL/", "DTLS (layer and OpenSSL)"),
    ("cryptography/", "DTLS (layer and OpenSSL)"),
    ("bellows/", "bellows and zigpy"),
    ("zigpy/", "bellows and zigpy"),
    ("aiohttp/", "aiohttp"),
    ("multidict/", "aiohttp"),
    ("yarl/", "aiohttp"),
    ("paho/", "paho"),
    ("asyncio/sslproto.py", "TLS (asyncio and OpenSSL)"),
    ("ssl.py", "TLS (asyncio and OpenSSL)"),
    ("asyncio/", "asyncio"),
    ("selectors.py", "asyncio"),
)
"""What a function's file begins with, below the folder that Python imports it from, and the room of the table."""
CALLS = {
    "_SelectorSocketTransport.write",
    "_SelectorSocketTransport._read_ready__data_received",
    "_SelectorSocketTransport._write_send",
    "Wire.write",
    "Datagrams._try",
    "EpollSelector.select",
    "_worker",
    "_connection_worker_thread",
}
"""Functions that do little but a system call, in which a process is as well as it waits for its turn on a core: their
looks say nothing. What the kernel takes is known from its own books."""
KERNEL = "system calls"
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>.*?)(:\d+)?\)$")


@dataclass(frozen=True, slots=True)
class ProfiledRow:
    """``load`` loads the process ``pid`` for so many seconds, and gives the messages."""

    name: str
    pid: int
    load: Callable[[float], Coroutine[Any, Any, int]]


def shares(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Looks by room and by function, of py-spy's raw lines: frames with ``;`` between them, and how many looks."""
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rstrip().rpartition(" ")
        found = _FRAME.match(stack.rpartition(";")[2])
        if found is None:
            continue
        name, file = found["name"], found["file"]
        if name not in CALLS:
            rooms[_room(file)] += int(count)
            functions[f"{name} ({file})"] += int(count)
    return rooms, functions


def _room(file: str) -> str:
    for prefix, room in ROOMS:
        if file.startswith(prefix):
            return room
    return "other"


async def _looked_at(row: ProfiledRow, seconds: float, folder: Path) -> list[str]:
    """py-spy's raw lines of the row under load."""
    raw = folder / "raw"
    load = asyncio.create_task(row.load(seconds + 2 * LEAD))
    await asyncio.sleep(LEAD)
    spy = Path(sysconfig.get_path("scripts")) / "py-spy"
    options = [
        "record",
        "--duration",
        str(round(seconds)),
        "--rate",
        str(RATE),
        "--format",
        "raw",
        "--output",
        str(raw),
    ]
    process = await asyncio.create_subprocess_exec(
        str(spy), *options, "--pid", str(row.pid), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    await load
    if process.returncode or not raw.exists():
        raise ProcessFailedError(f"py-spy can't look at the gateway: {said.decode()[-500:]}")
    return raw.read_text().splitlines()


async def _calls(row: ProfiledRow, seconds: float, folder: Path) -> dict[str, float]:
    """System calls per message, by name; nothing without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return {}
    output = folder / "calls"
    process = await asyncio.create_subprocess_exec(
        strace, "-f", "-c", "-o", str(output), "-p", str(row.pid), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await asyncio.sleep(LEAD)
    messages = await row.load(seconds)
    process.terminate()
    await process.wait()
    found = {}
    for line in output.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            found[fields[-1]] = int(fields[3]) / messages
    return found


# The rows ----------------------------------------------------------------------------------------------------------


def _of(row: Scenario, level: Level) -> ProfiledRow:
    async def load(seconds: float) -> int:
        return int((await row.measure(level, warm=0.0, seconds=seconds))["messages"])

    return ProfiledRow(f"{row.name.removeprefix('gateway, ')}, {level.name}", row.pid, load)


@contextlib.asynccontextmanager
async def _ip(folder: Path) -> AsyncIterator[list[ProfiledRow]]:
    site, levels = Site(folder), (full(CLIENTS), at(100))
    async with CheckoutStack(folder / "i") as stack:
        try:
            row = await coaps_to_mqtt(site, stack, levels)
            yield [_of(row, level) for level in levels]
        finally:
            await site.stop()


@contextlib.asynccontextmanager
async def _http(folder: Path) -> AsyncIterator[list[ProfiledRow]]:
    site, level = Site(folder), full(CLIENTS)
    async with CheckoutStack(folder / "n") as north, CheckoutStack(folder / "s") as south:
        try:
            found = [await coaps_to_https(site, north, (level,)), await https_to_mqtt(site, south, (level,))]
            yield [_of(row, level) for row in found]
        finally:
            await site.stop()


@contextlib.asynccontextmanager
async def _zigbee(folder: Path) -> AsyncIterator[list[ProfiledRow]]:
    site, levels = Site(folder), (full(8), at(50))
    async with CheckoutStack(folder / "z") as stack:
        try:
            row = await zigbee_to_coaps(site, stack, levels)
            yield [_of(row, level) for level in levels]
        finally:
            await site.stop()


@contextlib.asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[list[ProfiledRow]]:
    with running_broker(folder) as (port, pid):
        async with CheckoutStack(folder / "h") as stack:
            hub = OurGateway(stack, Site(folder), port, pid, devices(lamp=1, climate=SENSORS), "gateway")
            try:
                await hub.start_dongle()
                await hub.start()
                await join(hub, one_by_one=False)

                async def reports(rate: float, seconds: float) -> int:
                    load = {"name": MEASURE, "rate": rate, "devices": SENSORS, "ack": False}
                    totals = await hub.ask("load", seconds=seconds, **load)
                    await asyncio.sleep(DRAIN)
                    return int(totals["sent"])

                async def switching(seconds: float) -> int:
                    loop = asyncio.get_running_loop()
                    ends, done = loop.time() + seconds, 0
                    while loop.time() < ends:
                        with contextlib.suppress(ProcessFailedError):  # a command that came twice counts, too
                            await sets(hub, count=20)
                        done += 20
                    return done

                yield [
                    ProfiledRow("report to mqtt, full", hub.pid, partial(reports, 0.0)),
                    ProfiledRow("report to mqtt, 50/s", hub.pid, partial(reports, 50.0)),
                    ProfiledRow("mqtt set to frame, one by one", hub.pid, switching),
                ]
            finally:
                await hub.close()


PARTS = {"ip": _ip, "http": _http, "house": _house, "zigbee": _zigbee}


@dataclass(frozen=True, slots=True)
class Profile:
    """``cpu``: seconds a message while nothing looked; ``kernel``: what part of it went by in the kernel."""

    name: str
    cpu: float
    kernel: float
    rooms: Counter[str]
    functions: Counter[str]
    calls: dict[str, float]

    def shares(self, looks: Counter[str]) -> dict[str, float]:
        """Of the CPU, by room or function, with what the kernel takes as one more."""
        total = max(1, looks.total())
        return {KERNEL: self.kernel, **{name: (1 - self.kernel) * count / total for name, count in looks.items()}}


async def profile(row: ProfiledRow, seconds: float, folder: Path) -> Profile:
    _say(f"{row.name}: CPU")
    await row.load(LEAD)
    used, (user, system) = usage(row.pid).cpu, _ticks(row.pid)
    messages = await row.load(seconds)
    cpu = (usage(row.pid).cpu - used) / messages
    user_after, system_after = _ticks(row.pid)
    kernel = (system_after - system) / max(1, user_after - user + system_after - system)
    _say(f"{row.name}: py-spy")
    rooms, functions = shares(await _looked_at(row, seconds, folder))
    _say(f"{row.name}: strace")
    try:
        calls = await _calls(row, seconds / 2, folder)
    except ProcessFailedError:  # it makes the gateway several times as slow, which not every load bears
        calls = {}
    return Profile(row.name, cpu, kernel, rooms, functions, calls)


def _ticks(pid: int) -> tuple[int, int]:
    """Hundredths of a second that the process took, of itself and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def _say(text: str) -> None:
    sys.stderr.write(f"\r{text}".ljust(70))
    sys.stderr.flush()


def page(profiles: list[Profile]) -> Iterator[str]:
    """The table of docs/bench.md: rooms in lines, rows in columns; then functions and system calls."""
    yield "| share of CPU | " + " | ".join(each.name for each in profiles) + " |"
    yield "|---" * (len(profiles) + 1) + "|"
    sums: Counter[str] = Counter()
    for each in profiles:
        sums.update({name: round(1000 * share) for name, share in each.shares(each.rooms).items()})
    for room, _ in sums.most_common():
        cells = (f"{100 * each.shares(each.rooms).get(room, 0.0):.0f} %" for each in profiles)
        yield f"| {room} | " + " | ".join(cells) + " |"
    yield "| CPU us/message | " + " | ".join(f"{each.cpu * 1e6:.0f}" for each in profiles) + " |"
    if any(each.calls for each in profiles):
        yield "| system calls/message | " + " | ".join(f"{sum(each.calls.values()):.1f}" for each in profiles) + " |"
    yield ""
    for each in profiles:
        ordered = sorted(each.shares(each.functions).items(), key=lambda item: -item[1])[:SHOWN]
        yield f"{each.name}: " + "; ".join(f"{name} {100 * share:.1f} %" for name, share in ordered)
        yield "  system calls: " + ", ".join(
            f"{name} {count:.2f}" for name, count in sorted(each.calls.items(), key=lambda item: -item[1])[:5]
        )


async def run(parts: Iterable[str], seconds: float) -> list[Profile]:
    found = []
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="atls-profile-") as directory:
            folder = Path(directory)
            async with PARTS[part](folder) as rows:
                found += [await profile(row, seconds, folder) for row in rows]
    _say("")
    sys.stderr.write("\r")
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile",
        description="What takes the gateway's time, by room. All rows take three minutes; py-spy must be installed.",
    )
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only these; may be repeated")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each look (default 6)")
    chosen = parser.parse_args(argv)
    if not (Path(sysconfig.get_path("scripts")) / "py-spy").exists():
        sys.stderr.write(f"py-spy is missing: {sys.executable} -m pip install py-spy\n")
        return 2
    try:
        found = asyncio.run(run(chosen.part or PARTS, chosen.seconds))
    except ProcessFailedError as error:
        sys.stderr.write(f"\nthe profile failed: {error}\n")
        return 1
    facts = machine.facts()
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['python']}, commit {facts['commit']}\n")
    print("\n".join(page(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
