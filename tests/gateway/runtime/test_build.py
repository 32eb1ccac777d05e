"""Which build runs: by the file that a module was really loaded from."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType

import pytest

from gateway.runtime.build import COMPILED, PURE, build


@pytest.mark.parametrize(("suffix", "expected"), [(EXTENSION_SUFFIXES[0], COMPILED), (".py", PURE), (".pyc", PURE)])
def test_the_file_of_a_module_says_which_build_runs(suffix: str, expected: str) -> None:
    module = ModuleType("hot")
    module.__file__ = f"/opt/atls-gateway/lib/hot{suffix}"
    assert build(module) == expected
