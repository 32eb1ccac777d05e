"""What a client logs of its connection: a line when a fault begins and one when it is over, none for each attempt."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from carriage.mqtt import client as mqtt_client
from tests.harness.mqtt_recorder import running


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carriage.mqtt")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{each.levelname} {each.getMessage()}" for each in caplog.records if each.name == mqtt_client.__name__]


async def test_a_broker_that_is_away_has_one_line_whatever_the_attempts(
    closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(closed_port, "me") as (_, told):
        await told.until(lambda: len(told.disconnections) >= 5)
    (away,) = [line for line in lines(caplog) if not line.endswith(": stopped")]
    assert away.startswith(f"INFO broker 127.0.0.1:{closed_port} (me): can't connect: ")


async def test_it_is_said_again_while_it_lasts(closed_port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with running(closed_port, "me", say_again=0.0) as (_, told):
        await told.until(lambda: len(told.disconnections) >= 3)
    assert len([line for line in lines(caplog) if "can't connect" in line]) >= 3


async def test_a_connection_has_a_line_at_its_beginning_and_its_end(
    open_broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(open_broker.port, "me") as (_, told):
        await told.until(lambda: told.connections)
    name = f"INFO broker 127.0.0.1:{open_broker.port} (me)"
    assert lines(caplog) == [f"{name} accepts us", f"{name}: stopped"]
