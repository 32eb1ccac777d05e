"""A non-blocking UDP socket in the running loop: drained on the way in, a bounded outbox on the way out."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, cast

from layer.errors import TransportError

_LOG = logging.getLogger(__name__)

Address = Hashable

_MAX_DATAGRAM: Final = 16_384  # octets: the largest DTLS record with room to spare
_PER_WAKE_UP: Final = 64  # datagrams, so that one busy socket leaves the loop to others
_RECEIVE_BUFFER: Final = 1 << 20  # octets asked of the system: bursts outlive a busy loop


def bind(host: str, port: int) -> socket.socket:
    """A socket on a literal address (``0`` as port: any free one). Raises ``TransportError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        why = "another program has it; ss -ulpn says which" if error.errno == errno.EADDRINUSE else error.strerror
        raise TransportError(f"can't bind UDP {host} port {port}: {why or error}", transient=False) from error
    return sock


def local_address(peer: Address) -> str:
    """The address from which datagrams to a peer go out now; that of no interface if none leads there."""
    there = cast("tuple[Any, ...]", peer)
    family = socket.AF_INET6 if ":" in there[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(there)  # sends nothing
        except OSError:
            pass
        found = str(sock.getsockname()[0]).partition("%")[0]
    return found.removeprefix("::ffff:") if "." in found else found


async def connect(host: str, port: int) -> socket.socket:
    """A socket connected to a host by name or address. Raises ``TransportError``."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise TransportError(f"can't find {host}: {error}", transient=True) from error
    try:
        sock.setblocking(False)
        sock.connect(address)
    except OSError as error:
        sock.close()
        raise TransportError(f"can't reach {host} port {port}: {error}", transient=True) from error
    return sock


class Datagrams:
    """``received(data, address)`` per datagram, ``woken()`` after each batch, ``failed(error)`` for an ICMP error.

    ``in_turn`` calls the callback of the socket that can be read; None: the loop does. Closing closes the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        received: Callable[[bytes, Address], None],
        woken: Callable[[], None],
        failed: Callable[[OSError], None],
        in_turn: Callable[[Callable[[], None]], None] | None = None,
        max_unsent: int = 1024,
    ) -> None:
        self._sock = sock
        self._received = received
        self._woken = woken
        self._failed = failed
        self._max_unsent = max_unsent
        self._unsent: deque[tuple[bytes, Address | None]] = deque()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.dropped = 0  # datagrams that found the outbox full
        sock.setblocking(False)
        if in_turn is None:
            self._loop.add_reader(sock, self._readable)
        else:
            self._loop.add_reader(sock, in_turn, self._readable)

    @property
    def address(self) -> tuple[Any, ...]:
        """The address that the socket is bound to."""
        return cast("tuple[Any, ...]", self._sock.getsockname())

    def _readable(self) -> None:
        receive = self._sock.recvfrom
        for _ in range(_PER_WAKE_UP):
            try:
                data, address = receive(_MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._failed(error)
                break
            self._received(data, address)
            if not self._open:
                return
        self._woken()

    def send(self, data: bytes, address: Address | None) -> None:
        """Send, or keep until the socket takes it; drop where too much is kept (``None``: to the connected peer)."""
        if not self._open:
            return
        if self._unsent:
            self._keep(data, address)
        elif not self._try(data, address):
            self._keep(data, address)
            self._loop.add_writer(self._sock, self._writable)

    def _try(self, data: bytes, address: Any) -> bool:
        try:
            if address is None:
                self._sock.send(data)
            else:
                self._sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            _LOG.debug("a datagram could not be sent: %s", error)  # as good as lost on the way
        return True

    def _keep(self, data: bytes, address: Address | None) -> None:
        if len(self._unsent) >= self._max_unsent:
            self.dropped += 1
            return
        self._unsent.append((data, address))

    def _writable(self) -> None:
        while self._unsent:
            if not self._try(*self._unsent[0]):
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._sock)

    def close(self) -> None:
        """Stop and close the socket; what is unsent is lost."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            if self._unsent:
                self._loop.remove_writer(self._sock)
                self._unsent.clear()
            self._sock.close()
