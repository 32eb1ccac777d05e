"""The CoAP option registry as a table, option values, and small functions over a message's options.

Options are ``tuple[tuple[number, value], ...]`` everywhere; encoders put them in order. Sources: RFC 7252 sections 3.2,
5.4 and 5.10; RFC 7641 (Observe), RFC 7959 (Block), RFC 7967 (No-Response), RFC 8613 (OSCORE), RFC 8768 (Hop-Limit),
RFC 9175 (Echo, Request-Tag), RFC 9177 (Q-Block), RFC 9668 (EDHOC).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from layer.errors import PeerError, UsageError

Options = tuple[tuple[int, bytes], ...]

IF_MATCH: Final = 1
URI_HOST: Final = 3
ETAG: Final = 4
IF_NONE_MATCH: Final = 5
OBSERVE: Final = 6
URI_PORT: Final = 7
LOCATION_PATH: Final = 8
OSCORE: Final = 9
URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
URI_QUERY: Final = 15
HOP_LIMIT: Final = 16
ACCEPT: Final = 17
Q_BLOCK1: Final = 19
LOCATION_QUERY: Final = 20
EDHOC: Final = 21
BLOCK2: Final = 23
BLOCK1: Final = 27
SIZE2: Final = 28
Q_BLOCK2: Final = 31
PROXY_URI: Final = 35
PROXY_SCHEME: Final = 39
SIZE1: Final = 60
ECHO: Final = 252
NO_RESPONSE: Final = 258
REQUEST_TAG: Final = 292


class Format(Enum):
    """How an option's value is written (RFC 7252 section 3.2)."""

    EMPTY = "empty"
    OPAQUE = "opaque"
    UINT = "uint"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Definition:
    """One row of the registry: lengths in octets, both ends included."""

    number: int
    name: str
    format: Format
    shortest: int
    longest: int
    repeatable: bool = False

    @property
    def critical(self) -> bool:
        """A receiver that does not understand it must refuse the message (RFC 7252 section 5.4.1)."""
        return bool(self.number & 1)

    @property
    def unsafe(self) -> bool:
        """A proxy that does not understand it must not forward the message (section 5.4.2)."""
        return bool(self.number & 2)

    @property
    def no_cache_key(self) -> bool:
        """Safe to forward and no part of the cache key (section 5.4.6)."""
        return self.number & 0x1E == 0x1C


DEFINITIONS: Final[dict[int, Definition]] = {
    row.number: row
    for row in (
        Definition(IF_MATCH, "If-Match", Format.OPAQUE, 0, 8, True),
        Definition(URI_HOST, "Uri-Host", Format.STRING, 1, 255),
        Definition(ETAG, "ETag", Format.OPAQUE, 1, 8, True),
        Definition(IF_NONE_MATCH, "If-None-Match", Format.EMPTY, 0, 0),
        Definition(OBSERVE, "Observe", Format.UINT, 0, 3),
        Definition(URI_PORT, "Uri-Port", Format.UINT, 0, 2),
        Definition(LOCATION_PATH, "Location-Path", Format.STRING, 0, 255, True),
        Definition(OSCORE, "OSCORE", Format.OPAQUE, 0, 255),
        Definition(URI_PATH, "Uri-Path", Format.STRING, 0, 255, True),
        Definition(CONTENT_FORMAT, "Content-Format", Format.UINT, 0, 2),
        Definition(MAX_AGE, "Max-Age", Format.UINT, 0, 4),
        Definition(URI_QUERY, "Uri-Query", Format.STRING, 0, 255, True),
        Definition(HOP_LIMIT, "Hop-Limit", Format.UINT, 1, 1),
        Definition(ACCEPT, "Accept", Format.UINT, 0, 2),
        Definition(Q_BLOCK1, "Q-Block1", Format.UINT, 0, 3),
        Definition(LOCATION_QUERY, "Location-Query", Format.STRING, 0, 255, True),
        Definition(EDHOC, "EDHOC", Format.EMPTY, 0, 0),
        Definition(BLOCK2, "Block2", Format.UINT, 0, 3),
        Definition(BLOCK1, "Block1", Format.UINT, 0, 3),
        Definition(SIZE2, "Size2", Format.UINT, 0, 4),
        Definition(Q_BLOCK2, "Q-Block2", Format.UINT, 0, 3, True),
        Definition(PROXY_URI, "Proxy-Uri", Format.STRING, 1, 1034),
        Definition(PROXY_SCHEME, "Proxy-Scheme", Format.STRING, 1, 255),
        Definition(SIZE1, "Size1", Format.UINT, 0, 4),
        Definition(ECHO, "Echo", Format.OPAQUE, 1, 40),
        Definition(NO_RESPONSE, "No-Response", Format.UINT, 0, 1),
        Definition(REQUEST_TAG, "Request-Tag", Format.OPAQUE, 0, 8, True),
    )
}

