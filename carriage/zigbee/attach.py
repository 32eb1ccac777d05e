"""The attachment protocol: how a process stands behind a virtual ZigBee device. Pure codec; no I/O here.

A simulated network offers a Unix stream socket. A process that connects may take one endpoint of one device,
(EUI64, endpoint), and then exchanges ZCL octets with the coordinator as that endpoint's application. The
network answers ZDO and the Basic cluster itself; every frame for any other cluster of the endpoint is handed over.

Framing: one JSON object a line, UTF-8, ended by LF, at most ``MAX_LINE`` octets with the LF. ``type`` names the
message; no key may be missing, doubled or unknown. Octets are lower- or upper-case hexadecimal without separators;
an EUI64 is eight colon-separated octets, most significant first; numbers are JSON integers.

To the network:

``attach``   the first line of a connection: takes the endpoint. Answer: ``attached`` or ``error`` and the end.
``join``     let the device in as soon as joining is open; a member waits for its network to run. Answer, when it
             happens: ``joined``.
``rejoin``   a device that belongs to the network comes back and announces itself; while none runs, as ``join``.
             Answer: ``joined`` or ``error``.
``leave``    leave the network. Answer: ``left``.
``send``     one APS frame to the coordinator. Answer with the same ``id``: ``sent``, or ``error``.

From the network:

``attached`` the endpoint is taken; ``nwk`` when the device belongs to the network already, else null.
``joined``   the device has this network address now.
``left``     the device belongs to no network now (asked for, or removed by the trust centre).
``sent``     ``delivered``: the APS acknowledgement came (``ack``), or the next hop took it (no ``ack``).
``received`` one APS frame from the coordinator. ``sequence`` is the APS counter.
``error``    ``code`` is one of ``ERROR_CODES``; ``id`` when it answers a ``send``, else null.

When the connection ends the device goes dark but stays a member; attaching again with the same EUI64 resumes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from layer.errors import PeerError, UsageError

#: octets of one line, LF included
MAX_LINE: Final = 4096
#: octets of one APS payload (ASDU) under network security alone, unfragmented
MAX_PAYLOAD: Final = 82
#: the same under APS encryption: 5 octets of auxiliary header and 4 of integrity code less
MAX_PAYLOAD_LINK_KEY: Final = 73
#: clusters in each list of a simple descriptor
MAX_CLUSTERS: Final = 32
#: octets of a Basic cluster string (ZCL8 3.2.2.2.5)
MAX_NAME: Final = 32

#: the endpoint is taken by another process or by the simulator itself
IN_USE: Final = "in-use"
#: this device can't be had (device table full, endpoint not allowed)
REFUSED: Final = "refused"
#: the device is no member of the running network
NOT_JOINED: Final = "not-joined"
#: the payload doesn't fit one APS frame
TOO_LONG: Final = "too-long"
#: too many sends without an answer
BUSY: Final = "busy"
#: the line broke the protocol; the connection ends
PROTOCOL: Final = "protocol"
ERROR_CODES: Final = frozenset({IN_USE, REFUSED, NOT_JOINED, TOO_LONG, BUSY, PROTOCOL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Take an endpoint. ``poll_interval`` is in seconds and counts only for a sleepy device."""

    eui64: int
    endpoint: int
    profile: int = 0x0104
    device_id: int = 0x0007
    input_clusters: tuple[int, ...] = ()
    output_clusters: tuple[int, ...] = ()
    manufacturer: str = ""
    model: str = ""
    sleepy: bool = False
    poll_interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Attached:
    nwk: int | None


@dataclass(frozen=True, slots=True)
class Join:
    pass


@dataclass(frozen=True, slots=True)
class Rejoin:
    pass


@dataclass(frozen=True, slots=True)
class Leave:
    pass


@dataclass(frozen=True, slots=True)
class Joined:
    nwk: int


@dataclass(frozen=True, slots=True)
class Left:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    id: int
    cluster: int
    destination_endpoint: int
    payload: bytes = field(repr=False)
    ack: bool = True
    link_key: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    id: int
    delivered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    cluster: int
    source_endpoint: int
    payload: bytes = field(repr=False)
    sequence: int
    link_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    code: str
    text: str
    id: int | None = None


Message = Attach | Attached | Join | Rejoin | Leave | Joined | Left | Send | Sent | Received | Error


def format_eui64(eui64: int) -> str:
    """An EUI64 as eight colon-separated octets, most significant first."""
    return eui64.to_bytes(8, "big").hex(":")


def parse_eui64(text: str) -> int:
    """The reverse of :func:`format_eui64`. Raises PeerError."""
    parts = text.split(":")
    if len(parts) != 8 or any(len(part) != 2 for part in parts):
        raise PeerError("an EUI64 is eight colon-separated octets")
    return int.from_bytes(_hex("".join(parts)), "big")


def _hex(text: str) -> bytes:
    # bytes.fromhex skips white space, which is no part of this protocol
    if not text.isascii() or any(character.isspace() for character in text):
        raise PeerError("octets are hexadecimal without separators")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise PeerError("octets are hexadecimal without separators") from None


