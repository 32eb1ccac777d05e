"""PUBLISH and PUBACK: vectors by hand from MQTT 5.0, and paho's own codec as a second opinion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from carriage.mqtt.options import Message
from carriage.mqtt.packets import decode_puback, decode_publish, publish_properties
from layer.errors import PeerError


def message(
    topic: str,
    packet_id: int,
    payload: bytes,
    content_type: str | None = None,
    correlation: bytes | None = None,
    expiry: int | None = None,
    response_topic: str | None = None,
) -> Message:
    return Message(
        topic, payload, False, int(packet_id > 0), content_type, correlation, expiry, response_topic, (0, packet_id)
    )


@pytest.mark.parametrize(
    ("qos", "version", "body", "publish"),
    [
        (0, 5, "0003 612f62 00 6869", message("a/b", 0, b"hi")),
        (1, 5, "0001 61 0102 00", message("a", 0x0102, b"")),
        (1, 4, "0001 61 0102 00", message("a", 0x0102, b"\0")),
        (
            1,
            5,
            "0001 61 0001 17 02 0000003c 03 0001 74 08 0001 72 09 0002 00ff 23 0007 01 01 ff",
            message("a", 1, b"\xff", "t", b"\0\xff", 60, "r"),
        ),
        # user property twice, subscription identifier 128
        (0, 5, "0001 61 0f 26 0001 6b 0001 76 26 0000 0000 0b 8001 78", message("a", 0, b"x")),
    ],
)
def test_publish_vectors(qos: int, version: int, body: str, publish: Message) -> None:
    assert decode_publish(qos << 1, bytes.fromhex(body), version) == publish


@pytest.mark.parametrize(
    "body",
    [
        "",
        "00",
        "0000 00",
        "0002 61",
        "0001 61",
        "0001 ff 00",
        "0001 00 00",
        "0001 61 7f 02",
        "0001 61 06 03 0005 61 61 61",  # string runs over the end of the properties
        "0001 61 0a 02 00000001 02 00000001",  # twice
        "0001 61 05 11 00000001",  # session expiry does not belong here
        "0001 61 03 02 0000",
        "0001 61 ff ff ff ff 7f",
        "0001 61 04 03 0001 ff",  # content type that is no UTF-8
        "0001 61 02 26 00",
    ],
)
def test_broken_publishes(body: str) -> None:
    with pytest.raises(PeerError):
        decode_publish(0, bytes.fromhex(body), 5)


def test_packet_id_zero_is_refused() -> None:
    with pytest.raises(PeerError):
        decode_publish(2, bytes.fromhex("0001 61 0000 00"), 5)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@given(
    st.none() | TEXT,
    st.none() | st.binary(max_size=200),
    st.none() | TEXT,
    st.none() | st.integers(0, 2**32 - 1),
    st.binary(max_size=50),
)
def test_properties_agree_with_paho_and_come_back(
    content_type: str | None, correlation: bytes | None, response: str | None, expiry: int | None, payload: bytes
) -> None:
    ours = publish_properties(content_type, correlation, response, expiry)
    theirs = Properties(PacketTypes.PUBLISH)
    theirs.unpack(ours)
    assert getattr(theirs, "ContentType", None) == content_type
    assert getattr(theirs, "CorrelationData", None) == correlation
    assert getattr(theirs, "ResponseTopic", None) == response
    assert getattr(theirs, "MessageExpiryInterval", None) == expiry
    for octets in (ours, theirs.pack()):
        assert decode_publish(0, b"\0\1a" + octets + payload, 5) == message(
            "a", 0, payload, content_type, correlation, expiry, response
        )


@given(st.sampled_from([0, 1]), st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\0\1a" + rest))
def test_any_octets_give_a_publish_or_a_peer_error(qos: int, body: bytes) -> None:
    for version in (4, 5):
        try:
            decode_publish(qos << 1, body, version)
        except PeerError:
            pass


def test_puback() -> None:
    assert decode_puback(b"\x01\x02", 4) == (0x0102, 0)
    assert decode_puback(b"\x01\x02", 5) == (0x0102, 0)
    assert decode_puback(b"\x01\x02\x10", 5) == (0x0102, 0x10)
    assert decode_puback(b"\x01\x02\x87\x00", 5) == (0x0102, 0x87)
    for body, version in ((b"", 5), (b"\x01", 5), (b"\x01\x02\x00", 4)):
        with pytest.raises(PeerError):
            decode_puback(body, version)


def test_repr_shows_no_payload() -> None:
    assert "secret" not in repr(message("a", 1, b"secret"))
