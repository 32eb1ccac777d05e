"""The rates at which a ClientHello with a good cookie may begin a handshake. Pure; time comes in as ``now``.

Each host has a token bucket. That alone would give a whole /64, or all who share an address behind NAT, to the one who
empties their bucket. So a hello that was above the rate and comes again, as a client's does after a second, may still
begin: those who only flood don't wait for that. How many of these there are is bounded over all hosts, by a bucket that
refuses no host within the rate of its host.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from layer.hosts import Address

#: Hosts whose bucket is kept. The bucket of a host that was forgotten is full.
MAX_HOSTS: Final = 4096
#: Refused hellos that are remembered, the latest ones.
MAX_REFUSED: Final = 4096
#: Seconds after which a repeated hello is one that waited; OpenSSL, Java and Mbed TLS repeat theirs after 1 s.
PATIENCE: Final = 0.5


class _Buckets:
    """Token buckets by key, all of one size; a key that was not used for long is forgotten, that is, full."""

    def __init__(self, burst: float, rate: float, most: int) -> None:
        self._burst = burst
        self._rate = rate
        self._most = most
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        """Take one token; False if there is none."""
        left, at = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        taken = left >= 1
        self._left[key] = (left - taken, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return taken


class Admission:
    """See the module's docstring.

    ``burst``  handshakes that one host may begin at once
    ``rate``   how many a second after that
    ``spare``  hellos above the rate of their host that may begin, over all hosts, a second and at once
    """

    def __init__(self, *, burst: float, rate: float, spare: float) -> None:
        self._hosts = _Buckets(burst, rate, MAX_HOSTS)
        self._spare = _Buckets(spare, spare, 1)
        self._refused: OrderedDict[Address, tuple[bytes, float]] = OrderedDict()

    def admit(self, addr: Address, host: Hashable, random: bytes, now: float) -> bool:
        """Whether the hello of this random, from ``addr`` of ``host``, may begin a handshake."""
        if self._hosts.take(host, now):
            return True
        first, since = self._refused.get(addr, (b"", now))
        if first == random:
            if now - since < PATIENCE or not self._spare.take(None, now):
                return False
            del self._refused[addr]
            return True
        self._refused.pop(addr, None)
        self._refused[addr] = (random, now)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        return False
