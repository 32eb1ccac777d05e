"""Bodies of the control messages of ATLS over MQTT (JSON, strict and bounded), and the content types of units.

Every body is one JSON object of at most 2,048 octets with exactly the keys listed here; keys that may be left out have
a default. Units themselves are raw octets and are no concern of this file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from typing import Any, Final, TypeVar

from carriage import strict_json
from carriage.mqtt.topics import MAX_N, valid_session
from layer.errors import PeerError, UsageError

MAX_BODY: Final = 2048
JSON_TYPE: Final = "application/json"
CONTENT_TYPES: Final = {
    "atls": "application/atls",
    "adtls": "application/adtls",
    "atls-data": "application/atls-data",
    "oscore": "application/oscore",
    "edhoc": "application/edhoc+cbor-seq",
}
"""Kind of a session to content type of its units (RFC 8613, RFC 9528; the atls ones are not registered)."""
KINDS: Final = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
"""Content type to kind."""
UNIT_EXPIRY: Final = 60
"""Message Expiry Interval of a unit of a handshake, seconds."""
MAX_RETRY_AFTER: Final = 86_400
MAX_REASON: Final = 128


class StatusEvent(Enum):
    """What a status message says about a session."""

    CLOSED = "closed"
    DROPPED = "dropped"
    EXPIRED = "expired"
    BROKEN = "broken"


class State(Enum):
    """What the gateway says about itself."""

    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """On ``atls/open``. ``to``: a resource name of the policy; ``nonce``: 8 to 32 octets in lowercase hexadecimal."""

    to: str
    kind: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Opened:
    """On ``atls/status``: the request with this nonce has this session."""

    nonce: str
    session: str


@dataclass(frozen=True, slots=True)
class Refused:
    """On ``atls/status``. ``retry_after``: seconds, None where trying again won't help."""

    nonce: str
    reason: str
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """On ``atls/incoming``: ``sender`` opened a session towards this client (the key is ``from``)."""

    session: str
    kind: str
    sender: str


@dataclass(frozen=True, slots=True)
class Status:
    """On ``{session}/status``. ``n``: the unit concerned, None if it is about the session."""

    event: StatusEvent
    n: int | None = None
    reason: str = ""
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """On ``atls/gone``, a client's will: it vanished. With ``back`` it says itself that it is there, when it connects.

    ``run``: that of the client, 8 to 32 octets in lowercase hexadecimal; empty if it names none.
    """

    run: str = ""
    back: bool = False


@dataclass(frozen=True, slots=True)
class BridgeState:
    """On ``bridge/state``, retained. ``epoch`` changes at each start of the gateway; older sessions are gone."""

    epoch: int
    state: State


Body = OpenRequest | Opened | Refused | Incoming | Status | Gone | BridgeState
_B = TypeVar("_B", OpenRequest, Opened, Refused, Incoming, Status, Gone, BridgeState)

_NAME = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@/-"


def valid_resource(name: str) -> bool:
    """Whether ``name`` may name a target or a sender: 1 to 64 of ``A-Z a-z 0-9 . _ ~ : @ / -``."""
    return 0 < len(name) <= 64 and not name.strip(_NAME)


def valid_nonce(nonce: str) -> bool:
    return 16 <= len(nonce) <= 64 and len(nonce) % 2 == 0 and not nonce.strip("0123456789abcdef")


def _text(check: Callable[[str], bool]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not check(value):
            raise ValueError
        return value

    return read


def _whole(limit: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= limit:  # a bool is no number
            raise ValueError
        return value

    return read


def _reason(reason: str) -> bool:
    return len(reason) <= MAX_REASON and reason.isascii() and reason.isprintable()


def _choice(kind: type[Enum]) -> Callable[[Any], Enum]:
    def read(value: Any) -> Enum:
        if not isinstance(value, str):
            raise ValueError
        return kind(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "to": _text(valid_resource),
    "kind": _text(CONTENT_TYPES.__contains__),
    "nonce": _text(valid_nonce),
    "session": _text(valid_session),
    "reason": _text(_reason),
    "retry_after": _whole(MAX_RETRY_AFTER),
    "sender": _text(valid_resource),
    "n": _whole(MAX_N),
    "epoch": _whole(2**53 - 1),  # what every JSON reader keeps exactly
    "run": _text(lambda run: not run or valid_nonce(run)),
    "back": _flag,
    "state": _choice(State),
    "event": _choice(StatusEvent),
}
_KEYS = {"sender": "from"}
_ANSWERS: dict[type[Body], str] = {Opened: "opened", Refused: "refused"}


def encode(body: Body) -> bytes:
    """The JSON of ``body``. UsageError if a value would not be read back."""
    values: dict[str, Any] = {}
    answer = _ANSWERS.get(type(body))
    if answer is not None:
        values["event"] = answer
    for field in fields(body):
        value = getattr(body, field.name)
        if value is None:
            continue
        plain = value.value if isinstance(value, Enum) else value
        try:
            _READERS[field.name](plain)
        except ValueError as failure:
            raise UsageError(f"{type(body).__name__}: {field.name} has no valid value") from failure
        values[_KEYS.get(field.name, field.name)] = plain
    return json.dumps(values, separators=(",", ":")).encode()


def decode(kind: type[_B], payload: bytes) -> _B:
    """The ``kind`` of body in ``payload``. PeerError if it is none."""
    return _read(kind, read_object(payload))


def decode_answer(payload: bytes) -> Opened | Refused:
    """The answer to an open. PeerError if it is none."""
    values = read_object(payload)
    event = values.pop("event", None)
    if event == "opened":
        return _read(Opened, values)
    if event == "refused":
        return _read(Refused, values)
    raise PeerError("answer that neither opens nor refuses")


def decode_gone(payload: bytes) -> Gone:
    """The body on ``atls/gone``; an empty one is that of a client that names no run. PeerError if it is none."""
    return decode(Gone, payload) if payload else Gone()


def read_object(payload: bytes) -> dict[str, Any]:
    """A JSON object of at most ``MAX_BODY`` octets, read strictly. PeerError."""
    if len(payload) > MAX_BODY:
        raise PeerError("message body too long")
    values = strict_json.read(payload, "proper JSON in the message body", constants=True)
    if not isinstance(values, dict):
        raise PeerError("message body is no JSON object")
    return values


def _read(kind: type[_B], values: dict[str, Any]) -> _B:
    found: dict[str, Any] = {}
    for field in fields(kind):
        key = _KEYS.get(field.name, field.name)
        if key in values:
            try:
                found[field.name] = _READERS[field.name](values.pop(key))
            except ValueError as failure:
                raise PeerError(f"{kind.__name__}: {key} has no valid value") from failure
        elif field.default is MISSING:
            raise PeerError(f"{kind.__name__}: {key} is missing")
    if values:
        raise PeerError(f"{kind.__name__}: unknown key")
    return kind(**found)
