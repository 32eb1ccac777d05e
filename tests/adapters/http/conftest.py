"""Starts homes for the tests of this folder, and looks at their books at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.engine.limits import EngineLimits
from tests.harness.http_gateway import POLICY, Home


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start a home: ``start(policy=..., limits=..., **table)``. Its books are checked at the test's end."""
    homes: list[Home] = []
    async with AsyncExitStack() as stack:

        async def one(policy: str = POLICY, limits: EngineLimits | None = None, **table: Any) -> Home:
            home = Home(tmp_path, policy, limits or EngineLimits(), table)
            homes.append(home)
            return await stack.enter_async_context(home.serving())

        yield one
    for home in homes:
        home.check_books()


@pytest.fixture
async def home(start: Callable[..., Any]) -> Home:
    found = await start()
    assert isinstance(found, Home)
    return found
