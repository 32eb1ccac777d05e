"""Sensors of LUMI by frames that were recorded: what each report tells."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.clusters import TABLE
from adapters.zigbee.device_model import Model, place
from adapters.zigbee.reports import happened, reported, told
from tests.harness.cluster_models import model_with

BASIC, ON_OFF, LIGHT, OWN, LOCK, ZONE = 0x0000, 0x0006, 0x0400, 0xFCC0, 0x0101, 0x0500
CODE = 0x115F
CLUSTERS = {
    "lumi.sensor_magnet": (0x0000, 0x0003, 0xFFFF, 0x0019),
    "lumi.sensor_magnet.aq2": (0x0000, 0x0003, 0xFFFF, 0x0006),
    "lumi.magnet.agl02": (0x0000, 0x0001, 0x0003, 0x0500),
    "lumi.magnet.ac01": (0x0000, 0x0001, 0x0003, 0x0500),
    "lumi.sensor_motion": (0x0000, 0xFFFF, 0x0003, 0x0019),
    "lumi.sensor_motion.aq2": (0x0000, 0xFFFF, 0x0406, 0x0400, 0x0500, 0x0001, 0x0003),
    "lumi.motion.agl02": (0x0000, 0x0001, 0x0003, 0x0406),
    "lumi.motion.ac02": (0x0000, 0x0001, 0x0003, 0xFCC0),
    "lumi.motion.agl04": (0x0000, 0x0001, 0x0003, 0xFCC0),
    "lumi.sens": (0x0000, 0x0003, 0x0019, 0xFFFF, 0x0012),
    "lumi.weather": (0x0000, 0x0003, 0xFFFF, 0x0402, 0x0403, 0x0405),
    "lumi.sensor_ht.agl02": (0x0000, 0x0001, 0x0003, 0x0402, 0x0403, 0x0405),
    "lumi.sensor_wleak.aq1": (0x0000, 0x0003, 0x0001),
    "lumi.sensor_smoke": (0x0000, 0x0001, 0x0003, 0x000C, 0x0012, 0x0500),
    "lumi.sensor_smoke.acn03": (0x0000, 0x0001, 0x0003, 0x0500, 0xFCC0),
    "lumi.vibration.aq1": (0x0000, 0x0003, 0x0019, 0x0101),
}
"""What they list."""


def sensor(model: str) -> Model:
    return model_with(*CLUSTERS[model], table=TABLE, manufacturer="LUMI", model=model)


def tells(model: Model, cluster: int, frame: str, code: int = 0) -> dict[str, Any]:
    """The properties in a report, of its records."""
    at = place(1, cluster, code)
    values, fault = reported(model, model.aliases.get(at, at), bytes.fromhex(frame))
    assert not fault
    return dict(values)


MIJIA = {
    "lumi.sensor_magnet": (
        "02FF 4C 0600 1001 21BA0B 21A813 240100000000 215D06 2058",
        {"battery": 100, "voltage": 3002},
    ),
    "lumi.sensor_motion": (
        "02FF 4C 0600 1000 21EC0B 21A801 240000000000 218200 2063",
        {"battery": 100, "voltage": 3052},
    ),
}
LISTS = {
    "lumi.sensor_magnet.aq2": (
        "01FF 42 1D 0121D10B 03281504 21A81305 21A20006 24030000 00000A21 00006410 00",
        {"battery": 100, "voltage": 3025, "device_temperature": 21},
    ),
    "lumi.sensor_motion.aq2": (
        "01FF 41 21 0121DB0B 03281F04 21A84305 21B60006 240B0000 00000A21 CA356410 000B2108 00",
        {"battery": 100, "voltage": 3035, "device_temperature": 31, "illuminance": 8},
    ),
    "lumi.weather": (
        "01FF 41 25 01214F0B 0421A843 05214E02 06240100 00000064 299B0965 21BE1B66 2B138D01 000A2190 0D",
        {"battery": 30, "voltage": 2895, "temperature": 24.59, "humidity": 71.02, "pressure": 1016.51},
    ),
    "lumi.sensor_wleak.aq1": (  # it says that it has an octet more than it has
        "01FF 42 22 0121B30B 03281704 21A84305 21A70006 24000000 00000821 04020A21 00006410 01",
        {"battery": 97, "voltage": 2995, "device_temperature": 23},
    ),
    "lumi.vibration.aq1": (
        "01FF 42 1A 0121DB0B 03280C04 21A84305 21540106 24010000 00000A21 78E0",
        {"battery": 100, "voltage": 3035, "device_temperature": 12},
    ),
}
OWN_LISTS = {
    "lumi.magnet.agl02": (
        "F700 41 2E 0121B00C 03281904 21A81305 21090006 240D0000 00000821 1E010A21 00000C20 01641001 66200367"
        "20016821 A800",
        {"battery": 100, "voltage": 3248},
    ),
    "lumi.magnet.ac01": ("F700 41 04 0121B00C", {"voltage": 3248}),
    "lumi.sensor_ht.agl02": (
        "F700 41 2D 0121B60B 03281704 21A81305 210B0006 24060000 00000821 1D010A21 00000C20 0164292D 09652904"
        "186629E9 03",
        {"battery": 99, "voltage": 2998, "temperature": 23.49, "humidity": 61.48},
    ),
    "lumi.sensor_smoke.acn03": (
        "F700 41 3E 0121360C 03281904 21A81305 211E0006 24020000 00000821 11010A21 00000C20 01662003 672001"
        "6821 A800A021 0000A120 00A22000 A32000A4 2000A520 00",
        {"voltage": 3126, "smoke": False, "smoke_density": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("model", MIJIA)
def test_the_structure_of_basic(model: str) -> None:
    frame, expected = MIJIA[model]
    assert tells(sensor(model), BASIC, frame, 0x1234) == expected
    assert tells(sensor(model), BASIC, frame) == expected


@pytest.mark.parametrize("model", LISTS)
def test_the_list_of_basic(model: str) -> None:
    frame, expected = LISTS[model]
    assert tells(sensor(model), BASIC, frame, CODE) == expected


@pytest.mark.parametrize("model", OWN_LISTS)
def test_the_list_of_cluster_fcc0(model: str) -> None:
    frame, expected = OWN_LISTS[model]
    assert tells(sensor(model), OWN, frame, CODE) == expected


def test_the_first_report_behind_the_button_has_the_model_too() -> None:
    frame = (
        "0500 42 16 6C756D69 2E73656E 736F725F 6D6F7469 6F6E2E61 7132 01FF 42 21 0121950B 03281604 21A83105 21440006"
        "24010000 00000A21 7CBE6410 000B2109 00"
    )
    told_ = {"battery": 77, "voltage": 2965, "device_temperature": 22, "illuminance": 9}
    assert tells(sensor("lumi.sensor_motion.aq2"), BASIC, frame) == told_


@pytest.mark.parametrize("model", ["lumi.sensor_magnet", "lumi.sensor_magnet.aq2", "lumi.magnet.agl02"])
def test_a_contact_is_on_if_it_is_open(model: str) -> None:
    there = sensor(model)
    assert tells(there, ON_OFF, "0000 10 01") == {"contact": False}
    assert tells(there, ON_OFF, "0000 10 00") == {"contact": True}
    assert "state" not in there.slots
    assert not {"toggle", "state"} & {action.name for action in there.actions}


@pytest.mark.parametrize(("model", "ends"), [("lumi.sensor_motion", 90), ("lumi.sensor_motion.aq2", 90)])
def test_a_motion_is_never_said_to_be_over(model: str, ends: int) -> None:
    there = sensor(model)
    assert tells(there, 0x0406, "0000 18 01") == {"occupancy": True}
    assert there.ends == {"occupancy": ends}


def test_a_light_of_before_zigbee_3_is_in_lux() -> None:
    assert tells(sensor("lumi.sensor_motion.aq2"), LIGHT, "0000 21 7700") == {"illuminance": 119}


@pytest.mark.parametrize(("model", "ends"), [("lumi.motion.agl02", 60), ("lumi.motion.ac02", 30)])
def test_a_motion_that_comes_with_the_light(model: str, ends: int) -> None:
    there = sensor(model)
    assert tells(there, OWN, "1201 23 25000100", CODE) == {"illuminance": 37, "occupancy": True}
    assert tells(there, OWN, "1201 23 FFFF0100", CODE) == {"illuminance": 0, "occupancy": True}  # in the dark
    assert tells(there, OWN, "F700 41 04 652125 00", CODE) == {"illuminance": 37}
    assert there.ends == {"occupancy": ends}


def test_settings_of_a_motion_detector() -> None:
    there = sensor("lumi.motion.ac02")
    assert tells(there, OWN, "0201 20 1e 0c01 20 03", CODE) == {"detection_interval": 30, "motion_sensitivity": "high"}
    assert tells(sensor("lumi.magnet.ac01"), OWN, "0c01 20 02", CODE) == {"detection_distance": "20mm"}
    there = sensor("lumi.motion.agl04")
    assert tells(there, OWN, "0c01 20 01", CODE) == {"motion_sensitivity": "low"}
    assert (tells(there, 0x0406, "0000 18 01"), there.ends) == ({"occupancy": True}, {"occupancy": 60})


def test_a_climate_without_its_clusters_in_the_descriptor() -> None:
    there = sensor("lumi.sens")
    assert tells(there, 0x0402, "0000 29 0103") == {"temperature": 7.69}
    assert tells(there, 0x0405, "0000 21 590e") == {"humidity": 36.73}
    assert tells(there, 0x0402, "0000 29 f0d8") == {"temperature": None}  # -100 degrees
    assert tells(there, BASIC, "01FF 42 08 6429F0D8 65219CFF") == {"temperature": None, "humidity": None}


def test_a_pressure_by_tenths() -> None:
    there = sensor("lumi.weather")
    assert tells(there, 0x0403, "0000 29 e603 1400 28 ff 1000 29 0227") == {"pressure": 998.6}


@pytest.mark.parametrize(("model", "name"), [("lumi.sensor_wleak.aq1", "water_leak"), ("lumi.sensor_smoke", "smoke")])
def test_an_alarm_of_a_zone_without_enrolment(model: str, name: str) -> None:
    there = sensor(model)
    assert not there.setups
    found = happened(there, place(1, ZONE), 0x00, False, bytes.fromhex("0100 00 00 0000"))
    assert found is not None
    event, data, values, _ = found
    assert (event and event.name, values) == ("zone_status", ((name, True),))
    assert isinstance(data, dict) and data["alarm_1"]


def test_smoke() -> None:
    there = sensor("lumi.sensor_smoke.acn03")
    assert tells(there, OWN, "3A01 20 01", CODE) == {"smoke": True}
    assert tells(there, OWN, "3B01 20 03", CODE) == {"smoke_density": 3}


def test_a_movement() -> None:
    there, at = sensor("lumi.vibration.aq1"), place(1, LOCK)
    assert tells(there, LOCK, "5500 21 0100") == {"vibration": True}
    assert tells(there, LOCK, "5500 21 0200") == {}  # a tilt ends no vibration
    assert there.ends == {"vibration": 90}
    for frame, name in (("0100", "vibration"), ("0200", "tilt"), ("0300", "drop")):
        assert [event.name for event, _ in told(there, at, bytes.fromhex("5500 21" + frame))] == [name]
    assert told(there, at, bytes.fromhex("5500 21 0900")) == []
    assert tells(there, LOCK, "0305 21 5a00") == {"angle": 90}
    assert tells(there, LOCK, "0505 23 0000bc00") == {"strength": 188}
    axes = {"angle_x": -2, "angle_y": 2, "angle_z": 87}
    assert tells(there, LOCK, "0805 25 d6ff 2c00 7604") == axes  # -42, 44 and 1142 along the axes
