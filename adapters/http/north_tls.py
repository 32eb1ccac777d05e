"""TLS towards services: whom we trust, who we are, and which key must be there.

A pin is compared at the end of the handshake and before anything follows it: neither our certificate nor a request has
left us then.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.api.model import LinkSecurity
from layer.credentials import Credentials, load_private_key, spki_sha256
from layer.errors import CredentialError

ALPN: Final = "http/1.1"
NO_TLS: Final = LinkSecurity(protocol="none")

_VERSIONS: Final = {"TLSv1.2": "tls1.2", "TLSv1.3": "tls1.3"}


class _Context(ssl.SSLContext):
    """``pins``: SHA-256 of the keys of which the other side must have one; empty: any."""

    pins: frozenset[str] = frozenset()


class _Connection(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        if isinstance(context, _Context) and context.pins and _key_of(self) not in context.pins:
            # The alert is OpenSSL's business; asyncio drops the connection and what waits to be sent on it.
            raise ssl.SSLCertVerificationError("the certificate's key is none of the pins")


def _key_of(connection: ssl.SSLObject) -> str:
    try:
        return spki_sha256(x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b""))
    except Exception:  # a key of an unknown kind is no pin
        return ""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """``context``: of all connections to one service."""

    context: ssl.SSLContext = field(repr=False)


def load(
    ca: Path | None, pins: Sequence[str], certificate: Path | None, key: Path | None, least: ssl.TLSVersion
) -> ClientTls:
    """``ca``: None: the system's trust anchors, or nothing but ``pins`` if there are any (as RFC 7671, section 5.1).

    CredentialError, with the path of the file that can't be used.
    """
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = _Connection
    context.pins = frozenset(pins)
    # In TLS 1.2 our certificate would leave us, in clear, before the pin is compared.
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if pins and certificate is not None else least
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    if ca is not None:
        anchors = Credentials(trust_anchors=ca).anchors
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=b"".join(each.public_bytes(Encoding.DER) for each in anchors))
    elif pins:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_default_certs()
    if certificate is not None and key is not None:
        Credentials(certificate_chain=certificate, private_key=load_private_key(key))
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # such as a key that OpenSSL's security level finds too short
            reason = getattr(error, "reason", None) or type(error).__name__
            raise CredentialError(str(certificate), f"can't be used by TLS: {reason}") from None
    return ClientTls(context)


def link_of(transport: Any) -> LinkSecurity:
    """How a connection to a service is protected; ``transport``: asyncio's, None: it is gone."""
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None:
        return NO_TLS
    cipher = tls.cipher()
    return LinkSecurity(
        protocol=_VERSIONS.get(tls.version() or "", "none"),
        suite="" if cipher is None else cipher[0],
        authenticated=True,
    )
