"""Starts homes for the tests of this folder, and looks at their books at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from adapters.mqtt.times import TIMES, MqttTimes
from carriage.mqtt.options import MqttOptions
from gateway.engine.limits import EngineLimits
from tests.adapters.mqtt.mqtt_home import POLICY, MqttHome


@pytest.fixture
def times() -> MqttTimes:
    """What a test that needs others gives by ``parametrize``."""
    return TIMES


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: MqttTimes) -> AsyncIterator[Callable[..., Any]]:
    """Start a home: ``start(policy=..., limits=..., acl=..., **table)``. Its books are checked in the end.

    Of the table ``times`` are the adapter's, ``lines`` the broker's own, ``files`` what else is in the folder,
    ``broker_tls`` whether the broker has TLS.
    """
    # So that a test needn't wait for the back-off of real life.
    monkeypatch.setattr("adapters.mqtt.plugin.MqttOptions", _impatient)
    homes: list[MqttHome] = []
    async with AsyncExitStack() as stack:

        async def one(
            policy: str = POLICY, limits: EngineLimits | None = None, acl: str | None = None, **table: Any
        ) -> MqttHome:
            home = MqttHome(tmp_path, policy, limits or EngineLimits(), acl, table, table.pop("times", times))
            homes.append(home)
            return await stack.enter_async_context(home.serving())

        yield one
    for home in homes:
        home.check_books()


def _impatient(**options: Any) -> MqttOptions:
    return MqttOptions(backoff_first=0.05, backoff_limit=0.2, **options)


@pytest.fixture
async def home(start: Callable[..., Any]) -> MqttHome:
    found = await start()
    assert isinstance(found, MqttHome)
    return found
