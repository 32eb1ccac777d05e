"""Captured units of real TLS stacks: whole, in pieces, repeated, out of order, with losses; none refused or misread.

What a hello says is compared with a reading of the records' plainest form, written here for this purpose alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.api.model import ContentKind, Transmit, Unit
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.policy import Condition
from layer.records import VERSION_NAMES
from tests.harness.engine_stage import KINDS, Stage, permit

FILE = Path(__file__).resolve().parents[2] / "data" / "tls-units-of-real-stacks.txt"
READS = Condition(record_types=frozenset(range(256)), handshakes=Rate(1000, 1))
BY_VERSION = Condition(versions=frozenset({"tls1.2", "tls1.3", "dtls1.2", "dtls1.3"}), handshakes=Rate(1000, 1))
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
Units = list[tuple[str, bytes]]
Hello = tuple[bytes, int, tuple[int, ...]]
"""Random, version that was chosen (0 in a ClientHello), suites."""


def captured() -> dict[str, tuple[str, Units]]:
    talks: dict[str, tuple[str, Units]] = {}
    for line in FILE.read_text().splitlines():
        label, direction, kind, octets = line.split()
        talks.setdefault(f"{label}-{kind}", (kind, []))[1].append((direction, bytes.fromhex(octets)))
    return talks


TALKS = captured()
DATAGRAMS = [name for name, (kind, _) in TALKS.items() if kind == "dtls"]
STREAMS = [name for name, (kind, _) in TALKS.items() if kind == "tls"]


# The plain reading


def messages(kind: str, units: Units) -> Iterator[tuple[str, int, bytes]]:
    """Direction, type and body of each complete hello in clear, in the order in which it becomes complete."""
    streams: dict[str, bytes] = {"<": b"", ">": b""}
    parts: dict[tuple[str, int, int], dict[int, int]] = {}
    for direction, unit in units:
        if kind == "tls":
            streams[direction] += unit
            continue
        while len(unit) > 13 and 20 <= unit[0] <= 26 and unit[0] != 25:
            end = 13 + int.from_bytes(unit[11:13], "big")
            record, epoch, unit = unit[:end], unit[3:5], unit[end:]
            at = 13
            while record[0] == 22 and epoch == b"\0\0" and at < end:
                length, offset, here = (int.from_bytes(record[at + i : at + i + 3], "big") for i in (1, 6, 9))
                known = parts.setdefault((direction, record[at], record[at + 5]), {})
                known.update(enumerate(record[at + 12 : at + 12 + here], offset))
                if record[at] in (1, 2) and len(known) == length:
                    yield direction, record[at], bytes(known[place] for place in range(length))
                at += 12 + here
    for direction, stream in streams.items():
        while len(stream) > 5:
            end = 5 + int.from_bytes(stream[3:5], "big")
            if stream[0] == 22 and stream[5] in (1, 2) and int.from_bytes(stream[6:9], "big") + 9 == end:
                yield direction, stream[5], stream[9:end]
            stream = stream[end:]


def says(kind: str, message_type: int, body: bytes) -> Hello:
    random, rest = body[2:34], body[35 + body[34] :]
    if message_type == 1:
        if kind == "dtls":
            rest = rest[1 + rest[0] :]
        count = int.from_bytes(rest[:2], "big")
        return random, 0, tuple(int.from_bytes(rest[i : i + 2], "big") for i in range(2, 2 + count, 2))
    version, found = int.from_bytes(body[:2], "big"), body.find(b"\x00\x2b\x00\x02")
    if found > 0:
        version = int.from_bytes(body[found + 4 : found + 6], "big")
    return random, version, (int.from_bytes(rest[:2], "big"),)


def plain(kind: str, units: Units) -> set[Hello]:
    """All hellos; but a ServerHello without any ClientHello before it (which was lost) chooses nothing."""
    found: set[Hello] = set()
    for _, message_type, body in messages(kind, units):
        if message_type == 1 or found or kind == "tls":
            found.add(says(kind, message_type, body))
    return found


# The engine's


class Home(Stage):
    """A session whose ends are ``>`` and ``<``; ``hellos``: what the engine took from the units that passed."""

    def __init__(self, kind: str, condition: Condition) -> None:
        limits = EngineLimits(max_datagram=65535, queue_units=4096)
        super().__init__(permit("r", "phone", "lamp", content=KINDS, condition=condition), limits=limits)
        self.kind = ContentKind.ADTLS if kind == "dtls" else ContentKind.ATLS
        self.n = {">": 0, "<": 0}
        self.hellos: set[Hello] = set()
        self.lost = 0
        self.opens("phone", "lamp", self.kind)
        self.settles(1)

    def passes(self, direction: str, unit: bytes) -> None:
        lines = self.sends("phone" if direction == ">" else "lamp", "s1", self.n[direction], unit, self.kind)
        assert lines[0] == "accepted s1", lines
        self.n[direction] += 1
        (session,) = self.engine._sessions
        for order in self.commands:
            if isinstance(order, Transmit) and isinstance(order.envelope, Unit):
                seen = (session.from_opener if direction == ">" else session.from_target).read_visible
                assert seen is not None
                if seen.client is not None:
                    self.hellos.add((seen.client.random, 0, seen.client.suites))
                if seen.server is not None:
                    self.hellos.add((seen.server.random, seen.server.version, (seen.server.suite,)))
                self.settles(order.envelope.id)
                return
        self.lost += 1
        assert "(unreadable)" in lines[1], lines
        assert not session.version, "only what is protected may be lost, while no ServerHello came"


def run(kind: str, units: Units, condition: Condition = READS) -> Home:
    home = Home(kind, condition)
    for direction, unit in units:
        home.passes(direction, unit)
    return home


@pytest.mark.parametrize("name", TALKS)
def test_as_they_came(name: str) -> None:
    kind, units = TALKS[name]
    for condition in (READS, BY_VERSION):
        home = run(kind, units, condition)
        assert home.hellos == plain(kind, units)
        assert home.lost == 0 or condition is BY_VERSION  # one talk was captured without its ServerHello
        (session,) = home.engine._sessions
        chosen = {VERSION_NAMES[version] for random, version, _ in home.hellos if version and random != RETRY}
        assert {session.version} == (chosen or {""})


@pytest.mark.parametrize("name", STREAMS)
def test_octet_by_octet(name: str) -> None:
    kind, units = TALKS[name]
    octets = [(direction, unit[at : at + 1]) for direction, unit in units for at in range(len(unit))]
    for condition in (READS, BY_VERSION):
        assert run(kind, octets, condition).hellos == plain(kind, units)


@pytest.mark.parametrize("name", DATAGRAMS)
def test_repeated(name: str) -> None:
    kind, units = TALKS[name]
    for twice in ([unit for unit in units for _ in range(2)], units + units):
        home = run(kind, twice)
        assert home.hellos == plain(kind, units) and home.lost == 0


@pytest.mark.parametrize("name", DATAGRAMS)
def test_out_of_order(name: str) -> None:
    """All that goes in one direction, with nothing of the other in between, in any order."""
    kind, units = TALKS[name]
    random = Random(name)
    for _ in range(20):
        shuffled: Units = []
        flight: Units = []
        for unit in [*units, ("", b"")]:
            if flight and flight[0][0] != unit[0]:
                random.shuffle(flight)
                shuffled += flight
                flight = []
            flight.append(unit)
        home = run(kind, shuffled)
        assert home.hellos == plain(kind, shuffled) and home.lost == 0


@pytest.mark.parametrize("name", DATAGRAMS)
def test_with_any_one_lost(name: str) -> None:
    kind, units = TALKS[name]
    for lost in range(len(units)):
        left = units[:lost] + units[lost + 1 :]
        home = run(kind, left)
        assert home.hellos == plain(kind, left) and home.lost == 0
        run(kind, left, BY_VERSION)
