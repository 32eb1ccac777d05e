"""Poll control over the virtual dongle: how often a sleeper checks in, and what it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.families.poll_control import HOUR
from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Presence, WriteProperties
from simulator.network.cluster_server import Attribute, make_cluster
from simulator.network.clusters.hvac import thermostat_ui
from simulator.network.clusters.ids import Identity
from simulator.network.datatypes import UINT16, UINT32
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import joined
from tests.harness.zcl_device import settled

POLL, UI = 0x0020, 0x0204
CHECK_IN, RESPONSE = 0x00, 0x00


def poll_control(interval: int = 0, least: int = 0) -> Any:
    return make_cluster(
        POLL,
        [
            Attribute(0x0000, UINT32, interval, writable=True),
            Attribute(0x0001, UINT32, 20),
            Attribute(0x0002, UINT16, 2),
            Attribute(0x0003, UINT16, 40),
            Attribute(0x0004, UINT32, least),
        ],
        {RESPONSE: lambda server, payload: None},
    )


def check_in(sequence: int) -> bytes:
    return ZclFrame(CHECK_IN, b"", sequence, to_client=True).encode()


async def test_a_sleeper_that_checks_in_is_there_and_polls_fast_only_for_what_waits(world: Any) -> None:
    async with world.gateway() as gateway:
        cluster = poll_control()
        device, asked = await joined(world, gateway, cluster, thermostat_ui(Identity("A", "B", False)), sleepy=True)
        assert cluster.whole(0x0000) == HOUR
        assert (await gateway.adapter.command("devices", {}))["devices"][0]["reporting"]["1/0020"] == "bound"
        replies: list[str] = []

        def answer(at: int, frame: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
            if at == POLL:
                replies.append(frame.payload.hex())
                return None
            return own if listens else None

        listens, device.answer = True, answer
        device.say(POLL, check_in(1))
        await gateway.until(lambda: replies == ["000000"])
        # a command that was sent and has no answer yet: the device is to stay up for it
        listens = False
        run = gateway.task.get_loop().create_task(asked.does(WriteProperties, values={"keypad_lockout": "lock1"}))
        await gateway.until(lambda: gateway.record(device.eui64).held or gateway.record(device.eui64).transactions.open)
        device.say(POLL, check_in(2))
        await gateway.until(lambda: replies == ["000000", "010000"])
        run.cancel()
        assert gateway.adapter.status()["counters"]["replies"] == 2


async def test_a_check_in_says_that_a_sleeper_is_there(world: Any) -> None:
    async with world.gateway(presence={"sleepy": 60}) as gateway:
        device, _ = await joined(world, gateway, poll_control(), sleepy=True)
        before = gateway.record(device.eui64).availability.heard
        device.say(POLL, check_in(1))
        await gateway.until(lambda: gateway.adapter.status()["counters"]["replies"])
        assert gateway.record(device.eui64).availability.heard > before
        assert [each.online for each in gateway.context.of(Presence)] == [True]


async def test_the_interval_is_set_once(world: Any) -> None:
    writes: list[bytes] = []

    def noted(at: int, frame: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if at == POLL and frame.command == General.WRITE and not frame.cluster_specific:
            writes.append(frame.payload)
        return own

    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, poll_control())
        device.answer = noted
        gateway.semantics._setup.add(gateway.record(device.eui64), joined=False)
        await settled(gateway, device)
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.record(device.eui64).model is not None)
        await settled(gateway, device)
        assert writes == []


@pytest.mark.parametrize(
    ("known", "written"),
    [
        ({0: 0}, HOUR),  # it does not check in
        ({0: 4 * HOUR, 4: 0}, HOUR),
        ({0: HOUR}, None),
        ({0: 240, 4: 40}, None),
        ({0: 24 * HOUR, 4: 2 * HOUR}, 2 * HOUR),  # not more often than it may
        ({0: 2 * HOUR, 4: 2 * HOUR}, None),
        ({0: 0, 1: 3 * HOUR, 4: 0}, 3 * HOUR),  # never shorter than its long polls
        ({}, None),
    ],
)
def test_the_interval_is_an_hour_within_the_limits_of_the_device(known: dict[int, int], written: int | None) -> None:
    model = model_with(POLL, constants={POLL: known})
    wanted = b"" if written is None else b"\x00\x00\x23" + written.to_bytes(4, "little")
    assert model.settings == {1 << 16 | POLL: wanted}
