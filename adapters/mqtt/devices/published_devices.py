"""The devices that are shown at the broker, in a file: after a restart those that are gone can be taken away.

Version 0.1.0 kept a list of names. Its devices are known to Home Assistant by ids that were made of their names:
``first`` are those whose discovery under such an id may still stand at the broker, ``unseen`` those of which it is not
known yet which device they are, ``former`` the ids that devices keep for their entities' sake (``migration``).

``components`` are the parts of each device's discovery with their forms: Home Assistant keeps those that are merely
left out. Version 0.4.0 kept none. ``values`` are the properties of each that may have a value in a topic by itself.
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
        self.components: dict[str, dict[str, str]] = {}
        """By object id."""
        self.of_version_0_4: set[str] = set()
        """Object ids of devices that stand at the broker as version 0.4.0 announced them."""
        self.values: dict[str, frozenset[str]] = {}
        """By name."""
        self._file.read(self._take)

    def keep(self, shown: Mapping[str, str]) -> None:
        """``shown``: the devices that stand at the broker now, with their object ids."""
        devices = self.leaving | self.missing | dict(shown)
        found = {
            "version": _VERSION,
            "devices": devices,
            "first": sorted(self.first),
            "unseen": sorted(self.unseen),
            "former": self.former,
            "components": {one: self.components[one] for one in devices.values() if one in self.components},
            "values": {name: sorted(each) for name, each in self.values.items()},
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
            values = found.get("values")
            for name, each in values.items() if isinstance(values, dict) else ():
                if valid_device(name):
                    self.values[name] = frozenset(one for one in _set(each) if valid_device(one))
            kept = found.get("components")
            if kept is None:
                self.of_version_0_4 = {*self.missing.values()} - {""}
            elif isinstance(kept, dict):
                self.components = {one: _texts(each) for one, each in kept.items() if isinstance(one, str)}


def _set(found: Any) -> set[str]:
    """The texts in what should be a list of such."""
    return {each for each in found[:MAX_DEVICES] if isinstance(each, str)} if isinstance(found, list) else set()


def _texts(found: Any) -> dict[str, str]:
    """The entries that are texts, of what should be an object of such."""
    items = list(found.items())[:MAX_DEVICES] if isinstance(found, dict) else []
    return {key: value for key, value in items if isinstance(value, str)}
