"""Thermostats and fans over the virtual dongle: the simulator's servers, and devices that are odd."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.zigbee.families.hvac import DEMAND_255
from adapters.zigbee.reports import reported
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import (
    InvokeAction,
    Join,
    Outcome,
    PropertyAffordance,
    Reading,
    ReadProperties,
    Reason,
    WriteProperties,
)
from simulator.network.cluster_server import Attribute, ClusterServer, make_cluster
from simulator.network.clusters.hvac import fan, thermostat, thermostat_ui
from simulator.network.clusters.ids import Identity
from simulator.network.datatypes import ENUM8, INT16
from tests.harness.cluster_models import model_with
from tests.harness.zcl_asked import joined

IDENTITY = Identity("ACME", "T1", mains=True)
THERMOSTAT, FAN, UI = 0x0201, 0x0202, 0x0204


def bounds(properties: tuple[PropertyAffordance, ...], name: str) -> tuple[float | None, float | None]:
    (found,) = [each for each in properties if each.name == name]
    return found.minimum, found.maximum


REPORTS: list[tuple[int, str, dict[str, Any]]] = [
    (THERMOSTAT, "0000 29 6608", {"local_temperature": 21.5}),
    (THERMOSTAT, "0000 29 0080", {"local_temperature": None}),
    (THERMOSTAT, "0000 29 f0d8", {"local_temperature": -100.0}),
    (THERMOSTAT, "0000 29 0090", {"local_temperature": None}),  # colder than can be
    (THERMOSTAT, "0000 21 6608", {"local_temperature": 21.5}),  # of another type
    (THERMOSTAT, "1200 29 3408", {"occupied_heating_setpoint": 21.0}),
    (THERMOSTAT, "1200 29 cb80", {"occupied_heating_setpoint": None}),  # -325.65: a Stelpro that is off
    (THERMOSTAT, "1200 29 9001", {"occupied_heating_setpoint": 4.0}),  # below its limits, as for frost protection
    (THERMOSTAT, "1100 29 280a 1400 29 4006", {"occupied_cooling_setpoint": 26.0, "unoccupied_heating_setpoint": 16.0}),
    (THERMOSTAT, "1300 29 f00a", {"unoccupied_cooling_setpoint": 28.0}),
    (THERMOSTAT, "1000 28 f6", {"local_temperature_calibration": -1.0}),
    (THERMOSTAT, "1000 28 80", {"local_temperature_calibration": None}),
    (THERMOSTAT, "0800 20 64", {"pi_heating_demand": 100}),
    (THERMOSTAT, "0800 20 c8", {"pi_heating_demand": None}),
    (THERMOSTAT, "0700 20 05", {"pi_cooling_demand": 5}),
    (THERMOSTAT, "1c00 30 00", {"system_mode": "off"}),
    (THERMOSTAT, "1c00 30 05", {"system_mode": "emergency_heating"}),
    (THERMOSTAT, "1c00 30 02", {"system_mode": None}),
    (THERMOSTAT, "1c00 20 04", {"system_mode": "heat"}),
    *(
        (THERMOSTAT, f"2900 19 {state.to_bytes(2, 'little').hex()}", {"running_state": word})
        for state, word in [
            (0, "idle"), (1, "heat"), (2, "cool"), (4, "fan_only"), (8, "heat"), (16, "cool"), (9, "heat"),
            (10, "cool"), (33, "heat"), (34, "cool"), (65, "heat"), (66, "cool"), (3, "heat"), (32768, "idle"),
            (32769, "heat"),
        ]
    ),
    (THERMOSTAT, "2900 21 0200", {"running_state": "cool"}),
    (FAN, "0000 30 02", {"fan_mode": "medium", "fan_state": True}),
    (FAN, "0000 30 00", {"fan_mode": "off", "fan_state": False}),
    (FAN, "0000 30 ff", {"fan_mode": None, "fan_state": None}),
    (FAN, "0000 20 05", {"fan_mode": "auto", "fan_state": True}),
    (UI, "0000 30 01", {"temperature_display_mode": "fahrenheit"}),
    (UI, "0100 30 02", {"keypad_lockout": "lock2"}),
    (UI, "0100 30 09", {"keypad_lockout": None}),
]  # fmt: skip

WRITES: list[tuple[dict[str, Any], int, dict[int, int], dict[str, Any]]] = [
    ({"occupied_heating_setpoint": 21.37}, THERMOSTAT, {0x0012: 2137}, {"occupied_heating_setpoint": 21.37}),
    ({"occupied_cooling_setpoint": 25}, THERMOSTAT, {0x0011: 2500}, {"occupied_cooling_setpoint": 25.0}),
    ({"unoccupied_heating_setpoint": 15.5}, THERMOSTAT, {0x0014: 1550}, {"unoccupied_heating_setpoint": 15.5}),
    ({"unoccupied_cooling_setpoint": 28}, THERMOSTAT, {0x0013: 2800}, {"unoccupied_cooling_setpoint": 28.0}),
    ({"local_temperature_calibration": -1.5}, THERMOSTAT, {0x0010: -15}, {"local_temperature_calibration": -1.5}),
    (
        {"system_mode": "heat", "occupied_heating_setpoint": 22},
        THERMOSTAT,
        {0x001C: 4, 0x0012: 2200},
        {"system_mode": "heat", "occupied_heating_setpoint": 22.0},
    ),
    ({"fan_mode": "high"}, FAN, {0: 3}, {"fan_mode": "high", "fan_state": True}),
    ({"fan_state": False}, FAN, {0: 0}, {"fan_mode": "off", "fan_state": False}),
    ({"fan_state": True}, FAN, {0: 5}, {"fan_mode": "auto", "fan_state": True}),  # it has no "on"
    ({"fan_state": True, "fan_mode": "low"}, FAN, {0: 1}, {"fan_mode": "low", "fan_state": True}),
    ({"fan_mode": "medium", "fan_state": True}, FAN, {0: 2}, {"fan_mode": "medium", "fan_state": True}),
    ({"keypad_lockout": "lock1"}, UI, {1: 1}, {"keypad_lockout": "lock1"}),
    ({"temperature_display_mode": "fahrenheit"}, UI, {0: 1}, {"temperature_display_mode": "fahrenheit"}),
]

RAISES: list[tuple[dict[str, Any], str]] = [
    ({"amount": 0.5}, "0205"),
    ({"amount": -1, "mode": "heat"}, "00f6"),
    ({"amount": 12.7, "mode": "cool"}, "017f"),
]


async def test_rows(world: Any) -> None:
    """Each row: read, report, write, refused, out of range."""
    servers = [make(IDENTITY) for make in (thermostat, fan, thermostat_ui)]
    clusters = {server.id: server for server in servers}
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, *servers)
        join = gateway.context.of(Join)[-1]
        assert {each.entity for each in join.properties} == {"climate", "fan", ""}
        assert bounds(join.properties, "occupied_heating_setpoint") == (5.0, 30.0)
        assert bounds(join.properties, "unoccupied_cooling_setpoint") == (16.0, 32.0)
        (mode,) = [each for each in join.properties if each.name == "fan_mode"]
        assert mode.enum == ("off", "low", "medium", "high", "auto")
        assert set(clusters[THERMOSTAT].reporting) == {0x0000, 0x0008, 0x0011, 0x0012, 0x001C, 0x0029}

        names = ("local_temperature", "system_mode", "running_state", "fan_mode", "fan_state", "keypad_lockout")
        receipt = await asked.does(ReadProperties, names=names)
        assert [each.value for each in receipt.properties] == [20.0, "heat", "idle", "off", False, "unlock"]

        for cluster, payload, values in REPORTS:
            device.report(cluster, payload)
            await gateway.until(lambda values=values: values.items() <= asked.reported().items())

        for written, cluster, raw, told in WRITES:
            receipt = await asked.does(WriteProperties, values=written)
            assert receipt.outcome is Outcome.DELIVERED, written
            assert {number: clusters[cluster].attributes[number].value for number in raw} == raw, written
            assert told.items() <= asked.reported().items(), written

        refused = await asked.does(WriteProperties, values={"local_temperature_calibration": 5})
        assert (refused.reason, refused.detail) == (Reason.REJECTED, "INVALID_VALUE")
        for values in (
            {"occupied_heating_setpoint": True},
            {"system_mode": "warm"},
            {"fan_mode": 3},
            {"running_state": "heat"},
        ):
            assert (await asked.does(WriteProperties, values=values)).reason is Reason.CONTENT, values

        device.asked.clear()
        for given, _ in RAISES:
            assert (
                await asked.does(InvokeAction, name="setpoint_raise_lower", input=given)
            ).outcome is Outcome.DELIVERED
        sent = [frame.payload.hex() for at, frame in device.asked if at == THERMOSTAT and frame.cluster_specific]
        assert sent == [payload for _, payload in RAISES]
        assert asked.reported()["occupied_heating_setpoint"] == clusters[THERMOSTAT].whole(0x0012) / 100


def make_old() -> ClusterServer:
    """A valve that only heats, has no limits, no demand, no running state, and no setpoint for an empty house."""
    attributes = [
        Attribute(0x0000, INT16, 1900, reportable=True),
        Attribute(0x0012, INT16, 2000, writable=True, reportable=True),
        Attribute(0x001B, ENUM8, 2),
        Attribute(0x001C, ENUM8, 4, writable=True),
    ]
    return make_cluster(THERMOSTAT, attributes)


async def test_what_a_device_does_not_have_is_no_property(world: Any) -> None:
    async with world.gateway() as gateway:
        device, asked = await joined(
            world, gateway, make_old(), make_cluster(FAN, [Attribute(0, ENUM8, 4, writable=True)])
        )
        join = gateway.context.of(Join)[-1]
        assert {each.name for each in join.properties} == {
            "local_temperature", "occupied_heating_setpoint", "system_mode", "fan_mode", "fan_state",
        }  # fmt: skip
        assert bounds(join.properties, "occupied_heating_setpoint") == (5.0, 35.0)
        assert (await asked.does(WriteProperties, values={"fan_state": True})).outcome is Outcome.DELIVERED
        assert asked.reported() == {"fan_mode": "on", "fan_state": True}
        assert (
            await asked.does(InvokeAction, name="setpoint_raise_lower", input={"amount": 1})
        ).detail == "UNSUP_COMMAND"
        device.answer = lambda at, frame, own: ZclFrame(
            0x04, b"\x87\x12\x00", frame.sequence, cluster_specific=False, to_client=True
        )
        asked.heard = len(gateway.context.of(Reading))
        refused = await asked.does(WriteProperties, values={"occupied_heating_setpoint": 21})
        assert (refused.reason, refused.detail) == (Reason.REJECTED, "INVALID_VALUE")
        assert asked.reported() == {}


LIMITS: list[tuple[dict[int, int], tuple[float, float], tuple[float, float]]] = [
    ({}, (5, 35), (5, 35)),
    ({0x0003: 700, 0x0004: 3000, 0x0005: 1600, 0x0006: 3200}, (7, 30), (16, 32)),
    ({0x0003: 700, 0x0004: 3000, 0x0015: 1000, 0x0016: 2800}, (10, 28), (5, 35)),
    ({0x0003: 700, 0x0004: 3000, 0x0015: 500, 0x0016: 3500}, (7, 30), (5, 35)),  # beyond what it can do at all
    ({0x0003: 700, 0x0004: -0x8000, 0x0018: 2700}, (7, 35), (5, 27)),  # "no value"
    ({0x0003: 3000, 0x0004: 700}, (5, 35), (5, 35)),
]


@pytest.mark.parametrize(("constants", "heating", "cooling"), LIMITS)
def test_setpoints_have_the_limits_of_the_device(
    constants: dict[int, int], heating: tuple[float, float], cooling: tuple[float, float]
) -> None:
    model = model_with(THERMOSTAT, constants={THERMOSTAT: constants})
    for name in ("occupied_heating_setpoint", "unoccupied_heating_setpoint"):
        assert bounds(model.properties, name) == heating
    for name in ("occupied_cooling_setpoint", "unoccupied_cooling_setpoint"):
        assert bounds(model.properties, name) == cooling


@pytest.mark.parametrize(
    ("sequence", "lacks"),
    [
        (0, {"heat", "emergency_heating", "heating"}),
        (1, {"heat", "emergency_heating", "heating"}),
        (2, {"cool", "precooling", "cooling"}),
        (3, {"cool", "precooling", "cooling"}),
        (4, set()),
        (5, set()),
        (6, set()),
    ],
)
def test_a_device_that_cannot_heat_or_cool_has_no_such_mode_and_setpoint(sequence: int, lacks: set[str]) -> None:
    model = model_with(THERMOSTAT, constants={THERMOSTAT: {0x001B: sequence}})
    names = {each.name for each in model.properties}
    modes = set(model.slots["system_mode"].property.enum)
    assert not modes & lacks
    assert {"off", "auto", "fan_only"} <= modes
    for kind in ("heating", "cooling"):
        assert (f"occupied_{kind}_setpoint" in names) is (kind not in lacks)
        assert (f"unoccupied_{kind}_setpoint" in names) is (kind not in lacks)


@pytest.mark.parametrize(
    ("sequence", "modes", "on"),
    [
        (0, "off low medium high", 3),
        (1, "off low high", 3),
        (2, "off low medium high auto", 5),
        (3, "off low high auto", 5),
        (4, "off on auto", 4),
        (5, "off low medium high on auto smart", 4),
        (None, "off low medium high on auto smart", 4),
    ],
)
def test_a_fan_has_the_modes_of_its_sequence(sequence: int | None, modes: str, on: int) -> None:
    model = model_with(FAN, constants={FAN: {} if sequence is None else {1: sequence}})
    assert model.slots["fan_mode"].property.enum == tuple(modes.split())
    assert model.slots["fan_state"].row.raw(True) == on
    assert model.slots["fan_state"].row.raw(False) == 0


def test_a_demand_of_255_is_all_for_a_device_of_which_that_is_known() -> None:
    def demand(raw: int, **options: bool) -> Any:
        model = model_with(THERMOSTAT, options=options)
        return dict(reported(model, 1 << 16 | THERMOSTAT, bytes((0x08, 0x00, 0x20, raw)))[0])["pi_heating_demand"]

    assert [demand(raw) for raw in (0, 100, 101, 255)] == [0, 100, None, None]
    assert [demand(raw, **{DEMAND_255: True}) for raw in (0, 100, 128, 255)] == [0, 39, 50, 100]
