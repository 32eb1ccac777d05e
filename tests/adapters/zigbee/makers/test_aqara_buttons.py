"""Buttons and cubes of LUMI by frames that were recorded: which event each report is."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Model, Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.reports import reported, told

ON_OFF, PRESSES, ANALOG, OWN, CODE = 0x0006, 0x0012, 0x000C, 0xFCC0, 0x115F
_STRAY = (0x0000, 0x0003, 0x0019, 0xFFFF, PRESSES), (0x0003, PRESSES), (0x0003, ANALOG)
ENDPOINTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "lumi.sensor_switch": ((0x0000, 0x0003, 0x0019, 0xFFFF),),
    "lumi.sensor_switch.aq2": ((0x0000, ON_OFF, 0xFFFF),),
    "lumi.remote.b1acn01": ((0x0000, PRESSES, 0x0003),),
    "lumi.sensor_switch.aq3": ((0x0000, PRESSES, ON_OFF, 0x0001),),
    "lumi.remote.b186acn01": _STRAY,
    "lumi.remote.b286acn01": _STRAY,
    "lumi.sensor_cube.aqgl01": _STRAY,
    "lumi.remote.b1acn02": ((0x0000, 0x0001, 0x0003),),
    "lumi.remote.acn004": ((0x0000, 0x0001, 0x0003, PRESSES, OWN), (PRESSES,), (PRESSES,)),
    "lumi.remote.b28ac1": ((0x0000, 0x0001, 0x0003, PRESSES, OWN),),
    "lumi.remote.b686opcn01": ((0x0000, 0x0003, 0x0001), (0x0003,)),
}
"""What they list, of each endpoint."""


def button(model: str) -> Model:
    endpoints = tuple(
        Endpoint(number=number, profile=0x0104, device_id=0, in_clusters=clusters, out_clusters=())
        for number, clusters in enumerate(ENDPOINTS[model], 1)
    )
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="LUMI", model=model, interviewed=True, sleepy=True,
        lqi=None, rssi=None, last_seen=None, endpoints=endpoints, tunnel_endpoints=(),
    )  # fmt: skip
    return model_of(device, TABLE, Notes())


def events(model: Model, endpoint: int, cluster: int, frame: str) -> list[tuple[str, Any]]:
    at, payload = place(endpoint, cluster), bytes.fromhex(frame)
    assert reported(model, at, payload) == ((), "")
    return [(event.name, data) for event, data in told(model, at, payload)]


PRESSED = [
    ("lumi.sensor_switch", 1, ON_OFF, "0000 10 00", "press"),
    ("lumi.sensor_switch", 1, ON_OFF, "0000 10 01", "release"),
    ("lumi.sensor_switch", 1, ON_OFF, "0080 20 02", "double"),
    ("lumi.sensor_switch.aq2", 1, ON_OFF, "0000 10 00 0000 10 01", "single"),
    ("lumi.sensor_switch.aq2", 1, ON_OFF, "0080 20 02", "double"),
    ("lumi.sensor_switch.aq2", 1, ON_OFF, "0080 20 03", "triple"),
    ("lumi.sensor_switch.aq2", 1, ON_OFF, "0080 20 04", "quadruple"),
    ("lumi.remote.b1acn01", 1, PRESSES, "5500 21 0000", "hold"),
    ("lumi.remote.b1acn01", 1, PRESSES, "5500 21 0100", "single"),
    ("lumi.remote.b1acn01", 1, PRESSES, "5500 21 0200", "double"),
    ("lumi.remote.b1acn01", 1, PRESSES, "5500 21 ff00", "release"),
    ("lumi.sensor_switch.aq3", 1, PRESSES, "5500 21 1000", "hold"),
    ("lumi.sensor_switch.aq3", 1, PRESSES, "5500 21 1100", "release"),
    ("lumi.sensor_switch.aq3", 1, PRESSES, "5500 21 1200", "shake"),
    ("lumi.remote.b186acn01", 1, PRESSES, "5500 21 0200", "double"),
    ("lumi.remote.b286acn01", 1, PRESSES, "5500 21 0100", "single_left"),
    ("lumi.remote.b286acn01", 2, PRESSES, "5500 21 0200", "double_right"),
    ("lumi.remote.b286acn01", 3, PRESSES, "5500 21 0000", "hold_both"),
    ("lumi.remote.b1acn02", 1, PRESSES, "5500 21 0100", "single"),
    ("lumi.remote.acn004", 3, PRESSES, "5500 21 0100", "single_both"),
    ("lumi.remote.b28ac1", 2, PRESSES, "5500 21 0300", "triple_right"),
    ("lumi.remote.b686opcn01", 1, PRESSES, "5500 21 0100", "button_1_single"),
    ("lumi.remote.b686opcn01", 6, PRESSES, "5500 21 ff00", "button_6_release"),
]


@pytest.mark.parametrize(("model", "endpoint", "cluster", "frame", "name"), PRESSED)
def test_a_press(model: str, endpoint: int, cluster: int, frame: str, name: str) -> None:
    there = button(model)
    assert events(there, endpoint, cluster, frame) == [(name, None)]
    assert name in {event.name for event in there.offered_events}


@pytest.mark.parametrize("model", ENDPOINTS)
def test_a_number_that_is_no_press(model: str) -> None:
    for cluster in (ON_OFF, PRESSES):
        for endpoint in (1, 2, 3):
            assert events(button(model), endpoint, cluster, "5500 21 3d00 0080 20 99") == []


@pytest.mark.parametrize("model", ENDPOINTS)
def test_a_button_has_no_state(model: str) -> None:
    there = button(model)
    assert not {"state", "state_2", "multistate_input", "analog_input"} & set(there.slots)
    assert {"battery", "voltage"} <= set(there.slots)


def test_each_button_is_an_event_of_a_name() -> None:
    offered = [event.name for event in button("lumi.remote.b286acn01").offered_events]
    assert offered == [f"{kind}_{side}" for side in ("left", "right", "both") for kind in ("hold", "single", "double")]


@pytest.mark.parametrize("model", ["lumi.remote.b686opcn01", "lumi.remote.b1acn02"])
def test_presses_come_as_reports(model: str) -> None:
    there = button(model)
    assert there.settings == {place(1, OWN, CODE): bytes.fromhex("0900 20 01")}


def test_a_click_mode() -> None:
    there = button("lumi.remote.b28ac1")
    assert reported(there, place(1, OWN, CODE), bytes.fromhex("2501 20 02")) == ((("click_mode", "multi"),), "")


TURNS = [
    (2, PRESSES, "5500 21 0000", "shake", None),
    (2, PRESSES, "5500 21 0300", "fall", None),
    (2, PRESSES, "5500 21 4300", "flip90", {"side": 3, "from_side": 0}),
    (2, PRESSES, "5500 21 8200", "flip180", {"side": 2}),
    (2, PRESSES, "5500 21 0301", "slide", {"side": 3}),
    (2, PRESSES, "5500 21 0502", "tap", {"side": 5}),
    (3, ANALOG, "5500 39 00000CC2", "rotate_left", {"angle": -35.0}),
    (3, ANALOG, "5500 39 8FC2B541", "rotate_right", {"angle": 22.72}),
]


@pytest.mark.parametrize(("endpoint", "cluster", "frame", "name", "data"), TURNS)
def test_a_cube(endpoint: int, cluster: int, frame: str, name: str, data: object) -> None:
    assert events(button("lumi.sensor_cube.aqgl01"), endpoint, cluster, frame) == [(name, data)]


@pytest.mark.parametrize("frame", ["5500 21 0600", "5500 21 7700", "5500 21 8600", "5500 21 0602", "5500 21 ffff"])
def test_a_cube_has_six_sides(frame: str) -> None:
    assert events(button("lumi.sensor_cube.aqgl01"), 2, PRESSES, frame) == []


@pytest.mark.parametrize("frame", ["5500 39 0000C07F", "5500 39 0000807F", "5500 39 00000000"])
def test_a_cube_that_was_not_turned(frame: str) -> None:
    assert events(button("lumi.sensor_cube.aqgl01"), 3, ANALOG, frame) == []
