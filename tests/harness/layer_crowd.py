"""Clients that never finish, and phones among them, in virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from layer.association import Association, AssociationConfig, Role
from layer.credentials import Credentials, Psk
from layer.listener import DtlsListener, ListenerEvent
from tests.harness.layer_pair import KEY, authority, psk_client, psk_server

CONFIG = AssociationConfig(retransmit_initial=1.0, handshake_timeout=20.0)
Address = tuple[str, int]
COOKIE = slice(60, 76)


def listener(credentials: Credentials | None = None, **limits: object) -> DtlsListener:
    return DtlsListener(credentials or psk_server(), CONFIG, **limits)  # type: ignore[arg-type]


def client(credentials: Credentials | None = None, now: float = 0.0) -> Association:
    end = Association(Role.CLIENT, credentials or psk_client(), CONFIG)
    end.start(now)
    return end


def taken(server: DtlsListener) -> list[ListenerEvent]:
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


# Of a client that takes both a PSK and a certificate.
(_WITHOUT_COOKIE,) = client(Credentials(psk=Psk("dev", KEY), trust_anchors=authority().pem)).records_to_send()
_NUMBERS = itertools.count(1)


def hello(number: int, cookie: bytes = b"") -> bytes:
    """A ClientHello whose random is ``number``; with a cookie it is the second message."""
    first = _WITHOUT_COOKIE
    body = first[25:27] + number.to_bytes(32, "big") + b"\0" + bytes([len(cookie)]) + cookie + first[61:]
    length = len(body).to_bytes(3, "big")
    message = b"\x01" + length + bytes([0, 1 if cookie else 0]) + bytes(3) + length + body
    return first[:11] + len(message).to_bytes(2, "big") + message


def good_hello(server: DtlsListener, address: Address, now: float = 0.0, number: int | None = None) -> bytes:
    """The hello with a good cookie of a client that has answered the first round."""
    number = next(_NUMBERS) if number is None else number
    before = server.datagrams_to_send()
    server.receive_datagram(hello(number), address, now)
    ((answer, _),) = server.datagrams_to_send()
    server._out[:0] = before
    return hello(number, answer[-16:])


def begin(server: DtlsListener, address: Address, now: float = 0.0, number: int | None = None) -> None:
    """Begin a handshake, and stay silent."""
    server.receive_datagram(good_hello(server, address, now, number), address, now)


def half_open(server: DtlsListener) -> set[Address]:
    """The addresses with a handshake under way."""
    return set(server._half_open.by_addr)  # type: ignore[arg-type]


@dataclass
class Air:
    """Clients at addresses, each ``delay`` seconds from the listener, in virtual time."""

    server: DtlsListener
    delay: float = 0.02
    now: float = 0.0
    ends: dict[Address, Association] = field(default_factory=dict)
    _flying: list[tuple[float, int, bool, bytes, Address]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, until ``done()`` is true."""
        while True:
            self._collect()
            if done():
                return
            times = [at for end in self.ends.values() if (at := end.next_deadline()) is not None]
            times += [at] if (at := self.server.next_deadline()) is not None else []
            times += [self._flying[0][0]] if self._flying else []
            soonest = min(times, default=float("inf"))
            if soonest > until:
                self.now = until
                return
            self.now = max(self.now, soonest)
            self.server.tick(self.now)
            for end in self.ends.values():
                end.tick(self.now)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, inward, datagram, address = heapq.heappop(self._flying)
                if inward:
                    self.server.receive_datagram(datagram, address, self.now)
                elif address in self.ends:
                    self.ends[address].receive(datagram, self.now)

    def _collect(self) -> None:
        for address, end in self.ends.items():
            for datagram in end.records_to_send():
                self._send(True, datagram, address)
        for datagram, to in self.server.datagrams_to_send():
            self._send(False, datagram, to)  # type: ignore[arg-type]

    def _send(self, inward: bool, datagram: bytes, address: Address) -> None:
        heapq.heappush(self._flying, (self.now + self.delay, next(self._number), inward, datagram, address))
