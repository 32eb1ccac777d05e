"""Several properties in one frame, actions, and events, over the virtual dongle: the frames, and what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.zigbee.device import ZigbeeDevice
from adapters.zigbee.network_port import FrameSender
from adapters.zigbee.radio_port import Frame, SendOutcome
from carriage.zigbee import zcl
from carriage.zigbee.foundation import General
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import (
    Address,
    EnvelopeId,
    Event,
    InvokeAction,
    Join,
    Outcome,
    PropertyResult,
    Reading,
    ReadProperties,
    Reason,
    Transmit,
    WriteProperties,
)
from simulator.network.datatypes import BITMAP16, BOOL, ENUM8, UINT8
from simulator.network.device_kinds import on_off, temperature
from simulator.network.foundation import Attribute, ClusterServer, make_cluster
from tests.adapters.zigbee.device_commands import IDENTITY
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_asked import APP, joined, server

ON_OFF, LEVEL, ZONE = 0x0006, 0x0008, 0x0500
MOVE_TO_LEVEL_WITH_ON_OFF = 0x04


class Lamp:
    """A dimmable lamp; the two clusters change each other, as Move to Level with On/Off asks."""

    def __init__(self) -> None:
        self.switch = on_off(IDENTITY)
        self.level = make_cluster(
            LEVEL, [Attribute(0x0000, UINT8, 100, reportable=True)], {MOVE_TO_LEVEL_WITH_ON_OFF: self._move}
        )

    def _move(self, server: ClusterServer, payload: bytes) -> None:
        if payload[0]:
            server.set(0x0000, payload[0])
        self.switch.set(0x0000, int(payload[0] > 0))


@BOTH_EZSP
async def test_state_brightness_and_transition_are_one_frame(world: Any) -> None:
    async with world.gateway() as gateway:
        lamp = Lamp()
        device, asked = await joined(world, gateway, lamp.switch, lamp.level)
        receipt = await asked.does(WriteProperties, values={"state": True, "brightness": 7, "transition": 2.5})
        assert (receipt.outcome, receipt.reason) == (Outcome.DELIVERED, None)
        assert receipt.properties == tuple(
            PropertyResult(name, Outcome.DELIVERED) for name in ("state", "brightness", "transition")
        )
        ((cluster, frame),) = device.asked
        assert (cluster, frame.command, frame.payload.hex()) == (LEVEL, MOVE_TO_LEVEL_WITH_ON_OFF, "071900")
        assert asked.reported() == {"state": True, "brightness": 7}


PLANS: list[tuple[dict[str, Any], list[tuple[int, int, str]], dict[str, Any]]] = [
    ({"brightness": 9}, [(LEVEL, 4, "09ffff")], {"state": True, "brightness": 9}),
    ({"brightness": 0}, [(LEVEL, 4, "00ffff")], {"state": False}),
    ({"state": False, "brightness": 9}, [(LEVEL, 4, "00ffff")], {"state": False}),
    ({"state": False, "transition": 1}, [(LEVEL, 4, "000a00")], {"state": False}),
    ({"state": True}, [(ON_OFF, 1, "")], {"state": True}),
    ({"state": False}, [(ON_OFF, 0, "")], {"state": False}),
]


async def test_which_frame_sets_what(world: Any) -> None:
    async with world.gateway() as gateway:
        lamp = Lamp()
        device, asked = await joined(world, gateway, lamp.switch, lamp.level)
        for values, frames, reported in PLANS:
            device.asked.clear()
            asked.heard = len(gateway.context.of(Reading))
            assert (await asked.does(WriteProperties, values=values)).outcome is Outcome.DELIVERED, values
            sent = [(cluster, frame.command, frame.payload.hex()) for cluster, frame in device.asked]
            assert (sent, asked.reported()) == (frames, reported), values


async def test_a_property_that_no_frame_carries_is_dropped_in_the_receipt(world: Any) -> None:
    """What a lamp does after a power cut has no transition: that part of the write was not sent."""
    async with world.gateway() as gateway:
        switch = server(ON_OFF, {0x0000: (BOOL, 0), 0x4003: (ENUM8, 0)})
        device, asked = await joined(world, gateway, switch, server(0x0004, {}), Lamp().level)
        receipt = await asked.does(WriteProperties, values={"power_on_behavior": "on", "transition": 2})
        transition, behavior = sorted(receipt.properties, key=lambda each: each.outcome.value, reverse=True)
        assert behavior == PropertyResult("power_on_behavior", Outcome.DELIVERED)
        assert (transition.name, transition.outcome, transition.reason) == (
            "transition", Outcome.DROPPED, Reason.CONTENT,
        )  # fmt: skip
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.CONTENT)
        assert switch.attributes[0x4003].value == 1
        assert device.commands(ON_OFF) == device.commands(LEVEL) == []


async def test_a_refused_frame_fails_its_own_properties_only(world: Any) -> None:
    async with world.gateway() as gateway:
        lamp = Lamp()
        device, asked = await joined(world, gateway, lamp.switch, lamp.level, temperature(IDENTITY))

        def answer(cluster: int, frame: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
            if cluster != LEVEL:
                return own
            payload = bytes.fromhex("0000 86")
            return ZclFrame(0x01, payload, frame.sequence, cluster_specific=False, to_client=True)

        device.answer = answer
        receipt = await asked.does(ReadProperties, names=("state", "brightness", "temperature"))
        assert receipt.properties == (
            PropertyResult("state", Outcome.DELIVERED, value=False),
            PropertyResult("brightness", Outcome.DROPPED, Reason.REJECTED, "UNSUPPORTED_ATTRIBUTE"),
            PropertyResult("temperature", Outcome.DELIVERED, value=20.0),
        )
        assert (receipt.outcome, receipt.reason) == (Outcome.DROPPED, Reason.REJECTED)
        assert len(device.asked) == 3


async def test_a_read_of_one_property_gives_it_back(world: Any) -> None:
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, on_off(IDENTITY))
        receipt = await asked.does(ReadProperties, names=("state",))
        assert (receipt.outcome, receipt.result, receipt.properties) == (Outcome.DELIVERED, False, ())


@BOTH_EZSP
async def test_toggle_is_an_action_and_the_state_is_read_behind_it(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, on_off(IDENTITY))
        (join,) = [each for each in gateway.context.of(Join) if each.actions][-1:]
        assert [(each.name, each.idempotent) for each in join.actions] == [("toggle", False)]
        for state in (True, False):
            receipt = await asked.does(InvokeAction, name="toggle", input=None)
            assert (receipt.outcome, receipt.reason) == (Outcome.DELIVERED, None)
            assert asked.reported() == {"state": state}
        assert device.commands(ON_OFF) == [2, 2]
        assert (await asked.does(InvokeAction, name="explode", input=None)).reason is Reason.UNKNOWN


PRESSES: list[tuple[int, int, str, str, Any]] = [
    (ON_OFF, 0x01, "", "on", None),
    (ON_OFF, 0x00, "", "off", None),
    (ON_OFF, 0x02, "", "toggle", None),
    (LEVEL, 0x05, "00 32", "brightness_move_up", {"rate": 50}),
    (LEVEL, 0x01, "01 ff", "brightness_move_down", {}),
    (LEVEL, 0x06, "01 20 0500", "brightness_step_down", {"step_size": 32, "transition_time": 0.5}),
    (LEVEL, 0x02, "00 20 ffff", "brightness_step_up", {"step_size": 32}),
    (LEVEL, 0x07, "", "brightness_stop", None),
    (LEVEL, 0x04, "80 0a00", "brightness_move_to_level", {"level": 128, "transition_time": 1.0}),
]


@BOTH_EZSP
async def test_a_remote_sends_commands_which_are_events(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(ON_OFF, LEVEL))
        (join,) = [each for each in gateway.context.of(Join) if each.events][-1:]
        assert {each.name for each in join.events} == {each[3] for each in PRESSES}
        for sequence, (cluster, command, payload, _, _) in enumerate(PRESSES):
            device.say(cluster, ZclFrame(command, bytes.fromhex(payload), sequence).encode())
        events = await gateway.until(lambda: found if len(found := gateway.context.of(Event)) == len(PRESSES) else None)
        assert [(each.name, each.data) for each in events] == [(name, data) for *_, name, data in PRESSES]


async def test_a_press_that_comes_while_the_radio_starts_is_an_event_once_the_device_is_known(world: Any) -> None:
    """The dongle has acknowledged it, so the remote doesn't send it again."""
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(ON_OFF, LEVEL))
    world.ncp.restart()
    acknowledged: list[int] = []

    async def press(sequence: int) -> None:
        if await device.client.send(ZclFrame(0x02, b"", sequence).encode(), cluster=ON_OFF):
            acknowledged.append(sequence)

    async with world.gateway(wait=False) as gateway:
        async with asyncio.TaskGroup() as presses:
            for number in range(100_000):
                presses.create_task(press(number % 256))
                await asyncio.sleep(0.005)
                if "ready" in gateway.context.states:
                    break
        assert acknowledged
        await gateway.until(lambda: len(gateway.context.of(Event)) >= len(acknowledged))
        assert {each.name for each in gateway.context.of(Event)} == {"toggle"}
        counters = gateway.adapter.status()["counters"]
        assert (counters["reports_malformed"], counters["reports_unknown"]) == (0, 0)


