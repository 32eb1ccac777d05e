"""The ZCL frame codec: vectors written by hand from ZCL rev. 8 section 2.4.1, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee.zcl import ZclFrame, decode
from layer.errors import PeerError, UsageError

VECTORS = [
    # Read Attributes of attribute 0x0005: global, to the server, default response wanted
    (
        "00 2a 00 05 00",
        ZclFrame(0x00, b"\x05\x00", 0x2A, cluster_specific=False, disable_default_response=False),
    ),
    # On/Off toggle: cluster-specific, to the server, default response disabled
    ("11 01 02", ZclFrame(0x02, b"", 1)),
    # Report Attributes from a server, default response disabled: bool 0x10 true
    ("18 ff 0a 00 00 10 01", ZclFrame(0x0A, b"\x00\x00\x10\x01", 255, cluster_specific=False, to_client=True)),
    # manufacturer code 0x1234, cluster-specific, to the client, default response wanted
    (
        "0d 34 12 07 40 99",
        ZclFrame(0x40, b"\x99", 7, manufacturer=0x1234, to_client=True, disable_default_response=False),
    ),
]


@pytest.mark.parametrize(("octets", "frame"), VECTORS)
def test_vectors_written_from_the_standard(octets: str, frame: ZclFrame) -> None:
    assert frame.encode() == bytes.fromhex(octets)
    assert decode(bytes.fromhex(octets)) == frame


@pytest.mark.parametrize("octets", ["", "11", "11 01", "15 34 12 01", "12 01 02", "13 01 02"])
def test_cut_short_or_reserved_type_is_refused(octets: str) -> None:
    with pytest.raises(PeerError):
        decode(bytes.fromhex(octets))


def test_reserved_bits_are_ignored() -> None:
    assert decode(bytes.fromhex("f1 01 02")) == ZclFrame(0x02, b"", 1)


FRAMES = st.builds(
    ZclFrame,
    command=st.integers(0, 255),
    payload=st.binary(max_size=100),
    sequence=st.integers(0, 255),
    cluster_specific=st.booleans(),
    manufacturer=st.none() | st.integers(0, 0xFFFF),
    to_client=st.booleans(),
    disable_default_response=st.booleans(),
)


@given(FRAMES)
def test_every_frame_comes_back(frame: ZclFrame) -> None:
    assert decode(frame.encode()) == frame


@given(st.binary(max_size=100))
def test_any_octets_give_a_frame_or_a_peer_error(octets: bytes) -> None:
    try:
        frame = decode(octets)
    except PeerError:
        return
    again = frame.encode()
    assert again[1:] == octets[1:]
    assert again[0] == octets[0] & 0x1F


@pytest.mark.parametrize(
    "frame", [ZclFrame(256, b"", 0), ZclFrame(0, b"", -1), ZclFrame(0, b"", 0, manufacturer=0x10000)]
)
def test_fields_out_of_range_are_our_bug(frame: ZclFrame) -> None:
    with pytest.raises(UsageError):
        frame.encode()


def test_repr_shows_no_payload() -> None:
    assert "secret" not in repr(ZclFrame(2, b"secret", 1))
