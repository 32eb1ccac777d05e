"""The admin protocol, client side: one blocking question, one answer. Imports little, since the commands are brief."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from layer.errors import PeerError, TransportError

VERSION = 1
MAX_ANSWER = 16 * 1024 * 1024


class NotAllowedError(Exception):
    """The gateway runs, but this user may not ask it."""


def encoded(value: Mapping[str, Any]) -> bytes:
    """One JSON line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def ask(path: Path, command: str, arguments: Mapping[str, Any], *, timeout: float = 15.0) -> dict[str, Any]:
    """Ask the daemon behind ``path``.

    TransportError: it isn't there. NotAllowedError: it won't talk to this user. PeerError: it says no, with its reason.
    """
    request = encoded({"v": VERSION, "command": command, "arguments": arguments})
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            try:
                connection.sendall(request)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a daemon that refuses us answers without having read the question
            line = _line(connection)
    except PermissionError:
        raise NotAllowedError(f"{path}: expected root or the user that the gateway runs as") from None
    except OSError as error:
        raise TransportError(
            f"{path}: the gateway isn't reachable ({error.strerror or error})", transient=True
        ) from None
    if not line:
        raise TransportError(f"{path}: the gateway hung up without an answer", transient=True)
    return _result(line)


def _line(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while size < MAX_ANSWER:
        part = connection.recv(65536)
        parts.append(part)
        size += len(part)
        if not part or part.endswith(b"\n"):
            break
    return b"".join(parts)


def _result(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        if answer["v"] != VERSION:
            raise PeerError(f"the gateway speaks version {answer['v']} of the admin protocol, not {VERSION}")
        if answer["ok"]:
            return dict(answer["result"])
        code, text = str(answer["error"]), str(answer["text"])
    except (ValueError, KeyError, TypeError):
        raise PeerError("the gateway's answer is not of the admin protocol") from None
    if code == "not-allowed":
        raise NotAllowedError(text)
    raise PeerError(text)
