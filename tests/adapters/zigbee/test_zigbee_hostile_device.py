"""A member of the network that means harm does none to others: their reports and commands go on, counters say so."""

from __future__ import annotations

import asyncio
import gc
import logging
from random import Random
from typing import Any

import pytest

from adapters.zigbee.address_claims import claim_of, is_believed
from gateway.api.model import Leave, Outcome, Reading, WriteProperties
from simulator.network.device_kinds import Identity, on_off, temperature
from tests.harness.hostile_device import ATTACKS, HostileDevice
from tests.harness.zcl_asked import Asked
from tests.harness.zcl_device import ZclDevice, settled

VICTIM, HOSTILE = 0x000D6F0000000022, 0x000D6F0000000066
IDENTITY = Identity("ACME", "Z1", mains=True)
ROUNDS = 12
"""In each the victim is set once and reports once."""
FRAMES = 60
"""Of the attacker, in each round."""


A, B = "00:0d:6f:00:00:00:00:0a", "00:0d:6f:00:00:00:00:0b"


@pytest.mark.parametrize(
    ("cluster", "sender", "claim", "holder", "known", "believed"),
    [
        (0x0013, 5, (A, 5), None, False, True),  # a new device
        (0x0013, 5, (A, 5), A, True, True),  # one that restarted
        (0x0013, 5, (A, 5), None, True, True),  # one that came back at another address
        (0x0013, 5, (A, 5), B, True, False),  # at the address of another one
        (0x0013, 6, (A, 5), None, True, False),  # announced by another one
        (0x0013, 6, (A, 5), None, False, False),
        (0x8001, 5, (A, 5), None, True, True),  # an answer about itself
        (0x8000, 6, (A, 5), None, False, True),  # a parent's answer about a child
        (0x8000, 6, (A, 5), None, True, False),  # which doesn't move a known device
        (0x8000, 6, (A, 5), B, False, False),
    ],
)
def test_who_may_say_who_has_an_address(
    cluster: int, sender: int, claim: tuple[str, int], holder: str | None, known: bool, believed: bool
) -> None:
    assert is_believed(cluster, sender, claim, holder, known=known) is believed


def test_what_a_frame_claims() -> None:
    eui64 = bytes.fromhex("0a000000006f0d00")
    assert claim_of(0x0013, b"\x01\x05\x00" + eui64 + b"\x8e") == (A, 5)
    assert claim_of(0x8000, b"\x01\x00" + eui64 + b"\x05\x00") == (A, 5)
    assert claim_of(0x8001, b"\x01\x81" + eui64 + b"\x05\x00") is None  # not found
    assert claim_of(0x0013, b"\x01\x05\x00" + eui64[:7]) is None
    assert claim_of(0x8005, bytes(20)) is None


@pytest.mark.parametrize("attack", ATTACKS)
async def test_others_go_on(world: Any, attack: str, caplog: pytest.LogCaptureFixture) -> None:
    async with world.gateway() as gateway:
        devices = []
        for eui64 in (VICTIM, HOSTILE):
            device = await ZclDevice(eui64, on_off(IDENTITY), temperature(IDENTITY)).attach(world.socket)
            world.devices.append(device)
            await gateway.join(device)
            await settled(gateway, device)
            devices.append(device)
        victim, _ = devices
        places = [world.network.station(eui64) for eui64 in (VICTIM, HOSTILE)]
        nwks = [each.device.nwk for each in places]
        hostile = HostileDevice(nwks[1], HOSTILE, nwks[0], VICTIM, Random(7))
        frames = ATTACKS[attack](hostile)
        asked = Asked(gateway, victim)
        victim.asked.clear()
        before = len(gateway.context.of(Reading))
        counters = dict(gateway.adapter.status()["counters"])
        caplog.clear()
        for number in range(ROUNDS):
            for _ in range(FRAMES):
                world.network.arrived(places[1], next(frames))
            order = asyncio.create_task(asked.does(WriteProperties, values={"state": number % 2 == 0}))
            for _ in range(FRAMES):
                world.network.arrived(places[1], next(frames))
            await asyncio.sleep(0.02)
            victim.report(0x0402, b"\x00\x00\x29" + (2500 + number).to_bytes(2, "little"))
            assert (await order).outcome is Outcome.DELIVERED, number
        assert victim.commands(0x0006) == [number % 2 == 0 for number in range(ROUNDS)]
        wanted = {25 + number / 100 for number in range(ROUNDS)}

        def seen() -> bool:
            readings = gateway.context.of(Reading)[before:]
            own = [each for each in readings if each.source.claims[0] == f"eui64:{victim.eui64}"]
            return {value for each in own for name, value in each.values if name == "temperature"} == wanted

        await gateway.until(seen)
        status = gateway.adapter.status()
        assert status["link"] == "up" and gateway.context.of(Leave) == []
        grown = {name for name, count in status["counters"].items() if count > counters[name]}
        assert (
            grown
            & {
                "noise": {"radio_malformed", "reports_malformed"},
                "lies about lengths": {"reports_malformed"},
                "another address": {"radio_addresses_refused"},
                "flood": {"reports"},
            }[attack]
        )
        gc.collect()  # asyncio logs the untaken exception of a task when the task is collected
        await asyncio.sleep(0)
        ours = [each for each in caplog.records if each.name.startswith("adapters") and each.levelno > logging.WARNING]
        assert [each.getMessage() for each in ours] == []
        assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []
        assert len(caplog.records) < 200, "lines in the log are bounded"
