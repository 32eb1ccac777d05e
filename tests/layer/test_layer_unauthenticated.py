"""What nothing proves ends no handshake: faked alerts and records towards a half-open peer, and what they cost.

RFC 6347 4.1.2.7: such records may be dropped. Beside it: a close_notify in clear is reported as such.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.association import AssociationConfig, Failed, HandshakeCompleted
from layer.credentials import Credentials
from layer.listener import HandshakeRefused, PeerConnected
from layer.sift import sift
from tests.harness.layer_crowd import Air, begin, client, half_open, listener, taken
from tests.harness.layer_pair import client_x509, events, pair, psk_client, psk_server, server_x509, stranger

HERE = ("192.0.2.1", 40000)
UNITS = Path(__file__).parents[1] / "data/tls-units-of-real-stacks.txt"


def record(kind: int, content: bytes, epoch: int = 0, number: int = 9) -> bytes:
    """A DTLS 1.2 record."""
    return b"%c\xfe\xfd%b%b%b%b" % (
        kind,
        epoch.to_bytes(2, "big"),
        number.to_bytes(6, "big"),
        len(content).to_bytes(2, "big"),
        content,
    )


def message(kind: int, sequence: int, body: bytes = b"") -> bytes:
    """A handshake message in a record."""
    length = len(body).to_bytes(3, "big")
    return record(22, bytes([kind]) + length + sequence.to_bytes(2, "big") + bytes(3) + length + body)


FAKED = {
    "fatal alert": record(21, b"\2\x28"),
    "close_notify": record(21, b"\1\0"),
    "alert of three octets": record(21, b"\1\0\0"),
    "ChangeCipherSpec of another value": record(20, b"\2"),
    "ChangeCipherSpec without a value": record(20, b""),
    "application data": record(23, b"xx"),
    "heartbeat": record(24, b"xx"),
    "connection id": record(25, b"xx"),
    "no type of ours": record(99, b"xx"),
    "no handshake header": record(22, b"abc"),
    "message beyond its record": message(16, 2, b"abc")[:-1],
    "a hello of another sequence": message(1, 2, b"abc"),
    **{
        f"handshake message {kind}, sequence {sequence}": message(kind, sequence, b"\0\3abc")
        for kind in (0, 2, 3, 4, 12, 13, 14, 20, 22, 67, 99)
        for sequence in (1, 2, 3, 4)
    },
}


def ends(kind: str) -> tuple[Credentials, Credentials]:
    return (psk_client(), psk_server()) if kind == "psk" else (client_x509(), server_x509())


@pytest.mark.parametrize("kind", ["psk", "x509"])
@pytest.mark.parametrize("faked", FAKED)
def test_a_faked_record_ends_no_handshake(kind: str, faked: str) -> None:
    for moment in (0.05, 0.07, 0.09):  # while our flight, the client's and our last one are on the way
        ours, theirs = ends(kind)
        server = listener(theirs)
        phone = client(ours)
        air = Air(server, 0.02, 0.0, {HERE: phone})
        air.run(moment)
        server.receive_datagram(FAKED[faked], HERE, air.now)
        air.run(10.0, lambda phone=phone: phone.info is not None or phone.over)  # type: ignore[misc]
        assert phone.info is not None and air.now < 1.0
        assert any(isinstance(event, PeerConnected) for event in taken(server))


def test_an_alert_is_noted_as_the_likely_reason_and_shortens_the_wait_to_3_s() -> None:
    server = listener()
    begin(server, HERE)
    server.receive_datagram(record(21, b"\2\x2a"), HERE, 0.5)
    assert half_open(server) == {HERE}
    assert server.next_deadline() == 1.0  # our flight goes again all the same
    for now in (1.0, 3.0):
        server.tick(now)
    assert server.next_deadline() == 3.5
    server.tick(3.5)
    assert taken(server) == [
        HandshakeRefused(HERE, "tls alert bad certificate (in clear: nothing proves that it was the client's)")
    ]


def test_a_client_that_goes_on_has_its_time_again() -> None:
    server = listener()
    phone = client(psk_client("nobody"))  # its Finished will not fit
    air = Air(server, 0.02, 0.0, {HERE: phone})
    air.run(0.09)
    server.receive_datagram(record(21, b"\1\0"), HERE, 0.09)
    air.run(0.2)
    assert server._half_open.by_addr[HERE].keyed
    air.run(19.0)
    assert half_open(server) == {HERE}


def test_a_client_that_refuses_us_is_reported_with_its_alert() -> None:
    server = listener(server_x509())
    refusing = client(Credentials(trust_anchors=stranger().pem))
    air = Air(server, 0.02, 0.0, {HERE: refusing})
    air.run(10.0)
    assert [event.reason for event in taken(server) if isinstance(event, HandshakeRefused)] == [
        "tlsv1 alert unknown ca (in clear: nothing proves that it was the client's)"
    ]


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2", "tls1.3"])
@pytest.mark.parametrize("end", [0, 1], ids=["client", "server"])
def test_close_notify_in_clear_is_reported_as_the_peers_close(protocol: str, end: int) -> None:
    config = AssociationConfig(protocol=protocol)  # type: ignore[arg-type]
    both = pair(psk_client(), psk_server(), config)
    for unit in both[0].records_to_send():
        both[1].receive(unit, 0)
    both[end].receive(record(21, b"\1\0") if config.datagram else b"\x15\3\3\0\2\1\0", 0)
    assert events(both[end]) == [Failed("the peer closed during the handshake", 0)]


def captured() -> dict[str, list[bytes]]:
    """What DTLS 1.2 clients of real stacks sent, by label."""
    clients: dict[str, list[bytes]] = {}
    for line in UNITS.read_text().splitlines():
        label, direction, kind, octets = line.split()
        if kind == "dtls" and "13" not in label and "tls13" not in label:
            clients.setdefault(f"{label} {direction}", []).append(bytes.fromhex(octets))
    return {
        label: units
        for label, units in clients.items()
        if units[0][0] == 22 and units[0][13] == 1 and not label.startswith("mbed36-cid")
    }


@pytest.mark.parametrize("label", captured())
def test_nothing_that_real_clients_send_in_a_handshake_is_sifted_out(label: str) -> None:
    units = captured()[label]
    hello_seq = max(unit[18] for unit in units if unit[0] == 22 and unit[3:5] == b"\0\0" and unit[13] == 1)
    for unit in units:
        if unit[0] != 22 or unit[13] != 1 or unit[3:5] != b"\0\0":
            kept, alert = sift(unit, hello_seq)
            assert kept == unit or (unit[3:5] == b"\0\1" and len(unit) > 269)
            assert alert is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from(list(FAKED.values())), max_size=6), st.integers(0, 2))
def test_sifting_takes_anything_and_keeps_whole_records_in_order(parts: list[bytes], hello_seq: int) -> None:
    datagram = b"".join(parts)
    kept, alert = sift(datagram, hello_seq)
    assert alert is None or 0 <= alert <= 255
    assert sift(kept, hello_seq) == (kept, None)
    at = 0
    while kept:  # a subsequence of the records
        size = 13 + int.from_bytes(kept[11:13], "big")
        at = datagram.index(kept[:size], at) + size
        kept = kept[size:]


MEASURE = """
import sys
from random import Random
from tests.layer.test_layer_unauthenticated import hostile
from tests.harness.layer_crowd import listener
from tests.harness.layer_pair import psk_server, server_x509

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

