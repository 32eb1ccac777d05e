"""Sensors, batteries and meters over the virtual dongle: each row with what devices send, and what they don't have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.zigbee.cluster_mappings import Particulars
from adapters.zigbee.clusters import ROWS, ClusterTable
from adapters.zigbee.portions import configure_size, portions, read_size
from adapters.zigbee.reporting_memory import MEMORY, ReportingMemory
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import TYPES, encode
from carriage.zigbee.zcl import ZclFrame
from gateway.api.model import Join, Outcome, Reading, ReadProperties, WriteProperties
from simulator.network.datatypes import (
    BITMAP8,
    BY_ID,
    ENUM8,
    INT8,
    INT16,
    INT24,
    UINT8,
    UINT16,
    UINT24,
    UINT48,
)  # fmt: skip
from tests.harness.zcl_asked import joined, server
from tests.harness.zcl_device import settled

READ, CONFIGURE = 0x00, 0x06
DEVICE = "00:0d:6f:00:00:00:00:01"
SENSORS: list[tuple[int, int, str, list[tuple[float, Any]]]] = [
    # cluster, attribute, property: what is sent, and what it is; the first is what the device has
    (0x0001, 0x0021, "battery", [(200, 100.0), (0, 0.0), (0xFF, None), (201, None)]),
    (0x0001, 0x0020, "voltage", [(30, 3000), (0, None), (0xFF, None)]),
    (0x0001, 0x003E, "battery_low", [(0, False), (1, True), (1 << 10, True), (1 << 23, True), (1 << 30, False)]),
    (0x0001, 0x0000, "mains_voltage", [(2301, 230.1), (0xFFFF, None)]),
    (0x0400, 0x0000, "illuminance", [(20_001, 100.0), (0, 0.0), (1, 1.0), (0xFFFF, None)]),
    (0x0402, 0x0000, "temperature", [(2345, 23.45), (-500, -5.0), (-0x8000, None), (-9001, None)]),
    (0x0403, 0x0000, "pressure", [(1013, 1013), (-0x8000, None)]),
    (0x0404, 0x0000, "flow", [(36, 1.0), (5, 0.139), (0xFFFF, None)]),
    (0x0405, 0x0000, "humidity", [(5011, 50.11), (10_001, None), (0xFFFF, None)]),
    (0x0406, 0x0000, "occupancy", [(1, True), (0, False), (0xFE, False), (3, True)]),
    (0x0406, 0x0010, "occupancy_timeout", [(60, 60), (0xFFFF, None)]),
    (0x0406, 0x0011, "occupancy_delay", [(1, 1), (0xFFFF, None)]),
    (0x0406, 0x0012, "occupancy_threshold", [(2, 2), (0xFF, None)]),
    (0x0407, 0x0000, "leaf_wetness", [(1234, 12.34), (0xFFFF, None)]),
    (0x0408, 0x0000, "soil_moisture", [(4200, 42.0), (0xFFFF, None)]),
    (0x0409, 0x0000, "ph", [(712, 7.12), (1401, None)]),
    (0x040B, 0x0000, "wind_speed", [(250, 2.5), (0xFFFF, None)]),
    (0x040C, 0x0000, "co", [(3e-6, 3), (float("nan"), None)]),
    (0x040D, 0x0000, "co2", [(415.4e-6, 415), (float("nan"), None), (1.5, None), (-1.0, None)]),
    (0x042A, 0x0000, "pm25", [(12.34, 12.3), (float("nan"), None)]),
    (0x042B, 0x0000, "formaldehyde", [(0.25e-6, 0.25), (float("nan"), None)]),
    (0x042C, 0x0000, "pm1", [(5.0, 5.0), (float("nan"), None)]),
    (0x042D, 0x0000, "pm10", [(20.26, 20.3), (float("inf"), None)]),
    (0x042E, 0x0000, "voc", [(300.4, 300), (float("nan"), None)]),
]  # fmt: skip
METER: dict[int, tuple[Any, int]] = {
    0x0300: (ENUM8, 0), 0x0301: (UINT24, 1), 0x0302: (UINT24, 1000), 0x0306: (BITMAP8, 0),
    0x0000: (UINT48, 1_234_567), 0x0001: (UINT48, 500), 0x0400: (INT24, 1499),
}  # fmt: skip
ELECTRICAL: dict[int, tuple[Any, int]] = {
    0x0400: (UINT16, 1), 0x0401: (UINT16, 100), 0x0600: (UINT16, 1), 0x0601: (UINT16, 10), 0x0602: (UINT16, 0),
    0x0603: (UINT16, 1000), 0x0605: (UINT16, 10), 0x0300: (UINT16, 4998),
    **{base + offset: (kind, value) for base in (0x0500, 0x0900, 0x0A00) for offset, kind, value in (
        (0x05, UINT16, 2303), (0x08, UINT16, 650), (0x0B, INT16, 14_990), (0x0E, INT16, -30), (0x0F, UINT16, 15_001),
        (0x10, INT8, -97),
    )},
}  # fmt: skip
MEASURED = {
    "voltage": 230.3, "current": 0.65, "power": 1499.0, "power_reactive": -3.0, "power_apparent": 1500.1,
    "power_factor": -0.97,
}  # fmt: skip


def kind_of(cluster: int, attribute: int) -> Any:
    return BY_ID[next(row.type.id for row in ROWS if (row.cluster, row.attribute) == (cluster, attribute))]


def record(attribute: int, type_id: int, value: Any) -> bytes:
    return foundation.report([(attribute, TYPES[type_id], value)])


def asked_for(device: Any, cluster: int, command: int) -> list[bytes]:
    frames = [frame for at, frame in device.asked if at == cluster and not frame.cluster_specific]
    return [frame.payload for frame in frames if frame.command == command]


async def values(gateway: Any, device: Any, cluster: int, *payloads: bytes) -> list[dict[str, Any]]:
    """The reading that each of these reports became."""
    before = len(gateway.context.of(Reading))
    for payload in payloads:
        device.report(cluster, payload)
    await gateway.until(lambda: len(gateway.context.of(Reading)) >= before + len(payloads))
    return [dict(reading.values) for reading in gateway.context.of(Reading)[before:]]


async def test_what_sensors_and_batteries_send(world: Any) -> None:
    clusters: dict[int, dict[int, tuple[Any, Any]]] = {}
    for cluster, attribute, _, cases in SENSORS:
        clusters.setdefault(cluster, {})[attribute] = (kind_of(cluster, attribute), cases[0][0])
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, *(server(*each) for each in clusters.items()))
        first = {name: cases[0][1] for _, _, name, cases in SENSORS}
        assert {name: value for one in gateway.context.of(Reading) for name, value in one.values} == first
        assert {each.name for each in gateway.context.of(Join)[-1].properties} == first.keys()
        read = await asked.does(ReadProperties, names=tuple(first))
        assert {each.name: each.value for each in read.properties} == first
        for cluster, attribute, name, cases in SENSORS:
            kind = kind_of(cluster, attribute)
            sent = [record(attribute, kind.id, raw) for raw, _ in cases]
            found = await values(gateway, device, cluster, *sent)
            assert [each[name] for each in found] == [value for _, value in cases], name
        # a whole number as another type of the same width or wider is taken, a text is not
        assert await values(gateway, device, 0x0402, record(0, 0x21, 0xFFCE)) == [{"temperature": -0.5}]
        assert await values(gateway, device, 0x0405, record(0, 0x23, 4000)) == [{"humidity": 40.0}]
        device.report(0x0405, "0000 42 0135")
        device.report(0x040D, "0000 21 9001")
        assert await values(gateway, device, 0x0405, record(0, 0x21, 100)) == [{"humidity": 1.0}]
        # what can be set is, within its bounds
        receipt = await asked.does(WriteProperties, values={"occupancy_timeout": 90, "occupancy_threshold": 1})
        assert receipt.outcome is Outcome.DELIVERED
        assert device.clusters[0x0406].attributes[0x0010].value == 90
        refused = await asked.does(WriteProperties, values={"occupancy_timeout": 70_000})
        assert refused.outcome is not Outcome.DELIVERED


async def test_a_sensor_without_what_is_optional(world: Any) -> None:
    """It is never offered, and asked for once; what must be there is no property either if the device says so."""
    thin = [server(0x0001, {0x0021: (UINT8, 200)}), server(0x0406, {0: (BITMAP8, 1)}), server(0x0405, {})]
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, *thin)
        offered = [{each.name for each in join.properties} for join in gateway.context.of(Join)]
        assert offered == [{"battery", "occupancy", "humidity"}, {"battery", "occupancy"}]
        assert asked.gateway.semantics.shown(asked.device.eui64)["reporting"]["1/0001"] == "configured"
        assert list(asked.device.clusters[0x0001].reporting) == [0x0021]


async def test_a_cluster_of_which_all_is_optional(world: Any) -> None:
    """What a device turns out to have is reported; one that has nothing of it is not asked again."""
    rows = [row for row in ROWS if row.property.name in ("mains_voltage", "leaf_wetness")]
    table = ClusterTable(rows=[replace(row, optional=True) for row in rows], writes=(), actions=(), events=())
    mains, leaf = server(0x0001, {0x0000: (UINT16, 2300)}), server(0x0407, {})
    async with world.gateway(table=table) as gateway:
        device, _ = await joined(world, gateway, mains, leaf)
        assert list(mains.reporting) == [0x0000] and leaf.reporting == {}
        assert [each.name for each in gateway.context.of(Join)[-1].properties] == ["mains_voltage"]
        device.asked.clear()
    async with world.gateway(table=table) as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert asked_for(device, 0x0001, CONFIGURE) == [] == asked_for(device, 0x0407, READ)


@pytest.mark.parametrize("place", ["", "1", "kitchen", "1/zz", "1/0702/x", "1/0702/1/2"])
def test_a_memory_with_a_place_that_is_none_is_no_memory(tmp_path: Path, place: str) -> None:
    (tmp_path / MEMORY).write_text(json.dumps({DEVICE: {place: {"constants": {"0301": 1}}, "1/0702": {}}}))
    memory = ReportingMemory(tmp_path / MEMORY)
    assert memory.devices == {} and memory.constants(DEVICE) == {}


@pytest.mark.parametrize("constants", [{"0001": [1]}, {"0001": {"a": 1}}, {"type": 1}, {"": 1}])
def test_constants_that_no_device_can_have_said_are_asked_for_again(tmp_path: Path, constants: Any) -> None:
    entry = {"constants": {"0000": 1, **constants}}
    (tmp_path / MEMORY).write_text(json.dumps({DEVICE: {"1/0500": entry, "1/0702": {"constants": {"0301": 1}}}}))
    assert ReportingMemory(tmp_path / MEMORY).constants(DEVICE) == {0x10500: {0: 1}, 0x10702: {0x0301: 1}}


@pytest.mark.parametrize("nonsense", ['"x"', "5", "null", "[]", '{"0000": "x"}', '{"0000": 99}'])
async def test_a_memory_of_nonsense_stops_nothing(world: Any, nonsense: str) -> None:
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, server(0x0402, {0: (INT16, 2000)}), server(0x0702, METER))
    parts = ", ".join(f'"{name}": {nonsense}' for name in ("reports", "attempts", "constants", "absent", "types"))
    entry = f'{{"wanted": "00", {parts}}}'
    text = f'{{"{device.eui64}": {{"1/0402": {entry}, "1/0702": {entry}}}}}'
    (world.state_dir / MEMORY).write_text(text)
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        gateway.semantics.restarted(gateway.record(device.eui64))
        await settled(gateway, device)
        await gateway.until(
            lambda: (
                "temperature" in dict(gateway.context.of(Reading)[-1].values)
                or any("energy" in dict(each.values) for each in gateway.context.of(Reading))
            )
        )


@pytest.mark.parametrize(
    ("constants", "value"),
    [
        ({0x0010: (INT16, 10_132), 0x0014: (INT8, -1)}, 1013.2),
        ({0x0010: (INT16, 1013), 0x0014: (INT8, -2)}, 1013),
        ({0x0010: (INT16, 10_132)}, 1012),  # a value without its scale is none
        ({0x0010: (INT16, 10_132), 0x0014: (INT8, 100)}, 1012),
        ({}, 1012),
    ],
)
async def test_pressure_is_the_finer_one_that_a_device_has(world: Any, constants: Any, value: float) -> None:
    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, server(0x0403, {0: (INT16, 1012), **constants}))
        assert asked.gateway.context.of(Reading)[-1].values == (("pressure", value),)


async def test_what_a_meter_of_three_phases_tells(world: Any) -> None:
    """Multipliers and divisors are asked for once; frames have room for few attributes; a report is one reading."""
    clusters = server(0x0B04, ELECTRICAL), server(0x0702, METER)
    async with world.gateway() as gateway:
        device, asked = await joined(world, gateway, *clusters)
        expected: dict[str, Any] = {"ac_frequency": 49.98, "energy": 1234.567, "produced_energy": 0.5}
        for phase in ("", "_phase_b", "_phase_c"):
            expected |= {name + phase: value for name, value in MEASURED.items()}
        assert {name: value for one in gateway.context.of(Reading) for name, value in one.values} == expected
        assert {each.name for each in gateway.context.of(Join)[-1].properties} == expected.keys()
        assert len(clusters[0].reporting) == 19 and len(clusters[1].reporting) == 3
        assert clusters[0].reporting[0x0508].change == 50 and clusters[1].reporting[0x0000].change == 50
        whole = record(0x0505, 0x21, 2310) + record(0x0508, 0x21, 7) + record(0x050B, 0x29, -15)
        assert await values(gateway, device, 0x0B04, whole) == [{"voltage": 231.0, "current": 0.007, "power": -1.5}]
        whole = record(0x0000, 0x25, 1_234_568) + record(0x0400, 0x2A, -2)
        assert await values(gateway, device, 0x0702, whole) == [{"energy": 1234.568, "power": -2}]
        none = record(0x0000, 0x25, (1 << 48) - 1) + record(0x0400, 0x2A, -0x800000)
        assert await values(gateway, device, 0x0702, none) == [{"energy": None, "power": None}]
        none = record(0x0505, 0x21, 0xFFFF) + record(0x0508, 0x21, 0xFFFF) + record(0x050B, 0x29, -0x8000)
        assert await values(gateway, device, 0x0B04, none) == [{"voltage": None, "current": None, "power": None}]
        assert await values(gateway, device, 0x0B04, record(0x0510, 0x28, 101)) == [{"power_factor": None}]
        device.asked.clear()
        names = tuple(expected)
        read = await asked.does(ReadProperties, names=names)
        assert {each.name: each.value for each in read.properties} == expected | {"power": 1499.0}
        assert all(len(payload) <= 34 for payload in asked_for(device, 0x0B04, READ))
    memory = json.loads((world.state_dir / MEMORY).read_text())[device.eui64]
    assert memory["1/0702"]["constants"] == {"0300": 0, "0301": 1, "0302": 1000, "0306": 0}
    assert memory["1/0B04".lower()]["constants"]["0604"] is None  # it doesn't have it
    device.asked.clear()
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Join))
        await settled(gateway, device)
        assert {each.name for each in gateway.context.of(Join)[0].properties} == expected.keys()
        assert not any(b"\x01\x03" in payload for payload in asked_for(device, 0x0702, READ))
        assert asked_for(device, 0x0B04, CONFIGURE) == []


@pytest.mark.parametrize(
    ("constants", "expected"),
    [
        ({}, {"energy": 1_234_567, "power": 1499}),  # without a divisor
        ({0x0301: (UINT24, 0), 0x0302: (UINT24, 0)}, {"energy": 1_234_567, "power": 1499}),
        ({0x0302: (UINT24, 1000)}, {"energy": 1234.567, "power": 1499}),
        ({0x0301: (UINT24, 5), 0x0302: (UINT24, 3600)}, {"energy": 1714.67639, "power": 2081.944}),
        ({0x0301: (UINT24, 1), 0x0302: (UINT24, 3_600_000)}, {"energy": 0.34293528, "power": 0.41639}),
        ({0x0300: (ENUM8, 1), 0x0302: (UINT24, 1000), 0x0306: (BITMAP8, 1)}, {"gas": 1234.567, "flow": 0.41639}),
        ({0x0300: (ENUM8, 7), 0x0306: (BITMAP8, 2)}, {"water": 1234.567, "flow": 0.41639}),
        ({0x0300: (ENUM8, 2), 0x0302: (UINT24, 100)}, {"volume": 349.590499, "flow": 0.11791}),
        ({0x0300: (ENUM8, 8)}, {}),  # a pressure
    ],
)
def test_the_units_of_meters(constants: Any, expected: dict[str, float]) -> None:
    known = Particulars({number: value for number, (_, value) in constants.items()})
    rows = [row for row in ROWS if row.cluster == 0x0702 and row.attribute in (0x0000, 0x0400)]
    adapted = [row.adapt(row, known) for row in rows if row.adapt is not None]
    found = {row.property.name: row.value(METER[row.attribute][1]) for row in adapted if row is not None}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-4)
    assert all(len(repr(value)) <= 12 for value in found.values())
    assert all(1 <= row.reporting.change < 1 << 47 for row in adapted if row is not None)


async def test_what_a_device_left_out_of_an_answer_is_asked_again(world: Any) -> None:
    """It answers two attributes at a time, and has no room for more."""

    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if own is None or request.command != READ or request.cluster_specific or cluster != 0x0B04:
            return own
        records, _ = foundation.read_response(own.payload)
        kept = b""
        for one in records[:2]:
            value = b"" if one.status else bytes((one.type,)) + encode(TYPES[one.type], one.value)  # type: ignore[arg-type]
            kept += one.attribute.to_bytes(2, "little") + bytes((one.status,)) + value
        return ZclFrame(0x01, kept, request.sequence, cluster_specific=False, to_client=True)

    async with world.gateway() as gateway:
        _, asked = await joined(world, gateway, server(0x0B04, ELECTRICAL), answer=answer)
        found = {name: value for one in gateway.context.of(Reading) for name, value in one.values}
        assert len(found) == 19 and found["power_phase_c"] == 1499.0 and found["current"] == 0.65
        read = await asked.does(ReadProperties, names=("voltage", "current", "power", "power_factor"))
        assert [each.value for each in read.properties] == [230.3, 0.65, 1499.0, -0.97]


def test_portions_fit_a_frame() -> None:
    for kind in TYPES.values():
        for size in (read_size, configure_size):
            for manufacturer in (0, 0x115F):
                groups = portions([kind] * 40, size, manufacturer)
                assert sum(map(len, groups)) == 40
                assert all(size(kind) * len(group) + (5 if manufacturer else 3) <= 82 for group in groups)
    assert portions([], lambda each: 1) == []
    assert portions([100, 1, 1], lambda each: each) == [(100,), (1, 1)]


@pytest.mark.parametrize("status", [0x87, 0x89, 0x8C])
async def test_a_device_with_limits(world: Any, status: int) -> None:
    """INVALID_VALUE: it takes at most 300 s. INSUFFICIENT_SPACE and UNREPORTABLE_ATTRIBUTE: one of three is refused."""

    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if own is None or request.command != CONFIGURE or request.cluster_specific:
            return own
        refused = b""
        for number, how in tuple(plug.reporting.items()):
            if (how.maximum > 300) if status == 0x87 else number == 0x050B:
                del plug.reporting[number]
                refused += bytes((status, 0)) + number.to_bytes(2, "little")
        return ZclFrame(0x07, refused or b"\x00", request.sequence, cluster_specific=False, to_client=True)

    plug = server(0x0B04, {0x0505: (UINT16, 230), 0x0508: (UINT16, 1), 0x050B: (INT16, 5)})
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, plug, answer=answer)
        shown = gateway.semantics.shown(device.eui64)["reporting"]["1/0b04"]
        if status == 0x87:
            assert shown == "configured" and len(plug.reporting) == 3
            assert {(how.minimum, how.maximum) for how in plug.reporting.values()} == {(60, 300)}
            assert plug.reporting[0x0505].change == 20
        else:
            assert shown == f"050b {foundation.status_name(status)}"
            assert sorted(plug.reporting) == [0x0505, 0x0508]
        device.asked.clear()
    async with world.gateway() as gateway:
        await gateway.until(lambda: gateway.context.of(Reading))
        gateway.semantics.restarted(gateway.record(device.eui64))  # it is as it was left: nothing is configured again
        await gateway.until(lambda: asked_for(device, 0x0B04, 0x08))
        await settled(gateway, device)
        assert asked_for(device, 0x0B04, CONFIGURE) == []


async def test_a_device_that_takes_one_record_a_frame(world: Any) -> None:
    def answer(cluster: int, request: ZclFrame, own: ZclFrame | None) -> ZclFrame | None:
        if request.command == CONFIGURE and len(request.payload) > 12:
            plug.reporting.clear()
            return ZclFrame(0x0B, b"\x06\x80", request.sequence, cluster_specific=False, to_client=True)
        return own

    plug = server(0x0B04, {0x0505: (UINT16, 230), 0x0508: (UINT16, 1), 0x050B: (INT16, 5)})
    async with world.gateway() as gateway:
        device, _ = await joined(world, gateway, plug, answer=answer)
        assert sorted(plug.reporting) == [0x0505, 0x0508, 0x050B]
        assert gateway.semantics.shown(device.eui64)["reporting"]["1/0b04"] == "configured"
