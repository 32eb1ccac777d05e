"""What zigpy imports for firmware updates of devices is left out of a start. Imported before zigpy.

Those updates are off (``CONF_OTA_ENABLED``), and the HTTP client and the JSON schemas they need are a tenth of a
start's time and of the idle memory. zigpy names both in annotations, and in functions that are never called.

Nothing else belongs here; faults that are worked around are in ``ezsp_application``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_UNUSED = ("aiohttp", "jsonschema")


class _Unused(ModuleType):
    """Stands in while zigpy is imported; any other importer of the module gets the real one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Any


def _import_updates_without_their_libraries() -> None:
    absent = [name for name in _UNUSED if name not in sys.modules]
    sys.modules.update({name: _Unused(name) for name in absent})
    try:
        import zigpy.ota.providers  # noqa: F401
    finally:
        for name in absent:
            del sys.modules[name]


_import_updates_without_their_libraries()
