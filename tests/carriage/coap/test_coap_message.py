"""Tests of carriage.coap.message: vectors by hand from RFC 7252, refusals, properties, aiocoap as second opinion."""

from __future__ import annotations

import aiocoap
import pytest
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.options import Options as AiocoapOptions
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carriage.coap import codes
from carriage.coap.message import ACK, CON, MAX_OPTIONS, NON, RST, Message, decode, decode_options, encode_options
from layer.errors import PeerError, UsageError

# RFC 7252 appendix A, figures 16 to 19, and the option coding of section 3.1 by hand.
VECTORS = [
    (
        "40 01 7d34 bb 74656d7065726174757265",
        Message(CON, codes.GET, 0x7D34, b"", ((11, b"temperature"),)),
    ),
    ("60 45 7d34 ff 32322e332043", Message(ACK, codes.CONTENT, 0x7D34, b"", (), b"22.3 C")),
    (
        "41 01 7d35 20 bb 74656d7065726174757265",
        Message(CON, codes.GET, 0x7D35, b"\x20", ((11, b"temperature"),)),
    ),
    ("61 45 7d35 20 ff 32322e332043", Message(ACK, codes.CONTENT, 0x7D35, b"\x20", (), b"22.3 C")),
    ("60 00 7d36", Message(ACK, codes.EMPTY, 0x7D36)),
    ("70 00 7d37", Message(RST, codes.EMPTY, 0x7D37)),
    ("40 00 0001", Message(CON, codes.EMPTY, 1)),
    (
        "51 45 7d40 75 60 ff 78",  # a notification: Observe 0 is an empty option
        Message(NON, codes.CONTENT, 0x7D40, b"\x75", ((6, b""),), b"x"),
    ),
    (
        "40 02 0001 c2 fde8",  # Content-Format 65000: delta 12, length 2
        Message(CON, codes.POST, 1, b"", ((12, b"\xfd\xe8"),)),
    ),
    ("40 01 0001 d0 0a", Message(CON, codes.GET, 1, b"", ((23, b""),))),  # delta 13 + 10
    ("40 01 0001 e0 0017", Message(CON, codes.GET, 1, b"", ((292, b""),))),  # delta 269 + 23
    ("40 01 0001 bd 00" + "61" * 13, Message(CON, codes.GET, 1, b"", ((11, b"a" * 13),))),
    ("40 01 0001 be 0000" + "61" * 269, Message(CON, codes.GET, 1, b"", ((11, b"a" * 269),))),
    ("40 01 0001 e0 fef2", Message(CON, codes.GET, 1, b"", ((65535, b""),))),
    ("48 01 0001 0102030405060708", Message(CON, codes.GET, 1, bytes(range(1, 9)))),
    ("40 01 0001 b1 61 01 62 41 71", Message(CON, codes.GET, 1, b"", ((11, b"a"), (11, b"b"), (15, b"q")))),
]


