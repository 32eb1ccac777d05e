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

from adapters.coap import representation
from adapters.zigbee.clusters import TABLE
from carriage import senml
from carriage.coap import device_resources
from gateway.api.model import Address, DataType, DeviceView, PropertyAffordance, Sample

_UNITS = """\
m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2
bit bit/s lat lon pH dB dBW Bspl count / % %RH %EL EL 1/s 1/min beat/min beats S/m B VA VAs var vars J/m kg/m3 deg
NTU"""
UNITS: Final = frozenset(_UNITS.split())
"""The registry "SenML Units" (RFC 8428, section 12.1; RFC 8798, section 3)."""
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
        DataType.OBJECT: st.dictionaries(st.text(max_size=4), st.booleans(), max_size=3),
        DataType.ARRAY: st.lists(st.integers(0, 9), max_size=3),
        DataType.NUMBER: st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False),
        DataType.STRING: st.text(st.characters(exclude_categories=("Cs",)), max_size=256),
    }
    now = draw(st.floats(0, 1e9))
    names = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True) | st.just("online"), unique=True))
    properties, samples = [], {}
    for name in names:
        kind = draw(st.sampled_from(list(DataType)))
        unit = draw(st.sampled_from(["", "Cel", "%RH"]))
        properties.append(PropertyAffordance(name=name, type=kind, unit=unit, lifetime=draw(st.floats(0.1, 1e6))))
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


def in_senml(value: Any) -> Any:
    """SenML has no objects: they come as JSON in a string."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else value


def read(format: int, octets: bytes) -> Any:
    if format == device_resources.SENML_JSON:
        return json.loads(octets)
    return [{LABELS[label]: value for label, value in record.items()} for record in cbor2.loads(octets)]


@given(views(), st.sampled_from(device_resources.ALL_FORMATS))
def test_every_pack_is_one(made: tuple[DeviceView, float], format: int) -> None:
    view, now = made
    base = representation.base_name(view)
    reported = {
        f"{base}{name}": in_senml(sample.value) for name, sample in view.samples.items() if sample.value is not None
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
        value = reported.get(base + each.name)
        assert check_pack(read(format, single.payload)) == ({} if value is None else {base + each.name: value})


def test_what_has_no_value_has_no_record() -> None:
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
    assert row.property.unit in UNITS | {""}
