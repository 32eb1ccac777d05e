"""A crowded listener: a full table evicts and never locks out, and whoever floods it has to win a race.

Everything happens in virtual time; the same floods against a real gateway are in tests/peers.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.association import Association, Failed, PeerClosed
from layer.flight import split_records
from layer.hosts import host_of
from layer.listener import DtlsListener, HandshakeRefused, PeerData, PeerGone
from tests.harness.layer_crowd import (
    Address,
    Air,
    begin,
    client,
    good_hello,
    half_open,
    listener,
    taken,
)
from tests.harness.layer_pair import KEY, OTHER_KEY, client_x509, events, psk_client, psk_server, server_x509

PHONE = ("192.0.2.1", 40000)


def connect(server: DtlsListener, address: Address, identity: str = "dev", now: float = 0.0) -> tuple[Association, int]:
    """A connected client and its peer id."""
    end = client(psk_client(identity), now)
    air = Air(server, 0.0, now, {address: end})
    air.run(now, lambda: end.info is not None)
    assert end.info is not None
    air.run(now)
    events(end)
    return end, server.peer_ids()[-1]


def silent_after_key_exchange(server: DtlsListener, address: Address, now: float = 0.0) -> None:
    """Somebody who sends a ClientKeyExchange, which anybody can, and whose Finished never fits."""
    air = Air(server, 0.0, now, {address: client(psk_client("nobody", OTHER_KEY), now)})
    air.run(now)
    assert server._half_open.by_addr[address].keyed


# Half-open handshakes.


def test_a_full_table_takes_a_newcomer_for_the_one_that_was_silent_longest() -> None:
    server = listener(max_half_open=4)
    for number in range(4):
        begin(server, (f"192.0.2.{number}", 1), float(number) / 10)
    begin(server, ("198.51.100.1", 1), 0.5)
    assert half_open(server) == {("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1), ("198.51.100.1", 1)}
    assert server.counters["evicted_half_open"] == 1
    assert server.counters["refused_over_rate"] == server.counters["handshakes_failed"] == 0


def test_an_evicted_handshake_gets_close_notify() -> None:
    server = listener(max_half_open=2)
    end = client()
    air = Air(server, 0.02, 0.0, {PHONE: end})
    air.run(0.05)  # its hello with cookie is on the way
    air.run(0.065)
    assert half_open(server) == {PHONE}
    begin(server, ("192.0.2.8", 1), 0.065)
    begin(server, ("192.0.2.9", 1), 0.065)
    air.run(0.2)
    assert events(end) == [Failed("the peer closed during the handshake", 0)]


def test_one_host_has_half_of_the_table_and_then_loses_its_own() -> None:
    server = listener(max_half_open=8)
    begin(server, PHONE)
    for port in range(10):
        begin(server, ("203.0.113.5", port), 0.1 + port / 100)
    assert half_open(server) == {PHONE, *(("203.0.113.5", port) for port in range(6, 10))}


def test_the_host_with_the_most_makes_room_for_a_host_that_has_none() -> None:
    server = listener(max_half_open=8)
    begin(server, PHONE)
    for host, ports in (("203.0.113.5", 4), ("203.0.113.6", 2)):
        for port in range(ports):
            begin(server, (host, port), 0.1)
    begin(server, ("198.51.100.1", 1), 0.2)
    assert Counter(ip for ip, _ in half_open(server)) == {
        "192.0.2.1": 1,
        "203.0.113.5": 3,
        "203.0.113.6": 2,
        "198.51.100.1": 1,
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("not an address", "not another", False),
    ],
)
def test_ipv6_counts_by_its_64_bit_prefix_and_mapped_ipv4_as_ipv4(one: str, other: str, same: bool) -> None:
    assert (host_of(one) == host_of(other)) is same


def test_a_whole_ipv6_prefix_has_the_share_of_one_host() -> None:
    server = listener(max_half_open=8)
    for number in range(8):
        begin(server, (f"2001:db8::{number:x}", 1, 0, 0), number / 100)  # type: ignore[arg-type]
    assert len(half_open(server)) == 4


def test_who_has_passed_client_key_exchange_goes_last() -> None:
    server = listener(max_half_open=4)
    silent_after_key_exchange(server, PHONE)
    for number in range(6):
        begin(server, (f"203.0.113.{number}", 1), 0.1 + number / 10)
    assert PHONE in half_open(server)
    assert len(half_open(server)) == 4


@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_the_wait_is_longer_from_the_client_key_exchange_on(kind: str) -> None:
    """What says so is OpenSSL's name of the state, which must stay what it is."""
    server = listener(psk_server() if kind == "psk" else server_x509())
    end = client(psk_client() if kind == "psk" else client_x509())
    seen = []
    for _ in range(3):
        for datagram in end.records_to_send():
            for record in split_records(datagram):
                if record[3:5] == b"\0\0":  # all but the Finished
                    server.receive_datagram(record, PHONE, 0.0)
                if handshake := server._half_open.by_addr.get(PHONE):
                    seen.append((record[0], record[13], handshake.keyed))
        for datagram, _ in server.datagrams_to_send():
            end.receive(datagram, 0.0)
    assert seen == [
        (22, 1, False),
        *([(22, 11, False)] if kind == "x509" else []),
        (22, 16, True),
        *([(22, 15, True)] if kind == "x509" else []),
        (20, 1, True),
        (22, seen[-1][1], True),
    ]
    server.tick(19.9)
    assert half_open(server) == {PHONE}


