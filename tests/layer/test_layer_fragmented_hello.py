"""A ClientHello in fragments gets in, and no fragment makes state before its cookie was shown.

Java sends its hello in fragments for good when nine whole ones got no answer; Mbed TLS does where its MTU is small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from layer.association import Association, AssociationConfig, Role
from layer.cookie import FragmentedHelloError, read_hello
from layer.errors import PeerError
from layer.flight import split_records
from layer.listener import DtlsListener, PeerConnected
from layer.records import HELLO_VERIFY_REQUEST, SERVER_HELLO, read_fragments
from tests.harness.layer_crowd import client, half_open, listener, taken
from tests.harness.layer_pair import client_x509, psk_client, server_x509

HERE = ("192.0.2.1", 40000)
UNITS = Path(__file__).parents[1] / "data/tls-units-of-real-stacks.txt"


def fragments(hello: bytes, size: int, numbers: Iterator[int] | None = None) -> list[bytes]:
    """The hello again, in fragments of ``size`` octets, each in a datagram and with a record number."""
    head, body = hello[13:19], hello[25:]
    numbers = numbers or itertools.count()
    units = []
    for at in range(0, len(body), size):
        part = body[at : at + size]
        message = head + at.to_bytes(3, "big") + len(part).to_bytes(3, "big") + part
        units.append(hello[:5] + next(numbers).to_bytes(6, "big") + len(message).to_bytes(2, "big") + message)
    return units


@dataclass
class Cutter:
    """A client whose hello goes out in fragments of ``size`` octets, in any order if there is a ``random``."""

    end: Association
    size: int
    random: Random | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def deliver(self, server: DtlsListener, now: float = 0.0) -> None:
        for unit in self.end.records_to_send():
            for record in split_records(unit):
                for part in self.parts(record):
                    server.receive_datagram(part, HERE, now)

    def parts(self, record: bytes) -> list[bytes]:
        if record[3:5] != b"\0\0":
            return [record]
        if record[0] != 22 or record[13] != 1:
            return [record[:5] + next(self.numbers).to_bytes(6, "big") + record[11:]]
        parts = fragments(record, self.size, self.numbers)
        if self.random is not None:
            self.random.shuffle(parts)
        return parts

    def finish(self, server: DtlsListener) -> None:
        for _ in range(6):
            self.deliver(server)
            for datagram, _ in server.datagrams_to_send():
                self.end.receive(datagram, 0)


def captured(label: str) -> list[list[bytes]]:
    """The ClientHellos that this stack sent, each as its two fragments."""
    units = [
        bytes.fromhex(octets)
        for name, direction, _, octets in map(str.split, UNITS.read_text().splitlines())
        if name == label and direction == ">"
    ]
    hellos = [unit for unit in units if unit[0] == 22 and unit[3:5] == b"\0\0" and unit[13] == 1]
    return [hellos[at : at + 2] for at in range(0, len(hellos), 2)]


def with_our_cookie(first: bytes, answer: bytes) -> bytes:
    """A captured first fragment with the cookie of ``answer``, cut to the length that it had."""
    cookie = answer[-16:]
    at = 60 + first[59]
    body = first[25:at] + bytes([16]) + cookie + first[at + 1 + first[at] :]
    length = int.from_bytes(first[14:17], "big") - first[at] + 16
    part = len(body)
    message = first[13:14] + length.to_bytes(3, "big") + first[17:22] + part.to_bytes(3, "big") + body
    return first[:11] + len(message).to_bytes(2, "big") + message


def moved(rest: bytes, by: int) -> bytes:
    """A captured later fragment, for a message that is ``by`` octets longer before it."""
    length, offset = (int.from_bytes(rest[at : at + 3], "big") + by for at in (14, 19))
    return rest[:14] + length.to_bytes(3, "big") + rest[17:19] + offset.to_bytes(3, "big") + rest[22:]


@pytest.mark.parametrize("label", ["frag-java", "frag-mbedtls_3.6.6"])
def test_captured_fragments_of_a_real_stack_get_an_answer(label: str) -> None:
    server = listener(server_x509())
    hellos = captured(label)
    without, with_cookie = hellos[0], hellos[-1]
    assert read_hello(without[0]).cookie == b"" and len(read_hello(with_cookie[0]).cookie) == 32
    for unit in without:
        server.receive_datagram(unit, HERE, 0)
    ((answer, to),) = server.datagrams_to_send()
    assert to == HERE and read_fragments(answer)[0].message_type == HELLO_VERIFY_REQUEST
    assert len(answer) <= len(without[0])
    assert not half_open(server)
    server.receive_datagram(with_our_cookie(with_cookie[0], answer), HERE, 0)
    assert half_open(server) == {HERE} and server.datagrams_to_send() == []
    server.receive_datagram(moved(with_cookie[1], 16 - 32), HERE, 0)
    flight = server.datagrams_to_send()
    assert read_fragments(flight[0][0])[0].message_type == SERVER_HELLO
    assert server.counters["handshakes_started"] == 1


@pytest.mark.parametrize("kind", ["psk", "x509"])
@pytest.mark.parametrize("size", [52, 60, 100, 150])
def test_a_hello_in_fragments_gets_in(kind: str, size: int) -> None:
    server = listener(None if kind == "psk" else server_x509())
    end = client(psk_client() if kind == "psk" else client_x509())
    Cutter(end, size).finish(server)
    assert end.info is not None
    assert any(isinstance(event, PeerConnected) for event in taken(server))


def test_the_cookie_of_a_whole_hello_counts_for_the_same_hello_in_fragments() -> None:
    """Java: nine whole hellos, then fragments only; the suites may be in another fragment than the cookie."""
    server = listener()
    end = client()
    (hello,) = end.records_to_send()
    server.receive_datagram(hello, HERE, 0)
    ((answer, _),) = server.datagrams_to_send()
    end.receive(answer, 0)
    Cutter(end, 60, numbers=itertools.count(1)).finish(server)
    assert end.info is not None
    assert server.counters["hello_verify_requests"] == 1


def test_no_fragment_makes_state_before_its_cookie_was_shown() -> None:
    server = listener()
    end = client()
    (hello,) = end.records_to_send()
    for port in range(100):
        for part in fragments(hello, 35):  # the first doesn't reach past the cookie
            server.receive_datagram(part, ("192.0.2.2", port), 0)
    assert server.counters["fragmented_hellos"] == 100 * len(fragments(hello, 35))
    assert server.datagrams_to_send() == [] and not half_open(server)
    for part in fragments(hello, 60)[1:]:
        server.receive_datagram(part, HERE, 0)
    assert server.datagrams_to_send() == [] and not half_open(server)


@pytest.mark.parametrize("seed", range(10))
def test_fragments_that_come_in_any_order_get_in_when_they_are_repeated(seed: int) -> None:
    server = listener()
    end = Association(Role.CLIENT, psk_client(), AssociationConfig(retransmit_initial=1.0))
    end.start(0)
    cutter = Cutter(end, 60, Random(seed))
    for now in range(64):
        if end.info is not None:
            break
        end.tick(float(now))
        server.tick(float(now))
        for _ in range(3):
            cutter.deliver(server, float(now))
            for datagram, _ in server.datagrams_to_send():
                end.receive(datagram, float(now))
    assert end.info is not None


def test_impossible_lengths_are_refused() -> None:
    (hello,) = client().records_to_send()
    part = fragments(hello, 70)[0]
    with pytest.raises(FragmentedHelloError):
        read_hello(fragments(hello, 70)[1])
    for at, value in ((14, 1), (15, 0x40), (24, 71), (11, 1), (16, 10)):  # lengths of message, fragment and record
        with pytest.raises(PeerError):
            read_hello(part[:at] + bytes([value]) + part[at + 1 :])
