"""The connection to the broker below MQTT: made without blocking the loop, a bounded piece read at a time."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carriage.mqtt.options import MqttOptions, TlsFacts, TlsOptions
from layer.errors import CredentialError

READ_CHUNK: Final = 16 * 1024
"""Octets taken from the socket per turn of the loop: no less than a TLS record, or OpenSSL would keep the rest of it
where the loop can't see it."""

_Socket = socket.socket | ssl.SSLSocket
_BLOCKED = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """A connected non-blocking socket; its owner watches it. ``failed``: why the connection ended."""

    __slots__ = ("_released", "_socket", "failed")

    def __init__(self, connected: _Socket) -> None:
        self._socket = connected
        self.failed: OSError | None = None
        self._released = False

    @property
    def fault(self) -> str:
        """Why TLS ended the connection: an alert of the broker comes after our side of the handshake (TLS 1.3)."""
        cut = isinstance(self.failed, ssl.SSLEOFError)
        return connect_fault(self.failed) if isinstance(self.failed, ssl.SSLError) and not cut else ""

    def read(self) -> bytes:
        """What the socket has, at most one chunk; empty: nothing now, or it has failed."""
        try:
            fresh = self._socket.recv(READ_CHUNK)
        except _BLOCKED:
            return b""
        except OSError as failure:
            self.failed = failure
            return b""
        if not fresh:
            self.failed = ConnectionResetError("the broker closed the connection")
        return fresh

    def write(self, out: bytearray) -> bool:
        """Write what is in ``out``, and remove it there. True: some of it still waits for the socket."""
        while out:
            try:
                sent = self._socket.send(out)
            except _BLOCKED:
                return True
            except OSError as failure:
                self.failed = failure
                out.clear()
                return False
            del out[:sent]
        return False

    def release(self) -> None:
        """Close the socket, which the loop no longer watches: its number must not come to be another's before."""
        self._released = True
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def tls_facts(self) -> TlsFacts | None:
        if not isinstance(self._socket, ssl.SSLSocket) or self._released:
            return None
        cipher = self._socket.cipher()
        return TlsFacts(
            self._socket.version() or "",
            cipher[0] if cipher else "",
            self._socket.getpeercert(binary_form=True) or b"",
        )


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """The context for a connection to the broker: TLS 1.2 or later, certificate and name are checked.

    CredentialError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, options)
    _identify(context, options)
    return context


def tls_mistakes(options: TlsOptions) -> Iterator[CredentialError]:
    """All that is wrong with the files, of which ``tls_context`` raises the first."""
    for step in (_trust, _identify):
        try:
            step(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), options)
        except CredentialError as error:
            yield error


def _trust(context: ssl.SSLContext, options: TlsOptions) -> None:
    if options.ca_file is None:
        context.load_default_certs()
        return
    readable(options.ca_file)
    try:
        context.load_verify_locations(options.ca_file)
    except OSError as failure:  # ssl.SSLError is one
        raise CredentialError(options.ca_file, "holds no CA certificate in PEM that can be read") from failure


def _identify(context: ssl.SSLContext, options: TlsOptions) -> None:
    if options.cert_file is None:
        return
    for name in filter(None, (options.cert_file, options.key_file)):
        readable(name)
    try:
        context.load_cert_chain(options.cert_file, options.key_file, password=_no_password)
    except (OSError, ValueError) as failure:
        raise CredentialError(
            options.cert_file, "holds no PEM certificate that belongs to its (unencrypted) private key"
        ) from failure


def readable(name: str) -> None:
    """CredentialError if a file can't be opened, and why: OpenSSL wouldn't say that."""
    try:
        with Path(name).open("rb"):
            pass
    except OSError as failure:
        raise CredentialError(name, f"can't be opened: {failure.strerror}") from None
    except ValueError:
        raise CredentialError(name, "can't be opened: no file can have this name") from None


class TlsFiles:
    """The context of one client, made again when its files change: certificates are renewed while we run.

    CredentialError, also of ``context``: a file can't be used.
    """

    __slots__ = ("_context", "_options", "_stamps")

    def __init__(self, options: TlsOptions) -> None:
        self._options = options
        self._stamps = self._look()
        self._context = tls_context(options)

    def context(self) -> ssl.SSLContext:
        stamps = self._look()
        if stamps != self._stamps:
            self._context = tls_context(self._options)
            self._stamps = stamps
        return self._context

    def _look(self) -> tuple[int, ...]:
        options, found = self._options, []
        for name in (options.ca_file, options.cert_file, options.key_file):
            try:
                found.append(0 if name is None else Path(name).stat().st_mtime_ns)
            except OSError:
                found.append(-1)
        return tuple(found)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # else OpenSSL would ask on the terminal


async def connect(options: MqttOptions, context: ssl.SSLContext | None) -> Wire:
    """A connection to the broker, TLS included. OSError (ssl.SSLError is one) if there is none.

    The addresses of the host are tried in turn. Bounded by the caller's time-out; cancelling closes the socket.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the host has no address")
    for family, kind, protocol, _, address in addresses:
        plain = socket.socket(family, kind, protocol)
        current: _Socket = plain
        try:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(plain, address)
            if context is not None:
                name = (options.tls.server_name if options.tls else None) or options.host
                current = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
                try:
                    await _handshake(loop, current)
                except (ConnectionError, ssl.SSLEOFError) as error:
                    raise OSError("the TLS handshake was cut off") from error
        except ssl.SSLError:
            current.close()
            raise  # another address of the same host would not have a better certificate
        except OSError as error:
            current.close()
            failure = error
            continue
        except BaseException:
            current.close()
            raise
        return Wire(current)
    raise failure


def connect_fault(failure: OSError) -> str:
    """What went wrong in ``connect``, in words (asyncio hides the system's own)."""
    if isinstance(failure, (ssl.SSLError, socket.gaierror)) or not failure.errno:
        return str(failure)
    return os.strerror(failure.errno)


async def _handshake(loop: asyncio.AbstractEventLoop, connection: ssl.SSLSocket) -> None:
    descriptor = connection.fileno()
    while True:
        ready = loop.create_future()
        try:
            connection.do_handshake()
            return
        except ssl.SSLWantReadError:
            loop.add_reader(descriptor, _wake, ready)
        except ssl.SSLWantWriteError:
            loop.add_writer(descriptor, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
