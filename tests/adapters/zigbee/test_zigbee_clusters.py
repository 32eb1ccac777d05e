"""The rows themselves, the properties that they give to a device, and which frames count as copies."""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.devices.discovery import UNITS
from adapters.zigbee.clusters import ROWS, TABLE, AttributeMapping
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.reports import MAX_PROPERTIES, RECENT, RECENT_SECONDS, Model, Notes, model_of, reported
from carriage.zigbee import foundation
from carriage.zigbee.datatypes import INTEGERS, encode
from carriage.zigbee.foundation import ReportingRecord
from gateway.api.model import DataType

SENML = frozenset(
    [
        "m",
        "kg",
        "g",
        "s",
        "A",
        "K",
        "cd",
        "mol",
        "Hz",
        "rad",
        "sr",
        "N",
        "Pa",
        "J",
        "W",
        "C",
        "V",
        "F",
        "Ohm",
        "S",
        "Wb",
        "T",
        "H",
        "Cel",
        "lm",
        "lx",
        "Bq",
        "Gy",
        "Sv",
        "kat",
        "m2",
        "m3",
        "l",
        "m/s",
        "m/s2",
        "m3/s",
        "l/s",
        "W/m2",
        "cd/m2",
        "bit",
        "bit/s",
        "lat",
        "lon",
        "pH",
        "dB",
        "dBW",
        "Bspl",
        "count",
        "/",
        "%",
        "%RH",
        "%EL",
        "EL",
        "1/s",
        "1/min",
        "beat/min",
        "beats",
        "S/m",
    ]
)
"""The units of RFC 8428, section 12.1."""
HOME_ASSISTANT = {"temperature": "°C", "humidity": "%", "battery": "%", "pressure": "Pa"}
"""A unit that Home Assistant takes for a device class; it drops an entity of another one."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.property.name)
def test_a_row_is_whole(row: AttributeMapping) -> None:
    one = row.property
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,31}", one.name)
    assert one.resource_type.startswith("urn:oma:lwm2m:")
    if one.type is DataType.NUMBER:
        assert one.unit in SENML and UNITS[one.unit] == HOME_ASSISTANT[one.device_class]
    else:
        assert not one.unit
    if row.reporting is None:
        return  # it is told by a command of the cluster
    assert row.reporting.minimum <= row.reporting.maximum
    # one report may be lost before a value counts no longer
    assert one.lifetime > 2 * row.reporting.maximum
    assert foundation.configure_reporting(
        [
            ReportingRecord(
                attribute=row.attribute,
                type=row.type,
                minimum=row.reporting.minimum,
                maximum=row.reporting.maximum,
                change=row.reporting.change,
            )
        ]
    )
    assert row.invalid is not None and row.value(row.invalid) is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.property.name)
def test_a_row_states_the_range_of_its_numbers(row: AttributeMapping) -> None:
    if row.property.type is DataType.NUMBER:
        low, high = row.range
        for raw in (low, high):
            assert isinstance(raw, int) and encode(row.type, raw) and row.value(raw) is not None
        assert row.value(low - 1) is row.value(high + 1) is None
        assert row.invalid is not None and not low <= row.invalid <= high


def test_one_row_for_each_attribute_and_name() -> None:
    assert len({(row.cluster, row.attribute) for row in ROWS}) == len({row.property.name for row in ROWS}) == len(ROWS)


@given(st.sampled_from(ROWS), st.integers(-0x8000, 0xFFFF))
def test_a_value_comes_back_or_is_none(row: AttributeMapping, raw: int) -> None:
    value = row.value(raw)
    if row.mask:
        assert value is bool(raw & row.mask)
    elif row.property.type is DataType.BOOLEAN:
        assert value is {0: False, 1: True}.get(raw)
    elif row.range[0] <= raw <= row.range[1]:
        assert isinstance(value, int | float) and row.raw(value) == raw
    else:
        assert value is None


@given(st.sampled_from(ROWS), st.sampled_from(sorted(INTEGERS)), st.data())
def test_another_integer_type_never_makes_a_value_that_the_row_does_not_have(
    row: AttributeMapping, type_id: int, data: st.DataObject
) -> None:
    raw = data.draw(st.integers(-(1 << 63), (1 << 64) - 1))
    size = (type_id & 7) + 1 if type_id < 0x30 else type_id - 0x2F
    octets = (raw % (1 << 8 * size)).to_bytes(size, "little")
    raw = int.from_bytes(octets, "little", signed=0x28 <= type_id < 0x30)
    value = row.value(row.of_type(type_id, raw))
    if row.mask:
        assert value is None or isinstance(value, bool)
    elif row.property.type in (DataType.NUMBER, DataType.INTEGER):
        assert value is None or row.range[0] <= row.raw(value) <= row.range[1]
    else:
        assert value is {0: False, 1: True}.get(raw)


@given(st.sampled_from(ROWS), st.one_of(st.none(), st.text(), st.binary(), st.floats(), st.integers()))
def test_a_value_is_of_its_kind_or_none(row: AttributeMapping, raw: Any) -> None:
    value = row.value(raw)
    assert value is None or isinstance(value, bool) is (row.property.type is DataType.BOOLEAN)
    assert value is None or isinstance(value, (bool, int, float))


def device(*endpoints: tuple[int, ...]) -> Model:
    return model_of(
        Device(
            eui64="00:0d:6f:00:00:00:00:01",
            nwk=1,
            manufacturer="",
            model="",
            interviewed=True,
            sleepy=False,
            lqi=None,
            rssi=None,
            last_seen=None,
            endpoints=tuple(
                Endpoint(number=number, profile=0x0104, device_id=0, in_clusters=clusters, out_clusters=(0x0402,))
                for number, clusters in enumerate(endpoints, 1)
            ),
            tunnel_endpoints=(),
        ),
        TABLE,
        Notes(),
    )


def test_properties_of_endpoints() -> None:
    model = device((0, 6), (6, 0x0402), (6, 0x0402, 0x0500))
    assert [one.name for one in model.properties] == [
        "state", "state_2", "temperature", "state_3", "temperature_3", "alarm",
    ]  # fmt: skip
    assert model.slots["temperature_3"].endpoint == 3
    assert reported(model, 3 << 16 | 0x0402, bytes.fromhex("0000290a00")) == ((("temperature_3", 0.1),), "")
    assert reported(model, 3 << 16 | 0x0500, bytes.fromhex("0000290a00")) == ((), "")
    assert model.endpoint == 1


def test_a_device_has_only_so_many_properties() -> None:
    assert len(device(*[(6, 0x0402)] * 200).properties) == MAX_PROPERTIES


def test_copies() -> None:
    model = device((6,))
    assert not model.repeated((1, 0x10006, False, b"on"), 0.0)
    assert model.repeated((1, 0x10006, False, b"on"), RECENT_SECONDS - 0.1)
    assert not model.repeated((1, 0x20006, False, b"on"), 0.0)
    assert not model.repeated((2, 0x10006, False, b"on"), 0.0)
    assert not model.repeated((1, 0x10006, True, b"on"), 0.0)  # what somebody else could send is no copy of this
    assert not model.repeated((1, 0x10006, False, b"off"), 0.0)
    assert not model.repeated((1, 0x10006, False, b"on"), RECENT_SECONDS)
    for number in range(RECENT):
        assert not model.repeated((number, 0x10006, False, b"x"), 6.0)
    assert not model.repeated((1, 0x10006, False, b"on"), 6.0)
    assert len(model.recent) == RECENT


@given(st.binary(max_size=82))
def test_any_report_is_values(payload: bytes) -> None:
    model = device((6, 0x0402, 0x0405, 1))
    for at in model.places:
        values, _ = reported(model, at, payload)
        assert all(value is None or isinstance(value, (bool, int, float)) for _, value in values)


@pytest.mark.parametrize(
    ("at", "payload", "most"),
    [
        (0x10006, "0000 10 01", 4),
        (0x10402, "0000 29 6608", 5),
        (0x10001, "2000 20 1e  2100 20 c8", 6),
    ],
)
def test_what_a_usual_report_costs(at: int, payload: str, most: int) -> None:
    """Python calls: two to begin with, one a record, and two at most for what its value is. It is paid all day long."""
    model = device((6, 0x0402, 1))
    octets, calls = bytes.fromhex(payload), 0

    def seen(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(seen)
    try:
        reported(model, at, octets)
    finally:
        sys.setprofile(None)
    assert calls <= most
