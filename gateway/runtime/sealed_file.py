"""A file under a passphrase: written and read as a stream, and nothing of it is believed that is not authentic.

Layout (numbers big-endian)::

    magic 8 | version 1 | log2(N) 1 | r 1 | p 1 | salt 16 | chunk 4 | check 32        the header
    ciphertext of ``chunk`` octets + tag 16, ... , the last one shorter               AES-256-GCM

scrypt (RFC 7914) makes 64 octets of passphrase and salt: the key of the chunks, and that of ``check``, which is
HMAC-SHA-256 of the header before it and distinguishes a wrong passphrase from a damaged file. The salt is new for each
file, and so is the key. Chunks are sealed as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the nonce is the
chunk's number (11 octets) and whether it is the last (1), so that none can be left out, doubled, moved, or cut off the
end.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import struct
import unicodedata
from typing import BinaryIO, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"ATLSBKUP"
VERSION: Final = 1
CHUNK: Final = 64 * 1024
COST: Final = (16, 8, 2)
"""log2(N), r, p of scrypt: 64 MiB and a third of a second on a PC, a few seconds on a small board."""
_MOST: Final = (18, 8, 4)
"""The bounds of scrypt's parameters: no file can make a reader work for minutes, or want gigabytes of memory."""
_HEAD: Final = struct.Struct(">8sBBBB16sI")
_CHECK: Final = 32
_TAG: Final = 16


class SealedFileError(Exception):
    """The file can't be read; the text says why and what to do, in one line."""


class WrongPassphraseError(SealedFileError):
    """The passphrase is another one."""


class _Keys(NamedTuple):
    chunks: bytes
    header: bytes


class SealedWriter(io.RawIOBase):
    """Writes a sealed file into ``out``; nothing is whole before ``close``, which does not close ``out``."""

    _going_on = False
    """Whether the end is still to be written: not of one that could not even begin."""

    def __init__(
        self, out: BinaryIO, passphrase: str, *, chunk: int = CHUNK, cost: tuple[int, int, int] = COST
    ) -> None:
        self._out = out
        self._chunk = chunk
        self._number = 0
        self._waiting = bytearray()
        head = _HEAD.pack(MAGIC, VERSION, *cost, os.urandom(16), chunk)
        keys = _keys(passphrase, head, cost)
        self._header = head + hmac.digest(keys.header, head, "sha256")
        self._cipher = AESGCM(keys.chunks)
        out.write(self._header)
        self._going_on = True

    def writable(self) -> bool:
        return True

    def write(self, octets: object) -> int:
        data = memoryview(octets)  # type: ignore[arg-type]
        self._waiting += data
        while len(self._waiting) > self._chunk:  # the last one is written by close()
            self._seal(bytes(self._waiting[: self._chunk]), last=False)
            del self._waiting[: self._chunk]
        return len(data)

    def close(self) -> None:
        if self._going_on:
            self._going_on = False
            self._seal(bytes(self._waiting), last=True)
        super().close()

    def abandon(self) -> None:
        """Close without an end: what was written so far is refused by every reader."""
        self._going_on = False
        super().close()

    def _seal(self, octets: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last), octets, self._header))
        self._number += 1


class SealedReader(io.RawIOBase):
    """Reads a sealed file from ``source``: only octets that are authentic, in their order.

    SealedFileError: it is no such file, of another version, or damaged. WrongPassphraseError.
    """

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        self._source = source
        head = source.read(_HEAD.size)
        magic, version, *cost, _, chunk = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0, 0, 0, b"", 0)
        if magic != MAGIC:
            raise SealedFileError("it is no backup of an ATLS gateway")
        if version != VERSION:
            raise SealedFileError(
                f"it has version {version} of the format, and this program reads version {VERSION}: use the program "
                "that made it, or a newer one"
            )
        sane = all(1 <= asked <= most for asked, most in zip(cost, _MOST, strict=True))
        if not sane or not 1 <= chunk <= 16 * CHUNK:
            raise SealedFileError("its header is damaged: no backup was written with such parameters")
        keys = _keys(passphrase, head, (cost[0], cost[1], cost[2]))
        check = source.read(_CHECK)
        if not hmac.compare_digest(check, hmac.digest(keys.header, head, "sha256")):
            raise WrongPassphraseError("the passphrase is another one (or the first octets of the file are damaged)")
        self._header = head + check
        self._cipher = AESGCM(keys.chunks)
        self._sealed = chunk + _TAG
        self._number = 0
        self._next = source.read(self._sealed)
        self._open = memoryview(b"")
        self._over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]
        while not self._open and not self._over:
            self._unseal()
        count = min(len(target), len(self._open))
        target[:count] = self._open[:count]
        self._open = self._open[count:]
        return count

    def finish(self) -> None:
        """Read to the end, so that all of it is known to be there."""
        while self.read(CHUNK):
            pass

    def _unseal(self) -> None:
        sealed, self._next = self._next, self._source.read(self._sealed)
        last = not self._next
        try:
            plain = self._cipher.decrypt(_nonce(self._number, last), sealed, self._header)
        except InvalidTag:
            raise SealedFileError(
                f"it is damaged behind octet {len(self._header) + self._number * self._sealed}: altered, or not all of "
                "it is there; take another copy"
            ) from None
        self._number += 1
        self._over = last
        self._open = memoryview(plain)


def is_sealed(source: BinaryIO) -> bool:
    """Whether a file begins as ours do."""
    return source.read(len(MAGIC)) == MAGIC


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes((last,))


def _keys(passphrase: str, head: bytes, cost: tuple[int, int, int]) -> _Keys:
    salt = _HEAD.unpack(head)[5]
    words = unicodedata.normalize("NFKC", passphrase).encode()  # two keyboards, one passphrase
    log_n, r, p = cost
    made = hashlib.scrypt(
        words, salt=salt, n=1 << log_n, r=r, p=p, maxmem=(1 << 20) + 128 * r * ((1 << log_n) + p), dklen=64
    )
    return _Keys(made[:32], made[32:])
