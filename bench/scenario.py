"""One row of the benchmark: the process that is measured, the one that puts load on it, and how they are started."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import LoadSpec
from demo.process import Process, ProcessFailedError
from demo.stack import PREFIX, Stack

ROOT = Path(__file__).resolve().parent.parent
COUNTING = ROOT / "bench" / "counting_gateway.py"
"""The program that runs another one and counts its calls."""


@dataclass(frozen=True, slots=True)
class Level:
    """How much load: ``in_flight`` messages in a closed loop, or ``rate`` a second."""

    name: str
    in_flight: int = 0
    rate: float = 0.0
    devices: int = 1


@dataclass(slots=True)
class Scenario:
    """One measured process. ``load`` obeys orders; ``pid`` is whose CPU counts. ``beside``: the same of another
    checkout, measured in turns with it."""

    name: str
    what: str
    octets: int
    load: Process
    pid: int
    levels: tuple[Level, ...]
    beside: Scenario | None = None
    results: int = field(default=0)

    async def measure(self, level: Level, *, warm: float, seconds: float) -> dict[str, float]:
        """One repetition: messages a second, CPU seconds and wake-ups per message."""
        order = LoadSpec(
            in_flight=level.in_flight,
            rate=level.rate,
            warm=warm,
            seconds=seconds,
            pids=(self.pid,),
            devices=level.devices,
        )
        self.load.tell(**order.write())
        self.results += 1
        found = await self.load.expect_event("result", count=self.results, seconds=warm + seconds + 30)
        messages = found["messages"]
        if not messages or found["lost"]:
            raise ProcessFailedError(f"{self.name}: {messages} messages, {found['lost']} lost\n{self.load.tail()}")
        return {
            "messages": messages,
            "rate": messages / found["seconds"],
            "cpu": found["cpu"][str(self.pid)] / messages,
            "sleeps": found["sleeps"][str(self.pid)] / messages,
            "load": found["load_cpu"] / messages,
            **({"latency": found["latency"]} if "latency" in found else {}),
        }


def full(in_flight: int) -> Level:
    return Level(f"{in_flight} in flight", in_flight=in_flight)


def at(rate: float) -> Level:
    return Level(f"{rate:g}/s", rate=rate)


class Site:
    """Starts the processes below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._processes: list[Process] = []
        self._env = dict(os.environ)

    async def start(
        self, name: str, module: str, *arguments: object, path: Path = ROOT, count_file: Path | None = None
    ) -> Process:
        """A module of ``bench``, which imports what it measures from the checkout at ``path``.
        ``count_file``: its calls are counted, to this file (``bench.counting``)."""
        program = ["-m", module] if count_file is None else [str(COUNTING), "-m", module]
        argv = [sys.executable, "-P", *program, *map(str, arguments)]
        env = self._env | {"PYTHONPATH": os.pathsep.join(dict.fromkeys((str(path), str(ROOT))))}
        if count_file is not None:
            env["COUNT_FILE"] = str(count_file)
        process = await Process.start(name, argv, self.directory, env)
        self._processes.append(process)
        await process.expect_event("ready", seconds=300)
        return process

    async def stop(self) -> None:
        for process in reversed(self._processes):
            await process.stop()


def quiet(config: Path) -> None:
    """The level of logging that a gateway has by default: at DEBUG it writes a line for each unit."""
    config.write_text(config.read_text().replace("log_level: debug", "log_level: info"))


async def application(stack: Stack) -> Process:
    """The application: libmosquitto's own subscriber, QoS 0, in C so that it takes little of the machine."""
    command = shutil.which("mosquitto_sub")
    if command is None or stack.broker is None:
        raise ProcessFailedError("mosquitto_sub is not installed")
    port, password = stack.broker.port, stack.broker.passwords["app"].read_text().strip()
    options = ["-h", "127.0.0.1", "-p", str(port), "-u", "app", "-P", password, "-q", "0", "-t", f"{PREFIX}/app/#"]
    argv = ["/bin/sh", "-c", 'exec "$@" >"$0"', str(stack.directory / "received"), command, *options, "-F", "."]
    return await Process.start("subscriber", argv, stack.directory)
