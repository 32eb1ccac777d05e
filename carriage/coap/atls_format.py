"""The names and numbers of ATLS over CoAP that both sides share: kinds, content formats, identifiers, reasons.

Nothing here is registered: the content formats are of the experimental range (RFC 7252 section 12.3) and configurable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from carriage.coap import codes
from carriage.identifiers import MAX_N
from layer.errors import PeerError, UsageError

Kind = Literal["atls", "adtls", "atls-data"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

LINK_FORMAT: Final = 40  # application/link-format

# The adapters' reason names and their codes. Every refusal carries the name as diagnostic payload, so that a client can
# distinguish reasons that share a code.
REASON_CODES: Final[dict[str, int]] = {
    "denied": codes.FORBIDDEN,
    "too-large": codes.REQUEST_ENTITY_TOO_LARGE,
    "over-rate": codes.TOO_MANY_REQUESTS,
    "content": codes.UNSUPPORTED_CONTENT_FORMAT,
    "busy": codes.SERVICE_UNAVAILABLE,
    "unknown": codes.NOT_FOUND,
    "closed": codes.NOT_FOUND,
    "expired": codes.GATEWAY_TIMEOUT,
    "unreachable": codes.GATEWAY_TIMEOUT,
    "timeout": codes.GATEWAY_TIMEOUT,
    "link": codes.BAD_GATEWAY,
    "broken": codes.BAD_GATEWAY,
    "restarted": codes.BAD_GATEWAY,
    "rejected": codes.BAD_GATEWAY,
    "bad-request": codes.BAD_REQUEST,
    "bad-option": codes.BAD_OPTION,
    "method": codes.METHOD_NOT_ALLOWED,
    "not-acceptable": codes.NOT_ACCEPTABLE,
    "order": codes.CONFLICT,  # a unit number that the session can't take
    "superseded": codes.CONFLICT,  # a newer command for the same property took its place
    "internal": codes.INTERNAL_SERVER_ERROR,
}
_REASONS: Final[dict[int, str]] = {}
for _name, _code in REASON_CODES.items():
    _REASONS.setdefault(_code, _name)
_REASONS[codes.GATEWAY_TIMEOUT] = "timeout"
_REASONS[codes.BAD_GATEWAY] = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFormats:
    """The content format number of each kind."""

    atls: int = 65_000
    adtls: int = 65_001
    atls_data: int = 65_002
    numbers: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    """By kind."""
    kinds: dict[int, Kind] = field(init=False, repr=False, compare=False, default_factory=dict)
    """By number."""

    def __post_init__(self) -> None:
        numbers = (self.atls, self.adtls, self.atls_data)
        if len(set(numbers)) < len(numbers) or not all(0 <= number <= 0xFFFF for number in numbers):
            raise UsageError("content formats are three different numbers of 16 bits")
        for kind, number in zip(KINDS, numbers, strict=True):
            self.numbers[kind] = number
            self.kinds[number] = kind


DEFAULT_FORMATS: Final = ContentFormats()


def etag_of(n: int) -> bytes:
    """The ETag of unit ``n``: the number in the fewest octets, at least one (an ETag can't be empty)."""
    if not 0 <= n <= MAX_N:
        raise UsageError("a unit number has 64 bits")
    return n.to_bytes(max(1, (n.bit_length() + 7) >> 3), "big")


def number_of(etag: bytes) -> int:
    """The unit number of an ETag. Raises ``PeerError`` for what ``etag_of`` does not make."""
    if not etag or len(etag) > 8 or (len(etag) > 1 and etag[0] == 0):
        raise PeerError("an ETag that is no unit number")
    return int.from_bytes(etag, "big")


def reason_of(code: int, payload: bytes) -> str:
    """The reason name of a refusal: the diagnostic payload if it is a name that fits the code, else by the code."""
    if len(payload) <= 16:
        name = payload.decode("latin-1")
        if REASON_CODES.get(name) == code:
            return name
    return _REASONS.get(code, "internal" if code >= codes.INTERNAL_SERVER_ERROR else "bad-request")
