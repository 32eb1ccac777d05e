"""The CoAP adapter's vocabulary: the claims that its clients' associations prove, their protocols, its content kinds.

A policy is read by these words whether the adapter is configured or not, so this file imports no library.
"""

from __future__ import annotations

from typing import Final

from gateway.api.vocabulary import ADTLS, ATLS, ATLS_DATA, SAN, SPKI, TLS_LINKS, Claim, Vocabulary

VOCABULARY: Final = Vocabulary(
    claims=(Claim(key="psk_identity", prefix="psk", description="The identity of its (D)TLS key."), SPKI, SAN),
    links=TLS_LINKS,
    kinds=(ATLS, ADTLS, ATLS_DATA),
    usual_link="dtls1.2",
    best_link="dtls1.2",
)
