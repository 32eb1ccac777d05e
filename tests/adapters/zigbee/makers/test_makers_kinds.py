"""The simulator's products of makers: joined, set up, pressed, over the dongle."""

from __future__ import annotations

from typing import Any

from gateway.api.model import Event, Reading
from tests.harness.hosted_kinds import HostedKinds


def lane_of(gateway: Any, eui64: str) -> str:
    return str(gateway.semantics.shown(eui64)["lane"])


async def test_a_remote_of_ikeas_with_old_firmware(world: Any) -> None:
    async with world.gateway() as gateway:
        remote, _ = await HostedKinds(world).join(gateway, "ikea-remote")
        assert lane_of(gateway, remote.eui64) == "IKEA"
        readings = [each for reading in gateway.context.of(Reading) for each in reading.values]
        assert ("battery", 100) in readings
        for button, how, name, data in (
            ("toggle", "single", "toggle", None),
            ("left", "single", "arrow_left_click", None),
            ("right", "hold", "arrow_right_hold", None),
            ("right", "release", "arrow_release", {"duration": 0.891}),
            ("down", "hold", "brightness_move_down", {"rate": 50}),
        ):
            before = len(gateway.context.of(Event))
            remote.does("press", button=button, how=how)
            await gateway.until(lambda n=before: len(gateway.context.of(Event)) > n)
            assert (gateway.context.of(Event)[-1].name, gateway.context.of(Event)[-1].data) == (name, data)


async def test_a_dimmer_switch_of_hues_is_set_so_that_it_reports_presses(world: Any) -> None:
    async with world.gateway() as gateway:
        dimmer, _ = await HostedKinds(world).join(gateway, "hue-dimmer")
        assert lane_of(gateway, dimmer.eui64) == "Hue"
        for button, how, name in (
            ("on", "single", "on_press"),
            ("up", "hold", "up_hold"),
            ("up", "release", "up_hold_release"),
            ("off", "single", "off_press"),
        ):
            before = len(gateway.context.of(Event))
            dimmer.does("press", button=button, how=how)
            await gateway.until(lambda n=before: len(gateway.context.of(Event)) > n)
            assert gateway.context.of(Event)[-1].name == name
