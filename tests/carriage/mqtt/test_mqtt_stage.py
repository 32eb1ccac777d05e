"""The stage between paho and the socket: paho's own codec as the other end, its states, its ids, what it passes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from carriage.mqtt.options import Message, Token
from carriage.mqtt.outgoing import Outgoing
from carriage.mqtt.packets import Unread
from carriage.mqtt.stage import FIRST_ID, LAST_ID, Event, Stage
from tests.harness.mqtt_fuzz import MOST, PACKETS, fuzz
from tests.harness.mqtt_mutations import mutated
from tests.harness.paho_end import CONNACK, PahoEnd

VERSIONS = pytest.mark.parametrize("version", [4, 5])
TEXT = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), max_size=40)
MESSAGES = st.lists(
    st.builds(
        Outgoing,
        st.none(),
        TEXT.filter(bool),
        st.binary(max_size=300),
        st.sampled_from([0, 1]),
        st.booleans(),
        st.none() | TEXT,
        st.none() | st.binary(max_size=150),
        st.none() | TEXT.filter(bool),
        st.just(0.0),
        st.none() | st.integers(0, 2**32 - 1).map(float),
    ),
    max_size=6,
)


def a_stage(version: int = 5, most: int = 100_000) -> Stage:
    """Open."""
    stage = Stage(version, most, {}, {})
    assert stage.receive(CONNACK[version]) == [CONNACK[version]]
    return stage


def message(token: int = 0, qos: int = 1) -> Outgoing:
    return Outgoing(Token(token), "a", b"x", qos, False, None, None, None, 0.0, None)


def pieces(data: st.DataObject, octets: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    return [octets[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(octets)], strict=True)]


def of_paho(found: Any, version: int) -> tuple[Any, ...]:
    """What paho read, or is to write, in the order of ``Message``."""
    names = ("ContentType", "CorrelationData", "MessageExpiryInterval", "ResponseTopic")
    texts = [getattr(found.properties, name, None) if version == 5 else None for name in names]
    return found.topic, found.payload, bool(found.retain), found.qos, *texts


@VERSIONS
@given(sent=MESSAGES, data=st.data())
def test_what_we_write_paho_reads_and_its_acknowledgements_are_ours(
    version: int, sent: list[Outgoing], data: st.DataObject
) -> None:
    stage, paho = a_stage(version), PahoEnd(version)
    for token, each in enumerate(sent):
        each.token = Token(token)
        stage.publish(each, None if each.expires is None else int(each.expires))
    for piece in pieces(data, bytes(stage.out)):
        paho.read(piece)
    wanted = []
    for each in sent:
        expires = None if each.expires is None else int(each.expires)
        texts = (each.content_type, each.correlation, expires, each.response_topic) if version == 5 else (None,) * 4
        wanted.append((each.topic, each.payload, each.retain, each.qos, *texts))
    assert [of_paho(each, version) for each in paho.messages] == wanted
    events = [event for piece in pieces(data, paho.written()) for event in stage.receive(piece)]
    assert events == [(each.token, 0) for each in sent if each.qos] and not stage.in_flight and stage.fault is None


@VERSIONS
@given(sent=MESSAGES, data=st.data())
def test_what_paho_writes_we_read_and_our_acknowledgements_are_its(
    version: int, sent: list[Outgoing], data: st.DataObject
) -> None:
    stage, paho = a_stage(version), PahoEnd(version)
    ids = []
    for each in sent:
        properties = Properties(PacketTypes.PUBLISH) if version == 5 else None
        if properties is not None:
            properties.UserProperty = ("a", "b")
            if each.content_type is not None:
                properties.ContentType = each.content_type
            if each.correlation is not None:
                properties.CorrelationData = each.correlation
            if each.response_topic is not None:
                properties.ResponseTopic = each.response_topic
            if each.expires is not None:
                properties.MessageExpiryInterval = int(each.expires)
        info = paho.client.publish(each.topic, each.payload, each.qos, each.retain, properties)
        if each.qos:
            ids.append(info.mid)
    found = [event for piece in pieces(data, paho.written()) for event in stage.receive(piece)]
    assert stage.fault is None
    for each, event in zip(sent, found, strict=True):
        assert isinstance(event, Message)
        assert (event.topic, event.payload, event.retained, event.qos) == (
            each.topic,
            each.payload,
            each.retain,
            each.qos,
        )
        expires = None if each.expires is None else int(each.expires)
        texts = (each.content_type, each.correlation, expires, each.response_topic)
        heard = (event.content_type, event.correlation, event.expiry, event.response_topic)
        assert heard == (texts if version == 5 else (None,) * 4)
    acknowledged = [event.receipt[1] for event in found if isinstance(event, Message) and event.qos]
    assert acknowledged == ids
    stage.out.clear()
    paho.landed.clear()
    for packet_id in acknowledged:
        stage.acknowledge(packet_id)
    for piece in pieces(data, bytes(stage.out)):
        paho.read(piece)
    assert paho.landed == ids


@given(octets=mutated(*PACKETS), version=st.sampled_from([4, 5]), data=st.data())
def test_packets_are_the_same_in_whatever_pieces_they_come(octets: bytes, version: int, data: st.DataObject) -> None:
    def take(parts: list[bytes]) -> tuple[list[Event], str]:
        stage = a_stage(version, MOST)
        for n in range(3):
            stage.publish(message(n), None)
        events = [event for part in parts for event in stage.receive(part)]
        return events, str(stage.fault)

    assert take(pieces(data, octets)) == take([octets])


def test_whatever_comes_is_an_event_or_a_peer_error() -> None:
    found = fuzz(2000, seed=11)
    assert min(found[name] for name in ("Message", "Unread", "tuple", "bytes", "PeerError")) > 100


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("30 04 00 01 61 00", "a message before CONNACK"),
        ("40 02 80 00", "a message before CONNACK"),
        ("20 03 00 00 00 20 03 00 00 00", "a second CONNACK"),
        ("20 03 00 00 00 34 06 00 01 61 00 01 00", "a PUBLISH with a QoS that we did not subscribe with"),
        ("20 03 00 00 00 36 06 00 01 61 00 01 00", "a PUBLISH with a QoS that we did not subscribe with"),
        ("20 03 00 00 00 40 01 00", "malformed PUBACK"),
        ("20 03 00 00 00 d0 ff ff ff ff 7f", "a packet length of more than four octets"),
        ("20 03 00 00 00 d0 ff ff 7f", "a packet of 2097151 octets that is no PUBLISH"),
    ],
)
def test_what_is_no_mqtt_fails_the_stage_for_good(octets: str, why: str) -> None:
    stage = Stage(5, 100_000, {}, {})
    stage.receive(bytes.fromhex(octets))
    assert str(stage.fault) == why
    assert stage.receive(bytes.fromhex("d0 00")) == [] and not stage.buffered


def test_what_came_before_a_fault_is_not_lost() -> None:
    stage = a_stage()
    stage.publish(message(7), None)
    events = stage.receive(bytes.fromhex("30 04 00 01 61 00 40 02 80 00 d0 00 40 01 00"))
    assert [type(each) for each in events] == [Message, tuple, bytes]
    assert events[1] == (Token(7), 0) and not stage.in_flight and stage.fault is not None


def test_packets_that_are_not_ours_are_passed_on_whole_and_in_their_place() -> None:
    stage = a_stage()
    stage.publish(message(1), None)
    theirs = [bytes.fromhex(each) for each in ("90 04 00 01 00 01", "d0 00", "50 02 00 01", "62 02 00 01", "f0 00")]
    ours = bytes.fromhex("40 02 80 00")
    events = stage.receive(theirs[0] + ours + b"".join(theirs[1:]))
    assert events == [theirs[0], (Token(1), 0), *theirs[1:]]


def test_an_acknowledgement_is_ours_if_the_table_has_its_id_whatever_the_number() -> None:
    stage = a_stage()
    low = message(1)
    low.packet_id = 5  # as of an older version
    stage.publish(low, None)
    stage.publish(message(2), None)
    events = stage.receive(bytes.fromhex("40 02 00 05 40 02 00 06 40 02 80 00 40 02 80 00"))
    assert events == [(1, 0), bytes.fromhex("40 02 00 06"), (2, 0), bytes.fromhex("40 02 80 00")]


def test_packet_ids_go_round_above_those_of_paho_and_past_those_in_use() -> None:
    stage = a_stage()
    stage.publish(message(), None)
    stage.last_id = LAST_ID - 1
    for wanted in (LAST_ID, FIRST_ID + 1):
        each = message()
        stage.publish(each, None)
        assert each.packet_id == wanted


@VERSIONS
def test_what_was_in_flight_goes_again_with_its_id_and_dup_and_without_the_session_as_new(version: int) -> None:
    first = a_stage(version)
    each = message()
    first.publish(each, None)
    second = Stage(version, 100, first.in_flight, {}, last_id=first.last_id)
    second.publish(each, None)
    assert bytes(second.out) == b"\x3a" + bytes(first.out)[1:]
    each.packet_id = 0
    third = Stage(version, 100, {}, {}, last_id=first.last_id)
    third.publish(each, None)
    assert third.out[0] == 0x32 and each.packet_id == FIRST_ID + 1


def test_a_message_that_is_too_long_is_read_past_and_nothing_of_it_kept() -> None:
    stage = a_stage(5, 20)
    events: list[Event] = []
    for piece in (bytes.fromhex("32 ac 02 00 01 61 00 07"), bytes(100), bytes(195), bytes.fromhex("d0 00")):
        events += stage.receive(piece)
        assert len(stage.buffered) < 10
    assert events == [Unread("a", 7, 300, "longer than 20 octets"), bytes.fromhex("d0 00")]
    assert stage.fault is None
