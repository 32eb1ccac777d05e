"""The admin protocol, server side: JSON lines over a Unix socket of mode 0600, for this user and root only.

A request is one line ``{"v": 1, "command": "status", "arguments": {}}``; its answer is one line, either
``{"v": 1, "ok": true, "result": {...}}`` or ``{"v": 1, "ok": false, "error": CODE, "text": "..."}`` with the codes
of ``ERRORS``. What the commands do is for ``control``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.api.errors import PeerError
from gateway.runtime.admin_client import VERSION, encoded

_LOG = logging.getLogger(__name__)

ERRORS = ("not-allowed", "bad-request", "unknown-command", "failed", "busy")
MAX_LINE = 16 * 1024
MAX_CONNECTIONS = 8
IDLE = 60.0
"""Seconds that a connection may take for its next line, or to read its answer."""

AdminCommand = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""PeerError: the arguments, or the state of things, don't allow it; its text goes to the administrator."""


class AdminServer:
    """Serves ``commands`` at ``path`` to peers whose user id is in ``allowed``. ``idle``: see ``IDLE``."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, AdminCommand],
        *,
        allowed: frozenset[int] | None = None,
        idle: float = IDLE,
    ) -> None:
        self._path = path
        self._idle = idle
        self._commands = commands
        self._allowed = frozenset({0, os.geteuid()}) if allowed is None else allowed
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, bool] = {}
        """All connections, who spoke last at the end; whether a command of it is being carried out."""

    async def start(self) -> None:
        """Bind the socket. ValueError (what was expected) if that can't be done."""
        listener = _listener(self._path)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            await self._server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = False
        try:
            await self._converse(reader, writer)
        except (TimeoutError, OSError):
            pass  # a client that stalls or goes away owes nothing
        except asyncio.CancelledError:
            pass  # the daemon ends; a handler that is cancelled costs a traceback in the log (CPython 3.11.5 to 3.11.7)
        except ValueError:
            writer.write(_error("bad-request", f"expected a line of at most {MAX_LINE} octets"))
        finally:
            self._writers.pop(writer, None)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        refusal = self._refusal(writer)
        if refusal:
            writer.write(refusal)
            return
        while True:
            async with asyncio.timeout(self._idle):
                line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            del self._writers[writer]
            self._writers[writer] = True
            writer.write(await self._answer(line))
            self._writers[writer] = False
            async with asyncio.timeout(self._idle):
                await writer.drain()

    def _refusal(self, writer: asyncio.StreamWriter) -> bytes | None:
        user = _peer_user(writer.get_extra_info("socket"))
        if user not in self._allowed:
            _LOG.warning("admin socket: user id %d is not allowed", user)
            return _error("not-allowed", "expected root or the user that the gateway runs as")
        if len(self._writers) > MAX_CONNECTIONS:
            idle = next((each for each, busy in self._writers.items() if not busy and each is not writer), None)
            if idle is None:
                return _error("busy", f"expected at most {MAX_CONNECTIONS} connections")
            del self._writers[idle]
            idle.transport.abort()  # the one that has been silent for longest
        return None

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _error("bad-request", "expected one JSON object a line")
        if not isinstance(request, dict) or request.get("v") != VERSION:
            return _error("bad-request", f"expected a request of version {VERSION}")
        name, arguments = request.get("command"), request.get("arguments", {})
        if not isinstance(arguments, dict):
            return _error("bad-request", "expected arguments as an object")
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            return _error("unknown-command", f"expected one of {', '.join(sorted(self._commands))}")
        try:
            return encoded({"v": VERSION, "ok": True, "result": await command(arguments)})
        except PeerError as error:
            return _error("failed", str(error))
        except Exception as error:
            _LOG.exception("admin command %s failed", name)
            return _error("failed", f"a fault of the gateway ({type(error).__name__}); see its log")


def _error(code: str, text: str) -> bytes:
    return encoded({"v": VERSION, "ok": False, "error": code, "text": text})


def _peer_user(connection: socket.socket) -> int:
    layout = struct.Struct("3i")  # pid, uid, gid: unix(7)
    user: int = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))[1]
    return user


def _listener(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)  # the socket must never be open to others, not even between bind and chmod
        try:
            listener.bind(str(path))
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
    except OSError as error:
        raise ValueError(f"expected a place for a socket: {error.strerror or error}") from None
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket that a killed gateway left; ValueError if it's alive or isn't a socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ValueError("expected a free place or an old socket, not another file")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise ValueError("expected a socket that no other gateway is serving now")
