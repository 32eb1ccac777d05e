"""ASH frames against the octets printed in UG101, and against arbitrary octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer.errors import PeerError
from simulator.ash.deframer import Deframer
from simulator.ash.frame import (
    MAX_DATA,
    MAX_FRAME,
    Ack,
    Data,
    Error,
    Frame,
    Nak,
    Rst,
    RstAck,
    decode,
    encode,
    randomise,
)

#: UG101, chapter 3: the examples of every frame type (flag included, nothing escaped)
VECTORS: list[tuple[Frame, str]] = [
    (Rst(), "c0 38 bc 7e"),
    (RstAck(0x02), "c1 02 02 9b 7b 7e"),
    (RstAck(0x0B), "c1 02 0b 0a 52 7e"),
    # the CRC printed for ERROR does not fit its octets; these two are what NCPs send
    (Error(0x51), "c2 02 51 a8 bd 7e"),
    (Error(0x52), "c2 02 52 98 de 7e"),
    (Data(2, 5, False, bytes.fromhex("00000002")), "25 42 21 a8 56 a6 09 7e"),
    (Ack(1), "81 60 59 7e"),
    (Ack(6, not_ready=True), "8e 91 b6 7e"),
    (Nak(6), "a6 34 dc 7e"),
    (Nak(5, not_ready=True), "ad 85 b7 7e"),
]


@pytest.mark.parametrize(("frame", "line"), VECTORS)
def test_printed_examples(frame: Frame, line: str) -> None:
    octets = bytes.fromhex(line)
    assert encode(frame) == octets
    assert decode(octets[:-1]) == frame


def test_mask_starts_as_printed() -> None:
    assert randomise(bytes(8)) == bytes.fromhex("42 21 a8 54 2a 15 b2 59")


def test_reserved_octets_are_escaped_as_printed() -> None:
    """UG101, table 4.1: 7E -> 7D 5E, 11 -> 7D 31, 13 -> 7D 33, 18 -> 7D 38, 1A -> 7D 3A, 7D -> 7D 5D."""
    reserved = bytes((0x7E, 0x11, 0x13, 0x18, 0x1A, 0x7D))
    line = encode(Data(0, 0, False, randomise(reserved)))
    assert line[1:13].hex() == "7d5e7d317d337d387d3a7d5d"
    assert set(line[:-1]) & (set(reserved) - {0x7D}) == set()


def frames() -> st.SearchStrategy[Frame]:
    number = st.integers(0, 7)
    octet = st.integers(0, 255)
    return st.one_of(
        st.builds(Data, number, number, st.booleans(), st.binary(min_size=3, max_size=MAX_DATA)),
        st.builds(Ack, number, st.booleans()),
        st.builds(Nak, number, st.booleans()),
        st.just(Rst()),
        st.builds(RstAck, octet, octet),
        st.builds(Error, octet, octet),
    )


@given(st.lists(frames(), max_size=6), st.data())
def test_any_cut_of_the_stream_gives_the_frames(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(encode(frame) for frame in sent)
    deframer, received = Deframer(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received += [decode(body) for body in deframer.feed(stream[:cut])]
        stream = stream[cut:]
    assert received == sent


@given(frames(), st.data())
def test_a_flipped_bit_is_noticed(frame: Frame, data: st.DataObject) -> None:
    """CRC-CCITT finds every single-bit error."""
    body = bytearray(next(Deframer().feed(encode(frame))))
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PeerError):
        decode(bytes(body))


@given(st.binary(max_size=200))
def test_arbitrary_octets_are_a_frame_or_refused(body: bytes) -> None:
    try:
        frame = decode(body)
    except PeerError:
        return
    assert decode(next(Deframer().feed(encode(frame)))) == frame


@given(st.lists(st.binary(max_size=600), max_size=5))
def test_the_deframer_holds_one_frame_at_most(chunks: list[bytes]) -> None:
    deframer = Deframer()
    for chunk in chunks:
        for body in deframer.feed(chunk):
            assert 0 < len(body) <= MAX_FRAME
        assert len(deframer._body) <= MAX_FRAME


@pytest.mark.parametrize(
    ("line", "bodies"),
    [
        ("81 60 1a 81 60 59 7e", ["816059"]),  # cancelled, then whole
        ("81 18 60 59 7e 81 60 59 7e", ["8160", "816059"]),  # substitute: an error on the wire
        ("81 11 60 13 59 7e", ["816059"]),  # XON and XOFF are no part of it
        ("7e 7e 81 60 59 7e 7e", ["816059"]),  # empty frames
        ("81 60 7d 7e 81 60 59 7e", ["8160", "816059"]),  # nothing to escape
        ("81 7d 40 59 7e", ["816059"]),  # escaped though it need not be
    ],
)
def test_control_bytes(line: str, bodies: list[str]) -> None:
    found = [body.hex() for body in Deframer().feed(bytes.fromhex(line))]
    assert found == bodies


@pytest.mark.parametrize("length", [0, 1, 2, MAX_DATA + 1])
def test_data_fields_out_of_bounds_are_refused(length: int) -> None:
    from binascii import crc_hqx

    body = b"\x00" + bytes(length)
    with pytest.raises(PeerError):
        decode(body + crc_hqx(body, 0xFFFF).to_bytes(2, "big"))
