"""Tests of carriage.coap.echo: fresh values are taken, all others are not (RFC 9175)."""

from __future__ import annotations

import pytest

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.echo import EchoGuard
from carriage.coap.exchange import Request

PEER = b"192.0.2.1:4000"


def request(value: bytes | None) -> Request:
    return Request(codes.POST, () if value is None else ((opt.ECHO, value),))


def test_a_value_is_fresh_for_its_peer_and_for_its_lifetime() -> None:
    guard = EchoGuard(b"k" * 16, lifetime=30.0)
    challenge = guard.challenge(PEER, 1000.0)
    assert challenge.code == codes.UNAUTHORIZED
    value = opt.first(challenge.options, opt.ECHO)
    assert value is not None and 1 <= len(value) <= 40
    assert guard.is_fresh(PEER, request(value), 1000.0)
    assert guard.is_fresh(PEER, request(value), 1029.9)
    assert not guard.is_fresh(PEER, request(value), 1030.1)
    assert not guard.is_fresh(PEER, request(value), 999.0)
    assert not guard.is_fresh(b"192.0.2.2:4000", request(value), 1000.0)
    assert not EchoGuard(b"x" * 16).is_fresh(PEER, request(value), 1000.0)


@pytest.mark.parametrize("at", range(20))
def test_a_changed_value_is_not_fresh(at: int) -> None:
    guard = EchoGuard(b"k" * 16)
    value = bytearray(opt.first(guard.challenge(PEER, 1000.0).options, opt.ECHO) or b"")
    value[at] ^= 1
    assert not guard.is_fresh(PEER, request(bytes(value)), 1000.0)


@pytest.mark.parametrize("value", [None, b"x", bytes(19), bytes(21)])
def test_values_of_no_sense(value: bytes | None) -> None:
    assert not EchoGuard(b"k" * 16).is_fresh(PEER, request(value), 1000.0)
