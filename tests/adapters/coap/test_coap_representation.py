"""What a device's values look like: every pack keeps the rules of RFC 8428, by a validator made for this test."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.coap import packs, representation
from adapters.zigbee.clusters import TABLE
from carriage import senml
from carriage.coap import device_resources
from carriage.senml_units import SECONDARY, primary, secondary
from gateway.api.errors import PeerError
from gateway.api.model import Address, DataSchema, DataType, DeviceView, PropertyAffordance, Sample, Value
from gateway.api.schema import fits, tellable

_UNITS = """\
m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2
bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m B VA VAs var vars J/m kg/m3 deg
NTU"""
UNITS: Final = frozenset(_UNITS.split())
"""The registry "SenML Units" (RFC 8428, section 12.1; RFC 8798, section 3)."""
SENML: Final = (device_resources.SENML_JSON, device_resources.SENML_CBOR)
DIGIT: Final = DataSchema(type=DataType.INTEGER)
FIELDS: Final = (
    ("x", DataSchema(type=DataType.NUMBER)),
    ("pa", DataSchema(type=DataType.NUMBER, unit="hPa")),
    ("in", DataSchema(type=DataType.ARRAY, items=DataSchema(type=DataType.BOOLEAN))),
)
LABELS: Final = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "bver": (int,), "bn": (str,), "bt": (int, float), "bu": (str,), "bv": (int, float), "bs": (int, float),
    "n": (str,), "u": (str,), "v": (int, float), "vs": (str,), "vb": (bool,), "s": (int, float), "t": (int, float),
    "ut": (int, float), "vd": (bytes,),
}  # fmt: skip


def check_pack(pack: Any) -> dict[str, Any]:
    """Raises for what RFC 8428, section 4, doesn't allow in a pack. Returns the values by resolved name."""
    assert type(pack) is list
    base, found = "", {}
    for record in pack:
        assert type(record) is dict and record
        for field, value in record.items():
            assert type(value) in TYPES[field], (field, value)
            assert type(value) is not float or isfinite(value)
        values = [field for field in ("v", "vs", "vb", "vd") if field in record]
        assert len(values) == 1 or (not values and "s" in record), "exactly one value, unless there is a sum"
        base = record.get("bn", base)
        name = base + record.get("n", "")
        assert re.fullmatch(r"[A-Za-z0-9][-:./_A-Za-z0-9]*", name), name
        assert name not in found
        found[name] = record[values[0]]
        if "u" in record:
            assert record["u"] in UNITS
        assert record.get("ut", 0) >= 0
        assert record.get("t", 0) <= 0, "how old it is"
    return found


@st.composite
def views(draw: st.DrawFn) -> tuple[DeviceView, float]:
    """A device with any mixture of reported values, and the time."""
    values = {
        DataType.BOOLEAN: st.booleans(),
        DataType.INTEGER: st.integers(-(2**63), 2**63),
        DataType.OBJECT: st.fixed_dictionaries(
            {}, optional={"x": st.floats(0, 1), "pa": st.integers(0, 1100), "in": st.lists(st.booleans(), max_size=2)}
        ),
        DataType.ARRAY: st.lists(st.integers(0, 9), max_size=3),
        DataType.NUMBER: st.integers(-(2**63), 2**63) | st.floats(-(2.0**62), 2.0**62),
        DataType.STRING: st.text(st.characters(exclude_categories=("Cs",)), max_size=256),
    }
    now = draw(st.floats(0, 1e9))
    names = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True) | st.just("online"), unique=True))
    properties, samples = [], {}
    for name in names:
        kind = draw(st.sampled_from(list(DataType)))
        number = kind in (DataType.INTEGER, DataType.NUMBER)
        unit = draw(st.sampled_from(["", "Cel", "%RH", "hPa", "kWh", "dBm"])) if number else ""
        lifetime = draw(st.floats(0.1, 1e6))
        properties.append(
            PropertyAffordance(name=name, type=kind, unit=unit, lifetime=lifetime, fields=FIELDS, items=DIGIT)
        )
        if draw(st.booleans()):
            value = draw(st.none() | values[kind])
            samples[name] = Sample(value, now - draw(st.floats(-1, 1e6)), draw(st.booleans()))
    view = DeviceView(
        name=draw(st.sampled_from(["lamp", "näh", "_x", "a b", "1"])),
        address=Address(scheme="zigbee", claim=draw(st.sampled_from(["eui64:00:0d:6f:00:0b:5d:e3:b6", "user:x"]))),
        may=frozenset(("read",)), online=draw(st.sampled_from([None, True, False])), sleepy=False, facts=(),
        properties=tuple(properties), samples=samples,
    )  # fmt: skip
    return view, now


