"""Commands to a running endpoint: one JSON object a line on its standard input.

``{"do": "open", "to": ALIAS}`` opens a session. ``{"do": "send", "session": N, "text": T | "hex": H | "size": S,
"seed": D}`` sends a message (``size`` makes that many octets from ``seed``, so that a script needn't carry them).
``{"do": "export", "session": N, "label": L, "length": B}`` reports keying material to the one who holds this process's
pipe. ``{"do": "close", "session": N}``, ``{"do": "abort", "session": N}`` (closes the carriage without close_notify),
``{"do": "quit"}``. The end of the input is ``quit`` too.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from layer.errors import PeerError

MAX_LINE = 1024 * 1024
MAX_MESSAGE = 128 * 1024
"""Octets of a message: the longest body that CoAP inside the session puts together."""
MAX_TARGET = 64
MAX_LABEL = 249
"""Octets of an exporter label (RFC 8446 section 7.1: 255 with the prefix ``tls13 ``)."""
MAX_EXPORT = 4096
MAX_NUMBER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""


@dataclass(frozen=True, slots=True)
class OpenCommand:
    to: str


@dataclass(frozen=True, slots=True)
class SendCommand:
    session: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExportCommand:
    session: int
    label: str
    length: int


@dataclass(frozen=True, slots=True)
class CloseCommand:
    session: int
    clean: bool


@dataclass(frozen=True, slots=True)
class QuitCommand:
    pass


ControlCommand = OpenCommand | SendCommand | ExportCommand | CloseCommand | QuitCommand


def made_octets(size: int, seed: int) -> bytes:
    """``size`` octets that ``seed`` alone decides."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - test data, no secret


class Lines:
    """Cuts what is read into lines of at most ``limit`` octets; a longer one is skipped whole and given as None."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._part = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that ``data`` completes, without their ends."""
        *whole, rest = data.split(b"\n")
        found: list[bytes | None] = []
        for piece in whole:
            self._take(piece)
            found.append(None if self._skipping else bytes(self._part))
            self._part.clear()
            self._skipping = False
        self._take(rest)
        return found

    def finish(self) -> list[bytes | None]:
        """The input has ended: a last line without its end."""
        return self.feed(b"\n") if self._part or self._skipping else []

    def _take(self, piece: bytes) -> None:
        if self._skipping or len(self._part) + len(piece) > self._limit:
            self._skipping = True
            self._part.clear()
        else:
            self._part += piece


def parse_command(line: bytes) -> ControlCommand:
    """Raises PeerError with what was expected."""
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        raise PeerError("a command is one JSON object a line") from None
    if not isinstance(table, dict):
        raise PeerError("a command is one JSON object a line")
    match table.get("do"):
        case "open":
            return OpenCommand(_text(table, "to", MAX_TARGET).decode())
        case "send":
            return SendCommand(_number(table, "session"), _data(table))
        case "export":
            label = _text(table, "label", MAX_LABEL).decode()
            return ExportCommand(_number(table, "session"), label, _number(table, "length", MAX_EXPORT))
        case "close":
            return CloseCommand(_number(table, "session"), clean=True)
        case "abort":
            return CloseCommand(_number(table, "session"), clean=False)
        case "quit":
            return QuitCommand()
        case _:
            raise PeerError("do: expected open, send, export, close, abort or quit")


def _data(table: dict[str, object]) -> bytes:
    if "text" in table:
        return _text(table, "text", MAX_MESSAGE)
    if "hex" in table:
        try:
            return bytes.fromhex(_text(table, "hex", 2 * MAX_MESSAGE).decode())
        except ValueError:
            raise PeerError("hex: expected hexadecimal digits") from None
    return made_octets(_number(table, "size", MAX_MESSAGE), _number(table, "seed"))


def _text(table: dict[str, object], key: str, limit: int) -> bytes:
    """In UTF-8, at most ``limit`` octets."""
    value = table.get(key)
    if not isinstance(value, str):
        raise PeerError(f"{key}: expected a string")
    try:
        octets = value.encode()
    except UnicodeEncodeError:
        raise PeerError(f"{key}: expected text without lone surrogates") from None
    if len(octets) > limit:
        raise PeerError(f"{key}: expected at most {limit} octets")
    return octets


def _number(table: dict[str, object], key: str, limit: int = MAX_NUMBER) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise PeerError(f"{key}: expected a number from 0 to {limit}")
    return value
