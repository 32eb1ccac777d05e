"""OpenSSL's callbacks for one end of a handshake: keys for identities, a verdict on each certificate.

Answers depend on the credentials and on who is expected, never on the state of the association, which only asks
afterwards who the peer turned out to be. Nothing here raises: it is called from C.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from OpenSSL import crypto

from layer.config import AssociationConfig, Role
from layer.credentials import Credentials
from layer.events import PeerIdentity
from layer.openssl import certificate_problem, lib, suite_name
from layer.peer import certificate_identity, unmet, weak_signature, weakness

_LOG = logging.getLogger(__name__)


class Party:
    """One end's answers. ``refusal`` is the first reason why the peer was not accepted, for events and logs."""

    __slots__ = (
        "__weakref__",
        "_config",
        "_credentials",
        "_kept",
        "_psk_identity",
        "_role",
        "_seen",
        "_unverified",
        "refusal",
    )

    def __init__(self, role: Role, credentials: Credentials, config: AssociationConfig) -> None:
        self._role = role
        self._credentials = credentials
        self._config = config
        self._kept: list[object] = []
        self._psk_identity: bytes | None = None
        self._seen: PeerIdentity | None = None
        self._unverified = False
        self.refusal: str | None = None

    @property
    def named(self) -> bytes | None:
        """The identity that the client named, or our own as a client; None without a PSK."""
        return self._psk_identity

    def server_psk(self, identity: bytes) -> bytes:
        """The key for this identity. An unknown one gets random octets and fails later exactly like a wrong key."""
        key = self._lookup(identity)
        self._psk_identity = identity
        return key if key is not None else os.urandom(32)

    def client_psk(self) -> tuple[bytes, bytes] | None:
        """Own identity and key."""
        psk = self._credentials.psk
        if psk is None:
            return None
        self._psk_identity = psk.identity
        return psk.identity, psk.key

    def session_psk(self, identity: bytes) -> bytes | None:
        """TLS 1.3: the key for this identity, None to go on without.

        A server with a certificate goes on (RFC 8446 4.2.11); one without could only refuse, which would distinguish
        known identities from unknown ones, so it answers with random octets.
        """
        key = self._lookup(identity)
        if key is None and self._credentials.chain:
            return None
        self._psk_identity = identity
        return key if key is not None else os.urandom(32)

    def keep(self, cdata: object) -> None:
        """Hold C memory that OpenSSL reads after a callback returned."""
        self._kept.append(cdata)

    def verify_certificate(self, certificate: crypto.X509, code: int, depth: int, trusted: bool) -> bool:
        """Judge one link of the peer's chain, so that a refused peer gets an alert; 0 is the peer's own certificate."""
        try:
            if depth == 0 and self._seen is None:
                self._seen = certificate_identity(certificate.to_cryptography())
            problem = self._certificate_problem(certificate, code, depth, trusted)
        except Exception:  # certificates are peer input, and their parsers raise many kinds
            problem = "the certificate can't be read"
        if problem is None:
            return True
        if self._config.peer.anonymous:
            self._unverified = True
            return True
        if self.refusal is None:
            self.refusal = problem
        return False

    def identify(self, ssl: Any) -> tuple[PeerIdentity, str | None]:
        """The peer of a finished handshake, and why it is not accepted (None when it is)."""
        required = self._config.peer
        if self._unverified:
            peer = PeerIdentity(kind="none", spki_sha256=self._seen.spki_sha256 if self._seen else None)
        elif self._seen is not None:
            peer = self._seen
        elif self._used_psk(ssl):
            peer = PeerIdentity(kind="psk", psk_identity=self._psk_identity)
        else:
            peer = PeerIdentity(kind="none")
            if self._role is Role.SERVER and required.unrestricted:
                # No particular peer is expected; OpenSSL has insisted on a certificate if the configuration does.
                return peer, None
        return peer, unmet(required, peer)

    def _used_psk(self, ssl: Any) -> bool:
        if self._psk_identity is None:
            return False
        # In TLS 1.3 an external PSK is a resumption to OpenSSL; before, the suite shows it.
        return lib.SSL_session_reused(ssl) == 1 if self._config.protocol == "tls1.3" else "PSK" in suite_name(ssl)

    def _certificate_problem(self, certificate: crypto.X509, code: int, depth: int, trusted: bool) -> str | None:
        required = self._config.peer
        pinned_only = bool(required.spki_sha256) and not self._credentials.anchors
        if not trusted and not pinned_only:
            return certificate_problem(code)
        weak = weakness(certificate)
        if weak is not None:
            return weak
        if not pinned_only and weak_signature(certificate) and not self._is_anchor(certificate):
            return "the certificate is signed over a broken digest"
        return unmet(required, self._seen) if depth == 0 and self._seen is not None else None

    def _is_anchor(self, certificate: crypto.X509) -> bool:
        """An anchor is trusted for what it is: its signature is not checked."""
        return certificate.to_cryptography() in self._credentials.anchors

    def _lookup(self, identity: bytes) -> bytes | None:
        """The key of an identity that is known and wanted here."""
        lookup = self._credentials.psk_lookup
        key = None
        if lookup is not None:
            try:
                key = lookup(identity)
            except Exception:
                _LOG.exception("the PSK table failed; the peer is treated as unknown")
        if key is None:
            self.refusal = "the PSK identity is not known"
            return None
        required = self._config.peer
        if not required.unrestricted and identity not in required.psk_identities:
            self.refusal = "the PSK identity is not the expected one"
            return None
        return key
