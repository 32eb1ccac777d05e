"""Transcripts: what is handed to the engine, and everything that comes out of it, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.model import ContentKind, Reason, Sealed

ATLS = ContentKind.ATLS


@pytest.fixture
def home(stage: Callable[..., Any], a_permit: Callable[..., Any]) -> Any:
    """The lamp may open to the phone, and units may flow both ways."""
    return stage(a_permit("talk", "lamp", "phone"))


def test_a_session_from_open_to_close(home: Any) -> None:
    assert home.opens("lamp", "phone") == ["accepted s1", "coap <- #1 open s1 from lamp", "log: opened talk"]
    hello = Sealed(b"hello")
    assert home.sends("lamp", "s1", 0, hello) == ["accepted s1"], "waits for the open"
    assert home.settles(1) == ["zigbee <- #1 s1 delivered", "coap <- #2 unit s1 n=0"]
    assert home.transmits[2].envelope.payload is hello
    assert home.settles(2) == ["zigbee <- #2 s1 delivered"]
    assert home.sends("phone", "s1", 0, b"answer") == ["accepted s1", "zigbee <- #3 unit s1 n=0"]
    assert home.settles(3) == ["coap <- #3 s1 delivered"]
    assert home.closes("phone", "s1") == ["accepted s1", "zigbee <- #4 close s1 closed", "log: closed closed talk"]
    assert home.settles(4) == ["coap <- #4 s1 delivered"]
    assert home.sends("lamp", "s1", 1) == ["refused unknown", "log: refused unknown"]
    assert home.engine.next_deadline() is None


def test_an_equal_open_gives_the_same_session_even_after_it_closed(home: Any) -> None:
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s1"
    assert home.opens("lamp", "phone", nonce=b"1") == ["duplicate s1"]
    assert home.opens("lamp", "phone", nonce=b"2")[0] == "accepted s2"
    home.resets("phone")
    assert home.opens("lamp", "phone", nonce=b"1") == ["duplicate s1"]
    home.waits(301)
    assert home.opens("lamp", "phone", nonce=b"1")[0] == "accepted s3"


def test_a_target_that_refuses(home: Any) -> None:
    home.opens("lamp", "phone")
    home.sends("lamp", "s1", 0)
    assert home.settles(1, "dropped", Reason.UNREACHABLE) == [
        "zigbee <- #1 s1 dropped unreachable",
        "log: dropped unreachable",
        "zigbee <- #2 s1 dropped unreachable",
        "log: dropped unreachable talk",
        "zigbee <- #3 close s1 unreachable",
        "log: closed unreachable talk",
    ]
