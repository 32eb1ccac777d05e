"""Topics and bodies of devices: what goes out is JSON, what comes in raises nothing but PeerError."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.devices import values as v
from adapters.mqtt.devices.redelivery_filter import AGAIN_WITHIN, MAX_REMEMBERED, SNAPSHOT_AGE, RedeliveryFilter
from adapters.mqtt.devices.set_words import fit, understood
from adapters.mqtt.devices.topics import Get, HomeSpace, Set, TopicRequest, overlap, valid_device
from carriage.mqtt.options import Message
from carriage.mqtt.packets import decode_publish, packet_size, publish_head, write_at_once
from gateway.api.errors import PeerError, UsageError
from gateway.api.model import DataType, PropertyAffordance
from tests.harness.mqtt_mutations import mutated

HOME = HomeSpace("home")
STATE = PropertyAffordance(name="state", type=DataType.BOOLEAN, writable=True)
OPEN = PropertyAffordance(name="open", type=DataType.BOOLEAN)
LEVEL = PropertyAffordance(name="level", type=DataType.NUMBER, writable=True)
MODE = PropertyAffordance(name="mode", type=DataType.STRING, writable=True)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(value=scalars, known=st.sampled_from([None, STATE, OPEN, LEVEL]))
def test_a_fragment_is_json(value: bool | float | str | None, known: PropertyAffordance | None) -> None:
    found = json.loads(b"{" + v.fragment("x", value, known) + b"}")["x"]
    if isinstance(value, bool):
        assert found == (("ON" if value else "OFF") if known in (STATE, LEVEL) else value)
    elif isinstance(value, float) and not math.isfinite(value):
        assert found is None
    else:
        assert found == value


@given(payload=st.binary(max_size=60) | st.text().map(str.encode) | st.from_type(type(None)).map(lambda _: b"{}"))
def test_reading_raises_peer_errors_only(payload: bytes) -> None:
    for read in (v.read_set, v.read_get):
        for name in ("", "state"):
            with contextlib.suppress(PeerError):
                asked = read(payload, name)
                assert len(asked.values) <= v.MAX_AT_ONCE and (asked.values or read is v.read_get)


@given(value=scalars | st.lists(st.none()))
def test_a_value_is_of_its_property_or_refused(value: object) -> None:
    for known, kind in ((STATE, bool), (LEVEL, (int, float)), (MODE, str)):
        with contextlib.suppress(PeerError):
            assert isinstance(fit(value, known), kind)


def test_words_for_on_and_off() -> None:
    for word, value in (("ON", True), ("off", False), ("True", True), (False, False)):
        assert fit(word, STATE) is value
    for word in ("TOGGLE", 1, "1", "", None):
        with pytest.raises(PeerError):
            fit(word, STATE)


def test_a_bare_value_sets_the_only_writable_property() -> None:
    assert understood({"": 3}, {"level": LEVEL, "open": OPEN}, {}).sets == {"level": 3}
    assert understood({"": "on"}, {"level": LEVEL, "state": STATE}, {}).sets == {"state": True}
    for properties in ({}, {"open": OPEN}, {"level": LEVEL, "mode": MODE}):
        with pytest.raises(PeerError):
            understood({"": 3}, properties, {})


@given(name=st.text(max_size=200))
def test_names_with_topics_come_back(name: str) -> None:
    if valid_device(name):
        assert HOME.parse(HOME.command(name, "state")) == Set(name, "state")
        assert HOME.parse(f"home/{name}/get") == Get(name)
        assert "+" not in name and "#" not in name and "\0" not in name


@given(topic=st.text(alphabet="home/bridgequstar+#$\0é", max_size=60) | st.text())
def test_parsing_raises_peer_errors_only(topic: str) -> None:
    for each in (topic, f"home/{topic}", f"home/bridge/request/{topic}"):
        with contextlib.suppress(PeerError):
            assert isinstance(HOME.parse(each), Set | Get | TopicRequest)


@pytest.mark.parametrize(
    "topic",
    ["home", "home/lamp", "home/lamp/availability", "home/lamp/answer", "home/bridge/state", "home/bridge/set",
     "home/bridge/request", "home/bridge/request/a/b/c/d", "home/lamp/set/a/b", "home/lamp/x/set", "home//set",
     "elsewhere/lamp/set", "home/lamp/set/", "home/a\nb/set", f"home/{'x' * 600}/set"],
)  # fmt: skip
def test_topics_that_ask_for_nothing(topic: str) -> None:
    with pytest.raises(PeerError):
        HOME.parse(topic)


def test_topics_of_an_endpoint() -> None:
    assert HOME.parse("home/lamp/2/set") == HOME.parse("home/lamp/l2/set") == Set("lamp", endpoint="2")
    assert HOME.parse("home/lamp/11/get") == Get("lamp", endpoint="11")
    assert HOME.parse("home/lamp/set/2") == Set("lamp", "2")
    assert HOME.parse("home/bridge/request/group/members/add") == TopicRequest("group/members/add")


def test_an_answer_goes_below_the_device_s_own_answers() -> None:
    assert HOME.answer("lamp", "home/lamp/answer/a/b") == "home/lamp/answer/a/b"
    wrong = [None, "", "home/lamp/answer/", "home/lamp/answer/+", "home/lamp/answer/#", "home/lamp2/answer/a",
             "home/lamp/answers/a", "home/lamp/set", "$SYS/x", "home/lamp/answer/a/b/c/d/e",
             "home/lamp/answer//a"]  # fmt: skip
    assert {HOME.answer("lamp", each) for each in wrong} == {"home/lamp/answer"}


def test_bases() -> None:
    for base in ("", "/", "a//b", "+", "#", "$SYS", "a/b/c/d/e"):
        with pytest.raises(UsageError):
            HomeSpace(base)
    assert overlap("home", "home") and overlap("home/a", "home") and overlap("home", "home/a/b")
    assert not overlap("home", "home2") and not overlap("a/home", "b/home")


@given(payload=st.binary(max_size=20_000), version=st.sampled_from([4, 5]), retain=st.booleans())
def test_a_publish_at_once_is_a_publish(payload: bytes, version: int, retain: bool) -> None:
    packet, head = bytearray(), publish_head("home/lämp", version)
    write_at_once(packet, head, payload, retain)
    assert len(packet) == packet_size(len(head) + len(payload))
    assert packet[0] == (0x31 if retain else 0x30)
    size, at, shift = 0, 1, 0
    while True:
        size |= (packet[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if packet[at - 1] < 0x80:
            break
    assert size == len(packet) - at
    found = decode_publish(packet[0], bytes(packet[at:]), version)
    assert (found.topic, found.payload, found.retained, found.receipt) == ("home/lämp", payload, retain, (0, 0))


def message(mid: int, payload: bytes = b"ON", *, again: bool = False, qos: int = 1) -> Message:
    return Message("home/lamp/set", payload, False, qos, None, None, None, None, (1, mid), again)


def test_what_was_had_before() -> None:
    once = RedeliveryFilter()
    had = lambda *what, at=0.0, **how: once.had(message(*what, **how), at)  # noqa: E731
    assert not had(1) and had(1, again=True) and had(1, again=True)
    assert not had(2, again=True)  # sent again, but what was sent first never came
    assert not had(1, b"OFF", again=True)
    assert not had(1)  # the same packet id and content, and new
    once.connected(session_present=False, now=0.0)
    assert not had(1, again=True)
    assert not had(0, qos=0) and not had(0, qos=0, again=True)
    for mid in range(1, 3 * MAX_REMEMBERED):
        had(mid)
    assert len(once._seen) == MAX_REMEMBERED


def test_messages_of_a_broker_s_snapshot_count_as_had_for_a_while() -> None:
    """For a while, and once: then a packet id may be used again for the same content."""
    once = RedeliveryFilter()
    had = lambda *what, at=0.0, **how: once.had(message(*what, **how), at)  # noqa: E731
    assert not had(1) and not had(2) and not had(3)
    once.connected(session_present=True, now=100.0)
    assert had(1, at=101.0) and not had(1, at=102.0)
    assert not had(2, b"OFF", at=103.0)
    assert not had(3, at=100.0 + AGAIN_WITHIN) and had(3, at=200.0, again=True)
    once.connected(session_present=True, now=300.0)
    once.caught_up()
    assert not had(1, at=301.0)
    once.connected(session_present=False, now=400.0)
    assert not had(1, at=401.0)


def test_the_same_set_another_day_is_a_new_one() -> None:
    """RabbitMQ and nats-server number the messages of each connection from 1; no snapshot goes back so far."""
    once = RedeliveryFilter()
    had = lambda *what, at=0.0, **how: once.had(message(*what, **how), at)  # noqa: E731
    assert not had(1, at=0.0) and not had(2, at=86_400.0 - 60.0)
    once.connected(session_present=True, now=86_400.0)
    assert not had(1, at=86_401.0) and had(2, at=86_401.0)
    assert had(1, at=86_402.0, again=True)
    once.connected(session_present=True, now=86_400.0 + SNAPSHOT_AGE)
    assert had(1, at=86_401.0 + SNAPSHOT_AGE - 0.5), "it came at 86,401"


SETS = [
    b"ON",
    b"21.5",
    b'"text"',
    b'{"state":"ON"}',
    b'{"state":true,"level":3,"mode":"heat","transaction":"7"}',
    b'{"level":1e5,"transaction":7}',
]


@given(payload=mutated(*SETS), name=st.sampled_from(["", "state"]))
def test_a_set_or_get_is_read_or_refused(payload: bytes, name: str) -> None:
    for read in (v.read_set, v.read_get):
        with contextlib.suppress(PeerError):
            for value in read(payload, name).values.values():
                for known in (STATE, LEVEL, MODE, OPEN):
                    with contextlib.suppress(PeerError):
                        assert isinstance(fit(value, known), bool | int | float | str)


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e309, math.nan, 5, -1, True])
def test_a_number_is_within_its_range(value: float) -> None:
    known = PropertyAffordance(name="level", type=DataType.NUMBER, writable=True, minimum=0, maximum=4)
    for each in (known, LEVEL):
        if each is LEVEL and value in (5, -1) and value is not True:
            assert fit(value, each) == value
        else:
            with pytest.raises(PeerError):
                fit(value, each)


@given(topic=mutated(b"home/lamp/set", b"home/lamp/get/state", b"home/bridge/request/devices", b"home/lamp/set/a/b"))
def test_a_topic_is_read_or_refused(topic: bytes) -> None:
    name = topic.decode(errors="replace")
    with contextlib.suppress(PeerError):
        assert isinstance(HOME.parse(name), Set | Get | TopicRequest)
    for asked in (HOME.answer("lamp", name), HOME.response("devices", name)):
        assert asked.startswith("home/")
