"""Parts of zigpy and bellows that are replaced: they cost much and give this adapter nothing. Imported before both.

1. What zigpy imports for firmware updates of devices. Those are off (``CONF_OTA_ENABLED``), and the HTTP client and the
   JSON schemas they need are a tenth of a start's time and of the idle memory. zigpy names both in annotations, and in
   functions that are never called.
2. How an ``EmberApsFrame`` is made, which happens once for each frame that comes and twice for each that is sent: zigpy
   binds the fields to a signature, by 50 Python calls, a sixth of what a report costs in all.

Nothing else belongs here; faults that are worked around are in ``ezsp_application``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
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


def _make_aps_frames_quickly() -> None:
    """Make a frame of all its fields by name, or of another frame, without a signature; all else is zigpy's business.

    The result is zigpy's own to the last type, and so is the error.
    """
    from bellows.types import EmberApsFrame

    library: Callable[..., EmberApsFrame] = EmberApsFrame.__new__
    types = {field.name: field.type for field in EmberApsFrame.fields}

    def make(cls: type[EmberApsFrame], *others: Any, **given: Any) -> EmberApsFrame:
        copied = len(others) == 1 and not given and type(others[0]) is cls
        values = vars(others[0]) if copied else {} if others else given
        if cls is EmberApsFrame and values.keys() == types.keys():
            frame = object.__new__(cls)
            try:
                held = vars(frame)
                for name, kind in types.items():
                    value = values[name]
                    held[name] = value if value is None or isinstance(value, kind) else kind(value)
            except Exception:  # noqa: S110 - zigpy says below what is wrong, in its own words
                pass
            else:
                return frame
        return library(cls, *others, **given)

    EmberApsFrame.__new__ = make


_import_updates_without_their_libraries()
_make_aps_frames_quickly()