def _integer(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise PeerError(f"an integer from {low} to {high} is expected")
        return value

    return check


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise PeerError("true or false is expected")
    return value


def _text(limit: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or len(value) > limit or not (value.isprintable() or not value):
            raise PeerError(f"printable text of at most {limit} octets is expected")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise PeerError("text with a lone surrogate") from None
        if size > limit:
            raise PeerError(f"printable text of at most {limit} octets is expected")
        return value

    return check


def _payload(value: object) -> bytes:
    if not isinstance(value, str):
        raise PeerError("octets are hexadecimal text")
    return _hex(value)


def _eui64(value: object) -> int:
    if not isinstance(value, str):
        raise PeerError("an EUI64 is text")
    return parse_eui64(value)


def _clusters(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_CLUSTERS:
        raise PeerError(f"a list of at most {MAX_CLUSTERS} clusters is expected")
    return tuple(_U16(item) for item in value)


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 86_400:  # type: ignore[operator]
        raise PeerError("seconds from 0 to 86400 are expected")
    return float(value)  # type: ignore[arg-type]


def _optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else check(value)


def _code(value: object) -> str:
    if not isinstance(value, str) or value not in ERROR_CODES:
        raise PeerError("an unknown error code")
    return value


_U16 = _integer(0, 0xFFFF)
_ENDPOINT = _integer(1, 240)
_ID = _integer(0, 0xFFFF_FFFF)
_NWK = _integer(0x0001, 0xFFF7)

#: message type -> (class, key -> check); the keys are the class's fields, in order
_SHAPES: Final[Mapping[str, tuple[type[Message], Mapping[str, Callable[[object], Any]]]]] = {
    "attach": (
        Attach,
        {
            "eui64": _eui64,
            "endpoint": _ENDPOINT,
            "profile": _U16,
            "device_id": _U16,
            "input_clusters": _clusters,
            "output_clusters": _clusters,
            "manufacturer": _text(MAX_NAME),
            "model": _text(MAX_NAME),
            "sleepy": _boolean,
            "poll_interval": _seconds,
        },
    ),
    "attached": (Attached, {"nwk": _optional(_NWK)}),
    "join": (Join, {}),
    "rejoin": (Rejoin, {}),
    "leave": (Leave, {}),
    "joined": (Joined, {"nwk": _NWK}),
    "left": (Left, {}),
    "send": (
        Send,
        {
            "id": _ID,
            "cluster": _U16,
            "destination_endpoint": _integer(0, 255),
            "payload": _payload,
            "ack": _boolean,
            "link_key": _boolean,
        },
    ),
    "sent": (Sent, {"id": _ID, "delivered": _boolean}),
    "received": (
        Received,
        {
            "cluster": _U16,
            "source_endpoint": _integer(0, 255),
            "payload": _payload,
            "sequence": _integer(0, 255),
            "link_key": _boolean,
        },
    ),
    "error": (Error, {"code": _code, "text": _text(200), "id": _optional(_ID)}),
}
_TYPE_OF: Final = {shape[0]: name for name, shape in _SHAPES.items()}


def _to_json(key: str, value: object) -> object:
    if type(value) is bytes:
        return value.hex()
    if key == "eui64" and type(value) is int:
        return format_eui64(value)
    return value


def _no_constant(_name: str) -> object:
    raise PeerError("not a number")


def _no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise PeerError("a key twice")
    return found


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_no_doubles, parse_constant=_no_constant)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def decode_object(line: bytes) -> dict[str, object]:
    """One line (without LF) as a JSON object with text keys, each once. Raises PeerError."""
    if len(line) >= MAX_LINE:
        raise PeerError("the line is too long")
    try:
        found = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise PeerError("the line is not JSON") from None
    if not isinstance(found, dict):
        raise PeerError("the line is not a JSON object")
    return found


def encode_object(value: Mapping[str, object]) -> bytes:
    """One JSON object as a line with its LF."""
    return _ENCODER.encode(value).encode() + b"\n"


def encode(message: Message) -> bytes:
    """A message as one line with its LF. Raises UsageError when it would break the protocol."""
    name = _TYPE_OF[type(message)]
    value: dict[str, object] = {"type": name}
    try:
        for key, check in _SHAPES[name][1].items():
            plain = _to_json(key, getattr(message, key))
            check(list(plain) if type(plain) is tuple else plain)
            value[key] = plain
    except PeerError as error:
        raise UsageError(f"{name}: {error}") from None
    line = encode_object(value)
    if len(line) > MAX_LINE:
        raise UsageError(f"{name}: the line is too long")
    return line


def decode(line: bytes) -> Message:
    """One line without its LF as a message. Raises PeerError and nothing else."""
    return from_object(decode_object(line))


def from_object(value: dict[str, object]) -> Message:
    """A decoded JSON object as a message. Raises PeerError and nothing else."""
    name = value.get("type")
    shape = _SHAPES.get(name) if isinstance(name, str) else None
    if shape is None:
        raise PeerError("an unknown message type")
    kind, checks = shape
    if len(value) != len(checks) + 1:
        raise PeerError(f"{name}: keys missing or unknown")
    fields: dict[str, Any] = {}
    for key, check in checks.items():
        if key not in value:
            raise PeerError(f"{name}: {key} is missing")
        try:
            fields[key] = check(value[key])
        except PeerError as error:
            raise PeerError(f"{name}: {key}: {error}") from None
    return kind(**fields)


def payload_limit(link_key: bool) -> int:
    """Octets that one APS frame carries."""
    return MAX_PAYLOAD_LINK_KEY if link_key else MAX_PAYLOAD


class Lines:
    """Cuts a stream into lines; holds at most one unfinished line of ``MAX_LINE`` octets."""

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._rest = b""
        self._limit = limit

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their LF. Raises PeerError on one that is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= self._limit or any(len(line) >= self._limit for line in lines):
            self._rest = b""
            raise PeerError("the line is too long")
        return lines
