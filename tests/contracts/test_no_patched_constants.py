"""A bound or a time that a test wants to be another is a parameter of what it bounds, not a constant to be patched."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def patched(source: str) -> list[str]:
    """The constants that ``monkeypatch.setattr`` gives another value: names in capitals."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr"):
            continue
        texts = next(filter(None, map(_texts, node.args[:2])), [""])  # of the target, or of its name
        name = texts[-1].rpartition(".")[2]
        if name.isupper():
            found.append(name)
    return found


def _texts(argument: ast.expr) -> list[str]:
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_no_test_patches_a_constant() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "setattr" in (text := path.read_text()) and (names := patched(text))
    }
    assert found == {}, "make these parameters"


def test_each_way_to_patch_one_is_found() -> None:
    source = """
monkeypatch.setattr(module, "WAIT", 1)
monkeypatch.setattr("package.module.LIMITS", "none")
monkeypatch.setattr(f"package.{name}._GRACE", 2)
monkeypatch.setattr(module, "start", None)
monkeypatch.setattr(module, name, None)
"""
    assert patched(source) == ["WAIT", "LIMITS", "_GRACE"]
