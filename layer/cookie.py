"""The DTLS 1.2 cookie: HelloVerifyRequest made by hand, and the check of what comes back. Stateless per client.

RFC 6347 4.2.1. A verified cookie shows that the client receives what is sent to its address, so that state may be kept.
This runs for every hello of any sender, so it reads no further than the cookie. It also covers no more than what
stands before it: version, random and session id. The RFC's suites and compression methods may be in another fragment
of the hello (Java sends its hello in fragments when it got no answer), and the random alone ties a cookie to one hello.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2s
from hmac import compare_digest
from typing import Final, NamedTuple

from layer.errors import PeerError
from layer.records import CLIENT_HELLO
from layer.sift import LONGEST

_COOKIE_OCTETS: Final = 16
# Record type and version: DTLS 1.0 whatever is negotiated later (RFC 6347 4.2.1); epoch 0.
_RECORD: Final = b"\x16\xfe\xff\x00\x00"
_REST: Final = (
    (12 + 3 + _COOKIE_OCTETS).to_bytes(2, "big")
    + b"\x03"  # hello_verify_request
    + (3 + _COOKIE_OCTETS).to_bytes(3, "big")
    + b"\0\0"  # message_seq
    + b"\0\0\0"  # fragment offset
    + (3 + _COOKIE_OCTETS).to_bytes(3, "big")
    + b"\xfe\xff"
    + bytes([_COOKIE_OCTETS])
)
#: Record length; then of a handshake header: length of the message, message_seq, length of the fragment.
_LENGTHS: Final = struct.Struct("!11xHxBHH3xBH")
#: Octets of a ClientHello, as in ``layer.sift``: a first fragment must not make OpenSSL reserve more.
MAX_HELLO: Final = LONGEST[CLIENT_HELLO]


class Hello(NamedTuple):
    """The parts of a ClientHello datagram, whole or its first fragment, that the cookie exchange needs."""

    sequence: bytes  # the record's number, 6 octets
    message_seq: int
    random: bytes
    cookie: bytes
    parameters: bytes  # version, random, session id


class FragmentedHelloError(PeerError):
    """A fragment of a ClientHello that doesn't reach from its beginning past the cookie."""


def read_hello(datagram: bytes) -> Hello:
    """Read the ClientHello, or the first fragment of one, that a datagram begins with, up to its cookie.

    Raises ``FragmentedHelloError`` for another fragment or a shorter first one, ``PeerError`` for what is malformed.
    """
    if len(datagram) < 25 or datagram[1] != 0xFE:
        raise PeerError("not a DTLS handshake record")
    record, high, low, message_seq, part_high, part_low = _LENGTHS.unpack_from(datagram)
    length, part = high << 16 | low, part_high << 16 | part_low
    if datagram[19:22] != b"\0\0\0":
        raise FragmentedHelloError("a later fragment of a ClientHello")
    if part > length or part + 12 != record or record > len(datagram) - 13 or length > MAX_HELLO:
        raise PeerError("ClientHello with impossible lengths")
    at_cookie = 60 + datagram[59] if part > 34 else 25 + part
    end = at_cookie + 1 + datagram[at_cookie] if at_cookie < 25 + part else 26 + part
    if end > 25 + part:
        raise FragmentedHelloError("no cookie in it") if part < length else PeerError("ClientHello cut short")
    return Hello(datagram[5:11], message_seq, datagram[27:59], datagram[at_cookie + 1 : end], datagram[25:at_cookie])


def hello_verify_request(cookie: bytes, sequence: bytes) -> bytes:
    """The datagram that asks for ``cookie``; its record number is that of the ClientHello (RFC 6347 4.2.1)."""
    return _RECORD + sequence + _REST + cookie


class CookieJar:
    """Makes and checks cookies under a secret that changes every ``lifetime`` seconds; the last one still counts."""

    __slots__ = ("_current", "_entropy", "_lifetime", "_previous", "_rotate_at")

    def __init__(self, lifetime: float, entropy: Callable[[int], bytes]) -> None:
        self._lifetime = lifetime
        self._entropy = entropy
        self._current = entropy(32)
        self._previous = entropy(32)
        self._rotate_at: float | None = None

    def make(self, address: bytes, hello: Hello, now: float) -> bytes:
        """The cookie for this client's address and hello."""
        self._rotate(now)
        return _digest(self._current, hello.parameters + address)

    def good(self, address: bytes, hello: Hello, now: float) -> bool:
        """Whether the hello carries our cookie for this address; takes the same time whatever the answer."""
        self._rotate(now)
        message = hello.parameters + address
        current = compare_digest(hello.cookie, _digest(self._current, message))
        previous = compare_digest(hello.cookie, _digest(self._previous, message))
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


def _digest(secret: bytes, message: bytes) -> bytes:
    """A keyed hash: BLAKE2's own mode (RFC 7693 2.9) does what HMAC does in half the time."""
    return blake2s(message, digest_size=_COOKIE_OCTETS, key=secret).digest()
