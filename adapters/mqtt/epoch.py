"""The number by which clients know whether their sessions can still be there; it survives a restart with them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from adapters.mqtt import payloads

_LOG = logging.getLogger(__name__)


class Epoch:
    """``epoch`` is the gateway's own. What was given up under it is counted in a file: no number may come again."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self._file = folder / "losses.json"
        self._epoch = epoch
        self.losses = self._read()

    @property
    def number(self) -> int:
        return payloads.epoch_number(self._epoch, self.losses)

    def lose(self) -> None:
        """All sessions were given up."""
        self.losses += 1
        try:
            self._file.write_text(json.dumps([self._epoch, self.losses]))
        except OSError as error:
            _LOG.warning("can't keep how often sessions were lost: %s", error)

    def _read(self) -> int:
        try:
            epoch, losses = json.loads(self._file.read_bytes())
        except (OSError, ValueError, TypeError, RecursionError):
            return 0
        return losses if epoch == self._epoch and isinstance(losses, int) else 0
