"""DTLS over a network that loses, doubles and reorders; retransmission on our clock and not on OpenSSL's."""

from __future__ import annotations

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.association import Association, AssociationConfig, Failed, Role
from layer.credentials import Credentials
from layer.errors import PeerError
from layer.flight import Flights, pack, split_records
from layer.openssl import lib, scratch
from layer.records import HANDSHAKE, read_datagram
from tests.harness.layer_pair import (
    LossyNetwork,
    client_x509,
    connected,
    events,
    exchange,
    pair,
    psk_client,
    psk_server,
    server_x509,
)

CONFIG = AssociationConfig(retransmit_initial=1.0, handshake_timeout=300.0)
SLOW = AssociationConfig(retransmit_initial=9.0, retransmit_max=30.0, handshake_timeout=100.0)


def ends(kind: str) -> tuple[Credentials, Credentials]:
    return (psk_client(), psk_server()) if kind == "psk" else (client_x509(), server_x509())


def both_open(client: Association, server: Association) -> bool:
    return client.info is not None and server.info is not None


@pytest.mark.parametrize("kind", ["psk", "x509"])
@pytest.mark.parametrize("seed", range(40))
def test_handshake_survives_loss_doubling_and_reordering(kind: str, seed: int) -> None:
    """A third of the datagrams lost. All of it in virtual time, so OpenSSL's own clock can't help: see ``Flights``."""
    client, server = pair(*ends(kind), CONFIG)
    network = LossyNetwork(client, server, Random(seed), loss=0.33, double=0.2, jitter=0.2)
    network.run(300, lambda: both_open(client, server))
    assert both_open(client, server), (events(client), events(server))
    client.send(b"x", network.now)
    for datagram in client.records_to_send():
        server.receive(datagram, network.now)
    assert server.next_event() and server.next_event()


def test_retransmission_starts_at_the_configured_time_and_doubles_up_to_the_limit() -> None:
    client, _ = pair(psk_client(), psk_server(), SLOW)
    (first,) = client.records_to_send()
    times = []
    while (at := client.next_deadline()) is not None:
        client.tick(at - 0.001)
        assert client.records_to_send() == []
        client.tick(at)
        again = client.records_to_send()
        if again:
            assert [header[:2] for header in read_datagram(again[0])] == [header[:2] for header in read_datagram(first)]
            assert again[0][13:] == first[13:]
            times.append(at)
    assert times == [9.0, 27.0, 57.0, 87.0]
    (event,) = events(client)
    assert isinstance(event, Failed) and "no answer" in event.reason


def test_repeated_records_of_epoch_0_have_fresh_numbers() -> None:
    """A repeated number would be dropped as a replay by a peer that has the first copy (RFC 6347 4.1.2.6)."""
    client, server = pair(client_x509(), server_x509(), CONFIG)
    for datagram in client.records_to_send():
        server.receive(datagram, 0)
    numbers = [header.sequence for datagram in server.records_to_send() for header in read_datagram(datagram)]
    for now in (1.0, 3.0, 7.0):
        server.tick(now)
        numbers += [header.sequence for datagram in server.records_to_send() for header in read_datagram(datagram)]
    assert len(numbers) > 8
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("calls", ["junk", "duplicate"])
def test_openssl_timer_expiry_does_not_retransmit_before_our_deadline(calls: str) -> None:
    """Pitfall 4: OpenSSL repeats its flight by itself, inside any read, once one second of the OS clock has passed.

    Remedy: ``Association._absorb_os_timer`` before each call. Without it the server sends its flight again on the
    first datagram after the sleep. Afterwards our own deadline must still repeat the flight exactly once.
    """
    client, server = pair(client_x509(), server_x509(), AssociationConfig(mtu=512))
    hello = client.records_to_send()
    for datagram in hello:
        server.receive(datagram, 0)
    flight = server.records_to_send()
    assert len(flight) > 1
    for datagram in flight[:1]:  # the client has a part, so both wait with their timers running
        client.receive(datagram, 0)
    time.sleep(1.1)
    for end in (client, server):
        end.receive(b"junk" * 10 if calls == "junk" else (hello[0] if end is server else flight[0]), 2.0)
        assert end.records_to_send() == []
        assert end.next_deadline() == 9.0
        end.tick(8.9)
        assert end.records_to_send() == []
        end.tick(9.0)
        assert sum(len(datagram) for datagram in end.records_to_send())
        end.tick(9.1)
        assert end.records_to_send() == []
        assert end.next_deadline() == 27.0
    # What was repeated works.
    server.tick(27.0)
    client.tick(27.0)
    exchange(client, server, 27.0)
    assert both_open(client, server)


def test_deadline_before_openssl_timer_expired_still_repeats_the_flight_once() -> None:
    """Our deadline may be earlier than OpenSSL's second (here 0.05 s): DTLSv1_handle_timeout alone would do nothing."""
    quick = AssociationConfig(retransmit_initial=0.05, retransmit_max=1.0)
    client, server = pair(psk_client(), psk_server(), quick)
    client.records_to_send()  # lost
    client.tick(0.05)
    assert lib.Cryptography_DTLSv1_get_timeout(client._ssl, scratch.seconds, scratch.microseconds) == 1
    assert scratch.seconds[0] or scratch.microseconds[0]  # still running
    exchange(client, server, 0.06)
    assert both_open(client, server)


