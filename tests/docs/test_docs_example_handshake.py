"""docs/example-handshake.md against another run: the same messages, header fields and records, other keys."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from demo import example_handshake as example
from layer.hellos import client_hello, server_hello
from tests.harness.docs_page import DOCS, Page, read

CHANGING = {"date", "server", "content-length"}


def head(text: str) -> list[str]:
    """First line and header fields without what differs from run to run."""
    first, *fields = re.sub(r"[0-9a-f]{32}", "RANDOM", text.strip()).split("\n")
    return [first, *(field for field in fields if field.partition(":")[0].lower() not in CHANGING)]


def octets(page: Page, name: str) -> bytes:
    return page.octets(name) if name in page.blocks else b""


@pytest.fixture
def page() -> Page:
    return read("example-handshake.md")


async def test_another_run_has_the_same_messages(page: Page, tmp_path: Path) -> None:
    steps = await example.run(tmp_path)
    for number, step in enumerate(steps, 1):
        assert f"\n## {number}. {step.title}\n" in page.text
        for side, message in (("request", step.request), ("response", step.response)):
            found, body = example.split(message)
            assert head(page.block("http", f"handshake-{side}-{number}")) == head(found)
            shown = octets(page, f"handshake-{side}-{number}-records")
            assert f"Content-Length: {len(shown)}" in page.block("http", f"handshake-{side}-{number}") or not shown
            ours, theirs = example.records(body), example.records(shown)
            assert [(each.kind, each.version, each.content) for each in ours] == [
                (each.kind, each.version, each.content) for each in theirs
            ]
            for one, other in zip(ours, theirs, strict=True):
                assert abs(one.length - other.length) <= 16  # certificates and signatures in DER have no fixed length
    assert f"## {len(steps) + 1}." not in page.text


def test_the_page_agrees_with_itself(page: Page) -> None:
    """Base64, hexadecimal, the tables of records and the words about the ClientHello are of one run."""
    flights: list[Any] = json.loads(page.block("json", "handshake-flights"))
    names = sorted(name for name in page.names("hex"))
    assert len(flights) == len(names)
    for flight in flights:
        side = {sender: side for side, sender in example.SENDERS.items()}[flight["from"]]
        shown = page.octets(f"handshake-{side}-{flight['step']}-records")
        assert base64.b64decode(flight["base64"]) == shown
        before = page.text.partition(f"```hex handshake-{side}-{flight['step']}-records")[0]
        rows = before.rpartition("|---|---|---|---|\n")[2].strip().splitlines()
        assert rows == [
            f"| {each.kind} {example.TYPES[each.kind]} | {each.version:04x} | {each.length} | {each.content} |"
            for each in example.records(shown)
        ]
    hello = client_hello(page.octets("handshake-request-1-records")[9:], dtls=False)
    first = example.records(page.octets("handshake-response-1-records"))[0]
    answer = server_hello(page.octets("handshake-response-1-records")[9 : 5 + first.length])
    assert hello.versions == (answer.version,) == (0x0304,)
    assert answer.suite in hello.suites
    words = " ".join(page.text.split())
    assert "cipher suites " + ", ".join(f"{suite:04x}" for suite in hello.suites) in words


def test_the_command_writes_this_page() -> None:
    assert example.PAGE == DOCS / "example-handshake.md"
