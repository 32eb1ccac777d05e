"""What OpenSSL does silently with DTLS and memory BIOs, one test per pitfall and the remedy in its docstring.

Elsewhere: the retransmission timer (test_layer_retransmission), a wrong PSK that stalls and an unknown identity
(test_layer_association), the frozen context, the cookie's message_seq and the reboot on the same port
(test_layer_listener).
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import weakref
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from layer.association import Association, AssociationConfig, Failed, Role
from layer.config import MIN_MTU
from layer.credentials import Credentials, Psk
from layer.errors import PeerError, UsageError
from layer.listener import DtlsListener
from layer.openssl import CRYPTOGRAPHY_RANGE, check_bindings, lib, missing_bindings, registry, take_errors
from layer.records import APPLICATION_DATA, HANDSHAKE, read_datagram
from tests.harness.layer_pair import (
    KEY,
    client_x509,
    connected,
    events,
    exchange,
    pair,
    psk_client,
    psk_server,
    server_x509,
)

DTLS = AssociationConfig()


def test_ccm8_suites_are_really_on_offer() -> None:
    """Pitfall 1: at OpenSSL's default security level the CCM_8 suites of RFC 7252 vanish from the list silently.

    Remedy: ``@SECLEVEL=0`` beside an explicit list (layer.context). Without it these handshakes find no suite.
    """
    for suite, ends in (
        ("PSK-AES128-CCM8", (psk_client(), psk_server())),
        ("ECDHE-ECDSA-AES128-CCM8", (client_x509(), server_x509())),
    ):
        client, _ = connected(*ends, AssociationConfig(suites=(suite,)))
        assert client.info and client.info.suite == suite


def test_output_of_a_memory_bio_is_cut_at_record_headers() -> None:
    """Pitfall 2, output: the whole flight comes out of the BIO in one piece, longer than any datagram may be.

    Remedy: ``split_records`` and ``pack``. Without them the second assertion fails.
    """
    client, server = pair(client_x509(), server_x509(), AssociationConfig(mtu=400))
    for datagram in client.records_to_send():
        server.receive(datagram, 0)
    flight = server.records_to_send()
    assert sum(map(len, flight)) > 800
    assert all(len(datagram) <= 400 for datagram in flight)
    for datagram in flight:
        assert all(header.content_type == HANDSHAKE for header in read_datagram(datagram))


def test_input_to_a_memory_bio_is_one_datagram_at_a_time() -> None:
    """Pitfall 2, input: two datagrams in the BIO run together, and a cut record would eat the next one's start.

    Remedy: each datagram is drained before the next is written. Without it the last datagram here is lost.
    """
    client, server = connected(psk_client(), psk_server())
    sent = []
    for number in range(4):
        client.send(b"%d" % number, 0)
        sent += client.records_to_send()
    server.receive(sent[0][:-3], 0)  # cut short by the network
    server.receive(sent[1][:7], 0)
    server.receive(sent[2], 0)
    server.receive(sent[3], 0)
    assert [event.data for event in events(server)] == [b"2", b"3"]  # type: ignore[union-attr]


def test_mtu_below_openssl_floor_is_refused_by_us() -> None:
    """Pitfall 3: a small MTU is silently ignored, and application data is not held to any.

    Remedies: ``MIN_MTU`` in the configuration, and ``max_data`` from OpenSSL's cleartext MTU checked on ``send``
    (test_no_datagram_exceeds_the_mtu).
    """
    client, _ = pair(psk_client(), psk_server())
    assert lib.SSL_set_mtu(client._ssl, 200) == 0  # refused, and easy to miss
    assert lib.SSL_set_mtu(client._ssl, MIN_MTU) == MIN_MTU
    with pytest.raises(UsageError):
        AssociationConfig(mtu=200)


def test_openssl_itself_would_send_more_than_the_mtu() -> None:
    """Pitfall 3, the other half: what ``send`` refuses, SSL_write takes."""
    client, _ = connected(psk_client(), psk_server())
    data = bytes(5000)
    assert lib.SSL_write(client._ssl, data, len(data)) == 5000
    assert len(client._drain()) > 5000


def test_identity_is_known_although_openssl_can_not_be_asked() -> None:
    """Pitfall 6: an identity can't be read back. Remedy: it is recorded in the callback, whole up to our limit."""
    for identity in ("a", "x" * 255, "Gerät-7"):
        client, server = connected(psk_client(identity), Credentials(psk_lookup={identity.encode(): KEY}))
        assert server.info and server.info.peer.psk_identity == identity.encode()
        assert client.info and client.info.peer.psk_identity == identity.encode()


