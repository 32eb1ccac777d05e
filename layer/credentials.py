"""The credentials of one end and its trust anchors: loaders and the value that holds them. No protocol here.

Secrets never show in ``repr`` or in error texts; ``secret_file`` refuses files of them that others can read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from layer.errors import CredentialError, UsageError
from layer.psk_file import parse, psk_problem
from layer.secret_file import read_secret, why

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)
#: Identity octets -> key, or None for an identity that is not known.
PskLookup = Callable[[bytes], bytes | None]

MAX_CERTIFICATE_FILE: Final = 4 * 1024 * 1024


class Psk:
    """A pre-shared key and the identity that names it. Raises ``UsageError`` for what the protocol can't carry."""

    __slots__ = ("identity", "key")

    def __init__(self, identity: str | bytes, key: bytes) -> None:
        self.identity = identity.encode() if isinstance(identity, str) else bytes(identity)
        self.key = bytes(key)
        problem = psk_problem(self.identity, self.key)
        if problem:
            raise UsageError(problem)

    def __repr__(self) -> str:
        return f"Psk(identity={self.identity!r}, key=<{len(self.key)} octets>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Psk) and (self.identity, self.key) == (other.identity, other.key)

    def __hash__(self) -> int:
        return hash((self.identity, self.key))


class Credentials:
    """All that one end brings to an association, at either layer. Compared by object, immutable by convention.

    ``certificate_chain``   PEM (a path, or octets), leaf first; needs ``private_key``
    ``private_key``         as ``load_private_key`` gives it
    ``trust_anchors``       PEM (a path, or octets) of the certificates that peers' chains must end at
    ``psk``                 the client's own key
    ``psk_lookup``          the server's table: a mapping or a callable from identity octets to key or None

    Raises ``CredentialError`` for unreadable or unmatched certificates and keys.
    """

    __slots__ = ("_contexts", "anchors", "chain", "key", "psk", "psk_lookup")

    def __init__(
        self,
        *,
        certificate_chain: Path | str | bytes | None = None,
        private_key: PrivateKey | None = None,
        trust_anchors: Path | str | bytes | None = None,
        psk: Psk | None = None,
        psk_lookup: Mapping[bytes, bytes] | PskLookup | None = None,
    ) -> None:
        chain, chain_name = _certificates(certificate_chain)
        self.anchors, _ = _certificates(trust_anchors)
        if (private_key is None) != (not chain):
            raise CredentialError(chain_name, "a certificate chain and its private key come together: give both")
        if private_key is not None and _spki(chain[0].public_key()) != _spki(private_key.public_key()):
            raise CredentialError(chain_name, "the first certificate does not belong to the private key")
        self.chain = chain
        self.key = private_key
        self.psk = psk
        self.psk_lookup = _as_lookup(psk_lookup)
        # Contexts built from these credentials, kept by layer.context: they are costly and live as long as this does.
        self._contexts: dict[object, object] = {}

    def __repr__(self) -> str:
        parts = []
        if self.chain:
            parts.append(f"certificates={len(self.chain)}")
        if self.anchors:
            parts.append(f"anchors={len(self.anchors)}")
        if self.psk:
            parts.append(f"psk={self.psk!r}")
        if self.psk_lookup:
            parts.append("psk_lookup=<table>")
        return f"Credentials({', '.join(parts)})"


def load_private_key(path: str | os.PathLike[str]) -> PrivateKey:
    """The private key (PEM, not encrypted: EC, RSA, Ed25519, Ed448) in a secret file. Raises ``CredentialError``."""
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
    )  # large, and of no use with PSKs alone

    name = os.fspath(path)
    content = read_secret(name)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise CredentialError(
            name, "is encrypted; store the key without a passphrase, readable by its owner only"
        ) from None
    except Exception:  # the parser's own text may quote the file
        raise CredentialError(name, "holds no private key in PEM that can be read") from None
    if not isinstance(key, PrivateKey):
        raise CredentialError(name, "is of a kind that TLS does not use; use EC, RSA, Ed25519 or Ed448")
    return key


def load_psk_file(path: str | os.PathLike[str], *, may_be_empty: bool = False) -> dict[bytes, bytes]:
    """PSK table from a secret file (``layer.psk_file``). Raises ``CredentialError`` with the line number.

    ``may_be_empty``: comments alone will do, as they are left where the last client was revoked. A file with nothing
    in it at all is refused nevertheless: it is an accident.
    """
    name = os.fspath(path)
    content = read_secret(name)
    table = {identity: key for identity, (_, key) in parse(content, name).items()}
    if not table and not (may_be_empty and content.strip()):
        raise CredentialError(name, "holds no key; expected lines of identity:hexkey")
    return table


def spki_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's SubjectPublicKeyInfo, as 64 lower-case hex digits (the pin of RFC 7858 4.2)."""
    return hashlib.sha256(_spki(certificate.public_key())).hexdigest()


def _spki(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # see load_private_key

    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return octets


def _certificates(source: Path | str | bytes | None) -> tuple[Sequence[x509.Certificate], str]:
    if source is None:
        return (), "credentials"
    if isinstance(source, bytes):
        name, content = "certificates", source
    else:
        name = os.fspath(source)
        try:
            with Path(name).open("rb") as file:
                content = file.read(MAX_CERTIFICATE_FILE + 1)
        except (OSError, ValueError) as error:
            raise CredentialError(name, f"can't be opened: {why(error)}") from None
        if len(content) > MAX_CERTIFICATE_FILE:
            raise CredentialError(name, f"is longer than {MAX_CERTIFICATE_FILE} octets")
    try:
        return tuple(x509.load_pem_x509_certificates(content)), name
    except ValueError:
        raise CredentialError(name, "holds no certificate in PEM that can be read") from None


def _as_lookup(table: Mapping[bytes, bytes] | PskLookup | None) -> PskLookup | None:
    if table is None or not isinstance(table, Mapping):
        return table
    for identity, key in table.items():
        problem = psk_problem(identity, key)
        if problem:
            raise UsageError(problem)
    return dict(table).get
