"""The devices that are shown at the broker, in a file: after a restart those that are gone can be taken away.

Version 0.1.0 kept a list of names. Its devices are known to Home Assistant by ids that were made of their names:
``first`` are those whose discovery under such an id may still stand at the broker, ``unseen`` those of which it is not
known yet which device they are, ``former`` the ids that devices keep for their entities' sake (``migration``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.mqtt.devices.topics import valid_device
from gateway.kit.json_file import JsonFile

MAX_DEVICES: Final = 4096
_VERSION: Final = 2


class PublishedDevices:
    """``missing``: devices that an earlier run showed and this one has not seen yet, with their object ids (empty:
    version 0.1.0 showed it). ``leaving``: those that are being taken away, until the broker has acknowledged that.
    ``former``: claim of a device to its id of version 0.1.0."""

    def __init__(self, folder: Path) -> None:
        self._file = JsonFile(folder / "devices.json", "a device that is gone may stay in Home Assistant")
        self.missing: dict[str, str] = {}
        self.leaving: dict[str, str] = {}
        self.first: set[str] = set()
        self.unseen: set[str] = set()
        self.former: dict[str, str] = {}
        self._file.read(self._take)

    def keep(self, shown: Mapping[str, str]) -> None:
        """``shown``: the devices that stand at the broker now, with their object ids."""
        found = {
            "version": _VERSION,
            "devices": self.leaving | self.missing | dict(shown),
            "first": sorted(self.first),
            "unseen": sorted(self.unseen),
            "former": self.former,
        }
        self._file.write(found)

    def _take(self, found: Any) -> None:
        if isinstance(found, list):
            names = found[:MAX_DEVICES]
            self.first = {name for name in names if isinstance(name, str) and valid_device(name)}
            self.unseen = set(self.first)
            self.missing = dict.fromkeys(self.first, "")
        elif isinstance(found, dict):
            self.missing = {name: one for name, one in _texts(found.get("devices")).items() if valid_device(name)}
            self.former = _texts(found.get("former"))
            self.first, self.unseen = _set(found.get("first")), _set(found.get("unseen"))


def _set(found: Any) -> set[str]:
    """The texts in what should be a list of such."""
    return {each for each in found[:MAX_DEVICES] if isinstance(each, str)} if isinstance(found, list) else set()


def _texts(found: Any) -> dict[str, str]:
    """The entries that are texts, of what should be an object of such."""
    items = list(found.items())[:MAX_DEVICES] if isinstance(found, dict) else []
    return {key: value for key, value in items if isinstance(value, str)}
