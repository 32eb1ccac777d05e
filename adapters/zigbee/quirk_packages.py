"""zha-quirks as a library that may be installed: what is missing for it, and its registry.

It is loaded once in a process, when the first device needs it: that takes seconds, and some 36 MB for good.
Why pyproject.toml has no extra for it: docs/decisions/0051-quirks-without-zha.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Final, Protocol

from adapters.zigbee.ezsp_application import quiet_libraries

PYTHON: Final = (3, 12)
"""The earliest that zha-quirks runs on."""
PACKAGES: Final = {"zha-quirks": "2.3", "zha": "2.3", "frozendict": "2"}
"""The versions that are known to work with zigpy 2.4; "attrs", which zha needs too, comes with aiohttp."""
REMEDY: Final = "python -m pip install --no-deps " + " ".join(f"'{name}=={of}.*'" for name, of in PACKAGES.items())
_RADIOS: Final = tuple(
    f"zigpy_{radio}{part}"
    for radio in ("deconz", "xbee", "zigate", "ziggurat", "znp")
    for part in ("", ".zigbee", ".zigbee.application")
)


class Registry(Protocol):
    """Of zha-quirks."""

    def resolve(self, zigpy_device: Any) -> Any:
        """The device as its quirk has it: another object; the same one if it has none."""


def missing() -> str:
    """Why zha-quirks can't be used, with the remedy; "" if it is there."""
    if sys.version_info < PYTHON:
        return f"zha-quirks needs Python {PYTHON[0]}.{PYTHON[1]} or later, and this is {sys.version.split()[0]}"
    wrong = []
    for name, of in PACKAGES.items():
        try:
            there = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if not f"{there}.".startswith(f"{of}."):
            wrong.append(f"{name} is {there}, not {of}")
    return f"{', '.join(wrong)}: {REMEDY}" if wrong else ""


@dataclass(frozen=True, slots=True)
class QuirkSource:
    """Where quirks come from. ``missing``: why there are none, "" if there are. ``load`` runs in a thread, once."""

    missing: Callable[[], str]
    load: Callable[[], Registry]


class _Unused(ModuleType):
    """Stands in for the libraries of other dongles, which zha imports in order to list them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def load() -> Registry:
    """Import all quirks, in a thread. Raises whatever an import may raise."""
    absent = [name for name in _RADIOS if name not in sys.modules]
    sys.modules.update({name: _Unused(name) for name in absent})
    try:
        import zhaquirks
        from zha.quirks import DEVICE_REGISTRY

        zhaquirks.setup()
        quiet_libraries()
    finally:
        for name in absent:
            del sys.modules[name]
    registry: Registry = DEVICE_REGISTRY
    return registry


ZHA: Final = QuirkSource(missing, load)
