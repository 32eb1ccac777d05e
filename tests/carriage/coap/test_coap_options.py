"""Tests of carriage.coap.options and codes: the registry's bits, uint values, what counts and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carriage.coap import codes
from carriage.coap import options as opt
from layer.errors import PeerError, UsageError

# RFC 7252 section 5.10 table 4, RFC 7641, 7959, 8768, 9175: (number, critical, unsafe, no cache key).
PROPERTIES = [
    (1, True, False, False),
    (3, True, True, False),
    (4, False, False, False),
    (5, True, False, False),
    (6, False, True, False),
    (7, True, True, False),
    (8, False, False, False),
    (11, True, True, False),
    (12, False, False, False),
    (14, False, True, False),
    (15, True, True, False),
    (16, False, False, False),
    (17, True, False, False),
    (20, False, False, False),
    (23, True, True, False),
    (27, True, True, False),
    (28, False, False, True),
    (35, True, True, False),
    (39, True, True, False),
    (60, False, False, True),
    (252, False, False, True),
    (258, False, True, False),
    (292, False, False, False),
]


@pytest.mark.parametrize(("number", "critical", "unsafe", "no_cache_key"), PROPERTIES)
def test_properties_follow_from_the_number(number: int, critical: bool, unsafe: bool, no_cache_key: bool) -> None:
    row = opt.DEFINITIONS[number]
    assert (row.critical, row.unsafe, row.no_cache_key) == (critical, unsafe, no_cache_key)


@pytest.mark.parametrize(
    ("value", "octets"), [(0, b""), (1, b"\x01"), (255, b"\xff"), (256, b"\x01\x00"), (65000, b"\xfd\xe8")]
)
def test_uint_vectors(value: int, octets: bytes) -> None:
    assert opt.encode_uint(value) == octets
    assert opt.decode_uint(octets) == value


@given(st.integers(0, 2**64), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_uint_comes_back_with_leading_zeros_too(value: int, zeros: int) -> None:
    assert opt.decode_uint(bytes(zeros) + opt.encode_uint(value)) == value


def test_a_negative_uint_is_our_fault() -> None:
    with pytest.raises(UsageError):
        opt.encode_uint(-1)


@pytest.mark.parametrize(
    ("given_options", "kept", "refused"),
    [
        (((11, b"a"), (11, b"b"), (15, b"q")), ((11, b"a"), (11, b"b"), (15, b"q")), None),
        (((12, b"\x00\x00\x01"),), (), None),  # elective, too long: ignored
        (((12, b"\x01"), (12, b"\x02")), ((12, b"\x01"),), None),  # elective, one too many: ignored
        (((17, b"\x01"), (17, b"\x02")), ((17, b"\x01"),), 17),  # critical, one too many
        (((3, b""),), (), 3),  # Uri-Host has one octet at least
        (((11, b"x" * 256),), (), 11),
        (((65001, b"x"), (65003, b"")), (), 65001),  # unknown and critical: the first one is named
        (((65000, b"x"),), ((65000, b"x"),), None),  # unknown and elective: kept for a reader that knows it
        (((9, b"\x09"),), (), 9),
        (((35, b"coap://h"),), (), 35),
        (((252, b""), (292, b""), (292, b"t")), ((292, b""), (292, b"t")), None),
    ],
)
def test_screening(given_options: opt.Options, kept: opt.Options, refused: int | None) -> None:
    assert opt.screen(given_options, opt.UNDERSTOOD) == (kept, refused)


def test_an_option_that_the_application_understands_passes() -> None:
    assert opt.screen(((9, b"\x09"),), opt.UNDERSTOOD | {9}) == (((9, b"\x09"),), None)
    assert opt.screen(((65001, b"x"),), opt.UNDERSTOOD | {65001}) == (((65001, b"x"),), None)


def test_access() -> None:
    options = ((11, b"a"), (11, b"b"), (12, b"\x28"))
    assert opt.first(options, 11) == b"a"
    assert opt.first(options, 14) is None
    assert opt.every(options, 11) == [b"a", b"b"]
    assert opt.first_uint(options, 12) == 40
    assert opt.strings(options, 11) == ("a", "b")
    assert opt.without(options, frozenset((11,))) == ((12, b"\x28"),)
    assert opt.uri(("x", "ü"), ("n=1",)) == ((11, b"x"), (11, "ü".encode()), (15, b"n=1"))


def test_options_that_are_not_utf8_or_too_long_are_refused() -> None:
    with pytest.raises(PeerError):
        opt.strings(((11, b"\xff"),), 11)
    with pytest.raises(UsageError):
        opt.uri(("x" * 256,))


def test_codes() -> None:
    assert codes.dotted(codes.TOO_MANY_REQUESTS) == "4.29"
    assert codes.dotted(codes.CONTINUE) == "2.31"
    assert codes.GET in codes.REQUESTS and codes.EMPTY not in codes.REQUESTS and codes.CONTENT not in codes.REQUESTS
    assert codes.CONTENT in codes.RESPONSES and codes.GATEWAY_TIMEOUT in codes.RESPONSES
    assert codes.GET not in codes.RESPONSES and codes.CSM not in codes.RESPONSES
    assert codes.is_success(codes.CONTINUE) and not codes.is_success(codes.BAD_REQUEST)
    assert codes.is_signal(codes.ABORT) and not codes.is_signal(codes.GATEWAY_TIMEOUT)
