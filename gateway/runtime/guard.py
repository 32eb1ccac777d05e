"""A tripwire: the gateway's process must never load the endpoint's code. The wall is users, keys and sandboxes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

FORBIDDEN = frozenset({"endpoint"})


class _Guard:
    """A meta path finder that finds nothing and refuses what is forbidden, whatever asks for it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} holds layer 0 and must not be loaded in the gateway's process", name=name)
        return None


def install() -> None:
    """Refuse the forbidden packages from now on; ImportError if one is loaded already."""
    for name in FORBIDDEN:
        if name in sys.modules:
            raise ImportError(f"{name} was loaded before the guard", name=name)
    if _Guard not in sys.meta_path:
        sys.meta_path.insert(0, _Guard)
