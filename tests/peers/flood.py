"""Begins handshakes and never finishes one: ``python -m tests.peers.flood HOST PORT RATE PORT-OF-OURS SOURCE...``.

Each hello has a good cookie, so the gateway takes it for a client. It comes from the next source address, and from
a port that was not used before (``PORT-OF-OURS`` 0) or always from the same one. A source that ends in ``/64`` stands
for as many addresses of that prefix as there are hellos. Ends with its standard input; then prints how many hellos got
an answer of the server's.
"""

from __future__ import annotations

import ipaddress
import itertools
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

from tests.harness.layer_crowd import hello

IPV6_FREEBIND = 78  # linux/in6.h; not in the socket module
KEPT = 400  # sockets, so that answers to late ones still find theirs


def sources(names: list[str]) -> Iterator[str]:
    """The addresses, over and over."""
    if names[0].endswith("/64"):
        network = ipaddress.IPv6Network(names[0])
        return (str(network[number]) for number in itertools.count(0x1_0000))
    return itertools.cycle(names)


def main() -> None:
    host, port, rate, own_port, *names = sys.argv[1:]
    server = (host, int(port))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    kept: deque[socket.socket] = deque()
    addresses, numbers = sources(names), itertools.count(1)
    fixed: dict[str, socket.socket] = {}
    waiting: dict[socket.socket, int] = {}
    sent = answered = 0

    def opened(address: str) -> socket.socket:
        if address in fixed:
            return fixed[address]
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        if family is socket.AF_INET6:  # a whole prefix is routed here, but no address of it is configured
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.bind((address, int(own_port)))
        selector.register(sock, selectors.EVENT_READ)
        if int(own_port):
            fixed[address] = sock
            return sock
        kept.append(sock)
        if len(kept) > KEPT:
            old = kept.popleft()
            waiting.pop(old, None)
            selector.unregister(old)
            old.close()
        return sock

    due = time.monotonic()
    while True:
        now = time.monotonic()
        if now - due > 1:
            due = now  # it was stopped for a while: what was not sent then is not sent now
        while due <= now:
            due += 1 / float(rate)
            sock = opened(next(addresses))
            number = next(numbers)
            waiting[sock] = number
            sock.sendto(hello(number), server)
        for key, _ in selector.select(max(0.0, due - time.monotonic())):
            if key.fileobj is sys.stdin:
                print(f"{sent} {answered}", flush=True)
                return
            sock = key.fileobj  # type: ignore[assignment]
            try:
                answer = sock.recv(4096)
            except OSError:
                continue
            if answer[13] == 3:  # HelloVerifyRequest
                sent += 1
                sock.sendto(hello(waiting[sock], answer[-16:]), server)
            else:
                answered += 1


if __name__ == "__main__":
    main()
