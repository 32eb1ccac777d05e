"""Every reader of what a broker hands on: mutations of what is valid are read, or refused with PeerError."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.mqtt import messages as bodies
from carriage.mqtt.options import Message
from carriage.mqtt.packets import decode_puback, decode_publish, publish_properties, unread
from carriage.mqtt.topics import TopicSpace
from layer.errors import PeerError
from tests.harness.mqtt_mutations import mutated

SESSION = "0123456789abcdef" * 2
SPACE = TopicSpace("atls")
TOPICS = [
    name.encode()
    for name in (
        "atls/app/atls/open",
        "atls/app/atls/gone",
        f"atls/app/atls/{SESSION}/up/0",
        f"atls/app/atls/{SESSION}/down/18446744073709551615",
        f"atls/app/atls/{SESSION}/close",
        f"atls/app/atls/{SESSION}/status",
        "atls/bridge/state",
    )
]
BODIES: dict[type[Any], bytes] = {
    bodies.OpenRequest: bodies.encode(bodies.OpenRequest("lamp7", "adtls", "ab" * 8)),
    bodies.Opened: bodies.encode(bodies.Opened("ab" * 8, SESSION)),
    bodies.Refused: bodies.encode(bodies.Refused("ab" * 8, "busy", 2)),
    bodies.Incoming: bodies.encode(bodies.Incoming(SESSION, "atls", "lamp7")),
    bodies.Status: bodies.encode(bodies.Status(bodies.StatusEvent.DROPPED, 4, "over-rate", 12)),
    bodies.BridgeState: bodies.encode(bodies.BridgeState(7, bodies.State.ONLINE)),
    bodies.Gone: bodies.encode(bodies.Gone("ab" * 8, back=True)),
}
PROPERTIES = publish_properties("application/adtls", b"\0\xff", "atls/app/r", 60)
USER = bytes.fromhex("0f 26 0001 6b 0001 76 26 0000 0000 0b 8001")
PUBLISHES = [b"\0\x01a" + number + rest + b"hi" for number in (b"", b"\0\x07") for rest in (b"\0", PROPERTIES, USER)]


@given(name=mutated(*TOPICS))
def test_topics(name: bytes) -> None:
    with contextlib.suppress(PeerError):
        SPACE.parse(name.decode(errors="replace"))


@pytest.mark.parametrize("kind", list(BODIES))
@given(data=st.data())
def test_bodies(kind: type[Any], data: st.DataObject) -> None:
    payload = data.draw(mutated(BODIES[kind], *BODIES.values()))
    with contextlib.suppress(PeerError):
        assert isinstance(bodies.decode(kind, payload), kind)
    with contextlib.suppress(PeerError):
        bodies.decode_answer(payload)
    with contextlib.suppress(PeerError):
        bodies.decode_gone(payload)


@given(body=mutated(*PUBLISHES), qos=st.sampled_from([0, 1]), version=st.sampled_from([4, 5]))
def test_publishes_and_their_properties(body: bytes, qos: int, version: int) -> None:
    with contextlib.suppress(PeerError):
        assert isinstance(decode_publish(qos << 1, body, version), Message)
    found = unread(0x30 | qos << 1, body, len(body), "why")  # what is said of one that can't be read
    assert found.packet_id != 0 if qos else found.packet_id == 0


@given(body=mutated(b"\0\x07", b"\0\x07\x87\0"), version=st.sampled_from([4, 5]))
def test_pubacks(body: bytes, version: int) -> None:
    with contextlib.suppress(PeerError):
        decode_puback(body, version)
