"""SenML: the examples of RFC 8428, what must be refused, and what was written is read again."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage import senml
from carriage.senml import Record
from layer.errors import PeerError, UsageError

# RFC 8428, sections 5.1.1 to 5.1.4.
SINGLE = b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]'
MULTIPLE = b"""[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2},
  {"n":"current","t":-4,"v":1.3}
]"""
RESOLVED = (
    Record(name="urn:dev:ow:10e2073a0108006:voltage", unit="V", time=1.276020076001e09, value=120.1),
    Record(name="urn:dev:ow:10e2073a0108006:current", unit="A", time=1.276020071001e09, value=1.2),
    Record(name="urn:dev:ow:10e2073a0108006:current", unit="A", time=1.276020072001e09, value=1.3),
)
KINDS = b"""[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
  {"n":"label","vs":"Machine Room"},
  {"n":"open","vb":false},
  {"n":"nfc-reader","vd":"aGkgCg"}
]"""
# Section 6: the beginning of the pack of 5.1.2 in CBOR.
CBOR = bytes.fromhex(
    "83"
    "a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c74616765"
    "01615602fb405e066666666666"
    "a3006763757272656e74062402fb3ff3333333333333"
    "a3006763757272656e74062302fb3ff4cccccccccccd"
)


def test_the_examples_of_the_rfc() -> None:
    assert senml.read_json(SINGLE) == (Record(name="urn:dev:ow:10e2073a01080063", unit="Cel", value=23.1),)
    assert senml.write_json(senml.read_json(SINGLE)) == SINGLE
    assert senml.read_json(MULTIPLE) == senml.read_cbor(CBOR) == RESOLVED
    assert [record.value for record in senml.read_json(KINDS)] == [23.1, "Machine Room", False, b"hi \n"]


def test_base_values_count_until_others_come() -> None:
    pack = (
        b'[{"bn":"a","bv":20,"bs":5,"n":"1","v":1.5},{"n":"2"},{"bn":"b","n":"3","s":1},{"bn":"c"},{"n":"4","vs":"x"}]'
    )
    found = [(record.name, record.value, record.sum) for record in senml.read_json(pack)]
    assert found == [("a1", 21.5, 5), ("a2", 20, 5), ("b3", 20, 6), ("c4", "x", 5)]


def test_one_record_has_its_whole_name_and_more_share_their_base() -> None:
    records = [
        Record(name="on", value=True, time=-3.0, update_time=60.0),
        Record(name="temperature", unit="Cel", value=21.0),
    ]
    assert senml.write_json(records[:1], "urn:dev:mac:00_") == b'[{"n":"urn:dev:mac:00_on","vb":true,"t":-3,"ut":60}]'
    assert (
        senml.write_json(records, "x:")
        == b'[{"bn":"x:","n":"on","vb":true,"t":-3,"ut":60},{"n":"temperature","u":"Cel","v":21}]'
    )
    assert cbor2.loads(senml.write_cbor(records, "x:")) == [
        {-2: "x:", 0: "on", 4: True, 6: -3, 7: 60},
        {0: "temperature", 1: "Cel", 2: 21},
    ]


@pytest.mark.parametrize("name", ["", "_a", "a b", "ä"])
def test_a_name_that_is_none_is_not_written(name: str) -> None:
    with pytest.raises(UsageError):
        senml.write_json([Record(name=name, value=1)])
    with pytest.raises(UsageError):
        senml.write_json([Record(name="a", value=float("nan"))])
    with pytest.raises(UsageError):
        senml.write_json([Record(name="a")])


@pytest.mark.parametrize(
    "pack",
    [
        b"", b"{}", b"[1]", b"[[]]", b"\xff", b'[{"v":NaN}]', b'[{"v":1e999}]', b'[{"v":"1"}]', b'[{"v":true}]',
        b'[{"vb":1}]', b'[{"vs":1}]', b'[{"n":1}]', b'[{"n":"a b"}]', b'[{"n":"-a"}]', b'[{"v":1,"vb":true}]',
        b'[{"v":1,"v":2}]', b'[{"bver":11}]', b'[{"v":1,"must_":0}]', b'[{"vd":"!"}]', b'[{"vd":4}]', b'[{"t":"now"}]',
        b'[{"vs":"\\ud800"}]', b'[{"n":"a","u":"\\udfff","v":1}]', b'[{"bv":1e308,"v":1e308}]',
        b'[{"bt":1e308,"t":1e308}]',
        b'[{"bv":1' + b"0" * 308 + b',"v":1.5e308}]', b'[{"bs":-1e308,"s":-1e308}]',
        b"[" * 5000, b"[" + b'{"v":1},' * 1024 + b'{"v":1}]', b'[{"v":1' + b"0" * 5000 + b"}]", b" " * 70_000,
    ],
)  # fmt: skip
def test_text_that_is_no_pack_is_refused(pack: bytes) -> None:
    with pytest.raises(PeerError):
        senml.read_json(pack)


@pytest.mark.parametrize(
    "pack",
    [
        "", "a0", "8101", "81a1026131", "81a102f5", "81a2020102f6", "81a102f97e00", "81a102f97c00",
        "81a20201020 2".replace(" ", ""), "81a102c11a514b67b0", "81a102c249ffffffffffffffffff", "81a1d81c0102",
        "81a102d8236161", "81a102d9010080", "81a10461ff", "9f" * 50, "9b7fffffffffffffff", "5b7fffffffffffffff",
        "81a165" + b"must_".hex() + "01",
    ],
)  # fmt: skip
def test_octets_that_are_no_pack_in_cbor_are_refused(pack: str) -> None:
    """Among them tags, depth, lengths that nothing follows, and a name where CBOR has a number for it."""
    octets = bytes.fromhex(pack)
    with pytest.raises(PeerError):
        senml.read_cbor(octets)


def test_unknown_fields_are_ignored() -> None:
    assert (
        senml.read_json(b'[{"x":1,"v":2}]') == senml.read_cbor(bytes.fromhex("81a2617801 0202")) == (Record(value=2),)
    )
    assert senml.read_cbor(bytes.fromhex("81a1617601")) == ()  # in CBOR the value has a number, no name


def test_a_pack_without_records() -> None:
    assert senml.read_json(b"[]") == senml.read_cbor(b"\x80") == ()
    assert (senml.write_json([], "a:"), senml.write_cbor([], "a:")) == (b"[]", b"\x80")


def test_a_label_of_cbor_is_an_integer() -> None:
    """True and 2.0 are equal to 1 and 2, and no labels."""
    assert senml.read_cbor(bytes.fromhex("81a2f5614302 05")) == (Record(value=5),)
    assert senml.read_cbor(bytes.fromhex("81a1f94000 05")) == ()


def test_a_decimal_fraction_is_a_number() -> None:
    assert senml.read_cbor(bytes.fromhex("81a102c48221196ab3"))[0].value == 273.15


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,20}", fullmatch=True)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
RECORDS = st.builds(
    Record,
    name=NAMES,
    value=st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=("Cs",))),
    unit=st.sampled_from(("", "Cel", "%RH", "%EL")),
    time=st.floats(-1e6, 0),
    update_time=st.none() | st.floats(0, 1e6),
    sum=st.none() | NUMBERS,
).filter(lambda record: record.value is not None or record.sum is not None)


@given(st.lists(RECORDS, min_size=1, max_size=5), st.sampled_from(("", "urn:dev:mac:000d6f000b5de3b6_")))
def test_what_is_written_is_read(records: list[Record], base: str) -> None:
    expected = tuple(
        Record(
            name=base + each.name,
            value=each.value,
            unit=each.unit,
            time=each.time,
            update_time=each.update_time,
            sum=each.sum,
        )
        for each in records
    )
    assert senml.read_json(senml.write_json(records, base)) == expected
    assert senml.read_cbor(senml.write_cbor(records, base)) == expected


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda octets: b"\x81\xa2" + octets))
def test_any_octets_are_a_pack_or_an_error(octets: bytes) -> None:
    for read in (senml.read_json, senml.read_cbor):
        try:
            read(octets)
        except PeerError:
            pass