@pytest.mark.parametrize(("octets", "message"), VECTORS)
def test_vectors_both_ways(octets: str, message: Message) -> None:
    datagram = bytes.fromhex(octets.replace(" ", ""))
    assert decode(datagram) == message
    assert message.encode() == datagram


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("", "shorter"),
        ("40 01 00", "shorter"),
        ("00 01 0001", "version"),
        ("80 01 0001", "version"),
        ("c0 01 0001", "version"),
        ("49 01 0001 010203040506070809", "token length"),
        ("4f 01 0001 0102030405060708090a0b0c0d0e0f", "token length"),
        ("44 01 0001 0102", "token is cut"),
        ("40 01 0001 ff", "marker"),
        ("40 01 0001 b1 61 ff", "marker"),
        ("41 00 0001 01", "empty message"),
        ("40 00 0001 ff 00", "empty message"),
        ("40 00 0001 00", "empty message"),
        ("50 00 0001", "non-confirmable"),
        ("70 45 0001", "can't carry"),
        ("60 01 0001", "can't carry"),
        ("40 20 0001", "can't carry"),
        ("40 c0 0001", "can't carry"),
        ("40 e1 0001", "can't carry"),
        ("40 01 0001 f0", "reserved"),
        ("40 01 0001 0f", "reserved"),
        ("40 01 0001 d0", "cut short"),
        ("40 01 0001 e0 00", "cut short"),
        ("40 01 0001 0d", "cut short"),
        ("40 01 0001 0e 00", "cut short"),
        ("40 01 0001 b5 61", "cut short"),
        ("40 01 0001 e0 fef3", "65535"),
        ("40 01 0001 e0 fef2 10", "65535"),
        ("40 01 0001" + "10" * (MAX_OPTIONS + 1), "too many"),
    ],
)
def test_refusals(octets: str, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        decode(bytes.fromhex(octets.replace(" ", "")))


def test_as_many_options_as_allowed() -> None:
    assert len(decode(bytes.fromhex("40010001") + b"\x00" * MAX_OPTIONS).options) == MAX_OPTIONS


@given(st.binary(max_size=80))
@example(bytes.fromhex("40010001eeffffffff"))
@settings(max_examples=200, deadline=None)
def test_arbitrary_octets_give_a_message_or_a_peer_error(octets: bytes) -> None:
    try:
        message = decode(octets)
    except PeerError:
        return
    assert decode(message.encode()) == message


@given(st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_arbitrary_octets_behind_a_good_header(octets: bytes) -> None:
    try:
        message = decode(b"\x42\x02\x00\x07tk" + octets)
    except PeerError:
        return
    assert message.token == b"tk"
    assert decode(message.encode()) == message


OPTION = st.tuples(
    st.one_of(st.integers(0, 300), st.integers(0, 65535)),
    st.one_of(st.binary(max_size=20), st.binary(min_size=250, max_size=300)),
)
MESSAGES = st.builds(
    Message,
    st.sampled_from((CON, NON)),
    st.sampled_from([code for code in codes.NAMES if 0 < code < 0xC0]),
    st.integers(0, 65535),
    st.binary(max_size=8),
    st.lists(OPTION, max_size=12).map(lambda found: tuple(sorted(found, key=lambda option: option[0]))),
    st.binary(max_size=100),
)


@given(MESSAGES)
@settings(max_examples=150, deadline=None)
def test_messages_come_back(message: Message) -> None:
    assert decode(message.encode()) == message


@given(st.lists(OPTION, max_size=8), st.binary(max_size=10))
@settings(max_examples=100, deadline=None)
def test_options_are_put_in_order_and_equal_numbers_keep_theirs(found: list[tuple[int, bytes]], payload: bytes) -> None:
    options, rest = decode_options(encode_options(tuple(found), payload), 0)
    assert options == tuple(sorted(found, key=lambda option: option[0]))
    assert rest == payload


def test_a_message_that_can_not_be_encoded_is_our_fault() -> None:
    with pytest.raises(UsageError):
        Message(CON, codes.GET, 0, bytes(9)).encode()
    with pytest.raises(UsageError):
        Message(CON, codes.GET, 0, b"", ((65536, b""),)).encode()
    with pytest.raises(UsageError):
        Message(CON, codes.GET, 0, b"", ((1, bytes(65_805)),)).encode()


def test_the_largest_option_value() -> None:
    message = Message(CON, codes.GET, 0, b"", ((1, bytes(65_804)),))
    assert decode(message.encode()) == message


def test_repr_shows_no_content() -> None:
    text = repr(Message(CON, codes.POST, 7, b"tok", ((15, b"nonce=secret"),), b"payload"))
    assert text == "<Message CON 0.02 id 7 options [15] payload 7 octets>"


# aiocoap as an independent implementation. It knows option formats, so values are compared by their encoded form.

# Opaque to aiocoap: it leaves their octets as they are.
OPAQUE_NUMBERS = st.sampled_from((1, 4, 9, 252, 292, 2050, 65000))
STRING_NUMBERS = st.sampled_from((3, 8, 11, 15, 20, 35, 39))
UINT_NUMBERS = st.sampled_from((7, 12, 14, 17, 28, 60))
VALID_OPTION = st.one_of(
    st.tuples(OPAQUE_NUMBERS, st.binary(min_size=1, max_size=8)),
    st.tuples(STRING_NUMBERS, st.text(min_size=1, max_size=20).map(str.encode)),
    st.tuples(UINT_NUMBERS, st.integers(0, 65535).map(lambda value: value.to_bytes((value.bit_length() + 7) // 8))),
)
VALID = st.builds(
    Message,
    st.sampled_from((CON, NON)),
    st.sampled_from((codes.GET, codes.POST, codes.PUT, codes.FETCH, codes.CONTENT, codes.CHANGED, codes.NOT_FOUND)),
    st.integers(0, 65535),
    st.binary(max_size=8),
    st.lists(VALID_OPTION, max_size=6).map(lambda found: tuple(sorted(found, key=lambda option: option[0]))),
    st.binary(max_size=60),
)


@given(VALID)
@settings(max_examples=100, deadline=None)
def test_aiocoap_reads_what_we_write(message: Message) -> None:
    theirs = aiocoap.Message.decode(message.encode())
    assert int(theirs.mtype) == message.type
    assert int(theirs.code) == message.code
    assert theirs.mid == message.message_id
    assert theirs.token == message.token
    assert theirs.payload == message.payload
    assert tuple((int(option.number), option.encode()) for option in theirs.opt.option_list()) == message.options


@given(VALID)
@settings(max_examples=100, deadline=None)
def test_we_read_what_aiocoap_writes(message: Message) -> None:
    theirs = aiocoap.Message(code=Code(message.code), payload=message.payload, _token=message.token)
    theirs.mtype = aiocoap.numbers.types.Type(message.type)
    theirs.mid = message.message_id
    options = AiocoapOptions()
    for number, value in message.options:
        options.add_option(OptionNumber(number).create_option(decode=value))
    theirs.opt = options
    assert decode(theirs.encode()) == message
