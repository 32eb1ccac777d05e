"""Bootstrapping: an endpoint learns inside layer 0 which authorities its network has, and keeps them in a file.

The resource and its format are those of EST over CoAP: ``GET /.well-known/est/crts`` gives certs-only CMS (RFC 9148,
sections 4.1 and 4.3). What is learnt serves to verify the first hop from then on, as in RFC 8995. It is as good as the
other end that gave it, whom layer 0 has proven.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from carriage.coap import codes, options
from carriage.coap.exchange import Request, Response
from common.replacing import replace as replace_file
from layer.credentials import spki_sha256
from layer.errors import CredentialError, PeerError

PATH: Final = (b".well-known", b"est", b"crts")
CERTS_ONLY: Final = 281
"""application/pkcs7-mime;smime-type=certs-only (RFC 9148, section 8.1)."""
MAX_AUTHORITIES: Final = 16

_FORMAT = CERTS_ONLY.to_bytes(2, "big")
QUESTION: Final = Request(codes.GET, (*((options.URI_PATH, part) for part in PATH), (options.ACCEPT, _FORMAT)))


def load(path: Path) -> Response:
    """The answer that holds the certificates (PEM) at ``path``. CredentialError."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
        _check(found)
    except (OSError, ValueError):
        raise CredentialError(str(path), "holds no certificate in PEM that can be read") from None
    except PeerError as error:
        raise CredentialError(str(path), str(error)) from None
    return Response(
        codes.CONTENT, ((options.CONTENT_FORMAT, _FORMAT),), pkcs7.serialize_certificates(found, Encoding.DER)
    )


def learn(answer: Response, path: Path) -> list[dict[str, Any]]:
    """Keep the authorities that the other end named at ``path``, in PEM; their subjects and pins.

    PeerError: the answer holds none, and the file is as before. OSError: the file can't be written.
    """
    if answer.code != codes.CONTENT or (options.CONTENT_FORMAT, _FORMAT) not in answer.options:
        raise PeerError(f"the other end names no authorities ({answer.code >> 5}.{answer.code & 31:02})")
    try:
        found = pkcs7.load_der_pkcs7_certificates(answer.payload)
    except Exception:  # whatever the parser makes of it
        raise PeerError("the other end's authorities can't be read") from None
    _check(found)
    replace_file(path, b"".join(each.public_bytes(Encoding.PEM) for each in found), 0o644)
    return [{"subject": each.subject.rfc4514_string()[:256], "spki_sha256": spki_sha256(each)} for each in found]


def _check(found: list[x509.Certificate]) -> None:
    if not 1 <= len(found) <= MAX_AUTHORITIES:
        raise PeerError(f"expected 1 to {MAX_AUTHORITIES} authorities")
    for each in found:
        try:
            constraints = each.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            constraints = None
        if constraints is None or not constraints.ca:
            raise PeerError("a certificate among the authorities is none of an authority")
