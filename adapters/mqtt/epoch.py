"""The number by which clients know whether their sessions can still be there; it survives a restart with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.mqtt import payloads
from gateway.kit.json_file import JsonFile


class Epoch:
    """``epoch`` is the gateway's own. What was given up under it is counted in a file: no number may come again."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self._file = JsonFile(folder / "losses.json", "clients may take lost sessions for live ones")
        self._epoch = epoch
        self.losses = 0
        self._file.read(self._take)

    @property
    def number(self) -> int:
        return payloads.epoch_number(self._epoch, self.losses)

    def lose(self) -> None:
        """All sessions were given up."""
        self.losses += 1
        self._file.write([self._epoch, self.losses])

    def _take(self, found: Any) -> None:
        epoch, losses = found
        if epoch == self._epoch:
            self.losses = int(losses)