def test_nothing_proves_a_key_in_client_key_exchange_so_it_holds_half_of_a_hosts_places_only() -> None:
    server = listener(max_half_open=8, handshake_burst=100)
    for port in range(4):
        silent_after_key_exchange(server, ("203.0.113.5", port), port / 100)
    begin(server, ("203.0.113.5", 100), 0.1)
    assert half_open(server) == {("203.0.113.5", port) for port in (1, 2, 3, 100)}
    begin(server, ("203.0.113.5", 101), 0.2)
    begin(server, ("203.0.113.5", 102), 0.3)
    assert half_open(server) == {("203.0.113.5", port) for port in (2, 3, 101, 102)}


def test_an_eighth_of_the_table_is_for_addresses_that_were_connected_lately() -> None:
    server = listener(max_half_open=16)
    connect(server, ("192.0.2.1", 1))
    connect(server, ("192.0.2.2", 1))
    for number in range(20):
        begin(server, (f"203.0.113.{number}", 1), 0.1)
    assert len(half_open(server)) == 14
    begin(server, ("192.0.2.1", 2), 0.2)
    begin(server, ("192.0.2.2", 2), 0.2)
    assert len(half_open(server)) == 16
    for number in range(20, 40):
        begin(server, (f"203.0.113.{number}", 1), 0.3)
    assert {("192.0.2.1", 2), ("192.0.2.2", 2)} < half_open(server)


