"""Commands to a running endpoint: one JSON object a line on its standard input.

``{"do": "open", "to": ALIAS}`` opens a session. ``{"do": "send", "session": N, "text": T | "hex": H | "size": S,
"seed": D}`` sends a message (``size`` makes that many octets from ``seed``, so that a script needn't carry them).
``{"do": "export", "session": N, "label": L, "length": B}`` reports keying material to the one who holds this process's
pipe. ``{"do": "close", "session": N}``, ``{"do": "abort", "session": N}`` (closes the carriage without close_notify),
``{"do": "quit"}``.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from layer.errors import PeerError

MAX_LINE = 1024 * 1024
MAX_MESSAGE = 128 * 1024


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
            return OpenCommand(_text(table, "to"))
        case "send":
            return SendCommand(_number(table, "session"), _data(table))
        case "export":
            return ExportCommand(_number(table, "session"), _text(table, "label"), _number(table, "length"))
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
        return _text(table, "text").encode()
    if "hex" in table:
        try:
            return bytes.fromhex(_text(table, "hex"))
        except ValueError:
            raise PeerError("hex: expected hexadecimal digits") from None
    size = _number(table, "size")
    if size > MAX_MESSAGE:
        raise PeerError(f"size: expected at most {MAX_MESSAGE}")
    return made_octets(size, _number(table, "seed"))


def _text(table: dict[str, object], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise PeerError(f"{key}: expected a string")
    return value


def _number(table: dict[str, object], key: str) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PeerError(f"{key}: expected a number from 0")
    return value
