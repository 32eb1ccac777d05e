"""Certificates as a first hop may show them, good and bad, and the contexts of the servers that show them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.credentials import write_secret
from layer.credentials import spki_sha256

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class WebAuthority:
    """Makes server certificates; ``pem`` is its own."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str) -> WebAuthority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(name, key, _sign(name, key, name, key, days=30, ca=True))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, folder: Path, file: str, *, host: str = "localhost", days: int = 30, address: str | None = None
    ) -> WebCertificate:
        """``folder/FILE.pem`` and ``.key``; ``days`` below 0: it expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = _sign(host, key, self.name, self.key, days=days, ca=False, host=host, address=address)
        (folder / f"{file}.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
        write_secret(
            folder / f"{file}.key",
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return WebCertificate(folder / f"{file}.pem", folder / f"{file}.key", spki_sha256(found))


@dataclass(frozen=True)
class WebCertificate:
    certificate: Path
    key: Path
    pin: str

    def context(self, clients: Path | None = None) -> ssl.SSLContext:
        """Of a server; ``clients``: the authority of the client certificates that it asks for and may go without."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        if clients is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(clients)
        return context


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    days: int,
    ca: bool,
    host: str = "",
    address: str | None = None,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * _DAY)
        .not_valid_after(now + days * _DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if ca:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    if host:
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if address is not None:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
