"""The attachment protocol's lines: one vector per message, strictness, and arbitrary octets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carriage.zigbee import attach
from layer.errors import PeerError, UsageError

VECTORS: dict[str, tuple[attach.Message, str]] = {
    "attach": (
        attach.Attach(
            eui64=0x000D6F0000000010,
            endpoint=1,
            input_clusters=(0x0704,),
            output_clusters=(0x000A,),
            manufacturer="ACME",
            model="Zähler",
            sleepy=True,
            poll_interval=2.5,
        ),
        '{"type":"attach","eui64":"00:0d:6f:00:00:00:00:10","endpoint":1,"profile":260,"device_id":7,'
        '"input_clusters":[1796],"output_clusters":[10],"manufacturer":"ACME","model":"Z\\u00e4hler","sleepy":true,'
        '"poll_interval":2.5}',
    ),
    "attached": (attach.Attached(None), '{"type":"attached","nwk":null}'),
    "attached member": (attach.Attached(0x1234), '{"type":"attached","nwk":4660}'),
    "join": (attach.Join(), '{"type":"join"}'),
    "rejoin": (attach.Rejoin(), '{"type":"rejoin"}'),
    "leave": (attach.Leave(), '{"type":"leave"}'),
    "joined": (attach.Joined(0x1234), '{"type":"joined","nwk":4660}'),
    "left": (attach.Left(), '{"type":"left"}'),
    "send": (
        attach.Send(id=7, cluster=0x0704, destination_endpoint=1, payload=b"\x01\xff", ack=True, link_key=False),
        '{"type":"send","id":7,"cluster":1796,"destination_endpoint":1,"payload":"01ff","ack":true,"link_key":false}',
    ),
    "sent": (attach.Sent(7, delivered=True), '{"type":"sent","id":7,"delivered":true}'),
    "received": (
        attach.Received(cluster=0x0704, source_endpoint=1, payload=b"", sequence=255, link_key=True),
        '{"type":"received","cluster":1796,"source_endpoint":1,"payload":"","sequence":255,"link_key":true}',
    ),
    "error": (
        attach.Error(code=attach.IN_USE, text="taken"),
        '{"type":"error","code":"in-use","text":"taken","id":null}',
    ),
}
MESSAGES = st.one_of(
    st.builds(
        attach.Send,
        id=st.integers(0, 2**32 - 1),
        cluster=st.integers(0, 0xFFFF),
        destination_endpoint=st.integers(0, 255),
        payload=st.binary(max_size=300),
        ack=st.booleans(),
        link_key=st.booleans(),
    ),
    st.builds(
        attach.Received,
        cluster=st.integers(0, 0xFFFF),
        source_endpoint=st.integers(0, 255),
        payload=st.binary(max_size=300),
        sequence=st.integers(0, 255),
        link_key=st.booleans(),
    ),
    st.builds(
        attach.Attach,
        eui64=st.integers(0, 2**64 - 1),
        endpoint=st.integers(1, 240),
        profile=st.integers(0, 0xFFFF),
        device_id=st.integers(0, 0xFFFF),
        input_clusters=st.lists(st.integers(0, 0xFFFF), max_size=32).map(tuple),
        output_clusters=st.lists(st.integers(0, 0xFFFF), max_size=32).map(tuple),
        manufacturer=st.text("abcäöü ", max_size=16),
        model=st.text("xyz-1", max_size=32),
        sleepy=st.booleans(),
        poll_interval=st.floats(0, 86400),
    ),
    st.builds(attach.Sent, st.integers(0, 2**32 - 1), st.booleans()),
    st.builds(attach.Error, code=st.sampled_from(sorted(attach.ERROR_CODES)), text=st.text("abc", max_size=200)),
)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    message, line = VECTORS[name]
    assert attach.encode(message) == line.encode() + b"\n"
    assert attach.decode(line.encode()) == message


@given(MESSAGES)
def test_round_trip(message: attach.Message) -> None:
    line = attach.encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert attach.decode(line[:-1]) == message


def test_every_message_has_a_vector() -> None:
    assert {type(message) for message, _ in VECTORS.values()} == set(attach._TYPE_OF)


@given(st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    with pytest.raises(PeerError):
        attach.decode(octets)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(VECTORS)), st.data())
def test_any_value_of_any_key(name: str, data: st.DataObject) -> None:
    value = json.loads(VECTORS[name][1])
    for key in data.draw(st.lists(st.sampled_from(sorted(value)), max_size=2)):
        value[key] = data.draw(_JSON)
    try:
        message = attach.decode(json.dumps(value).encode())
    except PeerError:
        return
    assert attach.decode(attach.encode(message)[:-1]) == message


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "null",
        '{"type":"nonsense"}',
        '{"type":["join"]}',
        "{}",
        '{"type":"join","type":"join"}',
        '{"type":"join","more":1}',
        '{"type":"joined"}',
        '{"type":"joined","nwk":0}',
        '{"type":"joined","nwk":65528}',
        '{"type":"joined","nwk":1.0}',
        '{"type":"joined","nwk":true}',
        '{"type":"joined","nwk":NaN}',
        '{"type":"sent","id":1,"delivered":1}',
        '{"type":"sent","id":-1,"delivered":true}',
        '{"type":"error","code":"nonsense","text":"","id":null}',
        '{"type":"error","code":"busy","text":"\\u0007","id":null}',
        '{"type":"error","code":"busy","text":"\\ud800","id":null}',
        "[" * 4000,
        '{"type":"joined","nwk":' + "9" * 4000 + "}",
    ],
)
def test_refused_lines(line: str) -> None:
    with pytest.raises(PeerError):
        attach.decode(line.encode())


@pytest.mark.parametrize("payload", ["0", "0g", "01 02", "0\\u00b2", 5, None])
def test_refused_octets(payload: object) -> None:
    value = json.loads(VECTORS["received"][1])
    value["payload"] = payload
    with pytest.raises(PeerError):
        attach.decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    "text", ["", "00", "00:0d:6f:00:00:00:00", "000d6f0000000010", "00:0d:6f:00:00:00:00:1g", "00:0d:6f:00:00:00:00: 1"]
)
def test_refused_eui64(text: str) -> None:
    with pytest.raises(PeerError):
        attach.parse_eui64(text)


def test_eui64_forms() -> None:
    assert attach.parse_eui64("00:0D:6F:00:00:00:00:ab") == 0x000D6F00000000AB
    assert attach.format_eui64(0x000D6F00000000AB) == "00:0d:6f:00:00:00:00:ab"


@pytest.mark.parametrize(
    "message",
    [
        attach.Joined(0),
        attach.Attach(eui64=1, endpoint=0),
        attach.Attach(eui64=2**64, endpoint=1),
        attach.Attach(eui64=1, endpoint=1, input_clusters=tuple(range(33))),
        attach.Attach(eui64=1, endpoint=1, manufacturer="ä" * 17),
        attach.Send(id=1, cluster=1, destination_endpoint=1, payload=bytes(2100)),
    ],
)
def test_our_own_mistakes(message: attach.Message) -> None:
    with pytest.raises((UsageError, OverflowError)):
        attach.encode(message)


def test_payloads_are_not_shown() -> None:
    assert "ff" not in repr(VECTORS["send"][0]) and "\\x" not in repr(VECTORS["received"][0])


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=10), st.data())
def test_lines_are_found_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter, found = attach.Lines(), []
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, 20))
        found += cutter.feed(stream[at : at + size])
        at += size
    assert found == lines


def test_lines_are_bounded() -> None:
    cutter = attach.Lines(limit=10)
    assert cutter.feed(b"123456789\n12345") == [b"123456789"]
    with pytest.raises(PeerError):
        cutter.feed(b"67890")
    with pytest.raises(PeerError):
        attach.Lines(limit=10).feed(b"1234567890\n")
