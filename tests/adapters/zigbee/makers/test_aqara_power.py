"""Plugs, relays and wall switches of LUMI by frames that were recorded."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Model, Notes, place
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.reports import reported, told
from carriage.zigbee.datatypes import BOOL, SINGLE, UINT8, UINT16, Value, ZclType, encode

BASIC, ON_OFF, PRESSES, ANALOG, OWN, CODE = 0x0000, 0x0006, 0x0012, 0x000C, 0xFCC0, 0x115F
_H1 = (0x0000, 0x0002, 0x0003, 0x0004, 0x0005, ON_OFF, 0x0009)
_EU = (0x0000, 0x0002, 0x0003, 0x0004, 0x0005, ON_OFF)
ENDPOINTS: dict[str, dict[int, tuple[int, ...]]] = {
    "lumi.plug": {1: (0x0000, 4, 3, ON_OFF, 16, 5, 10, 1, 2), 2: (ANALOG,), 3: (ANALOG,)},
    "lumi.plug.maus01": {1: (0x0000, 4, 3, ON_OFF, 16, 5, 10, 1, 2, 0x0B04), 2: (ANALOG,), 3: (ANALOG,)},
    "lumi.plug.mmeu01": {1: (*_EU, OWN), 21: (ANALOG,), 31: (ANALOG,)},
    "lumi.plug.maeu01": {1: (*_EU, 0x0009, 0x0702, 0x0B04)},
    "lumi.relay.c2acn01": {1: (0x0000, 3, 4, 5, 1, 2, 10, ON_OFF, 16, 0x0B04, ANALOG), 2: (ON_OFF, 16, 4, 5)},
    "lumi.switch.n0agl1": {1: (*_EU, 0x0702, 0x0B04), 21: (ANALOG,), 31: (ANALOG,), 41: (PRESSES,)},
    "lumi.switch.n2aeu1": {
        1: (*_H1, OWN),
        2: (*_H1, OWN),
        21: (ANALOG,),
        31: (ANALOG,),
        41: (PRESSES,),
        42: (PRESSES,),
    },
    "lumi.switch.l1aeu1": {1: _H1},
}
"""What they list, by endpoint."""


def built(model: str) -> Model:
    endpoints = tuple(
        Endpoint(number=number, profile=0x0104, device_id=0x0051, in_clusters=clusters, out_clusters=())
        for number, clusters in ENDPOINTS[model].items()
    )
    device = Device(
        eui64="00:0d:6f:00:00:00:00:01", nwk=1, manufacturer="LUMI", model=model, interviewed=True, sleepy=False,
        lqi=None, rssi=None, last_seen=None, endpoints=endpoints, tunnel_endpoints=(),
    )  # fmt: skip
    asked = {place(1, cluster): {} for cluster in (0x0702, 0x0B04)}
    return model_of(device, TABLE, Notes(), asked)  # type: ignore[arg-type]


def tells(model: Model, endpoint: int, cluster: int, payload: bytes, code: int = 0) -> dict[str, Any]:
    at = place(endpoint, cluster, code)
    values, fault = reported(model, model.aliases.get(at, at), payload)
    assert not fault
    return dict(values)


LIST: list[tuple[int, ZclType, Value]] = [
    (3, UINT8, 31), (100, BOOL, False), (5, UINT16, 1), (8, UINT16, 278), (9, UINT16, 256),
    (149, SINGLE, 13.42967700958252), (150, SINGLE, 2270.0), (151, SINGLE, 0.0), (152, SINGLE, 0.0), (155, BOOL, False),
]  # fmt: skip
"""A list of which the values are recorded, without two of which the type isn't."""