def flat(name: str, schema: DataSchema, value: Value) -> dict[str, Any]:
    """What a reader of RFC 8428 finds of a value: a record for each part, in primary units."""
    found: dict[str, Any] = {}
    if isinstance(value, dict) and value:
        for field, part in value.items():
            found |= flat(f"{name}/{field}", dict(schema.fields)[field], part)
    elif isinstance(value, list) and value:
        assert schema.items is not None
        for index, part in enumerate(value):
            found |= flat(f"{name}/{index}", schema.items, part)
    elif isinstance(value, dict | list):
        found[name] = json.dumps(value)  # nothing is in it, and it isn't nothing
    elif isinstance(value, str | bool):
        found[name] = value
    else:
        found[name] = primary(value, schema.unit)[0]
    return found


def read(format: int, octets: bytes) -> Any:
    if format == device_resources.SENML_JSON:
        return json.loads(octets)
    return [{LABELS[label]: value for label, value in record.items()} for record in cbor2.loads(octets)]


@given(views(), st.sampled_from(SENML))
def test_every_pack_is_one(made: tuple[DeviceView, float], format: int) -> None:
    view, now = made
    base = packs.base_name(view)
    reported = {
        name: value
        for each in view.properties
        if each.name in view.samples and (told := view.samples[each.name].value) is not None
        for name, value in flat(base + each.name, each, told).items()
    }
    known = {} if view.online is None or any(p.name == "online" for p in view.properties) else {
        f"{base}online": view.online
    }  # fmt: skip
    response = representation.whole(view, format, now)
    assert check_pack(read(format, response.payload)) == {**reported, **known}
    ours = senml.read_json if format == device_resources.SENML_JSON else senml.read_cbor
    assert {record.name: record.value for record in ours(response.payload)} == {**reported, **known}
    for each in view.properties:
        single = representation.one(view, each, view.samples.get(each.name), format, now)
        own = {name: value for name, value in reported.items() if f"{name}/".startswith(f"{base}{each.name}/")}
        assert check_pack(read(format, single.payload)) == own


@given(views(), st.sampled_from(device_resources.ONE_FORMATS))
def test_what_is_read_may_be_set(made: tuple[DeviceView, float], format: int) -> None:
    """In each format, as it was; but for numbers, whose last digits SenML's primary units may cost."""
    view, now = made
    for each in view.properties:
        sample = view.samples.get(each.name)
        if sample is None or sample.value is None or sample.stale or not fits(each, sample.value):
            continue
        if isinstance(sample.value, str) and not sample.value.isprintable():
            continue  # no client may set that
        if isinstance(sample.value, int | float) and each.unit and abs(sample.value) > 1e9:
            continue  # its primary unit may be beyond what a float holds exactly
        octets = (
            representation.alone(each, sample, format, now)
            if format in device_resources.PLAIN_FORMATS
            else representation.one(view, each, sample, format, now)
        ).payload
        if format in SENML:  # what is set has neither age nor lifetime
            octets = without_times(octets, format)
        found = representation.value_of(view, each, format, octets)
        assert found == pytest.approx(sample.value) if isinstance(found, float) else close(found, sample.value)


def close(one: Value, other: Value) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, str | bool) or isinstance(other, str | bool):
        return one is other or one == other
    return bool(one == pytest.approx(other))


def without_times(octets: bytes, format: int) -> bytes:
    if format == device_resources.SENML_JSON:
        return json.dumps(
            [{k: v for k, v in each.items() if k not in ("t", "ut")} for each in json.loads(octets)]
        ).encode()
    return cbor2.dumps([{k: v for k, v in each.items() if k not in (6, 7)} for each in cbor2.loads(octets)])


def test_a_property_without_a_value_has_no_record() -> None:
    view = DeviceView(
        name="lamp", address=Address(scheme="far", claim="user:lamp"), may=frozenset(("read",)), online=None,
        sleepy=False, facts=(), samples={"b": Sample(None, 1.0, False), "c": Sample(3, 1.0, False)},
        properties=tuple(PropertyAffordance(name=name, type=DataType.NUMBER, lifetime=60) for name in "abc"),
    )  # fmt: skip
    assert representation.whole(view, device_resources.SENML_JSON, 1.0).payload == b'[{"n":"lamp/c","v":3,"ut":60}]'
    for name in (0, 1):
        known_property = view.properties[name]
        assert (
            representation.one(
                view, known_property, view.samples.get(known_property.name), device_resources.SENML_JSON, 1.0
            ).payload
            == b"[]"
        )
        assert (
            representation.one(
                view, known_property, view.samples.get(known_property.name), device_resources.SENML_CBOR, 1.0
            ).payload
            == b"\x80"
        )


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.property.name)
def test_units_are_those_of_senml(row: Any) -> None:
    assert row.property.unit in UNITS | SECONDARY.keys() | {""}


@pytest.mark.parametrize(
    ("value", "unit", "senml_value", "senml_unit"),
    [
        (1013.2, "hPa", 101_320, "Pa"),
        (12.34, "kWh", 44_424_000, "J"),
        (3015, "mV", 3.015, "V"),
        (412, "ppm", 0.000412, "/"),
        (-30, "dBm", -60, "dBW"),
        (36, "km/h", 10, "m/s"),
        (21.5, "Cel", 21.5, "Cel"),
    ],
)
def test_secondary_units_become_primary_ones(value: float, unit: str, senml_value: float, senml_unit: str) -> None:
    assert primary(value, unit) == (senml_value, senml_unit)
    assert secondary(senml_value, unit) == value


