"""Control messages: every body comes back, and only exactly what is allowed is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt.messages import (
    CONTENT_TYPES,
    KINDS,
    MAX_BODY,
    BridgeState,
    Incoming,
    Opened,
    OpenRequest,
    Refused,
    State,
    Status,
    StatusEvent,
    decode,
    decode_answer,
    encode,
)
from layer.errors import PeerError, UsageError

SESSION = "00112233445566778899aabbccddeeff"
NONCE = "0123456789abcdef"
VECTORS: list[tuple[Any, str]] = [
    (OpenRequest("meter", "adtls", NONCE), f'{{"to":"meter","kind":"adtls","nonce":"{NONCE}"}}'),
    (Opened(NONCE, SESSION), f'{{"event":"opened","nonce":"{NONCE}","session":"{SESSION}"}}'),
    (Refused(NONCE, "busy", 30), f'{{"event":"refused","nonce":"{NONCE}","reason":"busy","retry_after":30}}'),
    (Refused(NONCE, "denied"), f'{{"event":"refused","nonce":"{NONCE}","reason":"denied"}}'),
    (Incoming(SESSION, "atls", "app:1"), f'{{"session":"{SESSION}","kind":"atls","from":"app:1"}}'),
    (
        Status(StatusEvent.EXPIRED, 7, "no way to it", 5),
        '{"event":"expired","n":7,"reason":"no way to it","retry_after":5}',
    ),
    (Status(StatusEvent.CLOSED), '{"event":"closed","reason":""}'),
    (BridgeState(2**53 - 1, State.OFFLINE), '{"epoch":9007199254740991,"state":"offline"}'),
]


def read(kind: type[Any], payload: bytes) -> Any:
    return decode_answer(payload) if kind in (Opened, Refused) else decode(kind, payload)


@pytest.mark.parametrize(("body", "text"), VECTORS)
def test_vectors(body: Any, text: str) -> None:
    assert encode(body) == text.encode()
    assert read(type(body), text.encode()) == body
    assert len(encode(body)) <= MAX_BODY


def test_fields_of_a_status_may_be_left_out() -> None:
    assert decode(Status, b'{"event":"broken"}') == Status(StatusEvent.BROKEN)


GOOD = f'{{"to":"meter","kind":"adtls","nonce":"{NONCE}"}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        GOOD[:-1],
        GOOD + "x",
        GOOD.replace("}", ',"more":1}'),
        GOOD.replace("}", ',"to":"meter"}'),
        GOOD.replace('"to":"meter",', ""),
        GOOD.replace('"meter"', "7"),
        GOOD.replace('"meter"', "null"),
        GOOD.replace('"meter"', '""'),
        GOOD.replace("meter", "me ter"),
        GOOD.replace("meter", "me\\u0000ter"),
        GOOD.replace("meter", "m" * 65),
        GOOD.replace("meter", "coap://x?y"),
        GOOD.replace("adtls", "tls"),
        GOOD.replace(NONCE, NONCE[:-1]),
        GOOD.replace(NONCE, NONCE.upper()),
        GOOD.replace(NONCE, "a" * 66),
        GOOD.replace("}", " " * MAX_BODY + "}"),
        "[" * MAX_BODY,
        '{"to":' * 300,
    ],
)
def test_other_bodies_are_refused(text: str) -> None:
    with pytest.raises(PeerError):
        decode(OpenRequest, text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"expired","n":true}',
        '{"event":"expired","n":1.0}',
        '{"event":"expired","n":-1}',
        '{"event":"expired","n":18446744073709551616}',
        '{"event":"expired","n":1e400}',
        '{"event":"expired","retry_after":NaN}',
        '{"event":"expired","reason":"a\\nb"}',
        '{"event":["expired"]}',
        '{"event":"lost"}',
        "{}",
    ],
)
def test_other_statuses_are_refused(text: str) -> None:
    with pytest.raises(PeerError):
        decode(Status, text.encode())


def test_an_answer_either_opens_or_refuses() -> None:
    for event in ("open", 7, None, ["opened"]):
        with pytest.raises(PeerError):
            decode_answer(json.dumps({"event": event, "nonce": NONCE, "session": SESSION}).encode())


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:truefalsn0123456789eEto', max_size=100).map(str.encode))
def test_any_octets_give_a_body_or_a_peer_error(payload: bytes) -> None:
    for kind in (OpenRequest, Incoming, Status, BridgeState, Opened):
        try:
            read(kind, payload)
        except PeerError:
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["event", "n", "reason", "retry_after"]), JSON))
def test_any_values_give_a_status_that_can_be_written(values: dict[str, Any]) -> None:
    try:
        status = decode(Status, json.dumps(values).encode())
    except PeerError:
        return
    assert decode(Status, encode(status)) == status


@pytest.mark.parametrize(
    "body",
    [
        OpenRequest("a b", "atls", NONCE),
        OpenRequest("a", "tls", NONCE),
        Opened(NONCE, "x"),
        Refused(NONCE, "r" * 129),
        Refused(NONCE, "line\nline"),
        Status(StatusEvent.CLOSED, -1),
        BridgeState(2**53, State.ONLINE),
    ],
)
def test_a_body_that_would_not_be_read_is_not_written(body: Any) -> None:
    with pytest.raises(UsageError):
        encode(body)


def test_content_types_name_their_kinds() -> None:
    assert KINDS["application/adtls"] == "adtls"
    assert len(KINDS) == len(CONTENT_TYPES) == 5