def test_identity_with_nul_can_not_be_configured() -> None:
    """Pitfall 6: OpenSSL cuts it at NUL, so ``a\\0b`` would prove itself as ``a``. Remedy: ``psk_problem``."""
    with pytest.raises(UsageError):
        Psk(b"a\0b", KEY)


def test_contexts_are_shared_by_associations_and_not_by_choices() -> None:
    """Pitfall 7: a context is frozen at its first connection. Remedy: one per credentials and set of choices."""
    credentials = psk_client()
    one = Association(Role.CLIENT, credentials, DTLS)
    two = Association(Role.CLIENT, credentials, AssociationConfig(mtu=500))
    other = Association(Role.CLIENT, credentials, AssociationConfig(alpn=("coap",)))
    fresh = Association(Role.CLIENT, psk_client(), DTLS)
    contexts = [end._connection._context for end in (one, two, other, fresh)]  # type: ignore[union-attr]
    assert contexts[0] is contexts[1]
    assert len({id(context) for context in contexts}) == 3
    for number in range(40):
        Association(Role.CLIENT, credentials, AssociationConfig(alpn=(f"x{number}",)))
    assert len(credentials._contexts) <= 16


def test_missing_bindings_say_what_to_install() -> None:
    assert missing_bindings(lib) == []

    class Pruned:
        Cryptography_HAS_PSK = 1

    with pytest.raises(ImportError, match="SSL_CTX_set_psk_server_callback") as caught:
        check_bindings(Pruned())
    assert CRYPTOGRAPHY_RANGE in str(caught.value)


def test_binding_range_is_the_projects() -> None:
    from pathlib import Path

    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    for requirement in CRYPTOGRAPHY_RANGE.split(" with "):
        assert f'"{requirement}"' in text


def leave_an_error() -> None:
    """What other users of OpenSSL in this thread may do: an error that was not taken from the queue."""
    bare = SSL.Context(SSL.DTLS_METHOD)
    lib.SSL_CTX_set_cipher_list(bare._context, b"NONSENSE")
    assert lib.ERR_peek_error()


@pytest.mark.parametrize("protocol", ["tls1.2", "tls1.3"])
def test_stale_openssl_errors_of_others_are_not_taken_for_ours(protocol: str) -> None:
    """OpenSSL's error queue belongs to the thread. Remedy: it is emptied before each call that may fail."""
    client, server = connected(psk_client(), psk_server(), AssociationConfig(protocol=protocol))  # type: ignore[arg-type]
    leave_an_error()
    server.receive(b"\x17\x03\x03\x00\x20" + bytes(32), 0)
    (event,) = events(server)
    assert isinstance(event, Failed) and "bad record mac" in event.reason
    client, server = pair(psk_client(), psk_server(dev=bytes(16)), AssociationConfig(protocol=protocol))  # type: ignore[arg-type]
    for _ in range(3):
        for sender, receiver in ((client, server), (server, client)):
            for chunk in sender.records_to_send():
                leave_an_error()
                receiver.receive(chunk, 0)
    for end in (client, server):
        (event,) = events(end)
        assert isinstance(event, Failed) and "cipher" not in event.reason
    take_errors()


def test_memory_that_openssl_reads_after_a_callback_is_kept() -> None:
    """The TLS 1.3 client callback hands out a pointer to the identity; without ``Party.keep`` it would dangle."""
    client, _ = pair(psk_client("a" * 200), psk_server(), AssociationConfig(protocol="tls1.3"))
    assert [bytes(kept)[:200] for kept in client._party._kept] == [b"a" * 200]  # type: ignore[call-overload]
    assert b"a" * 200 in client.records_to_send()[0]


