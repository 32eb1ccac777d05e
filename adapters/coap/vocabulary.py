"""The CoAP adapter's vocabulary: the claims that its clients' associations prove, their protocols, its content kinds.

A policy is read by these words whether the adapter is configured or not, so this file imports no library.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.api.vocabulary import ADTLS, ATLS, ATLS_DATA, TLS_LINKS, Claim, Vocabulary

_SHA256 = re.compile("[0-9a-f]{64}")


def _spki(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace(":", "")
    if not _SHA256.fullmatch(text):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return text


def _san(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind, _, name = value.partition(":")
    if kind not in ("dns", "uri", "ip") or not name:
        raise ValueError("expected dns:NAME, uri:URI or ip:ADDRESS")
    return value


VOCABULARY: Final = Vocabulary(
    claims=(
        Claim(key="psk_identity", prefix="psk", description="The identity of its (D)TLS key."),
        Claim(
            key="spki_sha256",
            prefix="spki",
            description="SHA-256 of its certificate's SubjectPublicKeyInfo, in hex.",
            normalise=_spki,
            pattern="^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$",
        ),
        Claim(
            key="san",
            prefix="san",
            description="A SubjectAltName of its certificate, such as dns:app.example.",
            normalise=_san,
            pattern="^(dns|uri|ip):.+$",
            examples=("dns:app.example",),
        ),
    ),
    links=TLS_LINKS,
    kinds=(ATLS, ADTLS, ATLS_DATA),
    usual_link="dtls1.2",
    best_link="dtls1.2",
)
