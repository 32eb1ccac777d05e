"""A homemade authority, whose certificates lack key identifiers and key usage, is one wherever an endpoint runs."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from endpoint.transports.https_proxy import trusting


def made_at_home(folder: Path) -> ssl.SSLContext:
    """``ca.pem`` in ``folder``, and the context of a server with a certificate of that authority: nothing in both but
    names."""
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = []
    for name, owner in (("home", signer), ("localhost", key)):
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, "home"))
        certificate = (
            x509.CertificateBuilder(issuer, subject, owner.public_key(), len(made) + 1, now - day, now + day)
            .add_extension(x509.BasicConstraints(ca=name == "home", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        made.append(certificate.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes(made[0])
    (folder / "server.pem").write_bytes(made[1])
    (folder / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def test_its_certificates_verify(tmp_path: Path) -> None:
    server = made_at_home(tmp_path)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with server.wrap_socket(theirs, server_side=True) as link:
            link.sendall(b"hello")

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    with trusting(tmp_path / "ca.pem").wrap_socket(ours, server_hostname="localhost") as link:
        assert link.recv(5) == b"hello"
    serving.join()
