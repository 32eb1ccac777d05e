"""The devices that joined and left, in a file: zigpy's database has a device only when its whole interview is over,
keeps one that left, and is written at times of its choice.

The file is written before anything is reported, and read at a start: the interview of a device that joined and isn't in
the database goes on, a device that left and is in it is taken out. Entries that the database has by then are forgotten.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any, Final

from gateway.kit.json_file import JsonFile

FILE: Final = "members.json"
MOST: Final = 256
"""Devices of each kind; of more the oldest are forgotten."""
STARTS: Final = 5
"""Starts after which an interview goes on; a device that hasn't described itself by then may not exist."""


class Members:
    """``joined``: by EUI64 the network address, and how many starts ago that was; ``gone``: who left; ``missing``:
    endpoints that a device has and didn't describe."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path, "who joined or left last is as zigpy's database has it")
        self.joined: dict[str, tuple[int, int]] = {}
        self.gone: dict[str, None] = {}
        self.missing: dict[str, list[int]] = {}
        self._file.read(self._load)

    def _load(self, found: Any) -> None:
        joined = {_eui64(eui64): (int(nwk) & 0xFFFF, int(starts)) for eui64, (nwk, starts) in found["joined"].items()}
        missing = {_eui64(eui64): [int(each) & 0xFF for each in row] for eui64, row in found["missing"].items()}
        self.gone = dict.fromkeys(map(_eui64, found["gone"]))
        self.joined, self.missing = joined, missing

    def settle(self, database: Container[str]) -> None:
        """Forget what zigpy's database has right, now that it has been loaded at a start."""
        self.joined = {
            eui64: (nwk, starts + 1)
            for eui64, (nwk, starts) in self.joined.items()
            if eui64 not in database and starts < STARTS
        }
        self.gone = {eui64: None for eui64 in self.gone if eui64 in database}
        self.missing = {eui64: row for eui64, row in self.missing.items() if eui64 in database or eui64 in self.joined}
        self._save()

    def join(self, eui64: str, nwk: int) -> None:
        """A device is in the network, and will be interviewed."""
        self.gone.pop(eui64, None)
        self.missing.pop(eui64, None)
        _, starts = self.joined.get(eui64, (0, 0))
        self.joined[eui64] = (nwk, starts)
        self._save()

    def leave(self, eui64: str) -> None:
        self.joined.pop(eui64, None)
        self.missing.pop(eui64, None)
        self.gone[eui64] = None
        self._save()

    def miss(self, eui64: str, endpoint: int) -> None:
        """A device didn't say what one of its endpoints is."""
        row = self.missing.setdefault(eui64, [])
        if endpoint not in row:
            row.append(endpoint)
            self._save()

    def found(self, eui64: str, endpoint: int) -> None:
        """Now it did."""
        row = self.missing.get(eui64, [])
        if endpoint in row:
            row.remove(endpoint)
            if not row:
                del self.missing[eui64]
            self._save()

    def _save(self) -> None:
        for table in (self.joined, self.gone, self.missing):
            while len(table) > MOST:
                table.pop(next(iter(table)))
        self._file.write({"joined": self.joined, "gone": list(self.gone), "missing": self.missing})


def _eui64(text: str) -> str:
    if len(bytes.fromhex(text.replace(":", ""))) != 8:
        raise ValueError("not an EUI64")
    return text
