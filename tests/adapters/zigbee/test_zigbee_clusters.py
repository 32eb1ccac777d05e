"""The rows themselves, the properties that they give to a device, and which frames count as copies."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import inf
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.cluster_mappings import Reporting
from adapters.zigbee.clusters import ROWS, TABLE, AttributeMapping
from adapters.zigbee.device_model import MAX_PROPERTIES, RECENT, RECENT_SECONDS, Model, Notes
from adapters.zigbee.device_view import Device, Endpoint
from adapters.zigbee.model_builder import model_of
from adapters.zigbee.reports import reported
from carriage.zigbee.datatypes import INTEGERS
from gateway.api.model import DataType
from tests.harness.cluster_rows import mistakes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.property.name)
def test_a_row_is_whole(row: AttributeMapping) -> None:
    assert mistakes(row) == []


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({"property": {"name": "Temperature"}}, "name"),
        ({"property": {"resource_type": ""}}, "resource_type"),
        ({"property": {"unit": "degrees"}}, "unit"),
        ({"property": {"unit": "°C"}}, "unit"),
        ({"property": {"unit": "Pa"}}, "device_class"),
        ({"property": {"device_class": "warmth"}}, "device_class"),
        ({"property": {"lifetime": 7200.0}}, "lifetime"),
        ({"invalid": None}, "invalid"),
        ({"invalid": 0}, "range"),
        ({"range": (-inf, inf)}, "range"),
        ({"range": (-0x8000, 0x7FFE)}, "range"),
        ({"range": (0, 0x7FFE), "scale": 1, "convert": lambda raw: inf}, "range"),
        ({"reporting": Reporting(3600, 10, 10)}, "reporting"),
    ],
)
def test_an_incomplete_row_is_refused_by_the_missing_field(fields: dict[str, Any], lacks: str) -> None:
    row = next(row for row in ROWS if row.property.name == "temperature")
    one = replace(row.property, **fields.get("property", {}))
    found = mistakes(replace(row, **{**fields, "property": one}))
    assert [text.partition(":")[0] for text in found][:1] == [lacks]


def test_one_row_for_each_attribute_and_name() -> None:
    places = {(row.cluster, row.manufacturer, row.attribute, row.property.name, row.field) for row in ROWS}
    assert len(places) == len(ROWS)


def kind_of(row: AttributeMapping) -> DataType:
    return (row.schema or row.property).type


@given(st.sampled_from(ROWS), st.integers(-0x8000, 0xFFFF))
def test_a_value_comes_back_or_is_none(row: AttributeMapping, raw: int) -> None:
    value = row.value(raw)
    if row.mask:
        assert value is (None if raw == row.invalid else bool(raw & row.mask) is not row.inverted)
    elif kind_of(row) is DataType.BOOLEAN:
        assert value is {0: False, 1: True}.get(raw)
    elif kind_of(row) is DataType.STRING:
        assert value is None or value in (row.schema or row.property).enum
    elif row.range[0] <= raw <= row.range[1]:
        assert isinstance(value, int | float)
        assert row.convert is not None or row.digits is not None or row.raw(value) == raw
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
    elif kind_of(row) is DataType.STRING:
        assert value is None or value in (row.schema or row.property).enum
    elif kind_of(row) in (DataType.NUMBER, DataType.INTEGER):
        exact = row.convert is None and row.digits is None
        assert value is None or not exact or row.range[0] <= row.raw(value) <= row.range[1]
    else:
        assert value is {0: False, 1: True}.get(raw)


@given(st.sampled_from(ROWS), st.one_of(st.none(), st.text(), st.binary(), st.floats(), st.integers()))
def test_a_value_is_of_its_kind_or_none(row: AttributeMapping, raw: Any) -> None:
    value = row.value(raw)
    assert value is None or isinstance(value, bool) is (kind_of(row) is DataType.BOOLEAN)
    assert value is None or isinstance(value, str) is (kind_of(row) is DataType.STRING)
    assert value is None or isinstance(value, (bool, int, float, str))


FACTORS = sorted({each for row in ROWS for each in row.needs})


def device(*endpoints: tuple[int, ...], constants: Any = None) -> Model:
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
        constants,
    )


def test_properties_of_endpoints() -> None:
    model = device((0, 6), (6, 0x0402), (6, 0x0402, 0x0405))
    assert [one.name for one in model.properties if one.readable and not one.category] == [
        "state", "state_2", "temperature", "state_3", "temperature_3", "humidity",
    ]  # fmt: skip
    assert model.slots["temperature_3"].endpoint == 3
    assert reported(model, 3 << 16 | 0x0402, bytes.fromhex("0000290a00")) == ((("temperature_3", 0.1),), "")
    assert reported(model, 3 << 16 | 0x0405, bytes.fromhex("0100290a00")) == ((), "")
    assert model.endpoint == 1


def test_a_device_has_only_so_many_properties() -> None:
    assert len(device(*[(0x0402, 0x0405)] * 200).properties) == MAX_PROPERTIES


def test_copies() -> None:
    model = device((6,))
    assert not model.repeated((1, 0x10006, False, b"on"), 0.0)
    assert model.repeated((1, 0x10006, False, b"on"), RECENT_SECONDS - 0.1)
    assert not model.repeated((1, 0x20006, False, b"on"), 0.0)
    assert not model.repeated((2, 0x10006, False, b"on"), 0.0)
    assert not model.repeated(
        (1, 0x10006, True, b"on"), 0.0
    )  # a frame that another device could send is no copy of this
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
        values, fault = reported(model, at, payload)
        with_all = reported(device((6, 0x0402, 0x0405, 1)), at, payload + b"\xf0\xff\x42\x00")  # a text: no usual one
        assert fault or with_all == (values, "")
        assert all(value is None or isinstance(value, (bool, int, float)) for _, value in values)


@pytest.mark.parametrize(
    ("at", "payload", "most"),
    [
        (0x10006, "0000 10 01", 3),
        (0x10402, "0000 29 6608", 4),
        (0x10001, "2000 20 1e  2100 20 c8", 5),
        (0x10B04, "0505 21 fc08  0805 21 6400  0b05 29 e803", 5),
        (0x10702, "0000 25 402301000000  0004 2a e80300", 4),
    ],
)
def test_a_usual_report_costs_at_most_so_many_calls(at: int, payload: str, most: int) -> None:
    """Python calls: two to begin with, and one for each value. It is paid all day long."""
    constants = {at: dict.fromkeys(FACTORS) for at in (0x10B04, 0x10702)}
    model = device((6, 0x0402, 1, 0x0B04, 0x0702), constants=constants)
    for slot in model.slots.values():
        slot.absent = False  # it reported all
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