async def test_a_press_that_comes_twice_is_one_event_and_a_malformed_one_none(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(ON_OFF, LEVEL))
        device.say(LEVEL, ZclFrame(0x05, b"\x00", 1).encode())
        device.say(LEVEL, ZclFrame(0x05, b"\x07\x20", 2).encode())
        device.say(ON_OFF, ZclFrame(0x01, b"", 3).encode())
        await gateway.until(lambda: gateway.context.of(Event))
        assert [each.name for each in gateway.context.of(Event)] == ["on"]
        counters = gateway.adapter.status()["counters"]
        assert (counters["events"], counters["events_malformed"]) == (1, 2)


async def test_a_press_that_asks_for_a_default_response_gets_one(world: Any) -> None:
    """From us; zigpy, which would give it another, does not see it."""
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, on_off(IDENTITY), clients=(ON_OFF,))
        device.say(ON_OFF, ZclFrame(0x02, b"", 9, disable_default_response=False).encode())
        await gateway.until(lambda: device.asked)
        assert (await asked.does(ReadProperties, names=("state",))).outcome is Outcome.DELIVERED
        assert [(frame.sequence, frame.payload.hex()) for _, frame in device.asked if frame.command == 0x0B] == [
            (9, "0200")
        ]


@BOTH_EZSP
async def test_a_zone_tells_its_status_by_a_command(world: Any) -> None:
    zone = make_cluster(ZONE, [Attribute(0x0002, BITMAP16, 0)])
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, zone)
        notification = bytes.fromhex("0500 00 17 0000")
        device.say(ZONE, ZclFrame(0x00, notification, 9, to_client=True).encode())
        (event,) = await gateway.until(lambda: gateway.context.of(Event))
        assert event.name == "zone_status"
        assert {name for name, on in event.data.items() if on} == {"alarm_1", "tamper"}
        assert asked.reported() == {"alarm": True, "tamper": True, "battery_low": False}
        device.say(ZONE, ZclFrame(0x00, bytes(6), 10, to_client=True).encode())
        await gateway.until(lambda: asked.reported() == {"alarm": False, "tamper": False, "battery_low": False})


