"""What several test files use is in tests/harness, or in a helper file beside them; no test imports another test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
Import = ast.Import | ast.ImportFrom


def imports(text: str) -> list[Import]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, Import)]


@pytest.fixture(scope="module")
def every() -> dict[Path, list[Import]]:
    """The imports of each file below ``tests``, by its path there."""
    return {path.relative_to(TESTS): imports(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}


def imported_tests(nodes: list[Import]) -> list[str]:
    """The modules called ``test_*`` or ``conftest`` that a file imports, or imports from."""
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        else:
            modules = [each.name for each in node.names]
        found += [name for name in modules if name.rpartition(".")[2].startswith(("test_", "conftest"))]
    return found


def test_no_test_imports_a_test_or_a_conftest(every: dict[Path, list[Import]]) -> None:
    found = {
        str(path): names
        for path, nodes in every.items()
        if "data" not in path.parts and (names := imported_tests(nodes))
    }
    assert found == {}, "move what they share to tests/harness, one thing a file"


def test_a_helper_of_another_folder_is_in_the_harness(every: dict[Path, list[Import]]) -> None:
    found: dict[str, list[str]] = {}
    for path, nodes in every.items():
        folder = ".".join(("tests", *path.parent.parts))
        own = ("tests.harness", folder)
        for node in nodes:
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("tests.") and not {module, module.rpartition(".")[0]} & {*own}:
                found.setdefault(str(path), []).append(module)
    assert found == {}, "move it to tests/harness"


def test_each_form_of_import_is_found() -> None:
    assert imported_tests(imports("from tests.a.conftest import X")) == ["tests.a.conftest"]
    assert imported_tests(imports("import tests.a.test_b as b")) == ["tests.a.test_b"]
    assert imported_tests(imports("def f():\n    from tests.a import test_b")) == ["tests.a.test_b"]
    assert imported_tests(imports("from tests.harness.engine_stage import Stage")) == []
