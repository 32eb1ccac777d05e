"""The NCP's ASH link and a host's, bellows' or one made of it, over a line that damages octets, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bellows.ash

from simulator.ash.ncp import AshNcp, HostReset, Received


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next deadline as soon as nothing else is to do: seconds of time-outs cost nothing."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Line:
    """Joins bellows' protocol to the NCP; each direction loses, flips and adds octets, and cuts them again."""

    def __init__(
        self, ncp: AshNcp, rand: random.Random, rate: float, host: type[Any] = bellows.ash.AshProtocol
    ) -> None:
        self.ncp, self.rand, self.rate = ncp, rand, rate
        self.loop = asyncio.get_running_loop()
        self.to_host: list[bytes] = []
        self.received: list[bytes] = []
        self.resets = 0
        self.host = host(self)
        self.host.connection_made(self)
        self.free_at = {"host": 0.0, "ncp": 0.0}
        self.timer: asyncio.TimerHandle | None = None

    # bellows' transport

    def write(self, data: bytes) -> None:
        self._carry("ncp", bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    # bellows' upper layer

    def connection_made(self, protocol: Any) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.to_host.append(bytes(data))

    def reset_received(self, code: int) -> None:
        assert code == 0x0B
        self.resets += 1

    def error_received(self, code: int) -> None:
        raise AssertionError(f"the link failed: {code}")

    # the wire

    def _carry(self, to: str, data: bytes) -> None:
        data = self._damage(data)
        while data:
            size = self.rand.randint(1, len(data))
            self.free_at[to] = max(self.free_at[to], self.loop.time()) + self.rand.uniform(0.0005, 0.005)
            self.loop.call_at(self.free_at[to], self._arrive, to, data[:size])
            data = data[size:]

    def _damage(self, data: bytes) -> bytes:
        out = bytearray()
        for octet in data:
            chance = self.rand.random()
            if chance < self.rate / 3:
                continue
            out.append(octet ^ 1 << self.rand.randrange(8) if chance < 2 * self.rate / 3 else octet)
            if chance > 1 - self.rate / 3:
                out.append(self.rand.randrange(256))
        return bytes(out)

    def _arrive(self, to: str, data: bytes) -> None:
        if to == "host":
            self.host.data_received(data)
        else:
            self.ncp.receive_bytes(data, self.loop.time())
            self.flush()

    def flush(self) -> None:
        while (event := self.ncp.next_event()) is not None:
            if isinstance(event, Received):
                self.received.append(event.payload)
            else:
                assert isinstance(event, HostReset)
        if output := self.ncp.bytes_to_send():
            self._carry("host", output)
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.ncp.next_deadline()
        self.timer = None if deadline is None else self.loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self.ncp.tick(self.loop.time())
        self.flush()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is a state, not an event
        await asyncio.sleep(0.01)


async def talk(
    seed: int, rate: float, host: type[Any] = bellows.ash.AshProtocol
) -> tuple[Line, list[bytes], list[bytes]]:
    """Sixty messages each way at once; the line, and what was said down and up."""
    rand = random.Random(seed)
    line = Line(AshNcp(), rand, 0.0, host)
    line.host.send_reset()
    await until(lambda: line.resets > 0)
    line.rate = rate
    down = [bytes((number,)) + rand.randbytes(rand.randint(2, 60)) for number in range(60)]
    up = [bytes((number,)) + rand.randbytes(rand.randint(2, 60)) for number in range(60)]

    async def from_host() -> None:
        for message in down:
            await line.host.send_data(message)

    async def from_ncp() -> None:
        for message in up:
            await until(lambda: line.ncp.window_open)
            line.ncp.send(message, line.loop.time())
            line.flush()
            await asyncio.sleep(rand.uniform(0, 0.05))
        await until(lambda: not line.ncp._unacked)

    async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
        group.create_task(from_host())
        group.create_task(from_ncp())
    return line, down, up


@contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    try:
        yield loop
    finally:
        loop.close()
