"""TLS of clients that come in: our certificate, whom we trust, and what a client's certificate proves.

TLS 1.2 and 1.3, no renegotiation, no early data (``ssl`` never takes any). A client may have a certificate; one that
doesn't lead to what is trusted ends the handshake. What is trusted may be a client's own certificate: such a one is
pinned.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from OpenSSL import crypto

from layer.credentials import Credentials, load_private_key
from layer.errors import CredentialError
from layer.peer import certificate_identity

ALPN: Final = "http/1.1"
MAX_CLAIMS: Final = 64
"""Claims of one certificate; further names in it don't count."""

_VERSIONS: Final = {"TLSv1.2": "tls1.2", "TLSv1.3": "tls1.3"}


@dataclass(frozen=True)
class ServerTls:
    """``context``: for connections from now on. ``identity``: what another table is compared by."""

    context: ssl.SSLContext = field(repr=False, compare=False)
    chain: tuple[x509.Certificate, ...]
    anchors: tuple[x509.Certificate, ...]

    def names(self) -> list[str]:
        """The host names and addresses in our certificate; an IPv6 address in brackets."""
        found = []
        for text in certificate_identity(self.chain[0]).subject_alt_names:
            kind, _, name = text.partition(":")
            if kind in ("dns", "ip"):
                found.append(f"[{name}]" if ":" in name else name.rstrip("."))
        return found

    def trusts(self, presented: tuple[bytes, ...]) -> bool:
        """Whether a client's chain (DER, its own first) still leads to what is trusted, now."""
        if not presented or not self.anchors:
            return False
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        for anchor in self.anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        leaf, *between = [crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in presented]
        try:
            crypto.X509StoreContext(store, leaf, between).verify_certificate()
        except crypto.X509StoreContextError:
            return False
        return True


def load(certificate: Path, key: Path, trust: Path | None) -> ServerTls:
    """CredentialError, with the path of the file that can't be used."""
    private = load_private_key(key)
    anchors = Credentials(trust_anchors=trust).anchors
    chain = Credentials(certificate_chain=certificate, private_key=private).chain
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # such as a key that OpenSSL's security level finds too short
        reason = getattr(error, "reason", None) or type(error).__name__
        raise CredentialError(str(certificate), f"can't be used by TLS: {reason}") from None
    if anchors:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # A ticket would bring back the client's certificate without the chain that it was trusted for, and unjudged.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
        context.load_verify_locations(cadata=b"".join(_der(each) for each in anchors))
    return ServerTls(context, tuple(chain), tuple(anchors))


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """A connection's TLS. ``claims``: what the client's certificate proves, most specific first; empty: it has none.
    ``presented``: its chain (DER), for ``ServerTls.trusts``."""

    protocol: str
    suite: str
    claims: tuple[str, ...] = ()
    presented: tuple[bytes, ...] = field(default=(), repr=False)


def facts(tls: ssl.SSLObject) -> ClientTls:
    """Of a finished handshake. ValueError: the certificate can't be read."""
    cipher = tls.cipher()
    protocol, suite = _VERSIONS.get(tls.version() or "", "none"), "" if cipher is None else cipher[0]
    octets = tls.getpeercert(binary_form=True)
    if octets is None:
        return ClientTls(protocol, suite)
    proven = certificate_identity(x509.load_der_x509_certificate(octets))
    names = (f"san:{name}" for name in proven.subject_alt_names)
    claims = tuple(dict.fromkeys((f"spki:{proven.spki_sha256}", *names)))[:MAX_CLAIMS]
    return ClientTls(protocol, suite, claims, _presented(tls) or (octets,))


def _presented(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The chain as it was sent. Python before 3.13 has it below the public object only."""
    found = getattr(tls, "get_unverified_chain", None)
    if found is not None:
        return tuple(found())
    inner = getattr(getattr(tls, "_sslobj", None), "get_unverified_chain", None)
    return () if inner is None else tuple(ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in inner() or ())