kind, what = sys.argv[1:]
server = listener(
    psk_server() if kind == "psk" else server_x509(),
    max_half_open=2000, max_half_open_per_host=1000, handshake_burst=2000,
)
random = Random(1)
for number in range(100):
    hostile(server, number, what, random)
before = resident()
for number in range(100, 400):
    hostile(server, number, what, random)
assert len(server._half_open) == 400
print((resident() - before) // 300)
"""


def hostile(server: object, number: int, what: str, random: Random) -> None:
    """A half-open peer that makes us hold as much as it can."""
    address = (f"10.0.{number >> 8}.{number & 255}", 1)
    begin(server, address)  # type: ignore[arg-type]
    if what == "claims":  # long messages of which one octet came, each ahead of what is expected
        for kind in (11, 15, 16):
            for sequence in range(1, 12):
                for length in (16_384, 2048, 100_000):
                    head = bytes([kind]) + length.to_bytes(3, "big") + sequence.to_bytes(2, "big")
                    part = head + (length - 1).to_bytes(3, "big") + b"\0\0\1x"
                    server.receive_datagram(record(22, part), address, 0.1)  # type: ignore[attr-defined]
    if what == "early":  # protected records that wait for keys
        for count in range(150):
            for size in (250, 16_000):
                octets = record(22, random.randbytes(size), 1, 2 * count + (size > 250))
                server.receive_datagram(octets, address, 0.1)  # type: ignore[attr-defined]
    server.datagrams_to_send()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["psk", "x509"])
@pytest.mark.parametrize("what", ["silent", "claims", "early"])
def test_a_half_open_peer_costs_less_than_100_kib(kind: str, what: str) -> None:
    """Measured as growth of a process of its own, whatever the peer sends."""
    done = subprocess.run([sys.executable, "-c", MEASURE, kind, what], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 10 * 1024 < int(done.stdout) < 100 * 1024


def test_a_handshake_completes_for_all_that() -> None:
    server = listener()
    phone = client()
    air = Air(server, 0.02, 0.0, {HERE: phone})
    air.run(0.05)
    for kind in (11, 15):
        server.receive_datagram(record(22, bytes([kind]) + b"\0\x40\0\0\4\0\0\0\0\0\1x"), HERE, 0.05)
    for count in range(20):
        server.receive_datagram(record(22, bytes(40), 1, 100 + count), HERE, 0.05)
    air.run(3.0, lambda: phone.info is not None)
    assert [type(event) for event in events(phone)] == [HandshakeCompleted]
