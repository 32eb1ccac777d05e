"""Handshakes of real stacks with one flight of them mutated, and the engine in between.

What must hold: if a stack begins or finishes a handshake, the engine saw exactly the hello that the stack took, by
its random, and in the end the version that was agreed on; or it did not pass the unit. Ends are made by ``Stack``
values: the bundled OpenSSL here, others in ``tests/peers``.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from gateway.api.model import ContentKind, EnvelopeId, Outcome, Receipt, Sealed, SessionId, Transmit, Unit
from gateway.engine.limits import EngineLimits, Rate
from gateway.engine.policy import Condition
from tests.harness.engine_stage import KINDS, PEERS, Stage, permit

RULES = (
    Condition(record_types=frozenset(range(256)), handshakes=Rate(10**6, 1)),
    Condition(versions=frozenset({"dtls1.2", "dtls1.3", "tls1.2", "tls1.3"}), handshakes=Rate(10**6, 1)),
)
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
VERSIONS = {0x0303: "tls1.2", 0x0304: "tls1.3", 0xFEFD: "dtls1.2", 0xFEFC: "dtls1.3", 0xFEFF: "dtls1.0"}


class End(Protocol):
    """One end of a real stack."""

    def feed(self, unit: bytes) -> list[bytes]:
        """Give it a unit (or nothing, to begin); what it sends then."""

    @property
    def client_random(self) -> bytes: ...

    @property
    def server_random(self) -> bytes: ...

    @property
    def version(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    def free(self) -> None: ...


@dataclass(frozen=True)
class Stack:
    """``make``: an end, by protocol and whether it is the server."""

    name: str
    protocols: tuple[str, ...]
    make: Callable[[str, bool], End]


def certificate(folder: Path, *, of_rsa: bool = False) -> Path:
    """A file with a key and a certificate for it."""
    key = rsa.generate_private_key(65537, 2048) if of_rsa else ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])
    start = datetime.now(UTC) - timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=30))
    pem = folder / "service.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pem.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return pem


class BundledEnd:
    """The OpenSSL that comes with ``cryptography``."""

    def __init__(self, context: SSL.Context, server: bool, dtls: bool) -> None:
        self._connection = SSL.Connection(context, None)
        if dtls:
            self._connection.set_ciphertext_mtu(1200)
        (self._connection.set_accept_state if server else self._connection.set_connect_state)()
        self.finished = False

    def feed(self, unit: bytes) -> list[bytes]:
        connection = self._connection
        if unit:
            connection.bio_write(unit)
        try:
            connection.do_handshake()
            self.finished = True
        except SSL.Error:
            pass
        try:
            return [connection.bio_read(1 << 16)]
        except SSL.WantReadError:
            return []

    @property
    def client_random(self) -> bytes:
        return self._connection.client_random() or b""

    @property
    def server_random(self) -> bytes:
        return self._connection.server_random() or b""

    @property
    def version(self) -> int:
        return self._connection.get_protocol_version()

    def free(self) -> None:
        """It goes with the last reference."""


def bundled(pem: Path) -> Stack:
    contexts = {}
    for protocol in ("dtls1.2", "tls1.2", "tls1.3"):
        context = SSL.Context(SSL.DTLS_METHOD if protocol == "dtls1.2" else SSL.TLS_METHOD)
        number = {"dtls1.2": 0xFEFD, "tls1.2": 0x0303, "tls1.3": 0x0304}[protocol]
        context.set_min_proto_version(number)
        context.set_max_proto_version(number)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.use_certificate_file(str(pem))
        context.use_privatekey_file(str(pem))
        contexts[protocol] = context
    return Stack(
        "the bundled OpenSSL",
        tuple(contexts),
        lambda protocol, server: BundledEnd(contexts[protocol], server, protocol.startswith("d")),
    )


# The mutations. Each takes the units of one flight and gives those that are sent in its place.

Units = list[bytes]


def cut(octets: bytes, dtls: bool) -> Units:
    """The records of well-formed octets."""
    records, at = [], 0
    head = 13 if dtls else 5
    while at < len(octets):
        end = at + head + int.from_bytes(octets[at + head - 2 : at + head], "big")
        records.append(octets[at:end])
        at = end
    return records


def record(kind: int, payload: bytes, *, version: int = 0xFEFD, epoch: int = 0, sequence: int = 0) -> bytes:
    if version >> 8 == 3:
        return struct.pack("!BHH", kind, version, len(payload)) + payload
    return struct.pack("!BHHHLH", kind, version, epoch, sequence >> 32, sequence & 0xFFFFFFFF, len(payload)) + payload


@dataclass
class Mutator:
    """Mutates flights of one protocol with hellos in clear at their beginning."""

    random: Random
    dtls: bool
    done: list[str] = field(default_factory=list)

    def mutate(self, units: Units) -> Units:
        table = DATAGRAM if self.dtls else STREAM
        for _ in range(self.random.choice((1, 1, 2, 3))):
            name = self.random.choice(list(table))
            self.done.append(name)
            units = [unit for unit in table[name](self, list(units)) if unit] or [b"\x16"]
        return units

    def another(self, hello: bytes) -> bytes:
        """A record with a hello, with another random in it."""
        at = (13 + 12 if self.dtls else 5 + 4) + 2
        return hello[:at] + self.random.randbytes(32) + hello[at + 32 :]

    def junk(self, rest: int) -> bytes:
        """What some stack may skip; ``rest``: the octets behind it."""
        random, payload = self.random, self.random.randbytes(random_size(self.random))
        kind = random.choice((19, 20, 21, 22, 23, 24, 25, 26, 27, 31, 64, 128))
        if not self.dtls:
            version = random.choice((0x0303, 0x0303, 0x0301, 0x0304, 0x0300, 0x0200))
            payload = random.choice((payload, b"", b"\x01", b"\x01\x00", b"\x01\x01"))
            return record(kind, payload, version=version)
        if random.random() < 0.3:
            head = bytes([0x20 | random.randrange(32)]) + random.randbytes(random.choice((1, 2, 3, 4, 12)))
            if random.random() < 0.5:
                return head
            return head[:3] + rest.to_bytes(2, "big") + bytes(random.choice((0, 8)))
        version = random.choice((0xFEFD, 0xFEFD, 0xFEFF, 0xFEFC, 0xFE00, 0x0303, 0x0100))
        made = record(
            kind, payload, version=version, epoch=random.choice((0, 0, 1, 2, 5)), sequence=random.randrange(99)
        )
        if random.random() < 0.4:
            length = random.choice((0, 1, rest, rest + len(payload), 40000))
            made = made[:11] + length.to_bytes(2, "big") + made[13:]
        return made

    def hello_of(self, units: Units) -> bytes:
        """The record with the hello that the flight begins with, whole; else nothing."""
        first = cut(units[0], self.dtls)[0] if units and well_formed(units[0], self.dtls) else b""
        if not first or first[0] != 22 or (self.dtls and first[3:5] != b"\0\0"):
            return b""
        if self.dtls:
            whole = first[14:17] == first[22:25] and int.from_bytes(first[14:17], "big") + 25 == len(first)
        else:
            whole = int.from_bytes(first[6:9], "big") + 9 == len(first)
        return first if whole and first[13 if self.dtls else 5] in (1, 2) else b""


def random_size(random: Random) -> int:
    return random.choice((0, 0, 1, 2, 5, 16, 40))


def well_formed(octets: bytes, dtls: bool) -> bool:
    try:
        return b"".join(cut(octets, dtls)) == octets and len(cut(octets, dtls)[-1]) >= (13 if dtls else 5)
    except IndexError:
        return False


def _prefix(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    units[at] = m.junk(len(units[at])) + units[at]
    return units


def _suffix(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    units[at] += m.junk(0)
    return units


def _between(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    if well_formed(units[at], m.dtls):
        records = cut(units[at], m.dtls)
        records.insert(m.random.randrange(len(records) + 1), m.junk(len(records[-1])))
        units[at] = b"".join(records)
    return units


def _empty(m: Mutator, units: Units) -> Units:
    kind = m.random.choice((20, 21, 22, 23, 25))
    at = m.random.randrange(len(units))
    made = record(kind, b"", version=0xFEFD if m.dtls else 0x0303, epoch=m.random.choice((0, 0, 1)))
    units[at] = made + units[at] if m.random.random() < 0.5 else units[at] + made
    return units


def _decoy(m: Mutator, units: Units) -> Units:
    hello = m.hello_of(units)
    if not hello:
        return units
    decoy = m.another(hello)
    if m.dtls:
        number = m.random.choice((0, 0, 1, 2, 60))
        decoy = decoy[:17] + number.to_bytes(2, "big") + decoy[19:]
        if m.random.random() < 0.3:
            decoy = decoy[:3] + m.random.choice((b"\0\1", b"\0\5")) + decoy[5:]
    place = m.random.randrange(4)
    if place == 0:
        return [decoy + units[0], *units[1:]]
    if place == 1:
        return [units[0] + decoy, *units[1:]]
    return [decoy, *units] if place == 2 else [units[0], decoy, *units[1:]]


def _wrap(m: Mutator, units: Units) -> Units:
    hello = m.hello_of(units)
    kind = m.random.choice((20, 21, 22, 23, 24, 25, 26))
    if not hello:
        return units
    inner = m.another(hello) if m.random.random() < 0.7 else hello
    version = m.random.choice((0xFEFD, 0xFEFF, 0xFE00, 0xFEFC)) if m.dtls else m.random.choice((0x0303, 0x0300))
    outer = record(kind, m.random.choice((b"", bytes(8))) + inner, version=version, epoch=m.random.choice((0, 1, 1, 2)))
    return [outer, *units] if m.random.random() < 0.7 else [outer + units[0], *units[1:]]


def _repeat(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    place = m.random.randrange(len(units) + 1)
    units.insert(place, units[at])
    return units


def _flip(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    octets = bytearray(units[at])
    if octets:
        octets[m.random.randrange(min(len(octets), 60))] = m.random.choice((0, 1, 2, 20, 22, 25, 0x2C, 0xFE, 0xFF))
    units[at] = bytes(octets)
    return units


def _truncate(m: Mutator, units: Units) -> Units:
    at = m.random.randrange(len(units))
    units[at] = units[at][: m.random.randrange(len(units[at]) + 1)]
    return units


def _fragments(m: Mutator, units: Units) -> Units:
    """The hello in fragments that may overlap, differ, be repeated and come in any order and packing."""
    hello = m.hello_of(units)
    if not hello:
        return units
    body, differs, random = hello[25:], m.another(hello)[25:], m.random
    cuts = sorted({0, len(body), *(random.randrange(1, len(body)) for _ in range(random.choice((1, 1, 2, 4))))})
    spans = list(itertools.pairwise(cuts))
    spans = [(max(0, a - random.choice((0, 0, 3, 30))), b) for a, b in spans]
    pieces = [(a, body[a:b]) for a, b in spans]
    if random.random() < 0.5:
        start = random.choice((0, 0, random.randrange(len(body))))
        pieces.insert(random.randrange(len(pieces) + 1), (start, differs[start : start + random.choice((10, 40, 99))]))
    if random.random() < 0.3:
        pieces.append(random.choice(pieces))
    if random.random() < 0.4:
        random.shuffle(pieces)
    number = hello[17:19] if random.random() < 0.9 else b"\0\1"
    messages = [hello[13:17] + number + a.to_bytes(3, "big") + len(p).to_bytes(3, "big") + p for a, p in pieces]
    if random.random() < 0.3:
        return [record(22, b"".join(messages)) + units[0][len(hello) :], *units[1:]]
    records = [record(22, message, sequence=n) for n, message in enumerate(messages)]
    if random.random() < 0.4:
        return [b"".join(records) + units[0][len(hello) :], *units[1:]]
    return [*records, units[0][len(hello) :], *units[1:]]


def _records(m: Mutator, units: Units) -> Units:
    """The hello in several records of TLS, with or without something in between."""
    hello, random = m.hello_of(units), m.random
    if not hello:
        return units
    message = hello[5:]
    cuts = sorted({0, len(message), *(random.randrange(1, len(message)) for _ in range(random.choice((1, 2, 4))))})
    records = [record(22, message[a:b], version=0x0301) for a, b in itertools.pairwise(cuts)]
    if random.random() < 0.5:
        records.insert(random.randrange(len(records) + 1), m.junk(0))
    return [b"".join(records) + units[0][len(hello) :], *units[1:]]


def _chunks(m: Mutator, units: Units) -> Units:
    stream = b"".join(units)
    cuts = sorted({0, len(stream), *(m.random.randrange(len(stream) + 1) for _ in range(4))})
    return [stream[a:b] for a, b in itertools.pairwise(cuts)]


def _ssl2(m: Mutator, units: Units) -> Units:
    """A hello in the format of SSL 2 (RFC 5246 E.2)."""
    suites = bytes.fromhex("00c02b 00c02c 00009c 00002f 001301")
    body = b"\x01\x03\x03" + struct.pack("!HHH", len(suites), 0, 32) + suites + m.random.randbytes(32)
    made = struct.pack("!H", 0x8000 | len(body)) + body
    return [made, *units] if m.random.random() < 0.5 else [made]


Mutation = Callable[[Mutator, Units], Units]
COMMON: dict[str, Mutation] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "between": _between,
    "empty record": _empty,
    "decoy": _decoy,
    "wrapped hello": _wrap,
    "repeated": _repeat,
    "flipped": _flip,
    "truncated": _truncate,
}
DATAGRAM = COMMON | {"fragments": _fragments, "overlapping fragments": _fragments}
STREAM = COMMON | {"records": _records, "chunks": _chunks, "hello of SSL 2": _ssl2}


# One handshake


class Talk:
    """A client and a server of one stack, with the engine between; ``>`` is from the client, whichever side opened."""

    def __init__(self, stack: Stack, protocol: str, seed: str, *, mutated: bool = True) -> None:
        random = Random(seed)
        dtls = protocol.startswith("d")
        self.kind = ContentKind.ADTLS if dtls else ContentKind.ATLS
        rule = permit("r", "phone", "lamp", content=KINDS, condition=random.choice(RULES))
        self.home = Stage(rule, limits=EngineLimits(max_datagram=65535))
        self.home.opens("phone", "lamp", self.kind)
        self.home.settles(1)
        (self.session,) = self.home.engine._sessions
        self.who = dict(zip("<>", random.choice((("phone", "lamp"), ("lamp", "phone"))), strict=True))
        self.heard: dict[str, set[bytes]] = {">": set(), "<": set()}
        self.n = {">": 0, "<": 0}
        self.passed = 0
        self.mutator = Mutator(random, dtls)
        #: Which flight of which end is mutated.
        self._mutated = random.choice((">0", ">0", "<0", ">1", "<1")) if mutated else ""
        self._flights = {">": 0, "<": 0}
        self._sent: dict[str, list[bytes]] = {">": [], "<": []}
        self.ends = {">": stack.make(protocol, False), "<": stack.make(protocol, True)}
        try:
            self._run()
            self.faults = list(self._compare())
            self.finished = all(end.finished for end in self.ends.values())
        finally:
            for end in self.ends.values():
                end.free()

    def _run(self) -> None:
        waiting = [(">", unit) for unit in self._flight(">", self.ends[">"].feed(b""))]
        for _ in range(60):
            if not waiting:
                return
            direction, unit = waiting.pop(0)
            if self._passes(direction, unit):
                other = "<" if direction == ">" else ">"
                waiting += [(other, answer) for answer in self._flight(other, self.ends[other].feed(unit))]

    def _flight(self, direction: str, units: list[bytes]) -> list[bytes]:
        """What an end sends, or what is sent in its place."""
        self._sent[direction] += units
        if not units:
            return units
        number = self._flights[direction]
        self._flights[direction] += 1
        return self.mutator.mutate(units) if f"{direction}{number}" == self._mutated else units

    def _passes(self, direction: str, octets: bytes) -> bool:
        """Whether the engine passes it."""
        engine, who = self.home.engine, self.who[direction]
        unit = Unit(
            id=EnvelopeId(1000 + sum(self.n.values())),
            source=PEERS[who],
            session=SessionId("s1"),
            content=self.kind,
            n=self.n[direction],
            payload=Sealed(octets),
            received_at=self.home.now,
        )
        self.n[direction] += 1
        engine.submit(unit, now=self.home.now)
        if not any(isinstance(order, Transmit) and order.envelope is unit for order in engine.commands()):
            return False
        engine.settle(Receipt(unit.id, Outcome.DELIVERED), now=self.home.now)
        engine.commands()
        flow = self.session.from_opener if who == "phone" else self.session.from_target
        seen = flow.read_visible
        assert seen is not None
        if seen.client is not None:
            self.heard[direction].add(seen.client.random)
        if seen.server is not None:
            self.heard[direction].add(seen.server.random)
        self.passed += 1
        return True

    def _compare(self) -> Iterator[str]:
        client, server = self.ends[">"], self.ends["<"]
        self.began = any(self._shows(unit) == 2 for unit in self._sent["<"])
        if self.began and server.client_random not in self.heard[">"]:
            yield "the server took a ClientHello that the engine did not see"
        goes_on = any(self._shows(unit) not in (1, None) for unit in self._sent[">"])
        if goes_on and client.server_random not in self.heard["<"]:
            yield "the client took a ServerHello that the engine did not see"
        for end in (client, server):
            if end.finished and VERSIONS[end.version] != self.session.version:
                yield f"{VERSIONS[end.version]} was agreed on, and the engine saw {self.session.version or 'nothing'}"

    def _shows(self, unit: bytes) -> int | None:
        """The message type that a unit begins with; 0 if it is protected, None of an alert.

        A ChangeCipherSpec that TLS 1.3 sends for middleboxes (RFC 8446 D.4) is passed over.
        """
        if not self.mutator.dtls and unit[0] == 20:
            unit = unit[6:]
        if not unit or unit[0] == 21:
            return None
        in_clear = unit[0] == 22 and (not self.mutator.dtls or unit[3:5] == b"\0\0")
        return unit[13 if self.mutator.dtls else 5] if in_clear else 0


@dataclass
class Tally:
    """What came of many handshakes: ``faults`` name the seeds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def compare(stack: Stack, protocol: str, count: int, first: int = 0) -> Tally:
    """``count`` handshakes of one stack and protocol, the seeds numbered from ``first``."""
    tally = Tally()
    for number in range(first, first + count):
        talk = Talk(stack, protocol, f"{protocol} {number}")
        tally.faults += [
            f"{stack.name}, {protocol} {number} ({', '.join(talk.mutator.done)}): {fault}" for fault in talk.faults
        ]
        tally.outcomes["finished" if talk.finished else "begun" if talk.began else "neither"] += 1
    return tally
