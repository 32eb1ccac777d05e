"""The search for secrets itself: it finds every form in another process, and says so if it can't look."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e import memory

# Holds what comes in, one hexadecimal line each, as the octets that the line stands for, and nothing else of it.
_HOLDER = """
import ctypes, sys
held = []
print("ready", flush=True)
for line in sys.stdin.buffer:
    octets = bytearray(bytes.fromhex(line.decode()))
    held.append(octets)
    print(len(held), flush=True)
"""

# A page of a file that is shorter than its mapping can't be read: the kernel calls it readable all the same.
_HOLE = """
import mmap, os, sys, tempfile
file = tempfile.TemporaryFile()
file.truncate(2 * mmap.PAGESIZE)
view = mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE, prot=mmap.PROT_READ)
file.truncate(0)
print("ready", flush=True)
sys.stdin.read()
"""

SECRET = secrets.token_bytes(48)


def _encodings(secret: bytes) -> dict[str, bytes]:
    """What a leak in each form would look like, with other octets around it."""
    found = {"raw": b"<" + secret + b">", "hex": b"key=" + secret.hex().encode()}
    found["HEX"] = b"key=" + secret.hex().upper().encode()
    for shift in range(3):
        around = b"abc"[:shift] + secret + b"xyz"
        found[f"base64+{shift}"] = base64.b64encode(around)
        found[f"base64url+{shift}"] = base64.urlsafe_b64encode(around)
    text = base64.b64encode(secret * 2)
    found["pem"] = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return found


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        # While it loads a library, that is mapped beyond its end for a moment, and can't be read there.
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_every_form_has_a_case() -> None:
    assert _encodings(SECRET).keys() == memory.forms(SECRET).keys()


@pytest.mark.parametrize("length", range(32, 35))
@pytest.mark.parametrize("shift", range(3))
def test_base64_is_found_whatever_surrounds_it(length: int, shift: int) -> None:
    secret = secrets.token_bytes(length)
    for before in (b"\x00\x00\x00", b"\xff\xff\xff", b"abc"):
        for after in (b"", b"\x00", b"\xff\xff"):
            text = base64.b64encode(before[:shift] + secret + after)
            assert memory.forms(secret)[f"base64+{shift}"] in text


@pytest.mark.process
@pytest.mark.parametrize("form", list(_encodings(SECRET)))
def test_a_form_is_found_in_another_process(holder: subprocess.Popen[bytes], form: str) -> None:
    assert holder.stdin is not None and holder.stdout is not None
    secret = secrets.token_bytes(48)
    subject = secret * 2 if form == "pem" else secret
    assert not memory.search(memory.copy_of_memory(holder.pid), {"secret": subject})
    holder.stdin.write(_encodings(secret)[form].hex().encode() + b"\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == b"1\n"
    found = memory.search(memory.copy_of_memory(holder.pid), {"secret": subject})
    assert form in {finding.form for finding in found}
    assert not memory.search(memory.copy_of_memory(holder.pid), {"other": secrets.token_bytes(48)})


@pytest.mark.process
def test_memory_that_the_kernel_does_not_give_fails() -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            with pytest.raises(memory.UnreadableError):
                memory.copy_of_memory(process.pid)
        finally:
            process.stdin.close()


def test_adjacent_mappings_are_searched_as_one() -> None:
    secret = secrets.token_bytes(32)
    regions = memory._join([(0, 40, "a", bytes(20) + secret[:20]), (40, 60, "b", secret[20:] + bytes(8))])
    (found,) = memory.search(regions, {"secret": secret})
    assert (found.form, found.region, found.offset) == ("raw", "a b", 20)
