"""Sessions from ZigBee, CoAP, MQTT and HTTP to endpoints over HTTP and back, 1 B to 64 KiB, octet for octet: to a
client that finds them in its inbox, and to a service that the gateway calls."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from demo.process import Process
from demo.stack import LAMP
from tests.e2e.http_house import TO_DOOR, TO_TABLET, HttpHouse, Protocol, http_house, meet, say, session_of

SIZES = (1, 1024, 16_385, 65_536)
PAIRS = (
    ("lamp", "tablet"),
    ("lamp", "door"),
    ("phone", "tablet"),
    ("phone", "door"),
    ("app", "tablet"),
    ("app", "door"),
    ("dashboard", "door"),
    ("dashboard", "phone"),
    ("dashboard", "app"),
    ("dashboard", "lamp"),
    ("dashboard", "tablet"),
)
"""Who opens, to whom."""


async def started(house: HttpHouse, with_lamp: bool) -> dict[str, Process]:
    stack = house.stack
    ends = {"door": await house.start_door(), "tablet": await house.start_client("tablet")}
    to_each = ("--open", "tablet", "--open", "door")
    ends["phone"] = await stack.start_phone("phone", house.layer0, *to_each)
    ends["app"] = await stack.start_application("app", "app", house.layer0, *to_each)
    if with_lamp:
        await stack.ask("permit-join", "--seconds", "254")
        tunnels = ("--open", str(TO_TABLET), "--open", str(TO_DOOR))
        ends["lamp"] = await stack.start_device("lamp", LAMP, house.layer0, *tunnels)
    opens = [
        word for opener, target in PAIRS if opener == "dashboard" and target in ends for word in ("--open", target)
    ]
    ends["dashboard"] = await house.start_client("dashboard", *opens)
    return ends


@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.3"])
async def test_sessions_to_http_and_back(tmp_path: Path, formed: Path, protocol: Protocol) -> None:
    with_lamp = protocol == "dtls1.2"
    async with http_house(tmp_path / "s", protocol, formed=formed if with_lamp else None) as house:
        ends = await started(house, with_lamp)
        pairs = [pair for pair in PAIRS if with_lamp or "lamp" not in pair]
        seeds = count()

        async def talk(opener: str, target: str) -> None:
            here, there = ends[opener], ends[target]
            tunnels = {"tablet": f"protocol {TO_TABLET}", "door": f"protocol {TO_DOOR}"}
            mine = await session_of(here, tunnels[target] if opener == "lamp" else target)
            theirs = await meet(here, mine, there)
            for size in SIZES:
                await say(here, mine, there, theirs, size, next(seeds))
                await say(there, theirs, here, mine, size, next(seeds))
            here.tell(do="close", session=mine)
            assert (await there.expect_event("ended", session=theirs))["clean"]

        async with asyncio.TaskGroup() as tasks:
            for pair in pairs:
                tasks.create_task(talk(*pair))
        status = await house.stack.ask("status")
        assert status["adapters"]["http"]["detail"]["handler_errors"] == 0
        assert (await house.stack.ask("sessions"))["sessions"] == []
