"""Starts homes for the tests of this folder, and looks at their books at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.times import MqttTimes
from gateway.engine.limits import EngineLimits
from tests.adapters.mqtt.mqtt_home import POLICY, MqttHome


@pytest.fixture
def times() -> MqttTimes:
    """What a test that needs others gives by ``parametrize``."""
    return MqttTimes()


@pytest.fixture
async def start(tmp_path: Path, times: MqttTimes) -> AsyncIterator[Callable[..., Any]]:
    """Start a home: ``start(policy=..., limits=..., acl=..., **table)``. Its books are checked in the end.

    Of the table ``times`` are the adapter's (its back-off is short here), ``lines`` the broker's own, ``files`` what
    else is in the folder, ``broker_tls`` whether the broker has TLS.
    """
    homes: list[MqttHome] = []
    async with AsyncExitStack() as stack:

        async def one(
            policy: str = POLICY, limits: EngineLimits | None = None, acl: str | None = None, **table: Any
        ) -> MqttHome:
            impatient = replace(table.pop("times", times), backoff_first=0.05, backoff_limit=0.2)
            home = MqttHome(tmp_path, policy, limits or EngineLimits(), acl, table, impatient)
            homes.append(home)
            return await stack.enter_async_context(home.serving())

        yield one
    for home in homes:
        home.check_books()


@pytest.fixture
async def home(start: Callable[..., Any]) -> MqttHome:
    found = await start()
    assert isinstance(found, MqttHome)
    return found
