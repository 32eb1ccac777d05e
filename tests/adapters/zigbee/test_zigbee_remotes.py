"""Remotes: what each of their commands is as an event, from bindings and group casts, and that a press is one event."""

from __future__ import annotations

from typing import Any

from adapters.zigbee.presses import NUMBER_SECONDS, NUMBERS, OTHER_WAY_SECONDS, UNICAST, Presses
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Event, Join
from gateway.api.schema import tellable
from tests.adapters.zigbee.zigbee_world import BOTH_EZSP
from tests.harness.zcl_asked import EUI64, joined

SCENES, ON_OFF, LEVEL, COLOR = 0x0005, 0x0006, 0x0008, 0x0300

PRESSES: list[tuple[int, int, str, str, Any]] = [
    (ON_OFF, 0x40, "00 00", "off", None),
    (ON_OFF, 0x41, "", "on", None),
    (ON_OFF, 0x42, "00 0807 0000", "on", {"on_time": 180.0, "off_wait_time": 0.0}),
    (LEVEL, 0x00, "fe ffff", "brightness_move_to_level", {"level": 254}),
    (LEVEL, 0x04, "01 0500", "brightness_move_to_level", {"level": 1, "transition_time": 0.5}),
    (SCENES, 0x05, "0700 03", "recall", {"scene": 3, "group": 7}),
    (SCENES, 0x05, "0700 03 0a00", "recall", {"scene": 3, "group": 7, "transition_time": 1.0}),
    (SCENES, 0x04, "0000 ff", "store", {"scene": 255, "group": 0}),
    (COLOR, 0x00, "7f 00 0a00", "move_to_hue", {"hue": 180.0, "transition_time": 1.0}),
    (COLOR, 0x01, "01 14", "hue_move", {"rate": 20}),
    (COLOR, 0x01, "03 14", "hue_down", {"rate": 20}),
    (COLOR, 0x01, "00 14", "hue_stop", None),
    (COLOR, 0x02, "01 14 05", "color_hue_step_up", {"step_size": 20, "transition_time": 0.5}),
    (COLOR, 0x02, "03 14 05", "color_hue_step_down", {"step_size": 20, "transition_time": 0.5}),
    (COLOR, 0x03, "fe 0000", "move_to_saturation", {"saturation": 100.0, "transition_time": 0.0}),
    (COLOR, 0x05, "01 14 05", "color_saturation_step_up", {"step_size": 20, "transition_time": 0.5}),
    (COLOR, 0x05, "03 14 05", "color_saturation_step_down", {"step_size": 20, "transition_time": 0.5}),
    (
        COLOR, 0x06, "7f fe 0a00", "move_to_hue_and_saturation",
        {"hue": 180.0, "saturation": 100.0, "transition_time": 1.0},
    ),
    (COLOR, 0x07, "0080 0040 0a00", "color_move", {"color": {"x": 0.5, "y": 0.25}, "transition_time": 1.0}),
    (COLOR, 0x0A, "fa00 0a00", "color_temperature_move", {"color_temperature": 250, "transition_time": 1.0}),
    (COLOR, 0x42, "01 1400 0a00", "color_hue_step_up", {"step_size": 20, "transition_time": 1.0}),
    (
        COLOR, 0x43, "0080 fe 0a00", "enhanced_move_to_hue_and_saturation",
        {"hue": 180.0, "saturation": 100.0, "transition_time": 1.0},
    ),
    (COLOR, 0x47, "", "hue_stop", None),
    (COLOR, 0x4B, "01 4000 0000 0000", "color_temperature_move_up", {"rate": 64}),
    (COLOR, 0x4B, "03 4000 0000 0000", "color_temperature_move_down", {"rate": 64}),
    (COLOR, 0x4B, "00 0000 0000 0000", "color_temperature_move_stop", None),
    (COLOR, 0x4C, "01 4500 0a00 0000 0000", "color_temperature_step_up", {"step_size": 69, "transition_time": 1.0}),
    (COLOR, 0x4C, "03 4500 0a00 0000 0000", "color_temperature_step_down", {"step_size": 69, "transition_time": 1.0}),
]  # fmt: skip
MALFORMED: list[tuple[int, int, str]] = [
    (ON_OFF, 0x42, "00 0807"),
    (SCENES, 0x05, "0700"),
    (COLOR, 0x01, "02 14"),
    (COLOR, 0x07, "0080 00"),
    (COLOR, 0x4B, "05 4000"),
    (COLOR, 0x4C, "01"),
]


