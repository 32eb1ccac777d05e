"""Commands on standard input and reports on standard output, as octets and text."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoint.control import (
    MAX_EXPORT,
    MAX_LABEL,
    MAX_MESSAGE,
    MAX_TARGET,
    CloseCommand,
    ExportCommand,
    Lines,
    OpenCommand,
    QuitCommand,
    SendCommand,
    made_octets,
    parse_command,
)
from endpoint.report import SHOWN, message_facts, reporter
from layer.errors import PeerError

COMMANDS: list[tuple[dict[str, Any], object]] = [
    ({"do": "open", "to": "lamp7"}, OpenCommand("lamp7")),
    ({"do": "send", "session": 0, "text": "grün"}, SendCommand(0, "grün".encode())),
    ({"do": "send", "session": 3, "hex": "00FF"}, SendCommand(3, b"\x00\xff")),
    ({"do": "send", "session": 0, "size": 100, "seed": 7}, SendCommand(0, made_octets(100, 7))),
    ({"do": "send", "session": 0, "size": 0, "seed": 7}, SendCommand(0, b"")),
    ({"do": "export", "session": 1, "label": "EXPORTER-x", "length": 32}, ExportCommand(1, "EXPORTER-x", 32)),
    ({"do": "close", "session": 2}, CloseCommand(2, clean=True)),
    ({"do": "abort", "session": 2}, CloseCommand(2, clean=False)),
    ({"do": "quit"}, QuitCommand()),
]

MISTAKES: list[tuple[object, str]] = [
    ([], "one JSON object"),
    ({}, "do: expected open, send"),
    ({"do": ["open"]}, "do: expected open, send"),
    ({"do": "open"}, "to: expected a string"),
    ({"do": "open", "to": "x" * (MAX_TARGET + 1)}, "to: expected at most 64 octets"),
    ({"do": "send", "session": "0", "text": ""}, "session: expected a number"),
    ({"do": "send", "session": True, "text": ""}, "session: expected a number"),
    ({"do": "send", "session": -1, "text": ""}, "session: expected a number"),
    ({"do": "send", "session": 10**30, "text": ""}, "session: expected a number"),
    ({"do": "send", "session": 0, "text": "\ud800"}, "text: expected text without lone surrogates"),
    ({"do": "send", "session": 0, "text": "x" * (MAX_MESSAGE + 1)}, f"text: expected at most {MAX_MESSAGE}"),
    ({"do": "send", "session": 0, "hex": "0"}, "hex: expected hexadecimal"),
    ({"do": "send", "session": 0, "hex": "00" * (MAX_MESSAGE + 1)}, f"hex: expected at most {2 * MAX_MESSAGE}"),
    ({"do": "send", "session": 0}, "size: expected a number"),
    ({"do": "send", "session": 0, "size": MAX_MESSAGE + 1, "seed": 0}, f"to {MAX_MESSAGE}"),
    ({"do": "export", "session": 0, "label": "x", "length": MAX_EXPORT + 1}, "length: expected a number from 0 to"),
    ({"do": "export", "session": 0, "label": "x" * (MAX_LABEL + 1), "length": 1}, "label: expected at most 249"),
]


@pytest.mark.parametrize(("table", "command"), COMMANDS)
def test_commands(table: dict[str, Any], command: object) -> None:
    assert parse_command(json.dumps(table).encode()) == command


@pytest.mark.parametrize(("table", "expected"), MISTAKES)
def test_mistakes_say_what_was_expected(table: object, expected: str) -> None:
    with pytest.raises(PeerError, match=expected):
        parse_command(json.dumps(table).encode())


_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.integers(), max_size=2)
)
_TABLES = st.dictionaries(
    st.sampled_from(["do", "to", "session", "text", "hex", "size", "seed", "label", "length", "x"]),
    st.one_of(st.sampled_from(["open", "send", "export", "close", "abort", "quit"]), _VALUES),
).map(lambda table: json.dumps(table).encode())


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=100), _TABLES, st.just(b"[" * 100_000), st.just(b'{"do":' + b"9" * 5000)))
def test_any_line_is_a_command_or_a_peer_error(line: bytes) -> None:
    try:
        command = parse_command(line)
    except PeerError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(command, OpenCommand | SendCommand | ExportCommand | CloseCommand | QuitCommand)


def test_made_octets_depend_on_the_seed_alone() -> None:
    assert made_octets(1000, 3) == made_octets(1000, 3) != made_octets(1000, 4)
    assert len(made_octets(65537, 0)) == 65537


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12)), st.data())
def test_lines_come_out_however_the_input_is_cut(written: list[bytes], data: st.DataObject) -> None:
    written = [line.replace(b"\n", b"") for line in written]
    stream = b"".join(line + b"\n" for line in written) + b"rest"
    lines = Lines(limit=8)
    found: list[bytes | None] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += lines.feed(stream[:cut])
        stream = stream[cut:]
    assert found == [line if len(line) <= 8 else None for line in written]
    assert lines.finish() == [b"rest"]
    assert lines.finish() == []


EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("ready", {"way": "coaps host:5684"}),
    ("session", {"session": 0, "peer": "lamp7", "protocol": "dtls1.2", "suite": "S", "kind": "adtls", "via": "g"}),
    ("sent", {"session": 0, **message_facts(b"on"), "status": "delivered", "seconds": 0.1}),
    ("received", {"session": 0, **message_facts(b"\xff")}),
    ("ended", {"session": 0, "reason": "closed", "clean": True}),
    ("refused", {"to": "lamp7", "reason": "denied"}),
    ("exported", {"session": 0, "label": "L", "hex": "00ff"}),
    ("error", {"reason": "no session 1"}),
    ("error", {"session": 1, "reason": "a raw message here has 1 to 1000 octets, not 2000"}),
]


@pytest.mark.parametrize(("event", "facts"), EVENTS)
def test_events_are_one_line_in_either_form(event: str, facts: dict[str, Any]) -> None:
    stream = io.StringIO()
    reporter(as_json=True, stream=stream)(event, **facts)
    assert json.loads(stream.getvalue()) == {"event": event, **facts}
    assert stream.getvalue().count("\n") == 1
    text = io.StringIO()
    reporter(as_json=False, stream=text)(event, **facts)
    assert text.getvalue().count("\n") == 1
    assert "00ff" not in text.getvalue()  # exported keys are for the one who reads the JSON


@given(st.text(max_size=40))
def test_no_name_of_a_peer_gets_at_the_terminal(name: str) -> None:
    stream = io.StringIO()
    reporter(as_json=False, stream=stream)("session", session=0, peer=name, protocol="p", suite="s", kind="k")
    assert stream.getvalue()[:-1].isprintable()
    stream = io.StringIO()
    reporter(as_json=True, stream=stream)("session", peer=name)
    assert stream.getvalue()[:-1].isprintable()
    assert json.loads(stream.getvalue())["peer"] == name


@given(st.binary(max_size=2 * SHOWN))
def test_message_facts(data: bytes) -> None:
    facts = message_facts(data)
    assert (facts["size"], facts["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    if "text" in facts:
        assert facts["text"].encode() == data
        assert len(data) <= SHOWN
