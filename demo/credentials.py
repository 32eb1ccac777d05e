"""Throw-away credentials for the demo and the tests: PSK files and a small X.509 hierarchy, every key file 0600."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


def write_secret(path: Path, content: bytes) -> Path:
    """Write a file that only its owner reads, from its first octet on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    return path


@dataclass(frozen=True, slots=True)
class PskFile:
    """A PSK file and what is in it."""

    path: Path
    keys: dict[str, bytes] = field(repr=False)


def make_psk_file(path: Path, *identities: str) -> PskFile:
    """A fresh 32-octet key for each identity, one ``identity:hex`` a line."""
    return write_psk_file(path, {identity: secrets.token_bytes(32) for identity in identities})


def write_psk_file(path: Path, keys: dict[str, bytes]) -> PskFile:
    """The given keys, one ``identity:hex`` a line."""
    text = "".join(f"{identity}:{key.hex()}\n" for identity, key in keys.items())
    return PskFile(write_secret(path, text.encode()), dict(keys))


@dataclass(frozen=True, slots=True)
class Authority:
    """Our own certificate authority; ``certificate`` is its PEM file."""

    directory: Path
    certificate: Path
    _key: ec.EllipticCurvePrivateKey = field(repr=False)
    _name: x509.Name

    @classmethod
    def make(cls, directory: Path, name: str = "ca") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = directory / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(directory, path, key, subject)

    def issue(self, name: str) -> Leaf:
        """A certificate for ``name`` with its own key; of gateway and service also for ``localhost`` and loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [
            x509.DNSName(name),
            *(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                if name in ("gateway", "service")
                else []
            ),
        ]
        certificate = (
            _builder(subject, self._name, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        public = self.directory / f"{name}.pem"
        public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        private = write_secret(self.directory / f"{name}.key", pem)
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        digest = hashes.Hash(hashes.SHA256())
        digest.update(spki)
        return Leaf(name, public, private, digest.finalize().hex(), key)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An end entity: certificate and key files, and its pin."""

    name: str
    certificate: Path
    key: Path
    spki_sha256: str
    private: ec.EllipticCurvePrivateKey = field(repr=False)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
