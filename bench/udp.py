"""The floor: UDP echo servers that do nothing else, and the load on them.

``python -m bench.udp drain|protocol`` is a server, ``python -m bench.udp load PORT SIZE SOCKETS`` the load.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from typing import cast

from bench.load import Done, say, serve
from bench.messages import record

PER_WAKE_UP = 64


async def drain() -> None:
    """A non-blocking socket, ``add_reader``, up to 64 datagrams a wake-up: what the gateway's own sockets do."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))

        def readable() -> None:
            receive, send = sock.recvfrom, sock.sendto
            for _ in range(PER_WAKE_UP):
                try:
                    data, address = receive(2048)
                except BlockingIOError:
                    return
                send(data, address)

        loop.add_reader(sock, readable)
        say(event="ready", port=sock.getsockname()[1])
        await loop.create_future()


class Echo(asyncio.DatagramProtocol):
    """The way that asyncio's documentation shows."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def protocol() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    say(event="ready", port=transport.get_extra_info("sockname")[1])
    await loop.create_future()


async def load(port: int, size: int, sockets: int) -> None:
    loop = asyncio.get_running_loop()
    payload = record(size)
    free: deque[socket.socket] = deque()
    waiting: dict[int, deque[Done]] = {}

    def readable(sock: socket.socket, queue: deque[Done]) -> None:
        for _ in range(PER_WAKE_UP):
            try:
                sock.recv(2048)
            except BlockingIOError:
                return
            if queue:
                queue.popleft()()

    for _ in range(sockets):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        queue = waiting[sock.fileno()] = deque()
        loop.add_reader(sock, readable, sock, queue)
        free.append(sock)

    def send(done: Done) -> None:
        sock = free[0]
        free.rotate(-1)
        waiting[sock.fileno()].append(done)
        sock.send(payload)

    await serve(send)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "load":
        asyncio.run(load(*map(int, arguments)))
    else:
        asyncio.run({"drain": drain, "protocol": protocol}[what]())
