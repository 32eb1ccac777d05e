"""The DTLS 1.2 cookie: HelloVerifyRequest made by hand, and the check of what comes back. Stateless per client.

RFC 6347 4.2.1. A verified cookie shows that the client receives what is sent to its address, so that state may be kept.
This runs for every hello that anybody sends, so it looks at no more of it than the RFC's "client parameters": version,
random, session id, suites, compression methods.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2s
from hmac import compare_digest
from typing import Final, NamedTuple

from layer.errors import PeerError

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
_LENGTHS: Final = struct.Struct(
    "!11xH1xBH5xBH"
)  # record length, then message and fragment length of a handshake header


class Hello(NamedTuple):
    """What the cookie exchange needs of a ClientHello datagram. ``parameters`` delimit themselves by their lengths."""

    sequence: bytes  # the record's number, 6 octets
    random: bytes
    cookie: bytes
    parameters: bytes


class FragmentedHelloError(PeerError):
    """A ClientHello in more than one fragment: putting it together would be state for an unknown address."""


def read_hello(datagram: bytes) -> Hello:
    """Read the ClientHello that a datagram begins with. Raises ``PeerError`` when it is malformed or fragmented."""
    try:
        record, high, low, part_high, part_low = _LENGTHS.unpack_from(datagram)
        length = high << 16 | low
        if datagram[1] != 0xFE or record > len(datagram) - 13:
            raise PeerError("not a DTLS record")
        if part_high << 16 | part_low != length or datagram[19:22] != b"\0\0\0":
            raise FragmentedHelloError("ClientHello in fragments")
        end = 25 + length
        if end != 13 + record:
            raise PeerError("ClientHello and its record differ in length")
        at_cookie = 60 + datagram[59]
        suites_at = at_cookie + 1 + datagram[at_cookie]
        compression_at = suites_at + 2 + (datagram[suites_at] << 8 | datagram[suites_at + 1])
        parameters_end = compression_at + 1 + datagram[compression_at]
    except (IndexError, struct.error):
        raise PeerError("ClientHello cut short") from None
    if parameters_end > end:
        raise PeerError("ClientHello cut short")
    return Hello(
        datagram[5:11],
        datagram[27:59],
        datagram[at_cookie + 1 : suites_at],
        datagram[25:at_cookie] + datagram[suites_at:parameters_end],
    )


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
        """Whether the hello carries a cookie of ours for this address; takes the same time whatever the answer."""
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