async def test_each_command_of_a_remote_is_an_event_by_zigbee2mqtts_word(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(SCENES, ON_OFF, LEVEL, COLOR))
        offered = {each.name: each.data for each in gateway.context.of(Join)[-1].events}
        for number, (cluster, command, payload, name, data) in enumerate(PRESSES):
            device.say(cluster, ZclFrame(command, bytes.fromhex(payload), number).encode())
            await gateway.until(lambda n=number: len(gateway.context.of(Event)) > n)
            event = gateway.context.of(Event)[-1]
            assert (event.name, event.data) == (name, data), (name, payload)
            assert data is None or tellable(offered[name], data)
        for number, (cluster, command, payload) in enumerate(MALFORMED, 100):
            device.say(cluster, ZclFrame(command, bytes.fromhex(payload), number).encode())
        await gateway.until(lambda: gateway.adapter.status()["counters"]["events_malformed"] == len(MALFORMED))
        assert len(gateway.context.of(Event)) == len(PRESSES)


@BOTH_EZSP
async def test_a_group_cast_is_an_event_with_its_group_and_one_with_the_unicast(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, clients=(SCENES, ON_OFF, LEVEL))
        for group in (7, 8):
            await gateway.radio._app._multicast.subscribe(group)
        station = world.network.station(EUI64)

        def cast(cluster: int, command: int, number: int, payload: str = "", group: int = 7) -> None:
            octets = ZclFrame(command, bytes.fromhex(payload), number, disable_default_response=True).encode()
            station.send_to_all(profile=0x0104, cluster=cluster, endpoint=1, payload=octets, group=group)

        def unicast(cluster: int, command: int, number: int, payload: str = "") -> None:
            device.say(cluster, ZclFrame(command, bytes.fromhex(payload), number).encode())

        async def events(repeated: int, *expected: tuple[str, Any]) -> None:
            """What came since the last call, and as how many copies more."""
            await gateway.until(
                lambda: (
                    gateway.adapter.status()["counters"]["events_repeated"] == repeated
                    and len(gateway.context.of(Event)) >= len(told) + len(expected)
                )
            )
            told.extend(expected)
            assert [(each.name, each.data) for each in gateway.context.of(Event)] == told

        told: list[tuple[str, Any]] = []
        cast(ON_OFF, 0x02, 1)
        await events(0, ("toggle", {"group": 7}))
        cast(LEVEL, 0x06, 2, "00 20 0500")
        await events(0, ("brightness_step_up", {"step_size": 32, "transition_time": 0.5, "group": 7}))
        cast(SCENES, 0x05, 3, "0700 02")
        await events(0, ("recall", {"scene": 2, "group": 7}))
        # a press by unicast and by two casts, all with one number; then with another each; the next one at once
        for copies, command, numbers in ((2, 0x01, (4, 4, 4)), (4, 0x00, (5, 6, 7)), (6, 0x00, (8, 9, 10))):
            unicast(ON_OFF, command, numbers[0])
            cast(ON_OFF, command, numbers[1])
            cast(ON_OFF, command, numbers[2], group=8)
            await gateway.until(lambda n=copies: gateway.adapter.status()["counters"]["events_repeated"] == n)
            event = gateway.context.of(Event)[-1]
            assert event.name == ("off", "on")[command] and event.data in (None, {"group": 7}, {"group": 8})
            await events(copies, (event.name, event.data))
        unicast(ON_OFF, 0x00, 8)  # the same frame again under another APS counter
        await events(7)


def test_presses() -> None:
    presses = Presses()
    assert not presses.repeated(1, 5, 111, UNICAST, 0.0)
    assert presses.repeated(1, 5, 111, 7, 0.1)  # the cast of it
    assert presses.repeated(1, 5, 111, UNICAST, NUMBER_SECONDS - 0.1)  # the same number again
    assert not presses.repeated(1, 5, 111, UNICAST, NUMBER_SECONDS)  # the numbers have gone round
    assert not presses.repeated(1, 5, 222, UNICAST, NUMBER_SECONDS)  # another button
    assert not presses.repeated(1, 5, 111, UNICAST, NUMBER_SECONDS)  # a remote that has one number for all of them
    assert not presses.repeated(2, 5, 111, UNICAST, NUMBER_SECONDS)  # another endpoint
    # a new number: another way is a copy, the same way a press
    presses = Presses()
    assert not presses.repeated(1, 1, 111, UNICAST, 0.0)
    assert presses.repeated(1, 2, 111, 7, 0.1)
    assert not presses.repeated(1, 3, 111, UNICAST, 0.3)
    assert presses.repeated(1, 4, 111, 7, 0.4)
    assert not presses.repeated(1, 5, 111, 7, 0.3 + OTHER_WAY_SECONDS)
    # bounded: the oldest number goes
    presses = Presses()
    for number in range(NUMBERS + 1):
        assert not presses.repeated(1, number, 1000 + number, UNICAST, 0.0)
    assert presses.repeated(1, 1, 1001, UNICAST, 0.1)
    assert not presses.repeated(1, 0, 1000, UNICAST, 0.1)
    assert all(len(each) == NUMBERS for each in presses._numbers.values())
