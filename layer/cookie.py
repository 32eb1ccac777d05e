"""The DTLS 1.2 cookie: HelloVerifyRequest made by hand, and the check of what comes back. Stateless per client.

RFC 6347 4.2.1. A verified cookie shows that the client receives what is sent to its address, so that state may be kept.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from typing import Final

from layer.records import ClientHelloFacts

_COOKIE_OCTETS: Final = 16
# Record header (version as RFC 6347 4.2.1 wants it: DTLS 1.0 whatever follows), handshake header, server version.
_PREFIX: Final = b"\x16\xfe\xff\x00\x00"
_HEADERS: Final = (
    (12 + 3 + _COOKIE_OCTETS).to_bytes(2, "big")
    + b"\x03"  # hello_verify_request
    + (3 + _COOKIE_OCTETS).to_bytes(3, "big")
    + b"\0\0"  # message_seq
    + b"\0\0\0"  # fragment offset
    + (3 + _COOKIE_OCTETS).to_bytes(3, "big")
    + b"\xfe\xff"
    + bytes([_COOKIE_OCTETS])
)


class CookieJar:
    """Makes and checks cookies under a secret that changes every ``lifetime`` seconds; the last one still counts."""

    __slots__ = ("_current", "_entropy", "_lifetime", "_previous", "_rotate_at")

    def __init__(self, lifetime: float, entropy: Callable[[int], bytes]) -> None:
        self._lifetime = lifetime
        self._entropy = entropy
        self._current = entropy(32)
        self._previous = entropy(32)
        self._rotate_at: float | None = None

    def make(self, address: bytes, hello: ClientHelloFacts, now: float) -> bytes:
        """The cookie for this client's address and hello."""
        self._rotate(now)
        return _digest(self._current, address, hello)

    def good(self, address: bytes, hello: ClientHelloFacts, now: float) -> bool:
        """Whether the hello carries a cookie of ours for this address; takes the same time whatever the answer."""
        self._rotate(now)
        current = hmac.compare_digest(hello.cookie, _digest(self._current, address, hello))
        previous = hmac.compare_digest(hello.cookie, _digest(self._previous, address, hello))
        return current | previous

    def _rotate(self, now: float) -> None:
        if self._rotate_at is None:
            self._rotate_at = now + self._lifetime
        elif now >= self._rotate_at:
            # After a long silence both secrets are too old.
            stale = now >= self._rotate_at + self._lifetime
            self._previous = self._entropy(32) if stale else self._current
            self._current = self._entropy(32)
            self._rotate_at = now + self._lifetime


def hello_verify_request(cookie: bytes, record_sequence: int) -> bytes:
    """The datagram that asks for ``cookie``; its record number is that of the ClientHello (RFC 6347 4.2.1)."""
    return b"".join((_PREFIX, record_sequence.to_bytes(6, "big"), _HEADERS, cookie))


def _digest(secret: bytes, address: bytes, hello: ClientHelloFacts) -> bytes:
    """HMAC over the address and what RFC 6347 4.2.1 calls the client's parameters, each with its length."""
    parts = (
        address,
        hello.random,
        hello.session_id,
        struct.pack(f"!{len(hello.suites)}H", *hello.suites),
        hello.compression,
    )
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(secret, message, "sha256")[:_COOKIE_OCTETS]
