"""scripts/mutants.py: which mutants it makes of a text, and that it tells one that is noticed from one that is not."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "mutants.py"
SOURCE = b'''\
"""A text."""
import re
LIMIT: int = 3  # \xc3\xa9
def f(a: int | None, b: bool = True) -> "x < y":
    "One line."
    if a is not None and not b:
        self.n += 1
    while queue:
        send(
            a < LIMIT,
        )
    self.a = local = 0
    return [c for c in a if 1 <= c < 9]
'''


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_mutants_of_a_text(script: ModuleType) -> None:
    assert [str(each).removeprefix("t.py:") for each in script.mutants("t.py", SOURCE)] == [
        "3 constant: `3` -> `4`",
        "4 constant: `True` -> `False`",
        "6 comparison: `a is not None` -> `(a is None)`",
        "6 and/or: `a is not None and not b` -> `(a is not None or not b)`",
        "6 not: `not b` -> `(b)`",
        "7 statement: `self.n += 1` -> `pass`",
        "7 constant: `1` -> `2`",
        "8 condition: `queue` -> `(not queue)`",
        "9 statement: `send( a < LIMIT, )` -> `pass`",
        "10 comparison: `a < LIMIT` -> `(a <= LIMIT)`",
        "10 comparison: `a < LIMIT` -> `(a >= LIMIT)`",
        "12 constant: `0` -> `1`",
        "13 comparison: `1 <= c < 9` -> `(1 < c < 9)`",
        "13 comparison: `1 <= c < 9` -> `(1 <= c <= 9)`",
        "13 comparison: `1 <= c < 9` -> `(1 <= c >= 9)`",
        "13 comparison: `1 <= c < 9` -> `(1 > c < 9)`",
        "13 constant: `1` -> `2`",
        "13 constant: `9` -> `10`",
    ]


def test_a_mutant_is_another_program_and_has_a_separate_key(script: ModuleType) -> None:
    found = script.mutants("t.py", SOURCE)
    programs = {ast.unparse(ast.parse(each.applied(SOURCE))) for each in found}
    assert len(programs | {ast.unparse(ast.parse(SOURCE))}) == len(found) + 1
    assert len({each.key for each in found}) == len(found)


@pytest.mark.process
def test_a_mutant_that_a_test_notices_is_killed_and_the_next_run_knows_it(tmp_path: Path) -> None:
    before = (ROOT / "gateway/engine/path_pattern.py").read_bytes()
    arguments = ["gateway/engine/path_pattern.py", "--tests", "tests/gateway/engine/test_path_patterns.py"]
    command = [sys.executable, SCRIPT, *arguments, "--keep", tmp_path, "--sample"]
    first = subprocess.run([*command, "2"], capture_output=True, text=True, check=True).stdout
    assert "1 of 2: killed after" in first and "score: 100.0 % of 2 noticed" in first
    again = subprocess.run([*command, "3"], capture_output=True, text=True, check=True).stdout
    assert "1 of 1: " in again and "without a mutant" not in again
    assert (ROOT / "gateway/engine/path_pattern.py").read_bytes() == before
