"""The peer's identity from a certificate, and its comparison with the expected one. No protocol state."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import crypto

from layer.config import PeerRequirement
from layer.credentials import spki_sha256
from layer.events import PeerIdentity

#: Names kept of one certificate, and octets of one name.
MAX_NAMES = 64
MAX_NAME = 512


def certificate_identity(certificate: x509.Certificate) -> PeerIdentity:
    """Pin and alternative names of a certificate. Raises ``ValueError`` when they can't be read."""
    return PeerIdentity(
        kind="certificate", spki_sha256=spki_sha256(certificate), subject_alt_names=_alternative_names(certificate)
    )


def unmet(requirement: PeerRequirement, peer: PeerIdentity) -> str | None:
    """Why this peer is not the one asked for, or None when it is."""
    if peer.kind == "none":
        return None if requirement.anonymous else "the peer did not authenticate"
    if requirement.unrestricted:
        return None
    if peer.kind == "psk":
        if peer.psk_identity in requirement.psk_identities:
            return None
        return "the PSK identity is not the expected one"
    if not requirement.spki_sha256 and not requirement.names:
        return "a PSK peer was expected, this one has a certificate"
    if requirement.spki_sha256 and peer.spki_sha256 not in requirement.spki_sha256:
        return "the certificate's public key is not a pinned one"
    if requirement.names:
        expected = {_folded(name) for name in requirement.names}
        if not any(_folded(name) in expected for name in peer.subject_alt_names):
            return "the certificate does not bear the expected name"
    return None


def weakness(certificate: crypto.X509) -> str | None:
    """Why a link of a chain is too weak.

    The security level that CCM_8 needs switches off OpenSSL's own check of key sizes and signature digests.
    """
    key = certificate.get_pubkey()
    kind, bits = key.type(), key.bits()
    if kind in (crypto.TYPE_RSA, crypto.TYPE_DSA) and bits < 2048:
        return "the certificate's key is shorter than 2048 bits"
    if kind == crypto.TYPE_EC and bits < 224:
        return "the certificate's curve is smaller than 224 bits"
    return None


def weak_signature(certificate: crypto.X509) -> bool:
    """Whether a certificate is signed over MD5 or SHA-1."""
    algorithm = certificate.get_signature_algorithm().lower()
    return b"md5" in algorithm or b"sha1" in algorithm


def _folded(name: str) -> str:
    """Host names compare without case (RFC 9525 6.3); URIs as they are."""
    return name.lower().rstrip(".") if name.startswith("dns:") else name


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    found: list[str] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            text = f"dns:{name.value}"
        elif isinstance(name, x509.UniformResourceIdentifier):
            text = f"uri:{name.value}"
        elif isinstance(name, x509.IPAddress):
            text = f"ip:{name.value}"
        elif isinstance(name, x509.RFC822Name):
            text = f"email:{name.value}"
        else:
            continue
        if len(text) <= MAX_NAME and text.isprintable() and len(found) < MAX_NAMES:
            found.append(text)
    return tuple(found)
