"""The end-to-end tests' installation: every part a separate process, as a user runs it.

A network is formed once, by the first of the test processes that needs it; each test starts from a copy of that state,
as a hub does that was set up yesterday.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demo.scenario import POLICY
from demo.stack import Stack, running
from tests.e2e.shared_hub import STATE, StartHub


@pytest.fixture(scope="session")
def formed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the state of a formed network, radio side and gateway side."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory, done = base / "formed", base / "formed.done"

    async def form() -> None:
        async with running(directory) as stack:
            stack.write_policy("layer: 1\npolicy-version: 1\n")
            await stack.start_simulator("--seed", "1")
            stack.write_config(mqtt=False)
            await stack.start_gateway()

    with (base / "formed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)
            asyncio.run(form())
            done.touch()
    return directory


@pytest.fixture
async def stack(tmp_path: Path, formed: Path) -> AsyncIterator[Stack]:
    """An installation with the scenario's policy and a formed network; nothing is started yet."""
    async with running(tmp_path / "s") as stack:
        for name in STATE:
            shutil.copytree(formed / name, stack.directory / name)
        stack.write_policy(POLICY)
        yield stack


@pytest.fixture
def start_hub(stack: Stack) -> StartHub:
    """Starts dongle, broker and gateway, with options for the simulator; joining is open."""

    async def start(*options: str, tcp: bool = False) -> Stack:
        await stack.start_simulator("--seed", "1", *options, tcp=tcp)
        await stack.start_broker(["gateway", "app", "other"])
        stack.write_config(form="never")
        await stack.start_gateway()
        await stack.ask("permit-join", "--seconds", "254")
        return stack

    return start


@pytest.fixture
async def hub(start_hub: StartHub) -> Stack:
    """Dongle, broker and gateway up; joining open."""
    return await start_hub()