def test_nothing_can_be_resumed() -> None:
    """The bindings can't switch TLS 1.3 tickets off altogether: what is sent is short, and worth nothing later."""
    config = AssociationConfig(protocol="tls1.3")
    credentials, server_credentials = client_x509(), server_x509()
    client, server = pair(credentials, server_credentials, config)
    for sender, receiver in ((client, server), (server, client), (client, server)):
        for chunk in sender.records_to_send():
            receiver.receive(chunk, 0)
    assert server.info is not None
    tickets = b"".join(server.records_to_send())
    assert len(tickets) <= 160
    client.receive(tickets, 0)
    session = client._connection.get_session()  # type: ignore[union-attr]
    again = Association(Role.CLIENT, credentials, config)
    again._connection.set_session(session)  # type: ignore[union-attr]
    fresh = Association(Role.SERVER, server_credentials, config)
    again.start(0)
    fresh.start(0)
    exchange(again, fresh)
    assert fresh.info is not None
    assert lib.SSL_session_reused(fresh._ssl) == 0


# Arbitrary input.

_CLIENT, _SERVER = connected(psk_client(), psk_server())
_CLIENT.send(b"payload", 0)
_RECORD = _CLIENT.records_to_send()[0]
_HELLO = pair(psk_client(), psk_server())[0].records_to_send()[0]
_FLIGHT = b"".join(pair(client_x509(), server_x509())[0].records_to_send())


def edited(base: bytes, edits: list[tuple[int, int]]) -> bytes:
    octets = bytearray(base)
    for at, value in edits:
        octets[at % len(octets)] = value
    return bytes(octets)


def framed(parts: tuple[int, int, bytes]) -> bytes:
    """A DTLS record of this type and epoch around arbitrary octets."""
    kind, epoch, body = parts
    head = bytes([kind]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + os.urandom(6)
    return head + len(body).to_bytes(2, "big") + body


EDITS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=4)
OCTETS = st.one_of(
    st.binary(max_size=300),
    st.builds(edited, st.sampled_from([_RECORD, _HELLO, _FLIGHT]), EDITS),
    st.tuples(st.sampled_from([20, 21, 22, 23, 24, 25]), st.sampled_from([0, 1, 2]), st.binary(max_size=60)).map(
        framed
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["dtls1.2", "tls1.3", "tls1.2"]), st.sampled_from(list(Role)), st.lists(OCTETS, max_size=6))
def test_arbitrary_octets_in_a_handshake_become_events(protocol: str, role: Role, pieces: list[bytes]) -> None:
    config = AssociationConfig(protocol=protocol)  # type: ignore[arg-type]
    end = Association(role, psk_client() if role is Role.CLIENT else psk_server(), config)
    end.start(0)
    for piece in pieces:
        end.receive(piece, 1.0)
        end.records_to_send()
    found = events(end)
    assert all(isinstance(event, Failed) for event in found) and len(found) <= 1
    assert end.over is bool(found)
    end.tick(100.0)
    assert end.over
    assert lib.ERR_peek_error() == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(OCTETS, max_size=8))
def test_arbitrary_datagrams_do_not_harm_an_open_dtls_association(pieces: list[bytes]) -> None:
    client, server = connected(psk_client(), psk_server())
    for piece in pieces:
        server.receive(piece, 1.0)
        client.receive(piece, 1.0)
        server.records_to_send()
        client.records_to_send()
    assert events(server) == events(client) == []
    client.send(b"fine", 2.0)
    exchange(client, server, 2.0)
    (event,) = events(server)
    assert event.data == b"fine"  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_in_a_tls_stream_end_it_cleanly(seed: int) -> None:
    random = Random(seed)
    client, server = pair(client_x509(), server_x509(), AssociationConfig(protocol="tls1.3"))
    for _ in range(6):
        for sender, receiver in ((client, server), (server, client)):
            for chunk in sender.records_to_send():
                if random.random() < 0.3:
                    chunk = edited(chunk, [(random.randrange(len(chunk)), random.randrange(256))])
                receiver.receive(chunk, 0)
    for end in (client, server):
        end.receive_eof(0)
        assert end.over
        assert events(end)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(OCTETS, st.integers(0, 3)), max_size=12))
