"""One hub for all tests of a file: the same as the ``hub`` fixture gives, with a policy of the file's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from demo.stack import Stack, running

STATE = ("simulator", "state")
StartHub = Callable[..., Awaitable[Stack]]


@asynccontextmanager
async def shared_hub(
    directory: Path, formed: Path, policy: str, *, tunnels: Mapping[int, str] | None = None, absence: float = 25.0
) -> AsyncIterator[Stack]:
    """Dongle, broker and gateway up; joining open. ``absence``: how long a unit waits for a CoAP client."""
    async with running(directory / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        stack.write_policy(policy)
        await stack.start_simulator("--seed", "1")
        await stack.start_broker(["gateway", "app", "other"])
        stack.write_config(form="never", tunnels=tunnels)
        await stack.start_gateway({**os.environ, "ATLS_GATEWAY__ADAPTERS__COAP__ABSENCE": str(absence)})
        await stack.ask("permit-join", "--seconds", "254")
        yield stack