def lost_last_flight() -> tuple[Association, Association, list[bytes]]:
    client, server = pair(psk_client(), psk_server(), CONFIG)
    for datagram in client.records_to_send():
        server.receive(datagram, 0)
    for datagram in server.records_to_send():
        client.receive(datagram, 0)
    for datagram in client.records_to_send():
        server.receive(datagram, 0)
    assert server.info is not None
    return client, server, server.records_to_send()


def test_lost_last_flight_is_repeated_when_the_client_repeats_its_own() -> None:
    client, server, lost = lost_last_flight()
    assert lost
    client.tick(1.0)
    exchange(client, server, 1.0)
    assert both_open(client, server)


def test_lost_last_flight_is_repeated_by_openssl_too_and_then_only_once() -> None:
    """After a second of the OS clock the client's Finished has a fresh number, and OpenSSL answers it itself."""
    client, server, lost = lost_last_flight()
    assert lost
    time.sleep(1.05)
    client.tick(1.0)
    for datagram in client.records_to_send():
        server.receive(datagram, 1.0)
    answer = server.records_to_send()
    assert sum(len(datagram) for datagram in answer) < 2 * sum(len(datagram) for datagram in lost)
    for datagram in answer:
        client.receive(datagram, 1.0)
    assert both_open(client, server)


def test_repeated_finished_gets_a_fresh_number_for_servers_that_answer_nothing_else() -> None:
    """Other stacks drop a record number that they know (RFC 6347 4.1.2.6), and with it our plea for their last flight.

    Remedy: what OpenSSL repeats on its own timer is kept as the newest copy (``Flights.refresh``).
    """
    client, server, lost = lost_last_flight()
    assert lost
    server._flights.forget()  # now only OpenSSL can answer
    client.tick(1.0)
    exchange(client, server, 1.0)
    assert client.info is None
    time.sleep(1.05)
    client.tick(3.0)
    exchange(client, server, 3.0)
    assert both_open(client, server)


def test_forged_repetitions_are_answered_at_a_bounded_rate() -> None:
    client, server, lost = lost_last_flight()
    forged = bytes([HANDSHAKE]) + b"\xfe\xfd" + bytes(8) + b"\x00\x0c\x10" + bytes(11)
    answers = 0
    for tick in range(100):
        server.receive(forged, 1.0 + tick / 100)
        answers += len(server.records_to_send())
    assert answers <= 2 * len(lost)
    for datagram in lost:
        client.receive(datagram, 2.0)
    client.send(b"x", 2.0)
    for datagram in client.records_to_send():
        server.receive(datagram, 2.0)
    server.receive(forged, 10.0)
    assert server.records_to_send() == []  # the client has shown that it has the last flight


def test_a_handshake_that_needs_nothing_more_has_no_deadline() -> None:
    client, server = connected(psk_client(), psk_server(), CONFIG)
    assert client.next_deadline() is None and server.next_deadline() is None


def test_no_timer_on_tls_but_the_handshake_timeout() -> None:
    config = AssociationConfig(protocol="tls1.3", handshake_timeout=5.0)
    client = Association(Role.CLIENT, psk_client(), config)
    client.start(10.0)
    assert client.next_deadline() == 15.0
    client.records_to_send()
    client.tick(14.9)
    assert client.records_to_send() == [] and not client.over
    client.tick(15.0)
    assert client.over


# The pure parts.


def record(size: int, epoch: int = 0, sequence: int = 0, kind: int = HANDSHAKE) -> bytes:
    head = bytes([kind]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + sequence.to_bytes(6, "big")
    return head + size.to_bytes(2, "big") + bytes(size)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 240), min_size=1, max_size=20), st.integers(256, 600))
def test_split_and_pack_lose_nothing_and_merge_greedily(sizes: list[int], mtu: int) -> None:
    records = [record(size) for size in sizes]
    assert split_records(b"".join(records)) == records
    datagrams = pack(records, mtu)
    assert b"".join(datagrams) == b"".join(records)
    assert all(len(datagram) <= mtu for datagram in datagrams)
    for datagram, following in pairwise(datagrams):
        split_records(datagram)
        assert len(datagram) + len(split_records(following)[0]) > mtu


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_split_refuses_cut_records(octets: bytes) -> None:
    try:
        records = split_records(octets)
    except PeerError:
        return
    assert b"".join(records) == octets


def test_numbers_go_on_from_openssl_if_it_is_ahead() -> None:
    flights = Flights(1152, 1.0, 60.0)
    first = flights.send(record(2, sequence=7, kind=20) + record(2, sequence=8, kind=20) + record(5, epoch=1), 0.0)
    second = flights.again(1.0)
    assert [[header.sequence for header in read_datagram(sent[0])] for sent in (first, second)] == [
        [7, 8, 0],
        [9, 10, 0],
    ]
    third = flights.send(record(2, sequence=9, kind=20), 2.0)
    assert [header.sequence for header in read_datagram(third[0])] == [11]


def test_alerts_are_sent_but_not_repeated() -> None:
    flights = Flights(1152, 1.0, 60.0)
    assert flights.send(record(2, kind=21), 0.0) == [record(2, kind=21)]
    assert not flights.waiting and flights.deadline is None