def test_the_first_flight_is_answered_in_5_s_and_the_handshake_finished_in_20() -> None:
    server = listener()
    begin(server, PHONE)
    silent_after_key_exchange(server, ("192.0.2.2", 1))
    for now in (1.0, 3.0, 4.9):
        server.tick(now)
    assert half_open(server) == {PHONE, ("192.0.2.2", 1)}
    server.tick(5.0)
    assert half_open(server) == {("192.0.2.2", 1)}
    server.tick(19.9)
    assert half_open(server) == {("192.0.2.2", 1)}
    server.tick(20.0)
    assert not half_open(server)
    assert [event.addr for event in taken(server) if isinstance(event, HandshakeRefused)] == [PHONE, ("192.0.2.2", 1)]
    assert server.next_deadline() is None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=60),
)
def test_a_host_within_its_rate_is_in_the_table(
    capacity: int, per_host: int, comers: list[tuple[int, int, bool]]
) -> None:
    """The kind: a bounded table whose newcomer always gets in, and where nobody has more than his share."""
    server = listener(max_half_open=capacity, max_half_open_per_host=per_host, handshake_burst=1000)
    for number, (host, port, known) in enumerate(comers):
        address = (f"2001:db8:{host:x}::{port:x}", port)
        if known:
            server._half_open.remember(address[0])
        begin(server, address, number / 1000)
        assert address in half_open(server)
        assert len(half_open(server)) <= capacity
        groups = Counter(each.group for each in server._half_open)
        assert max(groups.values()) <= max(1, min(per_host, capacity // 2))
    assert server.counters["refused_over_rate"] == 0


# Rates.


def test_one_host_begins_20_handshakes_at_once_and_2_a_second() -> None:
    server = listener()
    for port in range(30):
        begin(server, ("203.0.113.5", port))
    assert server.counters["handshakes_started"] == 20
    assert server.counters["refused_over_rate"] == 10
    begin(server, PHONE)
    assert PHONE in half_open(server)
    for port in range(100, 600):
        begin(server, ("203.0.113.5", port), (port - 100) / 50)
    assert server.counters["handshakes_started"] == 20 + 1 + 19  # 2 a second, in 9.98 s
    assert {event.reason for event in taken(server) if isinstance(event, HandshakeRefused)} >= {
        "its host begins too many handshakes"
    }


def test_a_hello_that_replaces_its_own_handshake_pays_and_a_refused_one_replaces_nothing() -> None:
    server = listener()
    for _ in range(600):
        begin(server, PHONE)
    assert server.counters["handshakes_started"] == 20
    assert half_open(server) == {PHONE}
    random = server._half_open.by_addr[PHONE].hello_random
    begin(server, PHONE, 0.1)
    assert server._half_open.by_addr[PHONE].hello_random == random


def test_a_hello_that_waited_begins_above_the_rate_of_its_host() -> None:
    """A client behind the address of a flood repeats its hello after a second; the flood does not wait."""
    server = listener()
    for port in range(20):
        begin(server, (PHONE[0], port))
    phones = good_hello(server, PHONE)
    server.receive_datagram(phones, PHONE, 0.0)
    server.receive_datagram(phones, PHONE, 0.1)
    begin(server, (PHONE[0], 21), 0.3)
    assert PHONE not in half_open(server)
    begin(server, (PHONE[0], 22), 1.0)
    begin(server, (PHONE[0], 23), 1.0)
    server.receive_datagram(phones, PHONE, 1.0)
    assert PHONE in half_open(server)


def test_hellos_that_waited_are_bounded_over_all_hosts_without_refusing_anybody_else() -> None:
    server = listener(handshake_burst=1, handshake_rate=0.001)
    hellos = {}
    for host in range(100):
        begin(server, (f"203.0.113.{host}", 0))
        address = (f"203.0.113.{host}", 1)
        hellos[address] = good_hello(server, address)
        server.receive_datagram(hellos[address], address, 0.0)
    started = server.counters["handshakes_started"]
    for address, octets in hellos.items():
        server.receive_datagram(octets, address, 1.0)
    assert server.counters["handshakes_started"] == started + 20
    begin(server, PHONE, 1.0)
    assert PHONE in half_open(server)


def test_what_is_remembered_of_hosts_and_refused_hellos_is_bounded() -> None:
    server = listener(handshake_burst=1, handshake_rate=0.001)
    admission = server._handshakes._admission
    for number in range(5000):
        ip = f"10.{number >> 8}.{number & 255}.1"
        for port in (1, 2):
            admission.admit((ip, port), ip, number.to_bytes(32, "big"), 0.0)
    assert (len(admission._hosts._left), len(admission._refused), len(admission._spare._left)) == (4096, 4096, 0)
    for number in range(1500):
        server._half_open.remember(number)
    assert len(server._half_open._known) == 1024


# Floods, with a phone that shakes hands 20 times among them.


def _addresses(*ips: str) -> Iterator[Address]:
    """Each from one port after another."""
    return ((ips[number % len(ips)], 1024 + number % 60_000) for number in itertools.count())


EIGHT = tuple(f"203.0.113.{number}" for number in range(8))
SIX = ("2001:db8::5", 5684)

FLOODS: dict[str, tuple[float, Address, Callable[[], Iterator[Address]]]] = {
    "73 a second from 8 addresses": (73, PHONE, lambda: _addresses(*EIGHT)),
    "730 a second from 8 addresses": (730, PHONE, lambda: _addresses(*EIGHT)),
    "600 a second from one port": (600, PHONE, lambda: itertools.repeat(("203.0.113.5", 5))),
    "600 a second from one port of the phone's address": (600, PHONE, lambda: itertools.repeat((PHONE[0], 5))),
    "73 a second from the phone's address": (73, PHONE, lambda: _addresses(PHONE[0])),
    "730 a second from the phone's address": (730, PHONE, lambda: _addresses(PHONE[0])),
    "73 a second from one neighbour of the phone's": (73, SIX, lambda: _addresses("2001:db8::66")),
    "730 a second from all of the phone's prefix": (
        730,
        SIX,
        lambda: ((f"2001:db8::1:{number & 0xFFFF:x}", 5) for number in itertools.count()),
    ),
    "730 a second from 730 prefixes": (
        730,
        SIX,
        lambda: ((f"2001:db8:1:{number % 730:x}::1", 5) for number in itertools.count()),
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_phone_gets_in_through_a_flood_of_hellos_with_good_cookies(flood: str) -> None:
    """19 of 20 handshakes, each of up to 6 s and begun on a port of its own."""
    rate, (ip, port), attackers = FLOODS[flood]
    server = listener()
    attacker = attackers()
    air = Air(server)
    successes, next_at = 0, 0.0
    for attempt in range(20):
        air.now += 0.4
        address = (ip, port + attempt)
        phone = client(now=air.now)
        air.ends = {address: phone}
        give_up = air.now + 6
        while air.now < give_up and phone.info is None and not phone.over:
            while next_at <= air.now:
                next_at += 1 / rate
                begin(server, next(attacker), air.now)
            air.run(min(give_up, next_at), lambda phone=phone: phone.info is not None or phone.over)  # type: ignore[misc]
        successes += phone.info is not None
    assert successes >= 19
    assert server.counters["refused_over_rate"] + server.counters["evicted_half_open"] > 100
    assert len(half_open(server)) <= 64


def test_a_phone_gets_in_where_everybody_else_sends_a_client_key_exchange() -> None:
    server = listener()
    air = Air(server, 0.005)
    successes = 0
    for attempt in range(20):
        for number in range(16):
            host = EIGHT[number % 8]
            air.ends[host, 1024 + attempt * 16 + number] = client(psk_client("nobody", OTHER_KEY), air.now)
            air.run(air.now + 1 / 73)
        address = (PHONE[0], PHONE[1] + attempt)
        phone = air.ends[address] = client(now=air.now)
        air.run(air.now + 6, lambda phone=phone: phone.info is not None or phone.over)  # type: ignore[misc]
        successes += phone.info is not None
        air.ends = {where: end for where, end in air.ends.items() if where[0] in EIGHT and not end.over}
    assert successes == 20
    assert sum(each.keyed for each in server._half_open) > 16


# Associations.


def two() -> dict[str, bytes]:
    return {"dev": KEY, "tablet": KEY}


def gone(server: DtlsListener) -> list[int]:
    return [event.peer_id for event in taken(server) if isinstance(event, PeerGone)]


def test_the_ninth_association_of_an_identity_takes_the_place_of_its_longest_silent_one() -> None:
    server = listener(psk_server(**two()))
    tablet, _ = connect(server, ("192.0.2.9", 1), "tablet")
    ends = [connect(server, (f"192.0.2.{number}", number), now=1.0) for number in range(8)]
    first, first_id = ends[0]
    second, second_id = ends[1]
    first.send(b"still here", 2.0)
    for datagram in first.records_to_send():
        server.receive_datagram(datagram, ("192.0.2.0", 0), 2.0)
    taken(server)
    connect(server, ("192.0.2.50", 1), now=3.0)
    (event,) = (event for event in taken(server) if isinstance(event, PeerGone))
    assert event.peer_id == second_id
    assert "one identity has 8 associations at most" in event.reason
    assert server.counters["evicted_peers"] == 1
    assert first_id in server.peer_ids() and len(server) == 9
    assert tablet.info is not None
    # Here the close_notify went to a client that is not driven any more; it is a protected alert.
    assert second.info is not None


def test_a_replaced_association_gets_close_notify() -> None:
    server = listener(max_peers_per_identity=1)
    old, old_id = connect(server, PHONE)
    new = client()
    air = Air(server, 0.0, 1.0, {PHONE: old, ("192.0.2.2", 1): new})
    air.run(1.0, lambda: new.info is not None)
    air.run(1.0)
    assert gone(server) == [old_id]
    assert events(old) == [PeerClosed()]
    new.send(b"in", 1.0)
    air.run(1.0)
    assert PeerData(server.peer_ids()[0], b"in") in taken(server)


def test_64_associations_left_unclosed_lock_nobody_out() -> None:
    """A script that is killed each minute, from the tablet's address: neither it nor the tablet is kept out."""
    server = listener(psk_server(**two()))
    for port in range(64):
        connect(server, (PHONE[0], port), now=port * 60.0)
    connect(server, (PHONE[0], 100), "tablet", now=4000.0)
    connect(server, (PHONE[0], 101), now=4001.0)
    assert len(server) == 9
    assert server.counters["evicted_peers"] == 57


def test_a_full_host_puts_out_its_longest_silent_first_of_the_same_identity() -> None:
    server = listener(psk_server(**two()), max_peers_per_host=3)
    connect(server, (PHONE[0], 1), "tablet")
    connect(server, (PHONE[0], 2))
    connect(server, (PHONE[0], 3))
    connect(server, ("192.0.2.2", 1))
    connect(server, (PHONE[0], 4))
    assert gone(server) == [2]  # the first of "dev" behind this address, although "tablet" was silent for longer
    connect(server, (PHONE[0], 5), "tablet")
    assert gone(server) == [1]
    server = listener(psk_server(**two()), max_peers_per_host=2)
    connect(server, (PHONE[0], 1))
    connect(server, (PHONE[0], 2))
    connect(server, (PHONE[0], 3), "tablet")
    assert gone(server) == [1]


def test_a_full_listener_puts_out_the_longest_silent_of_who_has_the_most() -> None:
    server = listener(psk_server(dev=KEY, tablet=KEY, watch=KEY), max_peers=3)
    connect(server, ("192.0.2.1", 1), "tablet")
    connect(server, ("192.0.2.2", 1))
    connect(server, ("192.0.2.3", 1))
    connect(server, ("192.0.2.4", 1), "watch")
    assert gone(server) == [2]
    # A reboot of a connected peer is not one more.
    connect(server, ("192.0.2.4", 1), "watch", now=1.0)
    assert len(server) == 3


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), max_size=25),
)
def test_a_client_that_proves_a_key_gets_in(bounds: tuple[int, int, int], comers: list[tuple[int, int, int]]) -> None:
    """The kind: bounds of all, of a host and of an identity, and a newcomer that is always let in."""
    most, per_host, per_identity = bounds
    server = listener(
        psk_server(**{str(number): KEY for number in range(4)}),
        max_peers=most,
        max_peers_per_host=per_host,
        max_peers_per_identity=per_identity,
        handshake_burst=1000,
    )
    for number, (host, identity, port) in enumerate(comers):
        end, peer = connect(server, (f"192.0.2.{host}", port), str(identity), float(number))
        assert server.info(peer) is not None
        end.send(b"x", float(number))
        for datagram in end.records_to_send():
            server.receive_datagram(datagram, (f"192.0.2.{host}", port), float(number))
        assert PeerData(peer, b"x") in taken(server)
        peers = server._connected.by_id.values()
        assert len(peers) <= most
        assert max(Counter(each.host for each in peers).values()) <= per_host
        assert max(Counter(each.identity for each in peers).values()) <= per_identity
