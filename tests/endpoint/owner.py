"""Who owns a carriage session in these tests: writes each call down, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from endpoint.transports.gateway_link import Callbacks, CarriageSession, GatewayLink


class Owner:
    """``units``, ``lost`` and ``ends`` as the session reported them."""

    def __init__(self, session: CarriageSession) -> None:
        self.session = session
        self.units: list[bytes] = []
        self.lost: list[tuple[int, str]] = []
        self.ends: list[str] = []
        session.attach(Callbacks(self.units.append, lambda n, why: self.lost.append((n, why)), self.ends.append))


async def until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(link: GatewayLink, *, ready: bool = True) -> AsyncIterator[list[CarriageSession]]:
    """Runs a way; gives the list of sessions that came in."""
    came: list[CarriageSession] = []
    is_ready = asyncio.Event()
    task = asyncio.get_running_loop().create_task(link.run(is_ready.set, came.append))  # type: ignore[arg-type]
    try:
        if ready:
            waiter = asyncio.get_running_loop().create_task(is_ready.wait())
            await asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            waiter.cancel()
            if task.done():
                await task
            assert is_ready.is_set()
        yield came
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


DTLS = b"\x16\xfe\xfd\x00\x00"
"""What a unit of these tests begins with: to a carriage it is any octets."""


def unit(number: int) -> bytes:
    return DTLS + number.to_bytes(4, "big")