# What this room carries out itself or hands on untouched. A proxy adds Proxy-Uri and Proxy-Scheme, a forwarder of
# OSCORE that one, a resource with conditions If-Match and If-None-Match.
UNDERSTOOD: Final[frozenset[int]] = frozenset(
    number
    for number in DEFINITIONS
    if number not in (OSCORE, EDHOC, Q_BLOCK1, Q_BLOCK2, PROXY_URI, PROXY_SCHEME, IF_MATCH, IF_NONE_MATCH)
)

_RULES: Final[dict[int, tuple[int, int, bool]]] = {
    row.number: (row.shortest, row.longest, row.repeatable) for row in DEFINITIONS.values()
}


def encode_uint(value: int) -> bytes:
    """The shortest form: zero is no octet at all (RFC 7252 section 3.2)."""
    if value < 0:
        raise UsageError("an option value can't be negative")
    return value.to_bytes((value.bit_length() + 7) >> 3, "big")


def decode_uint(value: bytes) -> int:
    """Leading zeros are accepted, as the RFC asks of a recipient."""
    return int.from_bytes(value, "big")


def first(options: Options, number: int) -> bytes | None:
    """The value of the first option with this number, or ``None``."""
    for candidate, value in options:
        if candidate == number:
            return value
    return None


def every(options: Options, number: int) -> list[bytes]:
    """All values of the options with this number, in order."""
    return [value for candidate, value in options if candidate == number]


def first_uint(options: Options, number: int) -> int | None:
    """The first option with this number as unsigned integer, or ``None``."""
    value = first(options, number)
    return None if value is None else int.from_bytes(value, "big")


def strings(options: Options, number: int) -> tuple[str, ...]:
    """All values of a string option (Uri-Path, Uri-Query ...). Raises ``PeerError`` for what is not UTF-8."""
    try:
        return tuple(value.decode() for candidate, value in options if candidate == number)
    except UnicodeDecodeError:
        raise PeerError("a string option is not UTF-8") from None


def without(options: Options, numbers: frozenset[int]) -> Options:
    """The options whose number is not among ``numbers``."""
    return tuple(option for option in options if option[0] not in numbers)


def uri(path: Iterable[str] = (), query: Iterable[str] = ()) -> Options:
    """Uri-Path and Uri-Query options. Raises ``UsageError`` if a segment is longer than 255 octets."""
    made = tuple((URI_PATH, segment.encode()) for segment in path)
    made += tuple((URI_QUERY, segment.encode()) for segment in query)
    if any(len(value) > 255 for _, value in made):
        raise UsageError("a path or query segment is longer than 255 octets")
    return made


def screen(options: Options, understood: frozenset[int]) -> tuple[Options, int | None]:
    """Apply RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5.

    Returns the options that count and the first critical one that can't be accepted (``None`` if all is well). An
    option with a wrong length, or repeated though it is not repeatable, is treated like an unknown one: ignored if
    elective.
    """
    kept: list[tuple[int, bytes]] | None = None
    refused: int | None = None
    previous = -1
    for at, option in enumerate(options):
        number, value = option
        rule = _RULES.get(number)
        if rule is None:
            good = number in understood or not number & 1
        else:
            fits = rule[0] <= len(value) <= rule[1] and (number != previous or rule[2])
            good = fits and (number in understood or not number & 1)
        previous = number
        if good:
            if kept is not None:
                kept.append(option)
            continue
        if number & 1 and refused is None:
            refused = number
        if kept is None:
            kept = list(options[:at])
    return (options if kept is None else tuple(kept)), refused