@pytest.mark.parametrize("model", ["lumi.plug.mmeu01", "lumi.plug.maeu01", "lumi.switch.n0agl1"])
def test_the_list_of_cluster_fcc0(model: str) -> None:
    octets = b"".join(bytes((tag, kind.id)) + encode(kind, value) for tag, kind, value in LIST)  # type: ignore[arg-type]
    payload = b"\xf7\x00\x41" + bytes((len(octets),)) + octets
    there = built(model)
    expected = {"device_temperature": 31, "energy": 13.43, "voltage": 227.0, "current": 0, "power": 0}
    assert tells(there, 1, OWN, payload, CODE) == expected
    assert set(expected) <= {each.name for each in there.properties}


def test_the_list_of_basic() -> None:
    frame = (
        "01FF 42 44 03282305 212E0008 212E1209 21001064 10006510 006E2000 6F200094 20029539 0A078C41 963999EB 0C459739"
        "0030683B 983980BB 873C9B21 00009C20 010A2100 000C2800 00"
    )
    there = built("lumi.relay.c2acn01")
    payload = bytes.fromhex(frame)
    assert tells(there, 1, BASIC, payload, CODE) == {"device_temperature": 35, "voltage": 225.5, "power": 0.02}
    assert "energy" not in there.slots  # kWh or Wh


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("lumi.plug", 2),
        ("lumi.plug.maus01", 2),
        ("lumi.plug.mmeu01", 21),
        ("lumi.relay.c2acn01", 1),
        ("lumi.switch.n2aeu1", 21),
    ],
)
def test_power_comes_by_itself(model: str, endpoint: int) -> None:
    there = built(model)
    assert tells(there, endpoint, ANALOG, bytes.fromhex("5500 39 8fc23c42")) == {"power": 47.19}
    assert not {"power_2", "power_21", "analog_input", "analog_input_2", "analog_input_31"} & set(there.slots)


def test_another_endpoint_is_asked_for_the_power_of_the_list() -> None:
    """The list comes by itself and is not read."""
    power = built("lumi.plug.mmeu01").slots["power"]
    assert [(each.endpoint, each.row.cluster) for each in power.asked] == [(21, ANALOG)]
    power.absent = False  # the list came
    assert [(each.endpoint, each.row.cluster) for each in power.asked] == [(21, ANALOG)]


def test_the_meters_of_a_later_firmware() -> None:
    there = built("lumi.plug.maeu01")
    assert tells(there, 1, 0x0B04, bytes.fromhex("0b05 29 2000")) == {"power": 32}
    assert "power_1" not in there.slots
    assert "battery" not in built("lumi.plug").slots


def test_a_wall_switch() -> None:
    there = built("lumi.switch.n2aeu1")
    assert {"state", "state_2"} <= set(there.slots)
    assert "multistate_input" not in there.slots
    for endpoint, value, name in ((41, 1, "single_left"), (42, 2, "double_right"), (51, 1, "single_both")):
        at, payload = place(endpoint, PRESSES), b"\x55\x00\x21" + bytes((value, 0))
        assert [event.name for event, _ in told(there, at, payload)] == [name]
    assert tells(there, 1, OWN, bytes.fromhex("0002 20 00 0102 10 01"), CODE) == {
        "operation_mode": "decoupled",
        "power_outage_memory": True,
    }
    assert tells(there, 2, OWN, bytes.fromhex("0002 20 01"), CODE) == {"operation_mode_2": "control_relay"}
    assert tells(there, 1, OWN, bytes.fromhex("f000 20 01"), CODE) == {"flip_indicator_light": True}
    assert there.settings[place(1, OWN, CODE)] == bytes.fromhex("0900 20 01")


def test_a_wall_switch_without_neutral() -> None:
    there = built("lumi.switch.l1aeu1")
    assert not {"power", "energy"} & set(there.slots)
    assert [event.name for event, _ in told(there, place(41, PRESSES), bytes.fromhex("5500 21 0200"))] == ["double"]


def test_the_switch_at_a_relay() -> None:
    assert tells(built("lumi.switch.n0agl1"), 1, OWN, bytes.fromhex("0a00 20 02"), CODE) == {"switch_type": "momentary"}
