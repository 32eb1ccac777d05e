"""What several test files use is in tests/harness, or in a helper file beside them; no test imports another test."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def imported_tests(text: str) -> list[str]:
    """The modules called ``test_*`` or ``conftest`` that a file imports, or imports from."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            modules = [each.name for each in node.names]
        else:
            continue
        found += [name for name in modules if name.rpartition(".")[2].startswith(("test_", "conftest"))]
    return found


def test_no_test_imports_a_test_or_a_conftest() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in sorted(TESTS.rglob("*.py"))
        if "data" not in path.parts and (names := imported_tests(path.read_text()))
    }
    assert found == {}, "move what they share to tests/harness, one thing a file"


def test_a_helper_of_another_folder_is_in_the_harness() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("*.py")):
        folder = ".".join(("tests", *path.relative_to(TESTS).parent.parts))
        own = ("tests.harness", folder)
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("tests.") and not {module, module.rpartition(".")[0]} & {*own}:
                found.setdefault(str(path.relative_to(TESTS)), []).append(module)
    assert found == {}, "move it to tests/harness"


def test_each_form_of_import_is_found() -> None:
    assert imported_tests("from tests.a.conftest import X") == ["tests.a.conftest"]
    assert imported_tests("import tests.a.test_b as b") == ["tests.a.test_b"]
    assert imported_tests("def f():\n    from tests.a import test_b") == ["tests.a.test_b"]
    assert imported_tests("from tests.harness.engine_stage import Stage") == []
