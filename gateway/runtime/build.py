"""Which build of the program runs: pure Python, or with its hot modules compiled (``hatch_build.py``)."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Final

from gateway.api import sessions

COMPILED: Final = "compiled"
PURE: Final = "pure Python"


def build(module: ModuleType = sessions) -> str:
    """``COMPILED`` or ``PURE``, by the file that ``module`` was loaded from. All hot modules are compiled, or none."""
    return COMPILED if str(module.__file__).endswith(tuple(EXTENSION_SUFFIXES)) else PURE
