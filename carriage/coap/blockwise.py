"""Block-wise transfer (RFC 7959) as values: the Block option, a body cut into blocks, blocks put together again.

The client's and the server's side of a connection decide when which block is requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from carriage.coap import options as opt
from carriage.coap.message import encode_options
from carriage.coap.options import Options
from layer.errors import PeerError, UsageError

MAX_SZX: Final = 6  # 1024 octets; 7 is reserved over datagrams (section 2.2)
MAX_NUMBER: Final = (1 << 20) - 1

# What the connection adds and takes away by itself.
TRANSFER_OPTIONS: Final = frozenset((opt.BLOCK1, opt.BLOCK2, opt.SIZE1, opt.SIZE2))
# What does not distinguish bodies: RFC 7959 section 2.5 asks for the cache key without the Block options.
_NOT_IN_KEY: Final = TRANSFER_OPTIONS | {
    opt.OBSERVE,
    opt.ETAG,
    opt.CONTENT_FORMAT,
    opt.ECHO,
    opt.IF_MATCH,
    opt.IF_NONE_MATCH,
}

Key = tuple[int, Options]


@dataclass(frozen=True, slots=True)
class Block:
    """One Block1 or Block2 option: block ``number``, whether ``more`` follow, size exponent ``szx`` 0-6."""

    number: int
    more: bool
    szx: int

    @property
    def size(self) -> int:
        """Octets per block."""
        return 16 << self.szx

    @property
    def offset(self) -> int:
        """Octets before this block."""
        return self.number << (self.szx + 4)

    def encode(self) -> bytes:
        """The option value. Raises ``UsageError`` if the number does not fit 20 bits."""
        if not 0 <= self.number <= MAX_NUMBER or not 0 <= self.szx <= MAX_SZX:
            raise UsageError("a block number or size is out of range")
        return opt.encode_uint(self.number << 4 | self.more << 3 | self.szx)


def decode_block(value: bytes) -> Block:
    """Raises ``PeerError`` for a value over 3 octets or the reserved size 7."""
    if len(value) > 3:
        raise PeerError("a Block option over 3 octets")
    raw = int.from_bytes(value, "big")
    if raw & 7 == 7:
        raise PeerError("the block size 7 is reserved")
    return Block(raw >> 4, bool(raw & 8), raw & 7)


def find_block(options: Options, number: int) -> Block | None:
    """The Block1 or Block2 option of a message. Raises ``PeerError``."""
    value = opt.first(options, number)
    return None if value is None else decode_block(value)


def body_key(code: int, options: Options) -> Key:
    """The key under which two requests of one peer are about the same body."""
    return code, tuple(option for option in options if option[0] not in _NOT_IN_KEY and option[0] & 0x1E != 0x1C)


# Header, token, marker, and the options that a transfer adds at the most: Block1 and Size1 (client); Observe, ETag,
# Block1, Block2 and Size2 (server, whose clients choose tokens of up to 8 octets).
IN_REQUESTS: Final = 24
IN_RESPONSES: Final = 40
_SURELY_FITS: Final = 256  # octets of body that need no look at the options


def room(size: int, options: Options, body_limit: int, message_limit: int, overhead: int) -> int:
    """The octets of a body of ``size`` that fit in one message beside these options (16 at least).

    ``overhead``: ``IN_REQUESTS`` or ``IN_RESPONSES``.
    """
    if size <= _SURELY_FITS and len(options) <= 8:
        return size
    return max(16, min(body_limit, message_limit - overhead - len(encode_options(options, b""))))


def szx_for(limit: int) -> int:
    """The largest size exponent whose blocks fit ``limit`` octets (16 at least)."""
    return min(MAX_SZX, max(0, limit.bit_length() - 5))


@dataclass(slots=True)
class Outgoing:
    """A body that goes out in blocks, ``offset`` octets of which are through."""

    body: bytes
    szx: int
    offset: int = 0

    def block(self) -> tuple[Block, bytes]:
        """The block at ``offset``."""
        return cut(self.body, self.offset >> (self.szx + 4), self.szx)

    def advance(self, confirmed: Block) -> bool:
        """The peer has the block at ``offset``; it may ask for smaller ones. False if it names another block."""
        sent, chunk = self.block()
        if confirmed.number != sent.number and confirmed.offset != sent.offset:
            return False
        self.offset += len(chunk)
        self.szx = min(self.szx, confirmed.szx)
        return True

    @property
    def complete(self) -> bool:
        """Nothing is left to send."""
        return self.offset >= len(self.body)


def cut(body: bytes, number: int, szx: int) -> tuple[Block, bytes]:
    """Block ``number`` of a body; beyond its end the chunk is empty."""
    start = number << (szx + 4)
    end = start + (16 << szx)
    return Block(number, end < len(body), szx), body[start:end]


@dataclass(slots=True)
class Incoming:
    """A body that arrives in blocks."""

    deadline: float = 0.0
    octets: bytearray = field(default_factory=bytearray)

    def add(self, block: Block, chunk: bytes, limit: int) -> str | None:
        """Take the next block. Returns what is wrong: ``"gap"``, ``"size"`` or ``"limit"``; ``None`` if it fits."""
        if block.offset != len(self.octets):
            return "gap"
        if (block.more and len(chunk) != block.size) or len(chunk) > block.size:
            return "size"
        if len(self.octets) + len(chunk) > limit:
            return "limit"
        self.octets += chunk
        return None
