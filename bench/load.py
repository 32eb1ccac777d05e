"""Load: a closed loop or a fixed rate, with a warm-up, and the CPU of others measured over the same time.

A load process reads one JSON order a line (``LoadSpec``) and prints one JSON result a line. The message is its
own business: a ``Send`` begins one and calls back when it is done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.cpu import usage

Done = Callable[[], None]
Send = Callable[[Done], None]

DRAIN = 10.0
"""Seconds that the last messages may take after the measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """One measurement. ``in_flight``: closed loop with so many messages; else ``rate``: so many a second, whatever
    is still under way. ``pids``: whose CPU counts. ``devices``: how many take part in a load of devices."""

    in_flight: int = 0
    rate: float = 0.0
    warm: float = 0.5
    seconds: float = 2.0
    pids: tuple[int, ...] = ()
    devices: int = 1

    @classmethod
    def read(cls, line: str) -> LoadSpec:
        table = json.loads(line)
        return cls(**{**table, "pids": tuple(table.get("pids", ()))})

    def write(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state at one moment of a measurement."""

    at: float
    messages: int
    own: float
    used: Mapping[int, tuple[float, int]]

    @classmethod
    def take(cls, messages: int, pids: Sequence[int]) -> Stamp:
        used = {}
        for pid in pids:
            now = usage(pid)
            used[pid] = (now.cpu, now.sleeps)
        return cls(time.monotonic(), messages, time.process_time(), used)

    def until(self, after: Stamp, lost: int = 0) -> dict[str, Any]:
        """The result of a measurement, as it is printed."""
        return {
            "event": "result",
            "messages": after.messages - self.messages,
            "seconds": after.at - self.at,
            "cpu": {str(pid): after.used[pid][0] - before[0] for pid, before in self.used.items()},
            "sleeps": {str(pid): after.used[pid][1] - before[1] for pid, before in self.used.items()},
            "load_cpu": after.own - self.own,
            "lost": lost,
        }


async def measure(order: LoadSpec, send: Send, *, drain: float = DRAIN) -> dict[str, Any]:
    """Carry out one order with asynchronous messages."""
    loop = asyncio.get_running_loop()
    sent = done = 0
    running = True
    drained = asyncio.Event()

    def begin() -> None:
        nonlocal sent
        sent += 1
        send(ended)

    def ended() -> None:
        nonlocal done
        done += 1
        if not running:
            if done == sent:
                drained.set()
        elif order.in_flight:
            begin()

    timer: asyncio.TimerHandle | None = None
    if order.in_flight:
        for _ in range(order.in_flight):
            begin()
    else:
        due = loop.time()

        def tick() -> None:
            nonlocal due, timer
            begin()
            due += 1 / order.rate
            timer = loop.call_at(due, tick)

        tick()
    await asyncio.sleep(order.warm)
    before = Stamp.take(done, order.pids)
    await asyncio.sleep(order.seconds)
    after = Stamp.take(done, order.pids)
    running = False
    if timer is not None:
        timer.cancel()
    if done != sent:
        try:
            async with asyncio.timeout(drain):
                await drained.wait()
        except TimeoutError:
            pass
    return before.until(after, sent - done)


def say(**facts: Any) -> None:
    """One line for the process that started this one."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def serve(send: Send, extra: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Obey orders from standard input until it ends; ``extra`` is added to each result."""
    await serve_orders(lambda order: measure(order, send), extra)


async def serve_orders(
    work: Callable[[LoadSpec], Awaitable[dict[str, Any]]], extra: Callable[[], Mapping[str, Any]] = dict
) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say(event="ready")
    try:
        while line := await reader.readline():
            say(**{**await work(LoadSpec.read(line.decode())), **extra()})
    finally:
        transport.close()
