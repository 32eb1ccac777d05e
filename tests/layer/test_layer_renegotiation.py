"""Our ends refuse renegotiation: its hello is encrypted, so no gateway could count it."""

from __future__ import annotations

from typing import Literal

import pytest
from cryptography import x509
from OpenSSL import SSL

from layer.association import Association, AssociationConfig, Role
from layer.config import PeerRequirement
from tests.harness.layer_pair import certified, server_identity

_ALLOW_CLIENT_RENEGOTIATION = 1 << 8


class Plain:
    """An OpenSSL end without our settings."""

    def __init__(self, protocol: str, server: bool) -> None:
        dtls = protocol == "dtls1.2"
        context = SSL.Context(SSL.DTLS_METHOD if dtls else SSL.TLS_METHOD)
        context.set_max_proto_version(0xFEFD if dtls else 0x0303)
        context.set_options(SSL.OP_NO_QUERY_MTU | _ALLOW_CLIENT_RENEGOTIATION)
        if server:
            identity = server_identity()
            context.use_certificate(x509.load_pem_x509_certificate(identity.chain))
            context.use_privatekey(identity.key)
        self.connection = SSL.Connection(context, None)
        if dtls:
            self.connection.set_ciphertext_mtu(1200)
        (self.connection.set_accept_state if server else self.connection.set_connect_state)()

    def receive(self, unit: bytes, now: float) -> None:
        self.connection.bio_write(unit)

    def records_to_send(self) -> list[bytes]:
        for step in (self.connection.do_handshake, lambda: self.connection.read(100)):
            try:
                step()
            except SSL.Error:
                pass
        try:
            return [self.connection.bio_read(1 << 16)]
        except SSL.WantReadError:
            return []


def carry(client: Plain, server: Plain | Association) -> None:
    for _ in range(20):
        for sender, receiver in ((client, server), (server, client)):
            for unit in sender.records_to_send():
                receiver.receive(unit, 0.0)


def renegotiates(protocol: str, server: Plain | Association) -> bool:
    client = Plain(protocol, False)
    carry(client, server)
    finished = client.connection.get_finished()
    assert finished
    assert client.connection.renegotiate()
    carry(client, server)
    return client.connection.get_finished() != finished


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2"])
def test_our_server_does_not_renegotiate(protocol: Literal["dtls1.2", "tls1.2"]) -> None:
    requirement = PeerRequirement(anonymous=True)
    config = AssociationConfig(protocol=protocol, require_client_certificate=False, peer=requirement)
    server = Association(Role.SERVER, certified(server_identity()), config)
    server.start(0.0)
    assert not renegotiates(protocol, server)
    assert server.info is not None, "it had finished its handshake"


@pytest.mark.parametrize("protocol", ["dtls1.2", "tls1.2"])
def test_another_one_would(protocol: str) -> None:
    assert renegotiates(protocol, Plain(protocol, True))
