"""LUMI's lists: what is in front of a fault counts, and nothing but PeerError comes out of octets of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.zigbee.clusters import MAKERS, TABLE
from adapters.zigbee.device_model import Model
from adapters.zigbee.makers.lumi_tags import elements, tagged
from adapters.zigbee.reports import happened, reported, told
from carriage.zigbee.datatypes import UINT16, encode
from gateway.api.errors import PeerError
from tests.harness.cluster_models import model_with


def test_a_list() -> None:
    assert tagged(bytes.fromhex("0121D10B 0328F6")) == {1: 3025, 3: -10}
    assert tagged(bytes.fromhex("0121D10B 00")) == {1: 3025}  # an octet too many
    assert tagged(b"") == {}


def test_what_is_in_front_of_a_fault_counts() -> None:
    assert tagged(bytes.fromhex("0121D10B 995FDC0401FF")) == {1: 3025}  # a type that no standard has
    assert tagged(bytes.fromhex("0121D10B 0421A8")) == {1: 3025}
    assert tagged(bytes.fromhex("0121D10B 04")) == {1: 3025}


@pytest.mark.parametrize("octets", ["01", "0121D1", "015FDC0401FF"])
def test_a_list_of_which_nothing_can_be_read(octets: str) -> None:
    with pytest.raises(PeerError):
        tagged(bytes.fromhex(octets))


def test_a_structure() -> None:
    assert elements(bytes.fromhex("0300 1001 21BA0B 21A813")) == {0: True, 1: 3002, 2: 5032}
    for short in ("", "03", "0300", "0300 1001", "0100 21BA", "0100 5F01"):
        with pytest.raises(PeerError):
            elements(bytes.fromhex(short))


@given(st.dictionaries(st.integers(0, 0xFF), st.integers(0, 0xFFFF), max_size=20))
def test_a_list_comes_back(values: dict[int, int]) -> None:
    octets = b"".join(bytes((tag, UINT16.id)) + encode(UINT16, value) for tag, value in values.items())
    assert tagged(octets) == values


@given(st.binary(max_size=80))
def test_octets_of_any_kind(octets: bytes) -> None:
    for read in (tagged, elements):
        try:
            read(octets)
        except PeerError:
            pass


MODELS = [
    model_with(
        *sorted({row.cluster for row in (*devices.rows, *devices.events, *devices.reported_events)}),
        table=TABLE,
        manufacturer=manufacturer,
        model=model,
    )
    for devices in MAKERS
    for manufacturer, model in list(devices.names())[:1]
]


@given(st.sampled_from([each for each in MODELS if each.places]), st.data())
def test_reports_of_any_kind(model: Model, data: st.DataObject) -> None:
    """A fault is a value here, and no exception."""
    at = data.draw(st.sampled_from(sorted(model.places)))
    known = sorted({*model.places[at], *model.reported_events.get(at, ())})
    attribute = data.draw(st.sampled_from(known)).to_bytes(2, "little")
    payload = attribute + data.draw(st.sampled_from(TYPES_SENT) | st.binary(max_size=1)) + data.draw(st.binary())
    for raw in (payload, data.draw(st.binary())):
        reported(model, at, raw)
        told(model, at, raw)


TYPES_SENT = [bytes((each,)) for each in (0x10, 0x20, 0x21, 0x23, 0x25, 0x29, 0x39, 0x41, 0x42, 0x4C)]


@given(st.sampled_from([each for each in MODELS if each.events]), st.binary(max_size=40), st.data())
def test_commands_of_any_kind(model: Model, payload: bytes, data: st.DataObject) -> None:
    at, command, by_client = data.draw(st.sampled_from(sorted(model.events)))
    try:
        happened(model, at, command, by_client, payload)
    except PeerError:
        pass
