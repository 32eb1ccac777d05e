"""Ports that a host program opens to reach a virtual dongle: a TCP port and a pseudo-terminal.

Thin shells around ``simulator.ncp.dongle.Ncp``: octets in, octets out, one timer. A host that does not read is held
by the dongle's own bounds (window, callback queue), so at most a few kilobytes wait here.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import socket
import termios
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from simulator.ncp.dongle import Ncp

_LOG = logging.getLogger(__name__)

_READ_SIZE = 4096
#: octets that wait for a host that does not read; beyond it the host is cut off (TCP) or octets are lost (pty)
MAX_PENDING = 64 * 1024
#: how often a pseudo-terminal that no process has open is looked at again
_REOPEN_SECONDS = 0.05


class _Line:
    """Joins a dongle to whatever carries its octets at the moment; runs the dongle's timer."""

    def __init__(self, ncp: Ncp, loop: asyncio.AbstractEventLoop) -> None:
        self._ncp = ncp
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._flushing = False
        self.write: Callable[[bytes], None] | None = None
        ncp.on_output = self._wake
        self._wake()

    def receive(self, data: bytes) -> None:
        waits, self._flushing = self._flushing, True
        self._ncp.receive_bytes(data)
        if not waits:
            self._flush()  # now: an answer need not wait for the loop's next turn

    def _wake(self) -> None:
        """Flush and set the timer, once per turn of the loop however often the dongle calls."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        data = self._ncp.bytes_to_send()
        if data and self.write is not None:
            self.write(data)
        deadline = self._ncp.next_deadline()
        if deadline is None:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return  # deadlines mostly move on with each frame: it looks again when it goes off
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._ncp.tick()
        self._wake()

    def close(self) -> None:
        self.write = None
        self._ncp.on_output = lambda: None
        if self._timer is not None:
            self._timer.cancel()


class TcpPort:
    """A dongle behind a TCP port. A new connection replaces the one before, as replugging a host would."""

    def __init__(self, line: _Line, address: tuple[str, int], max_pending: int = MAX_PENDING) -> None:
        self._line = line
        self._transport: asyncio.WriteTransport | None = None
        #: host and port that a host program connects to
        self.address = address
        self.max_pending = max_pending

    @property
    def url(self) -> str:
        """The path that zigpy and zigbee2mqtt take for a serial port over TCP."""
        return f"socket://{self.address[0]}:{self.address[1]}"

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def unplug(self) -> None:
        """Cut the connection; the host sees the end of the stream and may connect again."""
        self._drop()

    def _attach(self, transport: asyncio.WriteTransport) -> None:
        if self._transport is not None:
            _LOG.info("a new host takes the dongle over")
            self._drop()
        self._transport = transport
        self._line.write = self._write

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() + len(data) > self.max_pending:
            _LOG.warning("the host does not read: cut off")
            self._drop()
            return
        transport.write(data)

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        self._line.write = None
        if transport is not None:
            transport.abort()

    def _lost(self, transport: asyncio.BaseTransport) -> None:
        if transport is self._transport:
            self._transport = None
            self._line.write = None
            _LOG.info("the host has gone")


class _TcpProtocol(asyncio.Protocol):
    def __init__(self, port: TcpPort, line: _Line) -> None:
        self._port = port
        self._line = line
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # a serial line holds little: keep the kernel from collecting megabytes for a host that does not read
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._port.max_pending)
        self._port._attach(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is self._port._transport:
            self._line.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._port._lost(self._transport)


@asynccontextmanager
async def serve_tcp(
    ncp: Ncp, host: str = "127.0.0.1", port: int = 0, max_pending: int = MAX_PENDING
) -> AsyncIterator[TcpPort]:
    """Serve the dongle at a TCP port (0 picks one) for as long as the context lasts. Raises OSError.

    ``max_pending``: octets that wait for a host that does not read.
    """
    loop = asyncio.get_running_loop()
    line = _Line(ncp, loop)
    tcp = TcpPort(line, (host, port), max_pending)
    try:
        server = await loop.create_server(lambda: _TcpProtocol(tcp, line), host, port)
    except OSError:
        line.close()
        raise
    tcp.address = server.sockets[0].getsockname()[:2]
    _LOG.info("dongle at %s", tcp.url)
    try:
        yield tcp
    finally:
        server.close()
        tcp._drop()
        line.close()
        await server.wait_closed()


class PtyPort:
    """A dongle behind a pseudo-terminal. Hosts may open and close it as they like; ``unplug`` ends it."""

    def __init__(self, line: _Line, loop: asyncio.AbstractEventLoop, link: Path | None) -> None:
        self._line = line
        self._loop = loop
        self._link = link
        self._pending = bytearray()
        self._retry: asyncio.TimerHandle | None = None
        self._master = -1
        self._unread = False
        self._open()

    @property
    def path(self) -> str:
        """What a host program opens: the link if there is one, else the terminal itself."""
        return self._device if self._link is None else str(self._link)

    def _open(self) -> None:
        master = -1
        try:
            master, slave = os.openpty()
            try:
                tty.setraw(slave, termios.TCSANOW)
                self._device = os.ttyname(slave)
            finally:
                # the host's end: kept closed, so that a host that closes it is noticed (EIO)
                os.close(slave)
        except OSError as error:
            if master >= 0:
                os.close(master)
            if error.errno in (errno.ENOENT, errno.ENODEV, errno.EIO):  # as in a bare chroot
                raise OSError(error.errno, "no pseudo-terminals: is /dev/pts mounted?") from None
            raise
        os.set_blocking(master, False)
        fcntl.fcntl(master, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._master = master
        self._line.write = self._write
        if self._link is not None:
            self._point_link()
        self._loop.add_reader(master, self._readable)

    def _point_link(self) -> None:
        assert self._link is not None
        neighbour = self._link.with_name(f".{self._link.name}.{os.getpid()}.new")
        neighbour.unlink(missing_ok=True)
        neighbour.symlink_to(self._device)
        neighbour.replace(self._link)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._line.receive(data)
            return
        # no process has the terminal open: it would be readable for ever, so look again later
        self._forget_unread()
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._retry = self._loop.call_later(_REOPEN_SECONDS, self._watch)

    def _forget_unread(self) -> None:
        """What a host left unread is not for the next one."""
        self._pending.clear()
        if self._unread:
            self._unread = False
            slave = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)

    def _watch(self) -> None:
        self._retry = None
        self._loop.add_reader(self._master, self._readable)

    def _write(self, data: bytes) -> None:
        if self._retry is not None:
            return  # no process there
        if len(self._pending) + len(data) > MAX_PENDING:
            _LOG.warning("the host does not read: octets lost")
            return
        self._pending += data
        self._writable()

    def _writable(self) -> None:
        try:
            sent = os.write(self._master, self._pending)
            self._unread = True
        except BlockingIOError:
            sent = 0
        except OSError:
            self._pending.clear()
            sent = 0
        del self._pending[:sent]
        if self._pending:
            self._loop.add_writer(self._master, self._writable)
        else:
            self._loop.remove_writer(self._master)

    def _close(self) -> None:
        if self._master < 0:
            return
        self._line.write = None
        self._pending.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        os.close(self._master)
        self._master = -1

    def unplug(self) -> None:
        """Take the terminal away (the host reads an error) and the link with it."""
        self._close()
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def plug(self) -> None:
        """Come back after ``unplug``, at a new terminal behind the same link."""
        if self._master < 0:
            self._open()


@asynccontextmanager
async def serve_pty(ncp: Ncp, link: Path | None = None) -> AsyncIterator[PtyPort]:
    """Serve the dongle at a pseudo-terminal in raw mode for as long as the context lasts.

    ``link`` is a symbolic link to make to it, at a path that stays; an old one is replaced. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    line = _Line(ncp, loop)
    try:
        port = PtyPort(line, loop, link)
    except OSError:
        line.close()
        raise
    _LOG.info("dongle at %s", port.path)
    try:
        yield port
    finally:
        port.unplug()
        line.close()
