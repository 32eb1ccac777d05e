"""The DTLS listener: cookies, many peers, bounds, reboot on the same port, credentials that change."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer.association import Association, AssociationConfig, DataReceived, DataSizeError, PeerClosed, Role
from layer.cookie import CookieJar, hello_verify_request, read_hello
from layer.credentials import Credentials
from layer.errors import CredentialError, PeerError, UsageError
from layer.listener import (
    DtlsListener,
    HandshakeRefused,
    ListenerEvent,
    PeerConnected,
    PeerData,
    PeerGone,
)
from layer.records import HELLO_VERIFY_REQUEST, dtls_client_hello, read_datagram, read_fragments
from tests.harness.layer_pair import (
    KEY,
    OTHER_KEY,
    authority,
    certified,
    client_x509,
    device,
    events,
    psk_client,
    psk_server,
    server_identity,
    server_x509,
)

CONFIG = AssociationConfig(retransmit_initial=1.0)
Address = tuple[str, int]
HERE = ("192.0.2.1", 40000)


def listener(credentials: Credentials | None = None, **limits: object) -> DtlsListener:
    return DtlsListener(credentials or psk_server(), CONFIG, **limits)  # type: ignore[arg-type]


def client(credentials: Credentials | None = None, now: float = 0.0) -> Association:
    end = Association(Role.CLIENT, credentials or psk_client(), CONFIG)
    end.start(now)
    return end


def run(server: DtlsListener, ends: dict[Address, Association], now: float = 0.0) -> None:
    """Deliver everything in order until all are quiet."""
    for _ in range(50):
        moved = False
        for address, end in ends.items():
            for datagram in end.records_to_send():
                moved = True
                server.receive_datagram(datagram, address, now)
        for datagram, to in server.datagrams_to_send():
            moved = True
            if to in ends:
                ends[to].receive(datagram, now)  # type: ignore[index]
        if not moved:
            return
    raise AssertionError("no rest")


def taken(server: DtlsListener) -> list[ListenerEvent]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


def connect(server: DtlsListener, address: Address = HERE, now: float = 0.0) -> tuple[Association, int]:
    end = client(now=now)
    run(server, {address: end}, now)
    assert end.info is not None
    events(end)
    (event,) = (event for event in taken(server) if isinstance(event, PeerConnected))
    return end, event.peer_id


def deliver(server: DtlsListener, end: Association, address: Address = HERE, now: float = 0.0) -> None:
    for datagram in end.records_to_send():
        server.receive_datagram(datagram, address, now)


def answers(server: DtlsListener, end: Association, now: float = 0.0) -> list[bytes]:
    datagrams = [datagram for datagram, _ in server.datagrams_to_send()]
    for datagram in datagrams:
        end.receive(datagram, now)
    return datagrams


# The usual way.


@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_handshake_with_cookie_then_data_both_ways(kind: str) -> None:
    server = listener(psk_server() if kind == "psk" else server_x509())
    end = client(psk_client() if kind == "psk" else client_x509())
    run(server, {HERE: end})
    (connected,) = taken(server)
    assert isinstance(connected, PeerConnected)
    assert connected.addr == HERE
    assert connected.info == server.info(connected.peer_id)
    assert connected.info.peer.psk_identity == (b"dev" if kind == "psk" else None)
    events(end)
    end.send(b"up", 0)
    assert server.send(connected.peer_id, b"down", 0)
    run(server, {HERE: end})
    assert taken(server) == [PeerData(connected.peer_id, b"up")]
    assert events(end) == [DataReceived(b"down")]
    assert server.counters["hello_verify_requests"] == server.counters["handshakes_completed"] == 1
    server_end = server.association(connected.peer_id)
    assert server_end and server_end.export("EXPORTER-x", b"", 32) == end.export("EXPORTER-x", b"", 32)


def test_many_peers_do_not_mix() -> None:
    server = listener(max_peers_per_identity=30)
    ends = {(f"192.0.2.{number}", 5000 + number): client() for number in range(30)}
    run(server, ends)
    connected = {event.addr: event.peer_id for event in taken(server) if isinstance(event, PeerConnected)}
    assert set(connected) == set(ends)
    for address, end in ends.items():
        events(end)
        end.send(repr(address).encode(), 0)
    run(server, ends)
    assert {(event.peer_id, event.data) for event in taken(server) if isinstance(event, PeerData)} == {
        (connected[address], repr(address).encode()) for address in ends
    }
    assert len(server) == 30 == len(server.peer_ids())


def test_close_from_either_side() -> None:
    server = listener()
    end, peer = connect(server)
    end.close(0)
    run(server, {HERE: end})
    assert taken(server) == [PeerGone(peer, "closed by the peer")]
    assert events(end) == [PeerClosed()]
    end, peer = connect(server)
    server.close(peer, 0)
    server.close(peer, 0)
    run(server, {HERE: end})
    assert events(end) == [PeerClosed()]
    assert (taken(server), len(server), server.send(peer, b"x", 0), server.info(peer)) == ([], 0, False, None)


def test_close_all() -> None:
    server = listener()
    end, _ = connect(server)
    waiting = client()
    address = ("192.0.2.9", 1)
    deliver(server, waiting, address)
    answers(server, waiting)
    deliver(server, waiting, address)
    server.datagrams_to_send()
    assert repr(server) == "<DtlsListener 1 peers, 1 half open>"
    server.close_all(0)
    run(server, {HERE: end})
    assert events(end) == [PeerClosed()]
    assert repr(server) == "<DtlsListener 0 peers, 0 half open>"
    assert server.next_deadline() is None


def test_data_that_does_not_fit_is_refused() -> None:
    server = listener()
    _, peer = connect(server)
    with pytest.raises(DataSizeError):
        server.send(peer, bytes(2000), 0)


# Cookies.


def first_hello(end: Association) -> bytes:
    (hello,) = end.records_to_send()
    return hello


def test_first_hello_makes_no_state_and_a_smaller_answer() -> None:
    server = listener()
    hello = first_hello(client())
    for number in range(1000):
        server.receive_datagram(hello, ("192.0.2.2", number), 0)
    assert (len(server), server.next_deadline(), taken(server)) == (0, None, [])
    assert server.counters["handshakes_started"] == 0
    for datagram, _ in server.datagrams_to_send():
        assert len(datagram) < len(hello)


def test_hello_verify_request_is_what_rfc_6347_says() -> None:
    """RFC 6347 4.2.1: record number of the ClientHello, version DTLS 1.0, message_seq 0."""
    made = hello_verify_request(b"C" * 16, bytes.fromhex("000000000007"))
    assert made.hex() == ("16feff0000000000000007001f" + "030000130000000000000013" + "feff10" + "43" * 16)
    (fragment,) = read_fragments(made)
    assert fragment.message_type == HELLO_VERIFY_REQUEST and fragment.whole


def test_second_hello_has_message_seq_1_and_openssl_takes_it() -> None:
    """Pitfall of cookies by hand: a fresh association expects message_seq 0 and would wait for it for ever.

    Remedy: ``cookie_verified`` makes the association take the hello with DTLSv1_listen.
    """
    server = listener()
    end = client()
    deliver(server, end)
    answers(server, end)
    (second,) = end.records_to_send()
    assert read_fragments(second)[0].message_seq == 1
    server.receive_datagram(second, HERE, 0)
    (datagram, _) = server.datagrams_to_send()[0]
    assert read_fragments(datagram)[0].message_seq == 1
    # The server goes on from the client's record number (RFC 6347 4.2.1).
    assert read_datagram(datagram)[0].sequence == read_datagram(second)[0].sequence


def test_a_hello_that_was_answered_twice_does_not_cost_a_retransmission() -> None:
    """Pitfall: OpenSSL goes on from record number 1, which the second HelloVerifyRequest has had: a replay.

    Remedy: our own numbers begin with that of the ClientHello (RFC 6347 4.2.1).
    """
    server = listener()
    end = client()
    hellos = end.records_to_send()
    end.tick(1.0)
    hellos += end.records_to_send()
    for hello in hellos:
        server.receive_datagram(hello, HERE, 1.0)
    run(server, {HERE: end}, 1.0)
    assert end.info is not None


def test_cookie_is_bound_to_address_and_hello() -> None:
    server = listener()
    end = client()
    deliver(server, end)
    answers(server, end)
    (second,) = end.records_to_send()
    changed_random = second[:30] + bytes([second[30] ^ 1]) + second[31:]
    for datagram, address in ((second, ("192.0.2.1", 40001)), (second, ("192.0.2.2", 40000)), (changed_random, HERE)):
        server.receive_datagram(datagram, address, 0)
        ((answer, _),) = server.datagrams_to_send()
        assert read_fragments(answer)[0].message_type == HELLO_VERIFY_REQUEST
    assert server.counters["bad_cookies"] == 3
    assert server.counters["handshakes_started"] == 0
    server.receive_datagram(second, HERE, 0)
    assert server.counters["handshakes_started"] == 1


def test_cookie_secret_rotates_and_the_previous_one_still_counts() -> None:
    for later, good in ((0.0, True), (59.0, True), (61.0, True), (119.0, True), (121.0, False), (1000.0, False)):
        server = listener(cookie_lifetime=60.0)
        end = client()
        deliver(server, end, now=0.0)
        answers(server, end)
        server.receive_datagram(first_hello(client()), ("192.0.2.77", 1), min(later, 60.0))
        server.datagrams_to_send()
        deliver(server, end, now=later)
        assert (server.counters["handshakes_started"] == 1) is good, later


def test_cookies_come_from_the_given_entropy_only() -> None:
    def jar() -> CookieJar:
        return CookieJar(60.0, Random(1).randbytes)

    hello = read_hello(first_hello(client()))
    assert jar().make(b"a", hello, 0) == jar().make(b"a", hello, 0) != jar().make(b"b", hello, 0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_read_hello_agrees_with_records_or_refuses(data: st.DataObject) -> None:
    hello = bytearray(_HELLO)
    for _ in range(data.draw(st.integers(0, 3))):
        hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(hello[: data.draw(st.integers(14, len(hello)))])
    try:
        found = read_hello(cut)
        facts = dtls_client_hello(cut)
    except PeerError:
        return
    if facts is not None:
        assert (found.random, found.cookie) == (facts.random, facts.cookie)
        assert facts.session_id in found.parameters


_HELLO = first_hello(client())


# Bounds.


def half_open(server: DtlsListener, address: Address, now: float = 0.0) -> Association:
    """A client that stops after its hello with cookie."""
    end = client(now=now)
    deliver(server, end, address, now)
    answers(server, end, now)
    deliver(server, end, address, now)
    server.datagrams_to_send()
    return end


def test_half_open_handshakes_time_out() -> None:
    """Pitfall 5: a wrong PSK never fails by itself. Remedies: handshake timeout and a bound on half-open peers."""
    server = listener()
    for number in range(3):
        half_open(server, (f"192.0.2.{number}", 1))
    now = 0.0
    while (at := server.next_deadline()) is not None:
        now = at
        server.tick(now)
        server.datagrams_to_send()
    assert now == 5.0
    assert server.counters["handshakes_failed"] == 3
    assert {event.reason for event in taken(server) if isinstance(event, HandshakeRefused)} == {
        "no answer to our first flight in 5 s"
    }


@pytest.mark.parametrize("credentials", [psk_client(key=OTHER_KEY), psk_client("nobody")], ids=["wrong", "unknown"])
def test_wrong_psk_and_unknown_identity_end_by_timeout(credentials: Credentials) -> None:
    server = listener()
    end = client(credentials)
    run(server, {HERE: end})
    assert taken(server) == [] and len(server) == 0
    server.tick(60.0)
    (event,) = taken(server)
    assert isinstance(event, HandshakeRefused)
    assert "not finished after 60 s" in event.reason
    assert credentials.psk is not None
    assert event.reason.endswith(f"; it named the PSK identity {credentials.psk.identity.decode()!r}")
    assert server.next_deadline() is None


def test_idle_peers_are_closed_longest_silent_first() -> None:
    server = listener(idle_timeout=100.0)
    first, first_id = connect(server, ("192.0.2.1", 1), now=0.0)
    _, second_id = connect(server, ("192.0.2.2", 1), now=10.0)
    assert server.next_deadline() == 100.0
    first.send(b"x", 50.0)
    deliver(server, first, ("192.0.2.1", 1), 50.0)
    server.receive_datagram(b"\x17\xfe\xfd\x00\x01" + bytes(30), ("192.0.2.2", 1), 60.0)  # not a sign of life
    taken(server)
    assert server.next_deadline() == 110.0
    server.tick(110.0)
    assert taken(server) == [PeerGone(second_id, "idle")]
    server.tick(149.9)
    assert taken(server) == []
    server.tick(150.0)
    assert taken(server) == [PeerGone(first_id, "idle")]
    assert server.next_deadline() is None
    assert server.counters["idle"] == 2


def test_tables_do_not_grow_with_hosts_seen() -> None:
    server = listener()
    for number in range(50):
        end, _ = connect(server, (f"192.0.2.{number}", 1))
        end.close(0)
        run(server, {(f"192.0.2.{number}", 1): end})
        half_open(server, (f"198.51.100.{number}", 1))
    taken(server)
    server.tick(60.0)
    tables = (server._connected, server._half_open)
    sizes = {
        name: len(table)
        for each in tables
        for name in dir(each)
        if not name.startswith("__") and name != "_known" and hasattr(table := getattr(each, name), "__len__")
    }
    assert sizes == dict.fromkeys(("by_addr", "by_id", "_hosts", "_identities"), 0)


# Reboot on the same port.


def test_reboot_keeps_the_old_association_until_the_new_handshake_is_finished() -> None:
    """Pitfall 8, RFC 6347 4.2.8. Remedy: a new handshake lives beside the connected peer of the same address."""
    server = listener()
    old, old_id = connect(server)
    new = client()
    deliver(server, new)
    answers(server, new)
    deliver(server, new)  # the hello with cookie: a handshake begins
    flight = server.datagrams_to_send()
    assert server.counters["handshakes_started"] == 2
    old.send(b"still me", 0)  # interleaved with the new handshake
    deliver(server, old)
    assert taken(server) == [PeerData(old_id, b"still me")]
    assert server.send(old_id, b"for the old one", 0)
    ((datagram, _),) = server.datagrams_to_send()
    old.receive(datagram, 0)
    assert events(old) == [DataReceived(b"for the old one")]
    for datagram, _ in flight:
        new.receive(datagram, 0)
    run(server, {HERE: new})
    gone, connected = taken(server)
    assert gone == PeerGone(old_id, "replaced by a new handshake from the same address")
    assert isinstance(connected, PeerConnected) and connected.peer_id != old_id
    assert len(server) == 1 and server.counters["replaced"] == 1
    events(new)
    new.send(b"hello again", 0)
    run(server, {HERE: new})
    assert taken(server) == [PeerData(connected.peer_id, b"hello again")]


def test_faked_reboot_does_not_throw_the_peer_out() -> None:
    server = listener()
    old, old_id = connect(server)
    half_open(server, HERE)
    server.tick(60.0)
    assert [type(event) for event in taken(server)] == [HandshakeRefused]
    old.send(b"unharmed", 61.0)
    deliver(server, old, now=61.0)
    assert taken(server) == [PeerData(old_id, b"unharmed")]


def test_second_reboot_replaces_the_handshake_under_way() -> None:
    server = listener()
    half_open(server, HERE)
    connect(server)
    assert server.counters["handshakes_started"] == 2
    assert repr(server) == "<DtlsListener 1 peers, 0 half open>"


def test_repeated_hello_belongs_to_the_handshake_under_way() -> None:
    server = listener()
    end = client()
    deliver(server, end)
    answers(server, end)
    (second,) = end.records_to_send()
    server.receive_datagram(second, HERE, 0)
    server.datagrams_to_send()  # lost
    server.receive_datagram(second, HERE, 0.5)
    assert server.counters["handshakes_started"] == 1
    server.tick(1.0)
    assert answers(server, end, 1.0)
    run(server, {HERE: end}, 1.0)
    assert end.info is not None
    server.receive_datagram(second, HERE, 2.0)  # a late copy
    assert server.counters["handshakes_started"] == 1
    assert server.datagrams_to_send() == []


@pytest.mark.parametrize("seed", range(20))
def test_clients_get_in_over_a_lossy_network(seed: int) -> None:
    random = Random(seed)
    server = listener()
    ends = {("192.0.2.1", port): client() for port in range(3)}
    now = 0.0
    while now < 300 and not all(end.info for end in ends.values()):
        for _ in range(4):
            for address, end in ends.items():
                for datagram in end.records_to_send():
                    for _ in range(random.choice((0, 1, 1, 2))):
                        server.receive_datagram(datagram, address, now)
            for datagram, to in server.datagrams_to_send():
                if random.random() > 0.3:
                    ends[to].receive(datagram, now)  # type: ignore[index]
        now += 0.5
        server.tick(now)
        for address, end in ends.items():
            end.tick(now)
            if end.over:  # RFC 6347 leaves the new attempt to the application
                ends[address] = client(now=now)
    assert all(end.info for end in ends.values())
    assert len(server) == 3


# Credentials.


def test_replaced_credentials_serve_new_handshakes_only() -> None:
    """Pitfall 7: a context is frozen at its first connection. Remedy: new credentials bring a new context."""
    server = listener(psk_server(dev=KEY))
    end, peer = connect(server)
    server.replace_credentials(psk_server(dev=OTHER_KEY))
    end.send(b"still here", 0)
    deliver(server, end)
    assert taken(server) == [PeerData(peer, b"still here")]
    stale = client(psk_client(key=KEY))
    fresh = client(psk_client(key=OTHER_KEY))
    run(server, {("192.0.2.8", 1): stale, ("192.0.2.9", 1): fresh})
    assert fresh.info is not None and stale.info is None


@pytest.mark.parametrize(("identity", "gets_in"), [(b"dev", False), (b"other", True)])
def test_a_handshake_under_way_whose_key_is_taken_away_comes_to_nothing(identity: bytes, gets_in: bool) -> None:
    server = listener(psk_server(dev=KEY, other=KEY))
    end = client(psk_client(identity.decode()))
    for _ in range(2):  # the cookie, then the server's flight
        deliver(server, end)
        answers(server, end)
    last_flight = end.records_to_send()
    assert server.counters["handshakes_started"] == 1 and not taken(server)
    server.replace_credentials(psk_server(other=KEY), shut_out=[b"dev"])
    for datagram in last_flight:
        server.receive_datagram(datagram, HERE, 0)
    (event,) = taken(server)
    assert isinstance(event, PeerConnected if gets_in else HandshakeRefused)
    assert len(server) == gets_in
    if isinstance(event, HandshakeRefused):
        assert event.reason == "its key was taken away meanwhile; it named the PSK identity 'dev'"


def test_replaced_certificate_is_shown_to_new_clients() -> None:
    server = listener(server_x509())
    renewed = authority().issue("renewed")
    server.replace_credentials(certified(renewed, authority()))
    end = client(client_x509())
    run(server, {HERE: end})
    assert end.info and end.info.peer.spki_sha256 == renewed.pin


def test_unusable_credentials_show_at_once_and_change_nothing() -> None:
    server = listener()
    with pytest.raises(UsageError):
        server.replace_credentials(Credentials())
    with pytest.raises(UsageError):
        server.replace_credentials(psk_server(), AssociationConfig(protocol="tls1.3"))
    connect(server)
    with pytest.raises(UsageError):
        DtlsListener(Credentials(), CONFIG)
    with pytest.raises(UsageError):
        DtlsListener(psk_server(), AssociationConfig(protocol="tls1.3"))
    with pytest.raises(CredentialError):
        Credentials(certificate_chain=server_identity().chain, private_key=device().key)


# Strange input.


def test_strange_datagrams_are_counted() -> None:
    server = listener()
    for datagram in (b"", b"x", b"\x16\xfe\xfd" + bytes(10)):
        server.receive_datagram(datagram, HERE, 0)
    server.receive_datagram(b"\x17\xfe\xfd\x00\x01" + bytes(30), HERE, 0)
    server.receive_datagram(b"\x14\xfe\xfd" + bytes(9) + b"\x01\x01", HERE, 0)
    server.receive_datagram(b"\x16\xfe\xfd" + bytes(8) + b"\x00\x0c\x01" + bytes(11), HERE, 0)
    counters = server.counters
    assert (counters["malformed"], counters["unknown_address"], counters["datagrams_in"]) == (4, 2, 6)
    assert server.datagrams_to_send() == []
    with pytest.raises(TypeError):
        counters["malformed"] = 0  # type: ignore[index]
