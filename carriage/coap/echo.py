"""The Echo option (RFC 9175 section 2) for a server without DTLS: proof that a request is fresh and that its sender can
be reached at its address, before any state is kept for it. Nothing is stored: the value is a time under a MAC.
"""

from __future__ import annotations

import hmac
from struct import Struct
from typing import Final

from carriage.coap import codes
from carriage.coap import options as opt
from carriage.coap.exchange import Request, Response

_TIME: Final = Struct("!Q")
_MAC_LENGTH: Final = 12  # octets: the value stays short, and each guess costs a round trip


class EchoGuard:
    """``key`` is random and secret, 16 octets or more; ``lifetime`` in seconds is how long a value is fresh."""

    __slots__ = ("_key", "_lifetime")

    def __init__(self, key: bytes, *, lifetime: float = 60.0) -> None:
        self._key = key
        self._lifetime = lifetime

    def challenge(self, peer: bytes, now: float) -> Response:
        """4.01 with an Echo value for this peer (its address in octets)."""
        stamp = _TIME.pack(int(now * 1000))
        return Response(codes.UNAUTHORIZED, ((opt.ECHO, stamp + self._mac(peer, stamp)),))

    def is_fresh(self, peer: bytes, request: Request, now: float) -> bool:
        """Whether the request repeats a value that this peer was given lately."""
        value = opt.first(request.options, opt.ECHO)
        if value is None or len(value) != _TIME.size + _MAC_LENGTH:
            return False
        stamp, mac = value[: _TIME.size], value[_TIME.size :]
        if not hmac.compare_digest(mac, self._mac(peer, stamp)):
            return False
        issued: int = _TIME.unpack(stamp)[0]
        age = now - issued / 1000
        return -0.001 <= age <= self._lifetime

    def _mac(self, peer: bytes, stamp: bytes) -> bytes:
        return hmac.digest(self._key, stamp + peer, "sha256")[:_MAC_LENGTH]
