"""Devices of Konke and Terncy by frames that were recorded."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.device_model import Model, place
from adapters.zigbee.reports import happened, reported, told
from gateway.api.errors import PeerError
from gateway.api.model import Event, ReadProperties
from simulator.network.datatypes import BOOL, UINT8
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import joined, server

BATTERY, ON_OFF, TEMPERATURE, OCCUPANCY, ZONE, OWN, CODE = 0x0001, 0x0006, 0x0402, 0x0406, 0x0500, 0xFCCC, 0x1228


def told_by(model: Model, cluster: int, frame: str, code: int = 0) -> list[tuple[str, Any]]:
    at = place(1, cluster, code)
    return [(event.name, data) for event, data in told(model, model.aliases.get(at, at), bytes.fromhex(frame))]


def test_konkes_button() -> None:
    model = model_with(0, BATTERY, 3, 4, 5, ON_OFF, manufacturer="Konke", model="3AFE170100510001")
    for frame, name in (("0000 10 80", "single"), ("0000 10 81", "double"), ("0000 10 82", "hold")):
        assert told_by(model, ON_OFF, frame) == [(name, None)]
    assert told_by(model, ON_OFF, "0000 10 01") == []
    assert "state" not in model.slots
    assert {"battery", "voltage"} <= set(model.slots)


def test_konkes_motion_ends() -> None:
    model = model_with(
        0, BATTERY, 3, ZONE, constants={ZONE: {0x0001: 0x000D}}, manufacturer="Konke", model="3AFE28010402000D"
    )
    found = happened(model, place(1, ZONE), 0x00, False, bytes.fromhex("0100 00 00 0000"))
    assert found is not None
    assert dict(found[2])["occupancy"] is True
    assert model.ends == {"occupancy": 90}


def terncy(model: str) -> Model:
    return model_with(0, BATTERY, 3, 0x20, 0x0400, TEMPERATURE, OCCUPANCY, OWN, model=model)  # without a manufacturer


def event(model: Model, command: int, payload: str) -> tuple[str, Any] | None:
    found = happened(model, place(1, OWN, CODE), command, False, bytes.fromhex(payload))
    return None if found is None or found[0] is None else (found[0].name, found[1])


@pytest.mark.parametrize("model", ["TERNCY-PP01", "TERNCY-SD01"])
def test_a_press(model: str) -> None:
    there = terncy(model)
    for payload, name in (("3D01", "single"), ("1101", "single"), ("0402", "double"), ("0203", "triple")):
        assert event(there, 0x00, payload) == (name, None)
    assert event(there, 0x00, "0506") is None  # six presses
    with pytest.raises(PeerError):
        event(there, 0x00, "3D")


def test_a_person_at_a_side() -> None:
    there = terncy("TERNCY-PP01")
    for payload, name in (
        ("A70007", "motion_right"),
        ("1B0005", "motion_right"),
        ("190028", "motion_left"),
        ("1C0038", "motion_left"),
    ):
        assert event(there, 0x04, payload) == (name, None)
    assert event(there, 0x04, "1C0000") is None
    assert there.ends == {"occupancy": 90}
    assert "illuminance" not in there.slots


def test_its_units() -> None:
    there = terncy("TERNCY-PP01")
    assert reported(there, place(1, TEMPERATURE), bytes.fromhex("0000 29 eb00")) == ((("temperature", 23.5),), "")
    assert reported(there, place(1, BATTERY), bytes.fromhex("2100 20 64")) == ((("battery", 100),), "")


def test_a_knob() -> None:
    there = terncy("TERNCY-SD01")
    for code in (0, CODE):
        assert told_by(there, OWN, "1b00 29 1800", code) == [("rotate_right", {"steps": 2})]
        assert told_by(there, OWN, "1b00 29 f4ff", code) == [("rotate_left", {"steps": 1})]
        assert told_by(there, OWN, "1b00 21 f4ff", code) == [("rotate_left", {"steps": 1})]
        assert told_by(there, OWN, "1b00 29 0000", code) == []


async def test_a_dongle_without_room_for_its_endpoint(make_world: Any) -> None:
    world = await make_world(endpoints=3)
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, server(ON_OFF, {0x0000: (BOOL, 1)}))
        assert (await asked.does(ReadProperties, names=("state",))).result is True


async def test_a_knob_over_the_dongle(world: Any) -> None:
    """It sends to endpoint 110, and each press more than once."""
    async with world.gateway() as gateway:
        device, _ = await joined(
            world, gateway, server(BATTERY, {0x0021: (UINT8, 80)}), server(OWN, {}), model="TERNCY-SD01"
        )
        for octets in ("0d2812 46 00 3d01", "0d2812 47 00 3d01", "0d2812 48 00 3e02"):
            device.client.send_soon(bytes.fromhex(octets), lambda sent: None, cluster=OWN, destination_endpoint=110)
        await gateway.until(lambda: len(gateway.context.of(Event)) == 2)
        assert [each.name for each in gateway.context.of(Event)] == ["single", "double"]
        assert gateway.adapter.status()["counters"]["events_repeated"] == 1
