"""A sealed file gives back what was written, or says in one line why it doesn't: never other octets, never fewer."""

from __future__ import annotations

import errno
import gc
import io

import pytest

from gateway.runtime.sealed_file import SealedFileError, SealedReader, SealedWriter, WrongPassphraseError, is_sealed

CHUNK = 32
CHEAP = (10, 8, 1)
HEADER = 64
SEALED = CHUNK + 16
WORDS = "correct horse"


def sealed(plain: bytes, passphrase: str = WORDS) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out, passphrase, chunk=CHUNK, cost=CHEAP)
    for at in range(0, len(plain), 7):
        writer.write(plain[at : at + 7])
    writer.close()
    return out.getvalue()


def opened(octets: bytes, passphrase: str = WORDS) -> bytes:
    reader = SealedReader(io.BytesIO(octets), passphrase)
    return io.BufferedReader(reader).read()


def chunks(octets: bytes) -> list[bytes]:
    return [octets[at : at + SEALED] for at in range(HEADER, len(octets), SEALED)]


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 3])
def test_what_is_written_is_read(length: int) -> None:
    plain = bytes(range(256))[:length]
    assert opened(sealed(plain)) == plain


def test_no_two_files_are_alike_and_none_shows_its_content() -> None:
    plain = b"network key 0123456789 " * 20
    first, second = sealed(plain), sealed(plain)
    assert not set(chunks(first)) & set(chunks(second))
    assert b"network" not in first
    assert is_sealed(io.BytesIO(first))


def test_every_octet_counts() -> None:
    octets = sealed(bytes(100))
    for at in range(len(octets)):
        altered = bytearray(octets)
        altered[at] ^= 0x01
        with pytest.raises(SealedFileError) as refused:
            opened(bytes(altered))
        assert "\n" not in str(refused.value)


def test_a_file_that_is_cut_short_at_any_octet_is_refused() -> None:
    octets = sealed(bytes(100))
    for length in range(len(octets)):
        with pytest.raises(SealedFileError):
            opened(octets[:length])


@pytest.mark.parametrize(
    "order",
    [[1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 3], [0, 1, 1, 2, 3], [0, 1, 2, 3, 3], [3], [0, 1, 2]],
    ids=lambda order: "".join(map(str, order)),
)
def test_chunks_that_are_moved_doubled_or_left_out_are_refused(order: list[int]) -> None:
    octets = sealed(bytes(range(110)))
    parts = chunks(octets)
    assert len(parts) == 4
    with pytest.raises(SealedFileError, match="damaged behind octet"):
        opened(octets[:HEADER] + b"".join(parts[at] for at in order))


def test_a_chunk_of_another_file_is_refused() -> None:
    first, second = sealed(bytes(100)), sealed(bytes(100))
    with pytest.raises(SealedFileError, match="damaged"):
        opened(first[: HEADER + SEALED] + second[HEADER + SEALED :])


def test_a_wrong_passphrase_is_distinguished_from_damage() -> None:
    with pytest.raises(WrongPassphraseError):
        opened(sealed(b"x"), "battery staple")


def test_one_passphrase_from_two_keyboards() -> None:
    assert opened(sealed(b"x", "Küchentür"), "Ku\u0308chentu\u0308r") == b"x"


def test_what_is_no_backup_and_what_is_of_a_newer_format() -> None:
    octets = sealed(b"x")
    with pytest.raises(SealedFileError, match="no backup"):
        opened(b"layer: 1\n" * 20)
    with pytest.raises(SealedFileError, match="version 2 of the format"):
        opened(octets[:8] + b"\x02" + octets[9:])


@pytest.mark.parametrize("at, value", [(9, 30), (10, 255), (11, 255), (9, 0), (28, 255)])
def test_a_header_can_not_make_us_work_for_long(at: int, value: int) -> None:
    octets = bytearray(sealed(b"x"))
    octets[at] = value
    with pytest.raises(SealedFileError, match="header is damaged"):
        opened(bytes(octets))


class Full(io.BytesIO):
    """A disk without room; ``tried``: the writes."""

    tried = 0

    def write(self, octets: object) -> int:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def test_one_that_can_not_begin_says_so_once() -> None:
    full = Full()
    with pytest.raises(OSError, match="No space left"):
        SealedWriter(full, WORDS, cost=CHEAP)
    gc.collect()
    assert full.tried == 1, "what is left of it writes no end"


def test_one_that_was_abandoned_is_refused() -> None:
    out = io.BytesIO()
    writer = SealedWriter(out, WORDS, chunk=CHUNK, cost=CHEAP)
    writer.write(bytes(3 * CHUNK + 1))
    writer.abandon()
    with pytest.raises(SealedFileError):
        opened(out.getvalue())
