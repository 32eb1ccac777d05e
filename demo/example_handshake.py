"""Writes docs/example-handshake.md from a real run: OpenSSL at both ends, and our service behind aiohttp.

``python -m demo.example_handshake`` prints the page, ``--write`` puts it into docs/. Every run has other keys, so other
octets; ``tests/docs/test_docs_example_handshake.py`` compares what must be the same.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carriage.http import atls_client as atls
from carriage.http.atls import HttpRequest, HttpResponse
from carriage.http.atls_format import WELL_KNOWN, lower
from common.replacing import replace
from demo.credentials import Authority
from demo.stack import free_port
from endpoint.application import Application
from endpoint.handler import Asked
from endpoint.policy import read_policy
from endpoint.session import EndpointSession, Established, RawReceived
from endpoint.transports.https_service import ListeningService
from layer.config import Role
from layer.hellos import client_hello

PAGE: Final = Path(__file__).parents[1] / "docs" / "example-handshake.md"
POLICY: Final = """\
layer: 0
policy-version: 1
protocol: tls1.3
application: raw
credentials: {{certificate_file: {name}.pem, key_file: {name}.key, trust_file: ca.pem}}
peer: {{names: ["dns:{peer}"]}}
"""
TYPES: Final = {20: "change_cipher_spec", 21: "alert", 22: "handshake", 23: "application_data"}
SENDERS: Final = {"request": "phone", "response": "door"}
HANDSHAKES: Final = {1: "ClientHello", 2: "ServerHello"}


@dataclass(frozen=True, slots=True)
class WireStep:
    """One request and its answer, as they were on the wire. ``title`` and ``note``: what they are for."""

    title: str
    note: str
    request: bytes
    response: bytes


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """A TLS record's header, and what its content is as far as it is in clear."""

    kind: int
    version: int
    length: int
    content: str


def split(message: bytes) -> tuple[str, bytes]:
    """Head and body of an HTTP message."""
    head, _, body = message.partition(b"\r\n\r\n")
    return head.decode().replace("\r\n", "\n"), body


def records(flight: bytes) -> list[ShownRecord]:
    found = []
    at = 0
    while at < len(flight):
        kind, version, length = (
            flight[at],
            int.from_bytes(flight[at + 1 : at + 3]),
            int.from_bytes(flight[at + 3 : at + 5]),
        )
        content = HANDSHAKES.get(flight[at + 5], "?") if kind == 22 else "encrypted" if kind == 23 else "in clear"
        found.append(ShownRecord(kind, version, length, content))
        at += 5 + length
    return found