def test_every_secondary_unit_has_a_primary_one_of_the_registry() -> None:
    assert {each.unit for each in SECONDARY.values()} <= UNITS
    assert not SECONDARY.keys() & UNITS


COLOR: Final = PropertyAffordance(
    name="color", type=DataType.OBJECT, writable=True,
    fields=(("x", DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)), ("y", DataSchema(type=DataType.NUMBER))),
)  # fmt: skip
PRESSURE: Final = PropertyAffordance(name="pressure", type=DataType.NUMBER, unit="hPa", writable=True, maximum=2000)
LAMP: Final = DeviceView(
    name="lamp", address=Address(scheme="zigbee", claim="eui64:00:0d:6f:00:0b:5d:e3:b6"), may=frozenset(("read",)),
    online=True, sleepy=False, facts=(), properties=(COLOR, PRESSURE),
    samples={"color": Sample({"x": 0.3, "y": 0.6}, 1.0), "pressure": Sample(1013.2, 1.0)},
)  # fmt: skip


def test_an_object_is_a_record_for_each_field() -> None:
    pack = json.loads(representation.whole(LAMP, device_resources.SENML_JSON, 1.0).payload)
    assert [(each["n"], each.get("v", each.get("vb")), each.get("u")) for each in pack] == [
        ("color/x", 0.3, None), ("color/y", 0.6, None), ("pressure", 101_320, "Pa"), ("online", True, None),
    ]  # fmt: skip
    assert tellable(COLOR, {"x": 0.3, "y": 0.6})


@pytest.mark.parametrize(
    ("pack", "value"),
    [
        ([{"n": "color/x", "v": 0.1}, {"n": "color/y", "v": 1}], {"x": 0.1, "y": 1}),
        ([{"bn": "urn:dev:mac:000d6f000b5de3b6_", "n": "color/x", "v": 0.1}], {"x": 0.1}),
        ([{"vs": '{"x":0.5}'}], {"x": 0.5}),
        ([{"n": "color/x", "v": 0.1}, {"n": "color/x", "v": 0.2}], "each once"),
        ([{"n": "color/x", "v": 0.1}, {"n": "color", "vs": "{}"}], "or its parts"),
        ([{"n": "color/z", "v": 0.1}], "z: expected a field"),
        ([{"n": "color/x", "v": 2}], "each within its bounds"),
        ([{"n": "color/x/y", "v": 2}], "expected a field"),
        ([{"n": "colour/x", "v": 0.1}], "own name"),
        ([{"n": "color/x", "vs": "1"}], "expected v"),
        ([], "expected a record"),
    ],
)
def test_an_object_is_set_by_its_fields(pack: Any, value: Any) -> None:
    body = json.dumps(pack).encode()
    if isinstance(value, str):
        with pytest.raises(PeerError, match=value):
            representation.value_of(LAMP, COLOR, device_resources.SENML_JSON, body)
    else:
        assert representation.value_of(LAMP, COLOR, device_resources.SENML_JSON, body) == value


@pytest.mark.parametrize(
    ("pack", "value"),
    [
        ([{"v": 101_320, "u": "Pa"}], 1013.2),
        ([{"v": 1013.2, "u": "hPa"}], 1013.2),
        ([{"v": 1013.2}], "the unit Pa"),  # by what the gateway sends it would be a hundredth
        ([{"v": 1013.2, "u": "bar"}], "the unit Pa"),
    ],
)
def test_a_number_is_set_in_either_unit(pack: Any, value: Any) -> None:
    body = json.dumps(pack).encode()
    if isinstance(value, str):
        with pytest.raises(PeerError, match=value):
            representation.value_of(LAMP, PRESSURE, device_resources.SENML_JSON, body)
    else:
        assert representation.value_of(LAMP, PRESSURE, device_resources.SENML_JSON, body) == value


@pytest.mark.parametrize("format", device_resources.PLAIN_FORMATS)
def test_json_and_cbor_have_a_value_with_its_age_or_alone(format: int) -> None:
    decode = json.loads if format == device_resources.JSON else cbor2.loads
    whole = decode(representation.whole(LAMP, format, 3.0).payload)
    pressure = {"value": 1013.2, "unit": "hPa", "age": 2.0, "lifetime": 86_400.0, "stale": False}
    assert (whole["name"], whole["online"], whole["values"]["pressure"]) == ("lamp", True, pressure)
    sample = LAMP.samples["pressure"]
    assert decode(representation.one(LAMP, PRESSURE, sample, format, 3.0).payload) == pressure
    assert decode(representation.alone(PRESSURE, sample, format, 3.0).payload) == 1013.2
    assert (
        representation.alone(PRESSURE, sample._replace(stale=True), format, 3.0).payload == b"expired: reported 2 s ago"
    )
