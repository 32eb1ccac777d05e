"""Events of an association for its owner, and the peer's identity. Only data belongs here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """The identity that the peer proved. ``psk_identity`` of a client's peer is the identity whose key both share.

    ``subject_alt_names`` are ``dns:...``, ``uri:...``, ``ip:...`` and ``email:...`` in the certificate's order, all of
    them vouched for by the trust anchors (or by the pin alone if there are no anchors).
    """

    kind: Literal["psk", "certificate", "none"]
    psk_identity: bytes | None = None
    spki_sha256: str | None = None
    subject_alt_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationInfo:
    """The result of a finished handshake. ``suite`` is OpenSSL's name; ``max_data`` limits one ``send`` (DTLS)."""

    protocol: str
    suite: str
    peer: PeerIdentity
    alpn: str | None = None
    max_data: int | None = None


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """Both ends agree on keys. A TLS 1.3 client may still learn afterwards, by ``Failed``, that it was refused."""

    info: AssociationInfo


@dataclass(init=False, slots=True)
class DataReceived:
    """Application data: for DTLS exactly one record, for TLS a piece of the stream."""

    data: bytes = field(repr=False)

    def __init__(self, data: bytes) -> None:
        self.data = data


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer's close_notify: everything it sent before has arrived (TLS), or nothing more will come (DTLS)."""


@dataclass(frozen=True, slots=True)
class Truncated:
    """The carriage ended without close_notify: data may be missing (RFC 8446 6.1)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The association is over. ``alert`` is the TLS alert number, if one was sent or received in clear sight."""

    reason: str
    alert: int | None = None


Event = HandshakeCompleted | DataReceived | PeerClosed | Truncated | Failed
