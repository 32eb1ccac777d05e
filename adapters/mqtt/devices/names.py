"""The names of the devices that stand at the broker, kept in a file: what is gone after a restart can be taken away."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from adapters.mqtt.devices.topics import valid_device

_LOG = logging.getLogger(__name__)

MAX_DEVICES: Final = 4096


class Names:
    """``missing``: devices that an earlier run showed and this one has not seen yet."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "devices.json"
        self.missing = self._read()

    def keep(self, shown: Iterable[str]) -> None:
        names = sorted(self.missing.union(shown))
        passing = self._file.with_suffix(".new")
        try:
            passing.write_text(json.dumps(names))
            passing.replace(self._file)
        except OSError as error:  # without it a device that is gone may stay in Home Assistant; no more than that
            _LOG.warning("can't keep the names of devices: %s", error)

    def _read(self) -> set[str]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return set()
        names = found if isinstance(found, list) else []
        return {name for name in names[:MAX_DEVICES] if isinstance(name, str) and valid_device(name)}
