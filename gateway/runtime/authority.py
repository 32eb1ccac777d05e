"""A small certificate authority for the broker of one home: it signs the broker's certificate and nothing else.

Profiles as RFC 5280 4.2 and the strict checks of Python 3.13 want them (key usage, key identifiers).
"""

from __future__ import annotations

import datetime
import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
Certificate = x509.Certificate

CA_DAYS: Final = 30 * 365
BROKER_DAYS: Final = 10 * 365
"""Ten years: at home it would not be renewed in time, and a run of ``broker-setup`` does."""
SOON: Final = datetime.timedelta(days=180)
"""A certificate that ends within this is renewed."""
_USAGES: Final = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                  "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> Key:
    """ValueError if it is no EC key without a passphrase. The text never holds the key."""
    try:
        key = load_pem_private_key(pem, None)
    except Exception:
        raise ValueError("holds no private key in PEM that can be read") from None
    if not isinstance(key, Key):
        raise ValueError("holds another kind of key than broker-setup makes")
    return key


def read_certificate(pem: bytes) -> Certificate:
    """ValueError if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ValueError("holds no certificate in PEM that can be read") from None


def pem(certificate: Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def make_ca(name: str, key: Key, now: datetime.datetime) -> Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name[:40]} broker CA {secrets.token_hex(4)}")])
    builder = _builder(subject, subject, key, key, now, CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage("key_cert_sign", "crl_sign"), critical=True).sign(key, SHA256())


def issue(
    ca: Certificate, ca_key: Key, key: Key, names: Sequence[str], now: datetime.datetime, days: int = BROKER_DAYS
) -> Certificate:
    """A server's certificate for host names and IP addresses. It ends with its authority's at the latest."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = _builder(subject, ca.subject, key, ca_key, now, days, latest=ca.not_valid_after_utc)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(map(_general, names)), critical=False)
    return builder.sign(ca_key, SHA256())


def names_of(certificate: Certificate) -> list[str]:
    """The host names and addresses that it is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def signed_by(certificate: Certificate, ca: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def belongs(certificate: Certificate, key: Key) -> bool:
    return certificate.public_key() == key.public_key()


def ends_soon(certificate: Certificate, now: datetime.datetime) -> bool:
    return certificate.not_valid_after_utc - now < SOON


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())


def _usage(*wanted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in wanted for name in _USAGES})


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Key,
    signer: Key,
    now: datetime.datetime,
    days: int,
    *,
    latest: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # the clock of a board without a battery
        .not_valid_after(end if latest is None else min(end, latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def without_doubles(names: Iterable[str]) -> list[str]:
    """In their order, each once."""
    return list(dict.fromkeys(names))
