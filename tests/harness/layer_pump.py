"""Interoperability of ``layer``: real sockets on the loopback, real time, real programs."""

from __future__ import annotations

import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from layer.association import Association
from layer.events import DataReceived, Event
from layer.listener import DtlsListener, ListenerEvent, PeerData

PATIENCE = 20.0


@contextmanager
def program(*command: str | Path, feed: bytes | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its output in a pipe; it is ended with the block."""
    process = subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdin and process.stdout
        if feed is not None:
            process.stdin.write(feed)
            process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def output_until(process: subprocess.Popen[bytes], pattern: bytes, found: bytes = b"") -> bytes:
    """Read a program's output until it holds the pattern."""
    assert process.stdout
    deadline = time.monotonic() + PATIENCE
    while not re.search(pattern, found):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        chunk = process.stdout.read1(4096) if ready else b""  # type: ignore[attr-defined]
        assert chunk, f"{pattern!r} did not come: {found.decode(errors='replace')}"
        found += chunk
    return found


class UdpServer:
    """A DTLS listener on a real UDP socket; ``answer`` turns received data into a reply.

    ``host``: the address that a client tries first. The name localhost is ::1 on some machines.
    """

    def __init__(self, listener: DtlsListener, answer: Callable[[bytes], bytes], host: str = "127.0.0.1") -> None:
        self._listener = listener
        self._answer = answer
        family, kind, _, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind)
        self._socket.bind(place)
        self.port: int = self._socket.getsockname()[1]
        self.events: list[ListenerEvent] = []

    def run(self, done: Callable[[], bool]) -> None:
        """Serve until ``done``."""
        end = time.monotonic() + PATIENCE
        while not done():
            now = time.monotonic()
            assert now < end, (self.events, dict(self._listener.counters))
            ready, _, _ = select.select([self._socket], [], [], 0.05)
            now = time.monotonic()
            if ready:
                data, address = self._socket.recvfrom(65536)
                self._listener.receive_datagram(data, address, now)
            self._listener.tick(now)
            while (event := self._listener.next_event()) is not None:
                self.events.append(event)
                if isinstance(event, PeerData):
                    self._listener.send(event.peer_id, self._answer(event.data), now)
            for datagram, to in self._listener.datagrams_to_send():
                self._socket.sendto(datagram, to)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def drive(end: Association, link: socket.socket, done: Callable[[list[Event]], bool]) -> list[Event]:
    """Join a started association with a connected socket (UDP or TCP) until ``done(events)``; all events."""
    found: list[Event] = []
    limit = time.monotonic() + PATIENCE
    while True:
        while (event := end.next_event()) is not None:
            found.append(event)
        for unit in end.records_to_send():
            link.sendall(unit)
        if done(found):
            return found
        assert time.monotonic() < limit, found
        ready, _, _ = select.select([link], [], [], 0.05)
        if ready:
            data = link.recv(65536)
            if data:
                end.receive(data, time.monotonic())
            elif link.type == socket.SOCK_STREAM:
                end.receive_eof(time.monotonic())
        end.tick(time.monotonic())


def data_in(found: list[Event]) -> bytes:
    return b"".join(event.data for event in found if isinstance(event, DataReceived))
