"""What clients send as a value, in each format: a value that the engine takes, or a ``PeerError``."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any, Final

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.coap.representation import value_of
from carriage import senml
from carriage.coap import device_resources
from gateway.api.model import Address, DataSchema, DataType, DeviceView, PropertyAffordance
from gateway.api.schema import MAX_TEXT, fits
from layer.errors import PeerError
from tests.harness.mutations import mutated

PROPERTIES: Final = (
    PropertyAffordance(name="on", type=DataType.BOOLEAN, writable=True),
    PropertyAffordance(name="level", type=DataType.NUMBER, unit="/", writable=True),
    PropertyAffordance(name="dim", type=DataType.NUMBER, writable=True, minimum=0, maximum=254),
    PropertyAffordance(name="label", type=DataType.STRING, writable=True),
    PropertyAffordance(name="steps", type=DataType.INTEGER, writable=True),
    PropertyAffordance(
        name="colour",
        type=DataType.OBJECT,
        writable=True,
        fields=(("x", DataSchema(type=DataType.NUMBER, minimum=0, maximum=1)),),
    ),
    PropertyAffordance(
        name="list", type=DataType.ARRAY, writable=True, items=DataSchema(type=DataType.INTEGER), max_items=3
    ),
)
VIEW: Final = DeviceView(
    name="lamp", address=Address(scheme="far", claim="user:lamp"), may=frozenset(("write",)), online=True,
    sleepy=False, facts=(), properties=PROPERTIES, samples={},
)  # fmt: skip
TYPES: Final = {
    DataType.BOOLEAN: (bool,),
    DataType.INTEGER: (int,),
    DataType.NUMBER: (int, float),
    DataType.STRING: (str,),
    DataType.OBJECT: (dict,),
    DataType.ARRAY: (list,),
}

VALID: Final = {
    device_resources.TEXT: [
        b"true",
        b"off",
        b"21.5",
        b"-1e3",
        b"7",
        b'{"x":0.5}',
        b"[1,2]",
        "näh".encode(),
        b"x" * 256,
    ],
    device_resources.JSON: [
        b"true",
        b'"on"',
        b"21.5",
        b'{"value":-1e3}',
        b"7",
        b'{"x":0.5}',
        b"[1,2]",
        b'"n\\u00e4h \\ud83d\\ude00"',
        b"[[1]]",
        b"null",
    ],
    device_resources.SENML_JSON: [
        b'[{"n":"on","vb":true}]',
        b'[{"bn":"lamp/","n":"level","u":"/","v":21.5,"bver":10}]',
        b'[{"bv":1e308,"v":-1e308}]',
        b'[{"v":3}]',
        b'[{"vs":"n\\u00e4h"}]',
        b'[{"vd":"aGkgCg"}]',
        b'[{"bs":4,"s":1}]',
        b'[{"n":"colour/x","v":0.5}]',
        b'[{"n":"list/0","v":1},{"n":"list/1","v":2}]',
    ],
    device_resources.SENML_CBOR: [
        bytes.fromhex("81a104f5"),
        bytes.fromhex("81a3006a6c616d702f6c6576656c 016 12f 02fb40358000 00000000".replace(" ", "")),
        bytes.fromhex("81a102c48221196ab3"),
        bytes.fromhex("9fbf0361 78ffff".replace(" ", "")),
        bytes.fromhex("81a102c249ffffffffffffffffff"),
        bytes.fromhex("81a102f97e00"),
        bytes.fromhex("81a10203"),
        cbor2.dumps([{0: "colour/x", 2: 0.5}]),
        cbor2.dumps([{0: "list/0", 2: 1}]),
    ],
    device_resources.CBOR: [
        cbor2.dumps(each) for each in (True, "on", 21.5, {"value": -1e3}, 7, {"x": 0.5}, [1, 2], "näh", [[1]], None)
    ],
}


def check(format: int, octets: bytes) -> None:
    for wanted in PROPERTIES:
        try:
            value = value_of(VIEW, wanted, format, octets)
        except PeerError as error:
            assert len(str(error)) < 120
            continue
        assert type(value) in TYPES[wanted.type]
        if isinstance(value, str):
            value.encode()
            assert len(value) <= MAX_TEXT
        elif isinstance(value, list | dict):
            assert fits(wanted, value)
        elif not isinstance(value, bool):
            assert isinstance(value, int) or isfinite(value)
            assert wanted.maximum is None or 0 <= value <= wanted.maximum


formats = pytest.mark.parametrize("format", list(VALID))


@formats
def test_what_is_valid_is_read(format: int) -> None:
    """So that the changes below begin somewhere: each kind of property takes one of them."""
    taken = set()
    for octets in VALID[format]:
        for wanted in PROPERTIES:
            try:
                value_of(VIEW, wanted, format, octets)
                taken.add(wanted.type)
            except PeerError:
                pass
    assert taken == set(DataType)


@formats
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_changed_values(format: int, data: st.DataObject) -> None:
    check(format, data.draw(mutated(VALID[format])))


leaves = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from([*range(-7, 10), "v", "vb", "x", "x_", True, 2.0]),
    leaves | st.decimals() | st.fractions() | st.builds(cbor2.CBORTag, st.integers(0, 70_000), leaves),
    max_size=5,
)


@given(st.lists(fields, max_size=3) | trees)
@settings(max_examples=300, deadline=None)
@example([{2: Decimal("1E+999999")}])
@example([{2: Decimal("NaN")}])
@example([{-5: Fraction(1, 3), 2: 1}])
@example([{2: 10**400}])
def test_any_cbor(pack: Any) -> None:
    check(device_resources.SENML_CBOR, cbor2.dumps(pack))
    check(device_resources.CBOR, cbor2.dumps(pack))


names = st.sampled_from(["bver", "bn", "bt", "bu", "bv", "bs", "n", "u", "v", "vs", "vb", "s", "t", "ut", "vd", "x_"])
json_leaves = st.none() | st.booleans() | st.integers(-(10**310), 10**310) | st.floats() | st.text(max_size=5)


@given(st.lists(st.dictionaries(names, json_leaves, max_size=4), max_size=3), st.sampled_from([110, 50]))
@settings(max_examples=200, deadline=None)
def test_any_json(pack: Any, format: int) -> None:
    check(format, json.dumps(pack).encode())
    check(format, json.dumps({"value": pack[0].popitem()[1] if pack and pack[0] else pack}).encode())


DEEP: Final = {
    "lists": b"[" * 60_000,
    "objects": b'{"v":' * 10_000,
    "closed": b"[" * 30_000 + b"]" * 30_000,
    "digits": b'[{"v":' + b"9" * 60_000 + b"}]",
    "exponent": b'[{"v":1e' + b"9" * 1000 + b"}]",
    "CBOR lists": b"\x81" * 60_000,
    "CBOR lists without length": b"\x9f" * 60_000,
    "CBOR maps": b"\xa1\x01" * 30_000,
    "CBOR tags": b"\xc1" * 60_000,
    "CBOR text without length": b"\x81\xa1\x03\x7f" + b"\x61x" * 30_000,
    "CBOR octets that nothing follows": b"\x81\xa1\x08\x5b\x7f" + b"\xff" * 7,
    "CBOR list that nothing follows": b"\x9b\x00\x00\x00\x01\x00\x00\x00\x00",
    "CBOR bignum": b"\x81\xa1\x02\xc2\x59\xea\x60" + b"\xff" * 60_000,
    "CBOR decimal fraction": bytes.fromhex("81a102c4821b7fffffffffffffff01"),
    "CBOR decimal fraction of a bignum": bytes.fromhex("81a102c48200c2581e") + b"\xff" * 30,
    "CBOR half a surrogate pair": bytes.fromhex("81a10363eda080"),
}


@pytest.mark.parametrize("octets", DEEP.values(), ids=DEEP)
def test_deep_or_long_packs_are_read_or_refused(octets: bytes) -> None:
    for format in VALID:
        check(format, octets)
    for read in (senml.read_json, senml.read_cbor):
        try:
            read(octets)
        except PeerError:
            pass
