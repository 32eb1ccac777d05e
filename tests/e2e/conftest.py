"""The end-to-end tests' installation: every part a process of its own, as a user runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demo.scenario import POLICY
from demo.stack import Stack, running


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """An installation with the scenario's policy; nothing is started yet."""
    async with running(tmp_path / "s") as stack:
        stack.write_policy(POLICY)
        yield stack


@pytest.fixture
async def hub(stack: Stack) -> Stack:
    """Dongle, broker and gateway up; joining open."""
    await stack.start_simulator("--seed", "1")
    await stack.start_broker(["gateway", "app", "other"])
    stack.write_config()
    await stack.start_gateway()
    await stack.ask("permit-join", "--seconds", "120")
    return stack
