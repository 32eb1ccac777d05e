"""Who a coaps client is to the gateway: what its DTLS association proved, as claims and as the link's protection."""

from __future__ import annotations

from typing import Final

from gateway.api.model import LinkSecurity, Peer
from layer.events import AssociationInfo

SCHEME: Final = "coap"
MAX_CLAIMS: Final = 64
"""Claims of one certificate; further names in it don't count."""

_NOBODY = LinkSecurity(protocol="none")


def peer_of(info: AssociationInfo) -> Peer:
    """The client as the engine knows it: what its link proved, most specific first."""
    proven = info.peer
    if proven.psk_identity is not None:
        claims: tuple[str, ...] = (psk_claim(proven.psk_identity),)
    elif proven.kind == "certificate":
        names = (f"san:{name}" for name in proven.subject_alt_names)
        claims = tuple(dict.fromkeys((f"spki:{proven.spki_sha256}", *names)))[:MAX_CLAIMS]
    else:
        claims = ("none:",)
    link = LinkSecurity(protocol=info.protocol, suite=info.suite, authenticated=proven.kind != "none")
    return Peer(scheme=SCHEME, claims=claims, link=link)


def psk_claim(identity: bytes) -> str:
    """The claim that a client with the key of this identity has in the policy."""
    return "psk:" + identity.decode("utf-8", "backslashreplace")


def holder_of(claim: str) -> Peer:
    """Whoever holds this one claim, connected or not."""
    return Peer(scheme=SCHEME, claims=(claim,), link=_NOBODY)
