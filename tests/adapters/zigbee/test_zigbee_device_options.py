"""Options of one device: what there is, what it does to readings, over restarts, and that it goes with the device."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from adapters.zigbee.clusters import OPTIONS, ROWS
from adapters.zigbee.device_options import FILE, DeviceOptions, adjusted, possible
from gateway.api.errors import PeerError
from gateway.api.model import DataType, Join, Leave, PropertyAffordance, Reading
from simulator.network.datatypes import BITMAP8, INT16, UINT8, UINT16
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import settled

TEMPERATURE = next(row for row in ROWS if row.property.name == "temperature")
ILLUMINANCE = next(row for row in ROWS if row.property.name == "illuminance")
VOLTAGE = next(row for row in ROWS if row.property.name == "voltage" and row.property.unit == "V")
OCCUPANCY = next(row for row in ROWS if row.property.name == "occupancy")


@pytest.mark.parametrize(
    ("row", "options", "raw", "value"),
    [
        (TEMPERATURE, {"temperature_calibration": -0.3}, 2345, 23.15),
        (TEMPERATURE, {"temperature_calibration": 0.125}, 2345, 23.575),
        (TEMPERATURE, {"temperature_precision": 1}, 2349, 23.5),
        (TEMPERATURE, {"temperature_precision": 0, "temperature_calibration": 1}, 2349, 24),
        (TEMPERATURE, {"temperature_calibration": -0.3}, -0x8000, None),
        (TEMPERATURE, {"humidity_calibration": 3}, 2345, 23.45),
        (VOLTAGE, {"voltage_calibration": 10}, 230, 253),
        (ILLUMINANCE, {"illuminance_calibration": -50}, 20_001, 50.0),
        (OCCUPANCY, {"invert_occupancy": True}, 1, False),
        (OCCUPANCY, {"invert_occupancy": False}, 1, True),
    ],
)
def test_what_an_option_makes_of_a_value(row: Any, options: Any, raw: int, value: Any) -> None:
    assert adjusted(row, row.property.name, options).value(raw) == value


def test_what_there_is_to_set() -> None:
    properties = [
        TEMPERATURE.property,
        OCCUPANCY.property,
        PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True),
        PropertyAffordance(name="power_phase_b_2", type=DataType.NUMBER, unit="W"),
    ]
    found = possible(properties, [0x10006, 0x10102], OPTIONS)
    assert found.keys() == {
        "debounce", "availability_timeout", "temperature_calibration", "temperature_precision", "invert_occupancy",
        "power_phase_b_2_calibration", "power_phase_b_2_precision", "invert_cover",
    }  # fmt: skip
    assert found["power_phase_b_2_calibration"].schema.unit == "%"
    assert found["temperature_calibration"].schema.unit == "Cel"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"temperature_calibration": "warm"},
            "temperature_calibration: expected a number from -100000 to 100000 (Cel)",
        ),
        ({"temperature_calibration": float("nan")}, "temperature_calibration: expected a number"),
        ({"temperature_precision": 1.5}, "temperature_precision: expected a whole number from 0 to 6"),
        ({"temperature_precision": True}, "temperature_precision: expected a whole number from 0 to 6"),
        (
            {"temperature_calibration": 1, "retain": True},
            "retain: no option of this device; it has availability_timeout,",
        ),
        ({"humidity_calibration": None}, "humidity_calibration: no option of this device"),
        ({"debounce": 0}, "debounce: expected a number from 0.1 to 600 (s)"),
    ],
)
def test_what_can_not_be_set_changes_nothing(tmp_path: Any, changes: Any, says: str) -> None:
    options = DeviceOptions(tmp_path / FILE)
    with pytest.raises(PeerError) as refused:
        options.change("a", changes, possible([TEMPERATURE.property], [], ()))
    assert says in str(refused.value)
    assert options.of("a") == {} and not (tmp_path / FILE).exists()


def test_the_file_is_ours_alone_and_nonsense_is_left_out(tmp_path: Any) -> None:
    known = possible([TEMPERATURE.property], [], ())
    options = DeviceOptions(tmp_path / FILE)
    options.change("a", {"temperature_calibration": 1, "debounce": 2}, known)
    options.change("a", {"temperature_calibration": None}, known)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert DeviceOptions(tmp_path / FILE).of("a") == {"debounce": 2}
    options.left("a")
    assert json.loads((tmp_path / FILE).read_text()) == {}
    for text in ("", "[]", '{"a": 1}', '{"a": {"b": []}}'):
        (tmp_path / FILE).write_text(text)
        assert DeviceOptions(tmp_path / FILE).of("a") == {}


@pytest.mark.parametrize(
    "option",
    ['"temperature_calibration": NaN', '"temperature_calibration": true', '"power_calibration": -Infinity',
     f'"temperature_calibration": 1{"0" * 400}', '"temperature_precision": 1000000', '"temperature_precision": true',
     '"debounce": -1', '"debounce": 1e300', '"debounce": NaN', '"availability_timeout": 0', '"invert_occupancy": 1'],
)  # fmt: skip
def test_a_value_in_the_file_that_could_not_be_set_is_left_out(tmp_path: Any, option: str) -> None:
    """One by which a device could not be understood at the next start, or would be asked without a pause."""
    (tmp_path / FILE).write_text(f'{{"a": {{{option}, "humidity_precision": 1}}, "b": {{"debounce": 2}}}}')
    options = DeviceOptions(tmp_path / FILE)
    assert options.of("a") == {"humidity_precision": 1} and options.of("b") == {"debounce": 2}


async def test_options_are_in_force_at_once_and_over_a_restart(world: Any) -> None:
    sensor = server(0x0402, {0: (INT16, 2000)}), server(0x0406, {0: (BITMAP8, 1)})
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, *sensor)
        command = gateway.adapter.command
        offered = await command("device-options", {"eui64": device.eui64})
        assert offered["from"] == offered["to"] == {} and "temperature_calibration" in offered["possible"]
        assert offered["possible"]["debounce"]["expects"] == "a number from 0.1 to 600 (s)"
        wanted = {"temperature_calibration": -0.5, "invert_occupancy": True}
        answer = await command("device-options", {"eui64": device.eui64, "options": wanted})
        assert answer == {"from": {}, "to": wanted}
        await gateway.until(lambda: asked.reported() == {"temperature": 19.5, "occupancy": False})  # it is read
        device.report(0x0402, "0000 29 3408")
        await gateway.until(lambda: asked.reported()["temperature"] == 20.5)
        listed = (await command("devices", {}))["devices"]
        assert listed[0]["options"] == wanted
        with pytest.raises(PeerError, match="no option of this device"):
            await command("device-options", {"eui64": device.eui64, "options": {"x": 1}})
        with pytest.raises(PeerError, match="not in the network"):
            await command("device-options", {"eui64": "00:00:00:00:00:00:00:01"})
        with pytest.raises(PeerError, match="takes"):
            await command("device-options", {"eui64": device.eui64, "options": 5})
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert ("temperature", 19.5) in [each for one in gateway.context.of(Reading) for each in one.values]
        assert json.loads((world.state_dir / FILE).read_text()) == {device.eui64: wanted}
        await device.client.leave()
        await gateway.until(lambda: gateway.context.of(Leave))
        assert json.loads((world.state_dir / FILE).read_text()) == {}


async def test_what_is_debounced_comes_as_one_reading(world: Any) -> None:
    """The last value of each; what can be set is never held back."""
    clusters = server(0x0402, {0: (INT16, 2000)}), server(0x0405, {0: (UINT16, 5000)}), server(0x0006, {0: (UINT8, 0)})
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, *clusters)
        await gateway.adapter.command("device-options", {"eui64": device.eui64, "options": {"debounce": 0.5}})
        await settled(gateway, device)
        before = len(gateway.context.of(Reading))
        for raw in ("6608", "6708", "6808"):
            device.report(0x0402, f"0000 29 {raw}")
        device.report(0x0405, "0000 21 8813")
        await gateway.until(lambda: gateway.adapter.status()["counters"]["reports"] >= 4)
        assert len(gateway.context.of(Reading)) == before
        device.report(0x0006, "0000 10 01")
        await gateway.until(lambda: len(gateway.context.of(Reading)) == before + 2)
        readings = [reading.values for reading in gateway.context.of(Reading)[before:]]
        assert readings == [(("state", True),), (("temperature", 21.52), ("humidity", 50.0))]


async def test_how_long_a_device_may_be_silent(world: Any) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, server(0x0402, {0: (INT16, 2000)}))
        state, command = gateway.record(device.eui64).availability, gateway.adapter.command
        usual = state.limit
        await command("device-options", {"eui64": device.eui64, "options": {"availability_timeout": 60}})
        await settled(gateway, device)
        assert state.limit == 60 and gateway.semantics.next_deadline() < gateway.context.now() + 61
        await command("device-options", {"eui64": device.eui64, "options": {"availability_timeout": None}})
        assert state.limit == usual
