"""Radiator valves of Danfoss (also as Popp and Hive) and Sonoff: own attributes, by values as recorded in public."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.device_model import Model
from adapters.zigbee.makers import danfoss
from adapters.zigbee.reports import reported
from gateway.api.model import Outcome, WriteProperties
from gateway.api.schema import tellable
from simulator.network.cluster_server import Attribute, ClusterServer
from simulator.network.clusters.hvac import thermostat
from simulator.network.datatypes import BITMAP8, BOOL, INT8, UINT32
from simulator.network.device_kinds import Identity
from tests.harness.cluster_models import model_with
from tests.harness.maker_frames import heard
from tests.harness.zcl_asked import joined, server

BASIC, THERMOSTAT, INTERFACE, OWN = 0x0000, 0x0201, 0x0204, 0xFC11


def danfoss_of(model: str, manufacturer: str = "Danfoss") -> Model:
    return model_with(BASIC, THERMOSTAT, INTERFACE, manufacturer=manufacturer, model=model)


VALUES: list[tuple[str, str, Any]] = [
    ("0040 30 01", "window_open_internal", "closed"),
    ("0040 30 09", "window_open_internal", None),
    ("0340 10 00", "window_open_external", False),
    ("1040 30 04", "day_of_week", "thursday"),
    ("1140 21 9402", "trigger_time", 660),
    ("1140 21 ffff", "trigger_time", None),
    ("1240 10 01", "mounted_mode_active", True),
    ("1440 10 01", "thermostat_orientation", "vertical"),
    ("1540 29 c0e0", "external_measured_room_sensor", -80.0),
    ("1540 29 3408", "external_measured_room_sensor", 21.0),
    ("1640 10 00", "radiator_covered", False),
    ("2040 20 01", "algorithm_scale_factor", 1),
    ("3040 10 01", "heat_available", True),
    ("3140 10 01", "heat_required", True),
    ("3240 10 01", "load_balancing_enable", True),
    ("4040 29 c0e0", "load_room_mean", -8000),
    ("4a40 29 9300", "load_estimate", 147),
    ("4b40 28 f6", "regulation_setpoint_offset", -1.0),
    ("4c40 30 01", "adaptation_run_control", "initiate_adaptation"),
    ("4e40 18 01", "adaptation_run_settings", True),
    ("4f40 10 00", "preheat_status", False),
    ("5140 10 01", "window_open_feature", True),
]


@pytest.mark.parametrize(
    ("manufacturer", "model"),
    [("Danfoss", "eTRV0103"), ("Danfoss", "TRV003"), ("D5X84YU", "eT093WRO")],
)
@pytest.mark.parametrize(("record", "name", "value"), VALUES)
def test_an_attribute_under_the_code_is_a_property(
    manufacturer: str, model: str, record: str, name: str, value: Any
) -> None:
    valve = danfoss_of(model, manufacturer)
    assert heard(valve, THERMOSTAT, "0c 4612 1b 0a " + record) == [(name, value)]
    assert heard(valve, THERMOSTAT, "08 1b 0a " + record) == []
    if value is not None:
        assert tellable(valve.slots[name].property, value)


def test_the_display_of_a_valve_and_what_it_only_does() -> None:
    valve = danfoss_of("eTRV0100")
    assert heard(valve, INTERFACE, "0c 4612 1b 0a 0040 30 01") == [("viewing_direction", "upside-down")]
    assert valve.slots["system_mode"].property.enum == ("heat",)
    assert heard(valve, THERMOSTAT, "08 1b 0a 1c00 30 04") == [("system_mode", "heat")]
    assert "system_mode" in model_with(THERMOSTAT).slots
    assert len(model_with(THERMOSTAT).slots["system_mode"].property.enum) > 1


SONOFF_VALUES: list[tuple[str, str, Any]] = [
    ("0000 10 01", "child_lock", True),
    ("0060 10 00", "open_window", False),
    ("0260 29 bc02", "frost_protection_temperature", 7.0),
    ("0b60 20 64", "valve_opening_degree", 100),
    ("0d60 29 0000", "external_temperature_input", 0.0),
    ("0e60 20 00", "temperature_sensor_select", "internal"),
    ("1160 29 9cff", "temperature_accuracy", -1.0),
    ("1460 20 01", "temporary_mode_select", "timer"),
    ("1560 23 100e0000", "temporary_mode_duration", 60.0),
    ("1660 29 d007", "timer_mode_target_temp", 20.0),
    ("1760 18 02", "smart_temperature_control", True),
]


@pytest.mark.parametrize("header", ["08 1b 0a ", "0c 8612 1b 0a "])
@pytest.mark.parametrize(("record", "name", "value"), SONOFF_VALUES)
def test_sonoffs_valve_with_its_code_or_without(header: str, record: str, name: str, value: Any) -> None:
    valve = model_with(BASIC, THERMOSTAT, OWN, manufacturer="SONOFF", model="TRVZB")
    assert heard(valve, OWN, header + record) == [(name, value)]


@given(st.binary(max_size=60), st.sampled_from([THERMOSTAT, INTERFACE, OWN]))
def test_any_report_is_read_or_malformed(payload: bytes, cluster: int) -> None:
    for model in (danfoss_of("eTRV0103"), model_with(BASIC, OWN, manufacturer="SONOFF", model="TRVZB")):
        for at in model.places:
            if at & 0xFFFF == cluster:
                for name, value in reported(model, at, payload)[0]:
                    assert value is None or tellable(model.slots[name].property, value)


class Setpoint:
    """The valve's own command for setpoints, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, server: ClusterServer, payload: bytes) -> None:
        self.asked.append(payload)


async def test_a_setpoint_is_sent_by_the_valves_own_command(world: Any) -> None:
    valve, setpoint = thermostat(Identity("Danfoss", "eTRV0103", False)), Setpoint()
    own = ClusterServer(
        id=THERMOSTAT,
        attributes={0x404B: Attribute(0x404B, INT8, 0, writable=True), 0x4031: Attribute(0x4031, BOOL, 0, False, True)},
        commands={0x40: setpoint},
        manufacturer=danfoss.CODE,
    )
    valve.makers = {danfoss.CODE: own}
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, valve, manufacturer="Danfoss", model="eTRV0103")
        receipt = await asked.does(
            WriteProperties, values={"occupied_heating_setpoint": 21.5, "regulation_setpoint_offset": -0.5}
        )
        assert receipt.outcome is Outcome.DELIVERED
        assert setpoint.asked == [bytes.fromhex("01 6608")]
        assert own.attributes[0x404B].value == -5
        assert asked.reported() == {"occupied_heating_setpoint": 21.5, "regulation_setpoint_offset": -0.5}
        device.report(THERMOSTAT, "3140 10 01", manufacturer=danfoss.CODE)
        await gateway.until(lambda: asked.reported().get("heat_required") is True)


async def test_sonoffs_valve_is_set_without_a_code(world: Any) -> None:
    own = server(OWN, {0x6015: (UINT32, 0), 0x6017: (BITMAP8, 0), 0x0000: (BOOL, 0)})
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, own, manufacturer="SONOFF", model="TRVZB")
        values = {"temporary_mode_duration": 90, "smart_temperature_control": True, "child_lock": True}
        receipt = await asked.does(WriteProperties, values=values)
        assert receipt.outcome is Outcome.DELIVERED
        assert [own.attributes[at].value for at in (0x6015, 0x6017, 0x0000)] == [5400, 2, 1]
