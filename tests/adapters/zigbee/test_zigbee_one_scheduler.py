"""All that is sent, zigpy's own included, waits for one set of slots: the dongle has room for all that it is given."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

from adapters.zigbee.radio_port import Frame, SendOutcome
from simulator.network.radio import Conditions
from tests.adapters.zigbee.zigbee_world import Device, Gateway

LAMP = 0x000D6F000B5DE300
MEMBERS, NEWCOMERS = 4, 3
FRAMES = 8
"""For each member of our network."""
REQUESTS = 4
"""For each member, of zigpy's."""
LIMIT = 8
SLOW = Conditions(delay_min=0.08, delay_max=0.12)
READ = b"\x00\x01\x00\x00\x00"


async def joined(world: Any, gateway: Gateway, count: int, first: int = 0, **how: Any) -> list[Device]:
    devices = [await world.device(LAMP + first + number, **how) for number in range(count)]
    for device in devices:
        await gateway.join(device)
    return devices


async def requests(app: Any, node: Any) -> None:
    """As zigpy's own that ask for an acknowledgement: the others are done with as soon as they are on the air."""
    for number in range(REQUESTS):
        await app.request(node, 0x0104, 0x0000, 1, 7, number, READ, ask_for_ack=True)


async def everything_at_once(world: Any, gateway: Gateway, round_: int) -> list[SendOutcome]:
    """Ordinary frames, newcomers that are interviewed, requests of zigpy's, group casts and broadcasts; what became of
    the ordinary frames."""
    app, sender = gateway.radio._app, gateway.sender
    outcomes: list[SendOutcome] = []
    for number in range(MEMBERS):
        record = gateway.record((LAMP + number).to_bytes(8, "big").hex(":"))
        for _ in range(FRAMES):
            sender.submit(record, Frame(7, READ, False, outcomes.append, 0x0000))
    newcomers = [await world.device(LAMP + 0x10 * (round_ + 1) + number) for number in range(NEWCOMERS)]
    nodes = [app.devices[each] for each in app.devices if str(each).startswith("00:0d:6f:00:0b:5d:e3:0")]
    async with asyncio.TaskGroup() as tasks:
        for device in newcomers:
            tasks.create_task(device.client.join(20))
        for node in nodes:
            tasks.create_task(requests(app, node))
        for number in range(10):
            tasks.create_task(app.mrequest(0x1234, 0x0104, 6, 1, number, b"\x01\x01\x02"))
            tasks.create_task(app.broadcast(0x0104, 6, 1, 0xFF, 0, 0, number, b"\x01\x02\x02"))
    eui64s = [(LAMP + 0x10 * (round_ + 1) + number).to_bytes(8, "big").hex(":") for number in range(NEWCOMERS)]
    await gateway.until(lambda: all(gateway.record(each).model for each in eui64s))
    await gateway.until(lambda: len(outcomes) == MEMBERS * FRAMES)
    return outcomes


async def test_interviews_sends_and_group_casts_together_never_exceed_the_limit(world: Any) -> None:
    """The dongle has room for ten. A frame that it refuses costs an interview one of its tries."""
    async with world.gateway(limits={"in_flight": LIMIT, "sleepy_in_flight": 1}) as gateway:
        await joined(world, gateway, MEMBERS)
        await gateway.adapter.command("permit-join", {"seconds": 200})
        for station in world.network.stations.values():
            world.network.set_conditions(SLOW, station)
        outcomes = await everything_at_once(world, gateway, 0)
        assert outcomes == [SendOutcome.DELIVERED] * (MEMBERS * FRAMES)
        assert LIMIT - 1 <= world.ncp.most_in_flight <= LIMIT
        assert gateway.adapter.status()["counters"]["frames_busy"] == 0
        gateway.radio.send_through(nullcontext)
        await everything_at_once(world, gateway, 1)
        assert world.ncp.most_in_flight > LIMIT  # the fault


async def test_zigpys_frames_for_sleepers_take_the_slots_of_sleepers(world: Any) -> None:
    """Else an interview of devices that sleep would hold up those that are awake."""
    async with world.gateway() as gateway:
        await joined(world, gateway, 1)
        await joined(world, gateway, 1, first=1, sleepy=True)
        app, taken = gateway.radio._app, []

        def slot(sleepy: bool) -> Any:
            taken.append(sleepy)
            return gateway.sender.slot(sleepy)

        gateway.radio.send_through(slot)
        for number in range(2):
            node = next(node for each, node in app.devices.items() if str(each).endswith(f"e3:0{number}"))
            await node.zdo.Active_EP_req(node.nwk)
        await app.mrequest(0x1234, 0x0104, 6, 1, 1, b"\x01\x01\x02")
        assert taken == [False, True, False]
