"""Associations between two ends in memory: who gets in, what is agreed on, data, endings, limits."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from layer.association import (
    Association,
    AssociationConfig,
    DataReceived,
    DataSizeError,
    Failed,
    HandshakeCompleted,
    PeerClosed,
    PeerRequirement,
    Role,
    Truncated,
)
from layer.config import CERTIFICATE_SUITES, KNOWN_SUITES, KNOWN_TLS13_SUITES, PSK_SUITES
from layer.credentials import Credentials, spki_sha256
from layer.errors import UsageError
from layer.records import read_datagram
from tests.harness.layer_pair import (
    KEY,
    OTHER_KEY,
    Authority,
    authority,
    certificate,
    certified,
    client_x509,
    connected,
    device,
    events,
    exchange,
    pair,
    psk_client,
    psk_server,
    rsa_identity,
    server_identity,
    server_x509,
    stranger,
)

PROTOCOLS = ("dtls1.2", "tls1.2", "tls1.3")
DTLS = AssociationConfig()


def of(protocol: str, **choices: object) -> AssociationConfig:
    return AssociationConfig(protocol=protocol, **choices)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_psk_handshake_names_the_identity_to_both_ends(protocol: str) -> None:
    client, server = pair(psk_client(), psk_server(), of(protocol))
    exchange(client, server)
    for end in (client, server):
        (event,) = events(end)
        assert isinstance(event, HandshakeCompleted)
        assert event.info is end.info
        assert event.info.protocol == protocol
        assert (event.info.peer.kind, event.info.peer.psk_identity) == ("psk", b"dev")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutual_certificates_give_pins_and_names(protocol: str) -> None:
    client, server = connected(client_x509(), server_x509(), of(protocol))
    assert client.info and server.info
    assert client.info.peer.kind == server.info.peer.kind == "certificate"
    assert client.info.peer.spki_sha256 == server_identity().pin
    assert server.info.peer.spki_sha256 == device().pin
    assert server.info.peer.subject_alt_names == ("dns:lamp.example", "uri:urn:dev:mac:000d6f00")


def test_chain_with_an_intermediate_needs_only_the_root() -> None:
    ca = Authority("deep", intermediate=True)
    client, server = connected(certified(ca.issue("c"), ca), certified(ca.issue("s"), ca))
    assert client.info and server.info


def test_rsa_server_works_on_dtls() -> None:
    client, _ = connected(client_x509(), certified(rsa_identity(), authority()))
    assert client.info and "ECDHE-RSA" in client.info.suite


@pytest.mark.parametrize("suite", sorted(KNOWN_SUITES))
def test_every_known_suite_connects_over_dtls(suite: str) -> None:
    config = AssociationConfig(suites=(suite,))
    if "PSK" in suite:
        client, _ = connected(psk_client(), psk_server(), config)
    elif "RSA" in suite:
        client, _ = connected(client_x509(), certified(rsa_identity(), authority()), config)
    else:
        client, _ = connected(client_x509(), server_x509(), config)
    assert client.info and client.info.suite == suite


@pytest.mark.parametrize("suite", sorted(KNOWN_TLS13_SUITES))
def test_every_known_tls13_suite_connects(suite: str) -> None:
    client, _ = connected(client_x509(), server_x509(), of("tls1.3", suites=(suite,)))
    assert client.info and client.info.suite == suite


def test_default_suites_are_known_and_forward_secret_or_psk() -> None:
    assert set(CERTIFICATE_SUITES) | set(PSK_SUITES) <= KNOWN_SUITES
    assert all(suite.startswith("ECDHE-") for suite in CERTIFICATE_SUITES)


def test_post_quantum_group_connects() -> None:
    config = of("tls1.3", groups=("X25519MLKEM768", "X25519"))
    client, server = pair(client_x509(), server_x509(), config)
    sent, _ = exchange(client, server)
    assert client.info and server.info
    assert sent > 1184 + 1000  # the ML-KEM-768 key alone has 1184 octets (FIPS 203)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_alpn_is_agreed_on(protocol: str) -> None:
    client, server = connected(
        psk_client(), psk_server(), of(protocol, alpn=("coap",)), of(protocol, alpn=("x", "coap"))
    )
    assert client.info and client.info.alpn == "coap"
    assert server.info and server.info.alpn == "coap"


def test_alpn_without_overlap_agrees_on_none() -> None:
    client, _ = connected(psk_client(), psk_server(), of("tls1.3", alpn=("a",)), of("tls1.3", alpn=("b",)))
    assert client.info and client.info.alpn is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("context", [b"", b"some context", None])
@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_exporters_agree(protocol: str, context: bytes | None, kind: str) -> None:
    ends = (psk_client(), psk_server()) if kind == "psk" else (client_x509(), server_x509())
    client, server = connected(*ends, of(protocol))
    keys = client.export("EXPORTER-atls-test", context, 48)
    assert keys == server.export("EXPORTER-atls-test", context, 48)
    assert len(keys) == 48
    assert keys != client.export("EXPORTER-atls-other", context, 48)


def test_empty_and_absent_exporter_context_differ_before_tls13_only() -> None:
    """RFC 5705 4 tells them apart, RFC 8446 7.5 does not."""
    client, _ = connected(psk_client(), psk_server())
    assert client.export("EXPORTER-t", b"", 16) != client.export("EXPORTER-t", None, 16)
    client, _ = connected(psk_client(), psk_server(), of("tls1.3"))
    assert client.export("EXPORTER-t", b"", 16) == client.export("EXPORTER-t", None, 16)


def test_export_limits() -> None:
    client, server = pair(psk_client(), psk_server())
    with pytest.raises(UsageError):
        client.export("EXPORTER-t", b"", 16)
    exchange(client, server)
    for length in (0, 4097):
        with pytest.raises(UsageError):
            client.export("EXPORTER-t", b"", length)
    with pytest.raises(UsageError):  # a label of TLS itself
        client.export("master secret", b"", 16)
    client.close(0)
    exchange(client, server)
    with pytest.raises(UsageError):
        client.export("EXPORTER-t", b"", 16)


@pytest.mark.parametrize("protocol", ["tls1.2", "tls1.3"])
def test_64_kib_through_tls_in_chunks(protocol: str) -> None:
    client, server = connected(psk_client(), psk_server(), of(protocol))
    payload = bytes(range(256)) * 256
    client.send(payload, 0)
    chunks = client.records_to_send()
    assert max(map(len, chunks)) == 4096
    assert all(len(chunk) == 4096 for chunk in chunks[:-1])
    received = bytearray()
    for chunk in chunks:
        server.receive(chunk, 0)
        for event in events(server):
            assert isinstance(event, DataReceived)
            received += event.data
    assert received == payload


def test_tls_in_one_piece_and_octet_by_octet() -> None:
    client, server = pair(psk_client(), psk_server(), of("tls1.3", chunk=1))
    exchange(client, server)
    assert client.info and server.info
    server.send(memoryview(bytearray(200_000)), 0)
    client.receive(b"".join(server.records_to_send()), 0)
    assert sum(len(event.data) for event in events(client) if isinstance(event, DataReceived)) == 200_000


@pytest.mark.parametrize("mtu", [256, 300, 576, 1152, 1400])
@pytest.mark.parametrize("kind", ["psk", "x509"])
def test_no_datagram_exceeds_the_mtu(mtu: int, kind: str) -> None:
    ends = (psk_client(), psk_server()) if kind == "psk" else (client_x509(), server_x509())
    client, server = pair(*ends, AssociationConfig(mtu=mtu))
    longest = 0
    for _ in range(10):
        for sender, receiver in ((client, server), (server, client)):
            for datagram in sender.records_to_send():
                longest = max(longest, len(datagram))
                read_datagram(datagram)  # whole records
                receiver.receive(datagram, 0)
    assert client.info and server.info
    assert longest <= mtu
    if kind == "x509" and mtu <= 576:
        assert longest > mtu - 100  # and it is made use of
    limit = client.info.max_data
    assert limit
    events(server)
    client.send(bytes(limit), 0)
    (datagram,) = client.records_to_send()
    assert mtu - 1 <= len(datagram) <= mtu
    server.receive(datagram, 0)
    assert [event.data for event in events(server) if isinstance(event, DataReceived)] == [bytes(limit)]
    for size in (0, limit + 1, 20_000):
        with pytest.raises(DataSizeError) as caught:
            client.send(bytes(size), 0)
        assert caught.value.max_data == limit
    assert client.records_to_send() == []


def test_dtls_keeps_message_borders() -> None:
    client, server = connected(psk_client(), psk_server())
    sizes = [1, 2, 1000, 3, 1123]
    for size in sizes:
        client.send(bytes(size), 0)
    datagrams = client.records_to_send()
    assert len(datagrams) == len(sizes)
    for datagram in datagrams:
        server.receive(bytearray(datagram), 0)
    assert [len(event.data) for event in events(server) if isinstance(event, DataReceived)] == sizes


def test_several_records_in_one_datagram_are_all_delivered() -> None:
    """RFC 6347 4.1.1 allows it; other stacks do it."""
    client, server = connected(psk_client(), psk_server())
    for number in range(5):
        client.send(bytes([number]), 0)
    server.receive(b"".join(client.records_to_send()), 0)
    assert [event.data for event in events(server) if isinstance(event, DataReceived)] == [bytes([n]) for n in range(5)]


def test_replayed_and_forged_records_are_dropped() -> None:
    client, server = connected(psk_client(), psk_server())
    client.send(b"once", 0)
    (datagram,) = client.records_to_send()
    server.receive(datagram, 0)
    server.receive(datagram, 0)
    server.receive(datagram[:-1] + bytes([datagram[-1] ^ 1]), 0)
    assert len(events(server)) == 1
    assert not server.over


# Endings.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clean_close_reaches_the_peer_and_is_answered(protocol: str) -> None:
    client, server = connected(psk_client(), psk_server(), of(protocol))
    client.send(b"last words", 0)
    client.close(0)
    exchange(client, server)
    assert events(server) == [DataReceived(b"last words"), PeerClosed()]
    assert events(client) == [PeerClosed()]
    assert client.over and server.over


def test_unanswered_close_leaves_the_other_direction_open() -> None:
    client, server = connected(psk_client(), psk_server(), of("tls1.3"), of("tls1.3", answer_close=False))
    client.close(0)
    with pytest.raises(UsageError):
        client.send(b"x", 0)
    exchange(client, server)
    assert events(server) == [PeerClosed()]
    server.send(b"still here", 0)
    exchange(client, server)
    server.close(0)
    exchange(client, server)
    assert events(client) == [DataReceived(b"still here"), PeerClosed()]
    assert client.over and server.over


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_end_of_carriage_without_close_notify_is_truncation(protocol: str) -> None:
    client, server = connected(psk_client(), psk_server(), of(protocol))
    client.send(b"data", 0)
    for unit in client.records_to_send():
        server.receive(unit, 0)
    server.receive_eof(0)
    assert events(server) == [DataReceived(b"data"), Truncated()]
    assert server.over


def test_end_of_carriage_in_the_handshake_fails() -> None:
    client, _ = pair(psk_client(), psk_server(), of("tls1.3"))
    client.receive_eof(0)
    (event,) = events(client)
    assert isinstance(event, Failed) and "carriage ended" in event.reason


def test_end_of_carriage_after_close_notify_is_silent() -> None:
    client, server = connected(psk_client(), psk_server(), of("tls1.3"), of("tls1.3", answer_close=False))
    client.close(0)
    exchange(client, server)
    assert events(server) == [PeerClosed()]
    server.receive_eof(0)
    assert events(server) == []
    assert server.over


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_after_the_end_everything_is_inert(protocol: str) -> None:
    client, server = connected(psk_client(), psk_server(), of(protocol))
    server.send(b"late", 0)
    late = server.records_to_send()
    client.close(0)
    exchange(client, server)
    events(client)
    for unit in late:
        client.receive(unit, 0)
    client.receive(b"\xff" * 50, 0)
    client.send(b"x", 0)
    client.close(0)
    client.tick(1e9)
    client.receive_eof(0)
    assert (client.records_to_send(), events(client), client.next_deadline()) == ([], [], None)
    assert client.info is not None


def test_close_before_the_handshake_is_silent() -> None:
    client, _ = pair(psk_client(), psk_server())
    client.records_to_send()
    client.close(0)
    assert (client.over, client.records_to_send(), events(client)) == (True, [], [])


def test_misuse_is_a_usage_error() -> None:
    client = Association(Role.CLIENT, psk_client(), DTLS)
    with pytest.raises(UsageError):
        client.receive(b"x", 0)
    client.start(0)
    with pytest.raises(UsageError):
        client.start(0)
    with pytest.raises(UsageError):
        client.send(b"x", 0)


# Who does not get in.


def failure(end: Association) -> Failed:
    (event,) = events(end)
    assert isinstance(event, Failed), event
    assert end.over and end.info is None
    return event


def test_wrong_psk_and_unknown_identity_look_alike_on_dtls() -> None:
    """Pitfalls 5 and 6: neither says anything, both stall at the same point until our own timeout ends them.

    Remedies: the association's handshake timeout, and random octets as the key of an unknown identity. (Without the
    first nothing ever ends; without the second an unknown identity gets an alert, and the sizes differ.)
    """
    sizes = []
    for table in (psk_server(dev=OTHER_KEY), psk_server(someone=KEY)):
        client, server = pair(psk_client(), table)
        sizes.append(exchange(client, server))
        assert events(client) == events(server) == []
        for end in (client, server):
            end.tick(59.9)
            end.records_to_send()
            assert not end.over
            end.tick(60.0)
            assert "not finished after 60 s" in failure(end).reason
    assert sizes[0] == sizes[1]


def test_unknown_identity_is_named_to_the_server_only() -> None:
    client, server = pair(psk_client(), psk_server(someone=KEY))
    exchange(client, server)
    client.tick(60)
    server.tick(60)
    assert "identity is not known" in failure(server).reason
    assert "identity" not in failure(client).reason


@pytest.mark.parametrize("server", [psk_server(dev=OTHER_KEY), psk_server(someone=KEY)], ids=["wrong key", "unknown"])
@pytest.mark.parametrize("protocol", ["tls1.2", "tls1.3"])
def test_wrong_psk_and_unknown_identity_get_the_same_alert_on_tls(server: Credentials, protocol: str) -> None:
    client, answering = pair(psk_client(), server, of(protocol))
    exchange(client, answering)
    # bad_record_mac (RFC 5246 7.2.2); decrypt_error for a binder (RFC 8446 6.2)
    assert failure(client).alert == (20 if protocol == "tls1.2" else 51)
    failure(answering)


def test_table_that_raises_counts_as_unknown(caplog: pytest.LogCaptureFixture) -> None:
    def broken(identity: bytes) -> bytes | None:
        raise OSError("no table today")

    client, server = pair(psk_client(), Credentials(psk_lookup=broken))
    exchange(client, server)
    server.tick(60)
    assert "not known" in failure(server).reason
    assert "PSK table failed" in caplog.text


def test_unexpected_psk_identity_is_refused() -> None:
    requirement = PeerRequirement(psk_identities=frozenset({b"other"}))
    client, server = pair(psk_client(), psk_server(), DTLS, dataclasses.replace(DTLS, peer=requirement))
    exchange(client, server)
    server.tick(60)
    assert "not the expected one" in failure(server).reason


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_untrusted_client_certificate_is_refused_with_an_alert(protocol: str) -> None:
    client, server = pair(certified(stranger().issue("mallory"), authority()), server_x509(), of(protocol))
    exchange(client, server)
    refused = failure(server)
    assert "certificate verify failed" in refused.reason and "unable to get local issuer" in refused.reason
    last = events(client)[-1]
    assert isinstance(last, Failed) and last.alert == 48  # unknown_ca, RFC 8446 6.2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_untrusted_server_certificate_is_refused_with_an_alert(protocol: str) -> None:
    client, server = pair(client_x509(), certified(stranger().issue("mallory"), authority()), of(protocol))
    exchange(client, server)
    assert "unable to get local issuer" in failure(client).reason
    assert failure(server).alert == 48


def test_expired_certificate_is_refused() -> None:
    client, server = pair(certified(authority().issue("old", days=(-3, -2)), authority()), server_x509())
    exchange(client, server)
    assert "expired" in failure(server).reason


def test_missing_client_certificate_is_refused_unless_not_required() -> None:
    nobody = Credentials(trust_anchors=authority().pem)
    client, server = pair(nobody, server_x509())
    exchange(client, server)
    assert "peer did not return a certificate" in failure(server).reason
    _, server = connected(nobody, server_x509(), DTLS, AssociationConfig(require_client_certificate=False))
    assert server.info and server.info.peer.kind == "none"


def test_missing_client_certificate_never_meets_a_requirement() -> None:
    nobody = Credentials(trust_anchors=authority().pem)
    wanted = PeerRequirement(spki_sha256=frozenset({device().pin}))
    client, server = pair(nobody, server_x509(), DTLS, AssociationConfig(require_client_certificate=False, peer=wanted))
    exchange(client, server)
    assert "did not authenticate" in failure(server).reason


REQUIREMENTS = [
    (PeerRequirement(spki_sha256=frozenset({"0" * 64})), "not a pinned one"),
    (PeerRequirement(names=frozenset({"dns:evil.example"})), "does not bear the expected name"),
    (PeerRequirement(names=frozenset({"uri:svc.example"})), "does not bear the expected name"),
    (PeerRequirement(names=frozenset({"dns:*.example"})), "does not bear the expected name"),
    (PeerRequirement(psk_identities=frozenset({b"dev"})), "PSK peer was expected"),
]


@pytest.mark.parametrize(("requirement", "reason"), REQUIREMENTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_certificate_of_the_wrong_peer_is_refused(requirement: PeerRequirement, reason: str, protocol: str) -> None:
    client, server = pair(client_x509(), server_x509(), of(protocol, peer=requirement), of(protocol))
    exchange(client, server)
    assert reason in failure(client).reason
    failure(server)


@pytest.mark.parametrize(
    "requirement",
    [
        PeerRequirement(names=frozenset({"dns:SVC.example"})),
        PeerRequirement(names=frozenset({"dns:other.example", "dns:localhost"})),
        PeerRequirement(spki_sha256=frozenset({"0" * 64, server_identity().pin})),
        PeerRequirement(spki_sha256=frozenset({server_identity().pin}), names=frozenset({"dns:svc.example"})),
    ],
)
def test_certificate_of_the_right_peer_is_accepted(requirement: PeerRequirement) -> None:
    client, _ = connected(client_x509(), server_x509(), AssociationConfig(peer=requirement), DTLS)
    assert client.info


def test_pin_and_name_must_both_match() -> None:
    requirement = PeerRequirement(spki_sha256=frozenset({server_identity().pin}), names=frozenset({"dns:evil.example"}))
    client, server = pair(client_x509(), server_x509(), AssociationConfig(peer=requirement), DTLS)
    exchange(client, server)
    assert "expected name" in failure(client).reason


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_self_signed_certificates_with_pins_need_no_authority(protocol: str) -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    ends = []
    for number, key in enumerate(keys):
        own = certificate(f"self {number}", key, None, None, days=(-3, -2))  # dates don't count beside a pin
        pem = own.public_bytes(Encoding.PEM)
        ends.append((Credentials(certificate_chain=pem, private_key=key), own))
    configs = [
        of(protocol, peer=PeerRequirement(spki_sha256=frozenset({spki_sha256(ends[1 - number][1])})))
        for number in range(2)
    ]
    client, server = connected(ends[0][0], ends[1][0], *configs)
    assert client.info and server.info
    # The same with a pin that is not the peer's.
    client, server = pair(ends[0][0], ends[1][0], configs[1], configs[1])
    exchange(client, server)
    assert "not a pinned one" in failure(client).reason


def test_anonymous_requirement_accepts_and_says_so() -> None:
    requirement = PeerRequirement(anonymous=True)
    unknown = stranger().issue("svc", x509.DNSName("svc.example"))
    client, _ = connected(
        Credentials(),
        certified(unknown),
        AssociationConfig(peer=requirement),
        AssociationConfig(require_client_certificate=False),
    )
    assert client.info
    assert client.info.peer.kind == "none"
    assert client.info.peer.spki_sha256 == unknown.pin  # seen, not verified
    assert client.info.peer.subject_alt_names == ()


def test_small_rsa_key_is_refused_although_ccm8_lowers_the_security_level() -> None:
    weak = authority().issue("weak", key=rsa.generate_private_key(65537, 1024))  # noqa: S505
    client, server = pair(client_x509(), certified(weak, authority()))
    exchange(client, server)
    assert "shorter than 2048 bits" in failure(client).reason
    failure(server)


def test_certificate_signed_over_sha1_is_refused_although_ccm8_lowers_the_security_level(tmp_path: Path) -> None:
    """Made by OpenSSL's command, since ``cryptography`` no longer signs over SHA-1."""
    files = {"ca.pem": authority().pem, "ca.key": authority().key_pem, "key": device().key_pem, "cnf": b"[req]\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = "openssl req -config cnf -x509 -sha1 -CA ca.pem -CAkey ca.key -key key -subj /CN=weak -out weak.pem"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    weak = Credentials(certificate_chain=tmp_path / "weak.pem", private_key=device().key, trust_anchors=authority().pem)
    client, server = pair(client_x509(), weak)
    exchange(client, server)
    assert "broken digest" in failure(client).reason
    failure(server)


def test_flight_longer_than_a_datagram_and_than_openssl_buffers() -> None:
    """A certificate with 20 kB of ballast: the flight comes out of OpenSSL's BIO in more than one read."""
    heavy = authority().issue("heavy", filler=20_000)
    client, server = connected(client_x509(), certified(heavy, authority()))
    assert client.info and server.info
    client, server = connected(client_x509(), certified(heavy, authority()), of("tls1.3"))
    assert client.info and server.info


def test_psk_and_certificates_side_by_side() -> None:
    both = Credentials(
        certificate_chain=server_identity().chain,
        private_key=server_identity().key,
        trust_anchors=authority().pem,
        psk_lookup={b"dev": KEY},
    )
    for protocol in PROTOCOLS:
        _, server = connected(psk_client(), both, of(protocol))
        assert server.info and server.info.peer.kind == "psk"
        _, server = connected(client_x509(), both, of(protocol))
        assert server.info and server.info.peer.kind == "certificate"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_suite_in_common_fails_at_once(protocol: str) -> None:
    suites = ("PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256")
    if protocol == "tls1.3":
        suites = ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
    client, server = pair(psk_client(), psk_server(), of(protocol, suites=suites[:1]), of(protocol, suites=suites[1:]))
    exchange(client, server)
    assert failure(client).alert == 40  # handshake_failure
    assert failure(server).alert == 40


def test_protocols_do_not_mix() -> None:
    client, server = pair(psk_client(), psk_server(), of("tls1.3"), of("tls1.2"))
    exchange(client, server)
    assert failure(client).alert == 70  # protocol_version
    failure(server)


# Configuration.


@pytest.mark.parametrize(
    "choices",
    [
        {"protocol": "dtls1.0"},
        {"mtu": 255},
        {"mtu": 20_000},
        {"chunk": 0},
        {"handshake_timeout": 0},
        {"retransmit_initial": 0},
        {"retransmit_initial": 5, "retransmit_max": 4},
        {"groups": ()},
        {"alpn": ("",)},
        {"alpn": ("a" * 256,)},
        {"server_name": ""},
        {"server_name": "münchen.example"},
        {"suites": ("AES128-SHA",)},
        {"suites": ("NULL",)},
        {"suites": ("TLS_AES_128_GCM_SHA256",)},
        {"protocol": "tls1.3", "suites": ("PSK-AES128-CCM8",)},
    ],
)
def test_impossible_configuration_is_a_usage_error(choices: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        AssociationConfig(**choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "choices",
    [
        {"spki_sha256": frozenset({"AB" * 32})},
        {"spki_sha256": frozenset({"00"})},
        {"names": frozenset({"svc.example"})},
        {"names": frozenset({"dns:"})},
        {"anonymous": True, "names": frozenset({"dns:a"})},
    ],
)
def test_impossible_requirement_is_a_usage_error(choices: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        PeerRequirement(**choices)  # type: ignore[arg-type]


def test_credentials_that_prove_nothing_are_a_usage_error() -> None:
    for role in Role:
        with pytest.raises(UsageError):
            Association(role, Credentials(), DTLS)
    with pytest.raises(UsageError, match="trust anchors or pins"):
        Association(Role.SERVER, certified(server_identity()), DTLS)
    with pytest.raises(UsageError, match="unknown group"):
        Association(Role.CLIENT, psk_client(), AssociationConfig(groups=("X25519", "nonsense")))


def test_nothing_secret_shows_in_any_repr() -> None:
    client, server = connected(psk_client(), psk_server())
    client.send(b"top secret", 0)
    exchange(client, server)
    event = server.next_event()
    shown = repr([client, server, psk_client(), psk_server(), client.info, event, psk_client().psk])
    assert KEY.hex() not in shown and repr(KEY)[2:-1] not in shown and "secret" not in shown