def test_arbitrary_datagrams_into_the_listener(pieces: list[tuple[bytes, int]]) -> None:
    server = DtlsListener(psk_server(), DTLS, max_half_open=2)
    for octets, host in pieces:
        server.receive_datagram(octets, (f"192.0.2.{host}", 1), 0)
    assert len(server) == 0
    answers = server.datagrams_to_send()
    for datagram, _ in answers:
        read_datagram(datagram)
    assert len(answers) <= len(pieces)
    server.tick(60.0)
    assert server.next_deadline() is None


def test_huge_datagram_is_dropped() -> None:
    """It would be read in pieces, each taken for a datagram."""
    client, server = connected(psk_client(), psk_server())
    client.send(b"x", 0)
    (datagram,) = client.records_to_send()
    for size in range(17_000, 60_000, 13):  # one of them ends a read of OpenSSL's where the record begins
        server.receive(bytes(size) + datagram, 0)
    assert events(server) == []
    server.receive(datagram, 0)
    assert len(events(server)) == 1


# Memory.


def test_dropped_associations_are_freed_at_once_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(registry)
        for protocol in ("dtls1.2", "tls1.3"):
            config = AssociationConfig(protocol=protocol)  # type: ignore[arg-type]
            ends = connected(client_x509(), server_x509(), config)
            watched = [weakref.ref(part) for end in ends for part in (end._party, end._connection)]  # type: ignore[arg-type]
            del ends
            assert [ref() for ref in watched] == [None] * 4
        assert len(registry) == before
    finally:
        gc.enable()


def test_ended_association_frees_openssl_memory_while_it_is_still_held() -> None:
    client, server = connected(psk_client(), psk_server())
    watched = weakref.ref(client._connection)  # type: ignore[arg-type]
    client.close(0)
    exchange(client, server)
    assert watched() is None and client.over


def test_many_associations_leave_no_growth() -> None:
    """Peak memory after 400 handshakes of each kind is that after 100: nothing is kept per association."""

    def work(rounds: int) -> None:
        listener = DtlsListener(psk_server(), DTLS)
        certificates = client_x509(), server_x509()
        for number in range(rounds):
            ends = connected(psk_client(), psk_server())
            ends[0].close(0)
            pair(psk_client("nobody"), psk_server())
            if number % 4 == 0:
                connected(*certificates, AssociationConfig(protocol="tls1.3"))
            listener.receive_datagram(_HELLO, ("192.0.2.1", number), 0)
            listener.datagrams_to_send()
        gc.collect()

    work(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(400)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB; one association takes some 70


def test_threads_do_not_share_scratch_memory() -> None:
    """cffi gives up the GIL during a call: with one buffer for all, one association's data would show in another."""
    wrong: list[object] = []

    def work(mark: bytes) -> None:
        client, server = connected(psk_client(), psk_server())
        for _ in range(200):
            client.send(mark * 900, 0)
            for datagram in client.records_to_send():
                server.receive(datagram, 0)
            event = server.next_event()
            if event is None or event.data != mark * 900:  # type: ignore[union-attr]
                wrong.append(event)

    threads = [threading.Thread(target=work, args=(bytes([number]),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_process_ends_cleanly_with_associations_open() -> None:
    code = (
        "from tests.harness.layer_pair import *; a = connected(psk_client(), psk_server()); "
        "b = pair(client_x509(), server_x509()); exchange(*b)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_application_data_is_never_merged_with_other_records() -> None:
    client, _ = connected(psk_client(), psk_server())
    for number in range(3):
        client.send(bytes([number]), 0)
    client.close(0)
    kinds = [[header.content_type for header in read_datagram(datagram)] for datagram in client.records_to_send()]
    assert kinds[:3] == [[APPLICATION_DATA]] * 3


def test_peer_error_is_not_raised_by_export_with_extended_master_secret() -> None:
    client, _ = connected(psk_client(), psk_server())
    try:
        client.export("EXPORTER-x", b"", 16)
    except PeerError:
        pytest.fail("both ends are OpenSSL, which negotiates it")
