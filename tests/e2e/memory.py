"""Search a running process's memory, and files, for a secret in every form that a leak is likely to have.

The process is stopped while its memory is copied and goes on before the copy is searched, so that what is found was
there at one moment, and a long search costs the process no deadline.
"""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Mappings of the kernel's own that /proc/PID/maps calls readable and /proc/PID/mem does not give (proc_pid_maps(5)).
KERNELS_OWN = frozenset({"[vvar]", "[vvar_vclock]", "[vsyscall]"})

_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$")
_PEM_LINE = 64


class UnreadableError(Exception):
    """A mapping that should have been searched could not be read."""


@dataclass(frozen=True, slots=True)
class Region:
    """Octets from one place: a run of adjacent mappings, or a file."""

    name: str
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """``secret`` in ``form`` stands in ``region`` at ``offset``."""

    secret: str
    form: str
    region: str
    offset: int


def forms(secret: bytes) -> dict[str, bytes]:
    """The forms of ``secret`` by name: raw, hexadecimal, as in a PEM file, and base64 wherever in a text it stands.

    Octets before and after the secret share base64 characters with it; those characters are left off.
    """
    pem = base64.b64encode(secret)
    found = {
        "raw": secret,
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "pem": b"\n".join(pem[at : at + _PEM_LINE] for at in range(0, len(pem), _PEM_LINE)).rstrip(b"="),
    }
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret)
        first = -(-shift * 8 // 6)
        whole = (shift + len(secret)) * 8 // 6
        found[f"base64+{shift}"] = text[first:whole]
        found[f"base64url+{shift}"] = text[first:whole].translate(bytes.maketrans(b"+/", b"-_"))
    return found


def copy_of_memory(pid: int) -> list[Region]:
    """All readable memory of a process, adjacent mappings joined. UnreadableError where the kernel refuses a part."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return _join(_readable(pid))
    finally:
        os.kill(pid, signal.SIGCONT)


def _readable(pid: int) -> Iterable[tuple[int, int, str, bytes]]:
    """(start, end, name, octets) of each mapping that can be read, in the order of addresses."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps.splitlines():
            found = _MAPPING.match(line)
            if found is None:
                raise UnreadableError(f"not understood: {line}")
            start, end, name = int(found[1], 16), int(found[2], 16), found[4]
            if found[3][0] == "r" and name not in KERNELS_OWN:
                yield start, end, name or "anonymous", _read(memory.fileno(), start, end, line)


def _read(descriptor: int, start: int, end: int, line: str) -> bytes:
    parts = []
    while start < end:
        try:
            part = os.pread(descriptor, end - start, start)
        except OSError as error:
            raise UnreadableError(f"{line}: {error}") from None
        if not part:
            raise UnreadableError(f"{line}: ends at {start:x}")
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _join(mappings: Iterable[tuple[int, int, str, bytes]]) -> list[Region]:
    regions: list[Region] = []
    names: list[str] = []
    parts: list[bytes] = []
    reached = -1
    for start, end, name, octets in mappings:
        if start != reached and parts:
            regions.append(Region(" ".join(dict.fromkeys(names)), b"".join(parts)))
            names, parts = [], []
        names.append(name)
        parts.append(octets)
        reached = end
    if parts:
        regions.append(Region(" ".join(dict.fromkeys(names)), b"".join(parts)))
    return regions


def content_of(paths: Iterable[Path]) -> list[Region]:
    """The content of files, and of all files below folders."""
    found = []
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [Region(str(file), file.read_bytes()) for file in files if file.is_file()]
    return found


def search(regions: Iterable[Region], secrets: Mapping[str, bytes]) -> list[Finding]:
    """Where the named secrets stand, the first place of each form in each region."""
    needles = [(name, form, needle) for name, secret in secrets.items() for form, needle in forms(secret).items()]
    found = []
    for region in regions:
        for name, form, needle in needles:
            offset = region.octets.find(needle)
            if offset >= 0:
                found.append(Finding(name, form, region.name, offset))
    return found
