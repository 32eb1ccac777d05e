"""What our gateway and the boxes beside it saw of HTTP and of sessions, without what differs from run to run."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from demo.pictures.records import counted, records_of
from demo.pictures.wire import Crossing
from demo.process import ProcessFailedError
from demo.stack import Stack

_RANDOM: Final = (
    (re.compile(r"/atls/[0-9a-f]{32}"), "/atls/{session}"),
    (re.compile(r"nonce=[0-9a-f]+"), "nonce={nonce}"),
    (re.compile(r"session=[0-9a-f]{32}"), "session={session}"),
    (re.compile(r"Python/\S+ aiohttp/\S+"), "Python aiohttp"),
)
_OPENS: Final = re.compile("opened |refused: .* action=open ")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def steady(text: str) -> str:
    """``text`` with words in the place of random names."""
    for pattern, word in _RANDOM:
        text = pattern.sub(word, text)
    return text


def once(lines: Iterable[str]) -> list[str]:
    """Each line once, in order of the first: how often a request came differs from run to run."""
    return list(dict.fromkeys(map(steady, lines)))


def gateway_log(stack: Stack) -> bytes:
    assert stack.gateway is not None
    return stack.gateway.log.read_bytes()


def audited(stack: Stack) -> list[str]:
    """The decisions about opens in the gateway's log, each kind once. (When sessions end, lines cross.)"""
    lines = (line.partition("gateway.audit: ")[2] for line in gateway_log(stack).decode().splitlines())
    return sorted(once(re.sub(r" envelope=\d+", "", line) for line in lines if _OPENS.match(line)))


def traced(stack: Stack) -> list[str]:
    """The units in the gateway's log, which are lines at ``log_level: debug``: from whom, their kind and all records in
    them, one line for each direction of a session."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in gateway_log(stack).decode().splitlines():
        _, is_trace, facts = line.partition("gateway.trace: ")
        unit = re.fullmatch(r"(\S+) from (\S+) +n=\d+ +\d+ octets +(\S+): (.*)", facts)
        if is_trace and unit is not None:
            found.setdefault((unit[1], f"{unit[2]} ({unit[3]})"), []).extend(unit[4].split(", "))
    lines = sorted(f"{sender}: {counted(records)}" for (_, sender), records in found.items())
    return [part for line in lines for part in textwrap.wrap(line, 110, subsequent_indent="    ")]


def octets_of(crossings: Iterable[Crossing]) -> bytes:
    """All that crossed, each direction's as a whole."""
    return b"".join(crossing.of(up) for crossing in crossings for up in (True, False))


class Message:
    """An HTTP/1.1 message that ends by Content-Length: its head, and its body."""

    def __init__(self, head: str, body: bytes) -> None:
        self.head = head
        self.body = body

    @property
    def first(self) -> str:
        return self.head.partition("\r\n")[0]

    def field(self, name: str) -> str | None:
        found = re.search(rf"^{name}: *(.*?)\r?$", self.head, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else None


def messages(octets: bytes) -> list[Message]:
    """All whole messages of one direction of a connection."""
    found = []
    while (end := octets.find(b"\r\n\r\n")) >= 0:
        length = _LENGTH.search(octets, 0, end + 2)
        size = int(length[1]) if length else 0
        if len(octets) < end + 4 + size:
            break
        found.append(Message(octets[:end].decode("latin-1"), octets[end + 4 : end + 4 + size]))
        octets = octets[end + 4 + size :]
    return found


def exchanges(crossings: Iterable[Crossing]) -> list[tuple[Message, Message]]:
    """Requests with their answers, connection by connection."""
    return [
        pair
        for crossing in crossings
        for pair in zip(messages(crossing.of(True)), messages(crossing.of(False)), strict=False)
    ]


def requests_seen(crossings: Iterable[Crossing]) -> list[str]:
    """Each kind of request once, with the TLS records that its body shows to who reads it; those without a body last,
    since when a question comes among units is a matter of chance."""
    lines = []
    for request, _ in exchanges(crossings):
        kind = request.field("Content-Type") if request.body else "no body"
        records = f": {counted(records_of(request.body))}" if kind == "application/atls" else ""
        lines.append(f"{request.first.removesuffix(' HTTP/1.1')}  {kind}{records}")
    return sorted(once(lines), key=lambda line: line.endswith("no body"))


async def until_over(stack: Stack) -> None:
    """Until the services know that all sessions are closed. ProcessFailedError: they don't within 20 s."""
    for _ in range(100):
        status = await stack.ask("status")
        if not status["adapters"]["http"]["detail"]["services"]["sessions"]:
            return
        await asyncio.sleep(0.2)
    raise ProcessFailedError("sessions with services go on, though both ends have closed")


def quoted(message: Message) -> list[str]:
    """Its header fields as they were, and how its body begins."""
    shown = f"{message.body[:11].hex(' ')} ..." if message.body else ""
    return [*map(steady, message.head.split("\r\n")), "", f"{shown} ({len(message.body)} octets)"]


def accessed(log: Path) -> list[str]:
    """Each kind of request in nginx's access log once, without sizes and answers, which differ from run to run; those
    without a body last, as in ``requests_seen``."""
    kinds = once(re.sub(r" length=.*", "", line) for line in log.read_text().splitlines())
    return sorted(kinds, key=lambda line: line.endswith("type=-"))


def files_of(*paths: Path) -> bytes:
    """What is in files, and in folders of them."""
    found = (each for path in paths for each in ([path] if path.is_file() else sorted(path.rglob("*"))))
    return b"\n".join(path.read_bytes() for path in found if path.is_file())