class _Client:
    """One connection, on which requests go as HTTP/1.1 octets."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.steps: list[WireStep] = []

    async def start(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, request: HttpRequest, title: str, note: str) -> HttpResponse:
        lines = [f"{request.method} {request.target} HTTP/1.1", "Host: door.example"]
        names = {"content-type": "Content-Type", "atls-seq": "ATLS-Seq", "prefer": "Prefer"}
        lines += [f"{names[name]}: {value}" for name, value in request.fields]
        lines.append(f"Content-Length: {len(request.body)}")
        sent = "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body
        self._writer.write(sent)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode().strip().split("\r\n")
        fields = lower(tuple(line.split(": ", 1)) for line in rest)  # type: ignore[misc]
        length = int(dict(fields).get("content-length", "0"))
        body = await self._reader.readexactly(length)
        self.steps.append(WireStep(title, note, sent, head + body))
        return HttpResponse(int(first.split()[1]), fields, body)

    def close(self) -> None:
        self._writer.close()


async def _answer(asked: Asked) -> bytes:
    return asked.body.upper()


async def run(folder: Path) -> list[WireStep]:
    """One session from its open to its close. ``folder``: for credentials."""
    authority = Authority.make(folder)
    for name, peer in (("phone", "door"), ("door", "phone")):
        authority.issue(name)
        (folder / f"{name}.yaml").write_text(POLICY.format(name=name, peer=peer))
    port = free_port()
    link = ListeningService("127.0.0.1", port, None, "atls", secure=True)
    ready = asyncio.Event()
    service = Application(
        read_policy(folder / "door.yaml"), link, lambda event, **facts: ready.set(), link_name="door", handler=_answer
    )
    serving = asyncio.get_running_loop().create_task(service.run(opens=(), control=False, messages=(), leave=False))
    await ready.wait()
    session = EndpointSession(Role.CLIENT, read_policy(folder / "phone.yaml"), random=random.SystemRandom().random)
    session.start(0.0)
    client = _Client(port)
    await client.start()

    opened = await client.ask(
        atls.send_request(f"{WELL_KNOWN}?nonce={secrets.token_hex(16)}", 0, "atls", _flight(session)),
        "The phone opens, the door answers",
        "The first flight opens the session: the nonce makes a repetition harmless. `Location` is the session's place, "
        "`Set-Cookie` the same for clients of draft-friel-tls-atls-00. The answer is the server's whole first flight; "
        "after its ServerHello all is encrypted.",
    )
    place = atls.read_opened(f"https://door.example{WELL_KNOWN}", opened)
    assert isinstance(place, atls.Opened)
    assert place.location is not None
    session.receive(opened.body, 0.0)
    assert isinstance(session.next_event(), Established)
    session.send_raw(b"hello, door", 0.0)
    answer = await client.ask(
        atls.send_request(place.location, 1, "atls", _flight(session)),
        "The phone finishes, and says hello",
        "The second flight has the phone's Certificate, CertificateVerify and Finished, and behind them its first "
        "message: two round trips until both ends have proven themselves. The answer has two session tickets, which "
        "OpenSSL sends after each handshake of TLS 1.3; our endpoints don't use them.",
    )
    session.receive(answer.body, 0.0)
    answer = await client.ask(
        atls.read_request(place.location, 2, 10),
        "The phone asks for what comes next",
        "A request without a body: the phone has all of the door's units below 2, and waits up to 10 s for the "
        "next: the door's first message, `HELLO, DOOR`.",
    )
    session.receive(answer.body, 0.0)
    assert session.next_event() == RawReceived(b"HELLO, DOOR")
    session.close(0.0)
    await client.ask(
        atls.send_request(place.location, 2, "atls", _flight(session)),
        "close_notify",
        "The phone ends layer 0 in order. The answer repeats unit 2: a poll's answer is acknowledged by the next poll.",
    )
    await client.ask(atls.close_request(place.location), "The session is given back", "Then the place is forgotten.")
    client.close()
    service.quit()
    await serving
    return client.steps


def _flight(session: EndpointSession) -> bytes:
    return b"".join(session.units_to_send())


def page(steps: list[WireStep]) -> str:
    flights = []
    lines = [
        "# An example handshake over HTTP",
        "",
        "This page shows one ATLS session over HTTP with every message as it was on the wire, as appendix C of",
        "draft-friel-tls-atls-00 leaves to be done.",
        "",
        "`python -m demo.example_handshake --write` wrote it from a real run: TLS 1.3 of OpenSSL between a phone and a",
        "door, each with a certificate, `application: raw`, and `atls-endpoint serve` behind a TLS terminator, so that",
        "what stands here is what the terminator forwards. A run has other keys, so other octets; what is the same in",
        "each is compared by `tests/docs`. How ATLS travels over HTTP: [carriage.md](carriage.md).",
    ]
    for number, step in enumerate(steps, 1):
        lines += ["", f"## {number}. {step.title}", "", *_wrapped(step.note)]
        for side, message in (("request", step.request), ("response", step.response)):
            head, body = split(message)
            lines += ["", f"```http handshake-{side}-{number}", head, "```"]
            if body and b"problem" not in message.partition(b"\r\n\r\n")[0]:
                flights.append({"from": SENDERS[side], "step": number, "base64": base64.b64encode(body).decode()})
                lines += _explained(body, f"handshake-{side}-{number}-records")
            elif body:
                lines += ["", "```json handshake-problem-" + str(number), body.decode(), "```"]
    hello = split(steps[0].request)[1]
    facts = client_hello(hello[9:], dtls=False)
    lines += [
        "",
        "## What all on the way can read",
        "",
        *_wrapped(
            "The ClientHello is in clear. It offers versions "
            + ", ".join(f"{version:04x}" for version in facts.versions)
            + " and cipher suites "
            + ", ".join(f"{suite:04x}" for suite in facts.suites)
            + ". Of the rest of the handshake lengths and directions show, and the two identities don't."
        ),
        "",
        "## The flights in base64",
        "",
        "```json handshake-flights",
        json.dumps(flights, indent=1),
        "```",
        "",
    ]
    return "\n".join(lines)


def _explained(flight: bytes, name: str) -> list[str]:
    lines = ["", "| record | version | octets | content |", "|---|---|---|---|"]
    for record in records(flight):
        lines.append(
            f"| {record.kind} {TYPES.get(record.kind, '?')} | {record.version:04x} | {record.length} "
            f"| {record.content} |"
        )
    lines += ["", f"```hex {name}"]
    at = 0
    for record in records(flight):
        end = at + 5 + record.length
        lines.append(f"{flight[at : at + 5].hex(' ')}  # {TYPES.get(record.kind, '?')}, {record.length} octets")
        lines += [flight[here : min(here + 32, end)].hex() for here in range(at + 5, end, 32)]
        at = end
    return [*lines, "```"]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = page(asyncio.run(run(Path(folder))))
    if "--write" in sys.argv[1:]:
        replace(PAGE, text, 0o644)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
