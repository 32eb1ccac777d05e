"""The simulator's Unix socket: connections, lines, and who handles them.

The first line of a connection decides what it is: an attachment (``attach_session``) or administration (``control``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from carriage.zigbee import attach
from layer.errors import PeerError, TransportError

_LOG = logging.getLogger(__name__)

MAX_UNREAD: Final = 262_144
MAX_CONNECTIONS: Final = 256


class Handler(Protocol):
    """What a connection's lines go to after the first."""

    def line(self, value: dict[str, object]) -> None:
        """One line. Raises PeerError when it breaks the protocol; the connection then ends."""

    def lost(self) -> None:
        """The connection is gone."""


#: takes a first line; gives the handler of the rest. Raises PeerError to refuse.
Greet = Callable[["Connection", dict[str, object]], Handler]


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: SocketServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._lines = attach.Lines()
        self._handler: Handler | None = None

    def write(self, line: bytes) -> None:
        """Send a line; a client that does not read is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(line)
        if transport.get_write_buffer_size() > self._server.max_unread:
            _LOG.warning("a client of the simulator does not read: cut off")
            transport.abort()

    def refuse(self, code: str, text: str) -> None:
        """Send an error and end the connection."""
        self.write(attach.encode(attach.Error(code=code, text=text)))
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._server.enter(self):
            self.refuse(attach.BUSY, "too many connections")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for line in self._lines.feed(data):
                if self._transport.is_closing():
                    return
                value = attach.decode_object(line)
                if self._handler is None:
                    self._handler = self._server.greet(self, value)
                else:
                    self._handler.line(value)
        except PeerError as error:
            _LOG.warning("a client of the simulator broke the protocol: %s", error)
            self.refuse(attach.PROTOCOL, str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.exit(self)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.lost()


class SocketServer:
    """Listens on a Unix socket that only its owner may use (mode 0600).

    ``max_unread``: octets that may wait for a client that doesn't read; if more do, it is cut off.
    """

    def __init__(
        self, path: Path, greet: Greet, *, max_connections: int = MAX_CONNECTIONS, max_unread: int = MAX_UNREAD
    ) -> None:
        self.max_unread = max_unread
        self._max_connections = max_connections
        self._path = path
        self.greet = greet
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises TransportError when the path can't be used or another simulator listens there."""
        listener = _listen(self._path)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Connection(self), sock=listener)

    async def close(self) -> None:
        """Ends every connection and removes the socket."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    def enter(self, connection: Connection) -> bool:
        if len(self._connections) >= self._max_connections:
            return False
        self._connections.add(connection)
        return True

    def exit(self, connection: Connection) -> None:
        self._connections.discard(connection)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if path.is_socket():
            if _answers(path):
                raise TransportError(f"{path}: another process listens there", transient=False)
            path.unlink()
        # created with the right mode: there's no moment at which others could connect
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise TransportError(f"{path}: {error.strerror or error}", transient=False) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
