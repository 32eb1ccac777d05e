"""Certificates made on the spot, two ends joined in memory, a network that loses."""

from __future__ import annotations

import datetime
import heapq
import itertools
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from layer.association import Association, AssociationConfig, Role
from layer.credentials import Credentials, PrivateKey, Psk, spki_sha256
from layer.events import Event

KEY = bytes(range(16))
OTHER_KEY = bytes(range(16, 32))
NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Identity:
    """A certificate chain in PEM with its key, and the pin of its leaf."""

    chain: bytes
    key: PrivateKey
    leaf: x509.Certificate

    @property
    def pin(self) -> str:
        return spki_sha256(self.leaf)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """A root that issues leaves, directly or through one intermediate."""

    def __init__(self, name: str, *, intermediate: bool = False) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.root = certificate(name, self._key, None, None, ca=True)
        self._issuer, self._issuer_key, self._between = self.root, self._key, b""
        if intermediate:
            key = ec.generate_private_key(ec.SECP256R1())
            self._issuer = certificate(f"{name} intermediate", key, self.root, self._key, ca=True)
            self._issuer_key = key
            self._between = self._issuer.public_bytes(Encoding.PEM)

    @property
    def pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def issue(
        self,
        name: str,
        *sans: x509.GeneralName,
        key: PrivateKey | None = None,
        days: tuple[int, int] = (-1, 1),
        filler: int = 0,
    ) -> Identity:
        key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(name, key, self._issuer, self._issuer_key, sans=sans, days=days, filler=filler)
        return Identity(leaf.public_bytes(Encoding.PEM) + self._between, key, leaf)


_MAY_SIGN: Final = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
"""Of a certificate authority: Python 3.13's default contexts ask for it, and for the two key identifiers."""


def certificate(
    name: str,
    key: PrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey | None,
    *,
    ca: bool = False,
    sans: tuple[x509.GeneralName, ...] = (),
    days: tuple[int, int] = (-1, 1),
    filler: int = 0,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()), critical=False
        )
    )
    if ca:
        builder = builder.add_extension(_MAY_SIGN, critical=True)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    if filler:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x04\x00" + bytes(filler))
        builder = builder.add_extension(unknown, critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


@cache
def authority() -> Authority:
    return Authority("root")


@cache
def stranger() -> Authority:
    return Authority("stranger")


@cache
def device() -> Identity:
    return authority().issue(
        "device", x509.DNSName("lamp.example"), x509.UniformResourceIdentifier("urn:dev:mac:000d6f00")
    )


@cache
def server_identity() -> Identity:
    return authority().issue("server", x509.DNSName("svc.example"), x509.DNSName("localhost"))


@cache
def rsa_identity() -> Identity:
    return authority().issue("rsa", key=rsa.generate_private_key(65537, 2048))


def psk_client(identity: str = "dev", key: bytes = KEY) -> Credentials:
    return Credentials(psk=Psk(identity, key))


def psk_server(**keys: bytes) -> Credentials:
    return Credentials(psk_lookup={name.encode(): key for name, key in (keys or {"dev": KEY}).items()})


def certified(identity: Identity, trusted: Authority | None = None) -> Credentials:
    return Credentials(
        certificate_chain=identity.chain,
        private_key=identity.key,
        trust_anchors=trusted.pem if trusted else None,
    )


def client_x509() -> Credentials:
    return certified(device(), authority())


def server_x509() -> Credentials:
    return certified(server_identity(), authority())


def pair(
    client: Credentials,
    server: Credentials,
    config: AssociationConfig | None = None,
    server_config: AssociationConfig | None = None,
    now: float = 0.0,
) -> tuple[Association, Association]:
    """Two started ends that have not exchanged anything yet."""
    config = config or AssociationConfig()
    ends = Association(Role.CLIENT, client, config), Association(Role.SERVER, server, server_config or config)
    for end in ends:
        end.start(now)
    return ends


def exchange(a: Association, b: Association, now: float = 0.0) -> tuple[int, int]:
    """Deliver everything in order until both are quiet; the octets that each sent."""
    octets = [0, 0]
    for _ in range(100):
        units = a.records_to_send(), b.records_to_send()
        if not units[0] and not units[1]:
            return octets[0], octets[1]
        for sender, receiver in ((0, b), (1, a)):
            for unit in units[sender]:
                octets[sender] += len(unit)
                receiver.receive(unit, now)
    raise AssertionError("the two ends do not come to rest")


def connected(
    client: Credentials,
    server: Credentials,
    config: AssociationConfig | None = None,
    server_config: AssociationConfig | None = None,
) -> tuple[Association, Association]:
    """Two ends after their handshake, events taken."""
    ends = pair(client, server, config, server_config)
    exchange(*ends)
    for end in ends:
        assert end.info is not None, events(end)
        events(end)
    return ends


def events(end: Association) -> list[Event]:
    found = []
    while (event := end.next_event()) is not None:
        found.append(event)
    return found


class LossyNetwork:
    """Joins two DTLS ends over virtual time; each datagram is lost, doubled or delayed as the seeded source says."""

    def __init__(
        self, a: Association, b: Association, random: Random, *, loss: float, double: float = 0.0, jitter: float = 0.0
    ) -> None:
        self._ends = (a, b)
        self._random = random
        self._loss, self._double, self._jitter = loss, double, jitter
        self._flying: list[tuple[float, int, int, bytes]] = []
        self._number = itertools.count()
        self.now = 0.0
        self.sent: list[tuple[float, int, bytes]] = []

    def run(self, until: float, done: object = None) -> None:
        """Let time pass until ``until``, or until ``done()`` is true."""
        while self.now <= until:
            self._collect()
            if callable(done) and done():
                return
            times = [at for end in self._ends if (at := end.next_deadline()) is not None]
            if self._flying:
                times.append(self._flying[0][0])
            if not times:
                return
            self.now = max(self.now, min(times))
            while self._flying and self._flying[0][0] <= self.now:
                _, _, to, datagram = heapq.heappop(self._flying)
                self._ends[to].receive(datagram, self.now)
                self._collect()
            for end in self._ends:
                at = end.next_deadline()
                if at is not None and at <= self.now:
                    end.tick(self.now)

    def _collect(self) -> None:
        for number, end in enumerate(self._ends):
            for datagram in end.records_to_send():
                self.sent.append((self.now, number, datagram))
                copies = 0 if self._random.random() < self._loss else 1
                if copies and self._random.random() < self._double:
                    copies = 2
                for _ in range(copies):
                    at = self.now + 0.05 + self._random.random() * self._jitter
                    heapq.heappush(self._flying, (at, next(self._number), 1 - number, datagram))
