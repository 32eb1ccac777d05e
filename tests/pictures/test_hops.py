"""What the pictures read out of octets that crossed a wire: whole HTTP messages, records, the order of hellos."""

from __future__ import annotations

from demo.pictures.hops import exchanges, messages, quoted, requests_seen, steady
from demo.pictures.order import OrderTrace
from demo.pictures.wire import Crossing, Wire

SESSION = "0123456789abcdef" * 2
RECORD = bytes.fromhex("1703030005") + b"\x00" * 5
REQUEST = (
    f"POST /atls/{SESSION}?nonce=0a0b HTTP/1.1\r\nContent-Type: application/atls\r\ncontent-length: 10\r\n\r\n".encode()
    + RECORD
)
POLL = f"POST /atls/{SESSION} HTTP/1.1\r\nPrefer: wait=10\r\nContent-Length: 0\r\n\r\n".encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_only_whole_messages_count() -> None:
    whole = messages(REQUEST + POLL)
    assert [(each.first, each.body) for each in whole] == [
        (f"POST /atls/{SESSION}?nonce=0a0b HTTP/1.1", RECORD),
        (f"POST /atls/{SESSION} HTTP/1.1", b""),
    ]
    for end in range(len(REQUEST)):
        assert messages(REQUEST[:end]) == []
        assert len(messages(POLL + REQUEST[:end])) == 1


def test_a_request_is_shown_without_what_differs_from_run_to_run() -> None:
    crossing = Crossing()
    for up, octets in ((True, REQUEST), (False, ANSWER), (True, POLL), (False, ANSWER)):
        crossing.note(up, octets)
    assert requests_seen([crossing, crossing]) == [
        "POST /atls/{session}?nonce={nonce}  application/atls: application_data",
        "POST /atls/{session}  no body",
    ]
    assert quoted(exchanges([crossing])[0][0])[0] == "POST /atls/{session}?nonce={nonce} HTTP/1.1"
    assert steady("opened session=" + SESSION) == "opened session={session}"


def test_a_link_that_is_there_before_the_hello_of_layer_0_shows_in_the_trace() -> None:
    for connections, words in ((0, "connections so far: none"), (2, "connections so far: 2")):
        trace, wire = OrderTrace(), Wire(0)
        wire.crossings = [Crossing() for _ in range(connections)]
        trace.wires = [wire]
        trace.report("hello", session=0, to="lamp", size=10, sha256="-", waiting=1)
        assert trace.lines[-1].endswith(words)
