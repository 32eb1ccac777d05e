"""Connections that are cut on both sides of the gateway's HTTP at once, and the gateway killed or reloaded, all in mid
traffic: what either end says arrives once and in order, and no session ends."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.e2e.http_house import POLICY, Talk, http_house, talk

MESSAGES = 80
WIDTH = 900
"""Octets of a message: some connections are cut in the middle of one."""


@pytest.mark.process
@pytest.mark.timeout(180)
async def test_connections_are_cut_on_both_sides_at_once(tmp_path: Path) -> None:
    async with http_house(tmp_path / "s", "tls1.3", raw=True, cuts=True) as house:
        stack, door, tablet = house.stack, await house.start_door(), await house.start_client("tablet")
        app = await stack.start_application("app", "app", house.layer0, "--open", "tablet", "--open", "door")
        dashboard = await house.start_client("dashboard", "--open", "door", "--open", "tablet")
        talks = [await talk(opener, target, width=WIDTH) for opener in (app, dashboard) for target in (tablet, door)]
        async with asyncio.TaskGroup() as tasks:
            for each in talks:
                tasks.create_task(each.go_on(0.02, MESSAGES))
        for each in talks:
            await each.hear(MESSAGES)
            assert each.counts() == [list(range(MESSAGES))] * 2
        assert house.south is not None and house.north is not None
        assert min(house.south.cuts, house.north.cuts) >= 10


PAUSE = 0.2
"""Seconds between two messages of one end: fewer than the queues hold while the gateway comes back."""


async def both_hear_more(talks: list[Talk], more: int) -> None:
    for each, count in [(each, each.said + more) for each in talks]:
        await each.hear(count)


@pytest.mark.process
@pytest.mark.timeout(180)
async def test_the_gateway_is_killed_and_reloaded(tmp_path: Path) -> None:
    async with http_house(tmp_path / "s", "tls1.3", raw=True) as house:
        stack, door, tablet = house.stack, await house.start_door(), await house.start_client("tablet")
        app = await stack.start_application("app", "app", house.layer0, "--open", "tablet", "--open", "door")
        dashboard = await house.start_client("dashboard", "--open", "door", "--open", "tablet")
        talks = [
            await talk(*pair) for pair in ((app, tablet), (app, door), (dashboard, door), (dashboard, tablet))
        ]  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            talking = [tasks.create_task(each.go_on(PAUSE)) for each in talks]
            for _ in range(2):
                await both_hear_more(talks, 5)
                assert stack.gateway is not None
                await stack.gateway.kill()
                await stack.start_gateway()
            await both_hear_more(talks, 10)
            house.write_policy(", condition: {units: 500/s}")
            stack.gateway.send_signal(signal.SIGHUP)
            await both_hear_more(talks, 10)

            without = POLICY.replace("tablet, dashboard, door]", "tablet, door]")
            house.write_policy(policy=without)
            stack.gateway.send_signal(signal.SIGHUP)
            for each in talks[2:]:
                for end, session in each.ends:
                    await end.expect_event("ended", session=session)
            await both_hear_more(talks[:2], 10)
            for task in talking:
                task.cancel()
        for each in talks[:2]:
            await each.hear(each.said)
            assert each.counts() == [list(range(each.said))] * 2
        for each in talks[2:]:
            assert all(numbers == list(range(len(numbers))) for numbers in each.counts()), "nothing twice, nothing lost"