@pytest.mark.parametrize("sent", ["02", "00", ""])
async def test_a_device_that_is_no_remote_presses_nothing(world: Any, sent: str) -> None:
    """The same command from the server of the cluster, or from who doesn't have it, is no event."""
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, on_off(IDENTITY))
        device.say(ON_OFF, ZclFrame(int(sent or "01", 16), b"", 5).encode())
        device.report(ON_OFF, "0000 10 01")
        await gateway.until(
            lambda: ("state", True) in [each for one in gateway.context.of(Reading) for each in one.values]
        )
        assert gateway.context.of(Event) == []


class WithoutRoomToRead:
    """A sender without room for a frame that reads attributes; all others go to the real one."""

    def __init__(self, sender: FrameSender) -> None:
        self.sender, self.refused = sender, 0
        self.withdraw, self.listens = sender.withdraw, sender.listens

    def submit(self, device: ZigbeeDevice, frame: Frame) -> None:
        header = zcl.decode(frame.payload)
        if header.cluster_specific or header.command != General.READ:
            self.sender.submit(device, frame)
            return
        self.refused += 1
        frame.done(SendOutcome.BUSY)


async def test_an_action_that_was_done_is_never_held_again_for_what_is_read_behind_it(world: Any) -> None:
    """The frame that reads the state can't go out now; the toggle is done all the same, and must not expire."""
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, on_off(IDENTITY))
        execution = gateway.semantics._commands
        transactions = execution._transactions
        transactions.sender = sender = WithoutRoomToRead(transactions.sender)
        record = gateway.record(device.eui64)
        record.model.sleepy = True
        run = asyncio.get_running_loop().create_task(asked.does(InvokeAction, name="toggle", input=None))
        await asyncio.sleep(0)
        execution.heard(record)
        receipt = await run
        assert (receipt.outcome, sender.refused) == (Outcome.DELIVERED, 1)
        assert not record.held and device.commands(ON_OFF) == [2]


async def test_what_is_withdrawn_while_its_question_is_on_the_air_sets_nothing(world: Any) -> None:
    """A switch-on with a transition asks for the level first; its deadline may pass before the answer."""
    async with world.gateway() as gateway:
        lamp = Lamp()
        device, asked = await joined(world, gateway, lamp.switch, lamp.level)
        usual = device.answer

        def answer(at: int, frame: Any, *rest: Any) -> Any:
            gateway.adapter.withdraw(order)
            return usual(at, frame, *rest)

        device.answer = answer
        values = {"state": True, "transition": 1}
        order = EnvelopeId(77)
        wanted = WriteProperties(id=order, source=APP, to="lamp", received_at=0.0, values=values)
        gateway.adapter.send(Transmit(wanted, Address(scheme="zigbee", claim=f"eui64:{device.eui64}")))
        await gateway.until(lambda: device.asked and not gateway.record(device.eui64).transactions.open)
        device.answer = usual
        assert (await asked.does(ReadProperties, names=("brightness",))).outcome is Outcome.DELIVERED
        assert [frame.command for _, frame in device.asked] == [General.READ, General.READ]
        assert not [each for each in gateway.context.receipts if each.id == order]
