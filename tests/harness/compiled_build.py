"""Which modules of the compiled build this process really runs."""

from __future__ import annotations

import importlib

from hatch_build import MODULES


def interpreted_modules() -> list[str]:
    """The modules that ``hatch_build`` compiles and that were loaded from Python here, with the files they are in."""
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES]
    files = {name: str(importlib.import_module(name).__file__) for name in names}
    return [f"{name} ({file})" for name, file in files.items() if not file.endswith(".so")]
