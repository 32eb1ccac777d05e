"""The refusals of the build hook; that it compiles is what ``make test-compiled`` and the image show."""

from __future__ import annotations

import ast
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from hatch_build import MODULES, VARIABLE, CompiledBuildHook

ROOT = Path(__file__).parents[2]


def hook() -> CompiledBuildHook:
    return CompiledBuildHook(str(ROOT), {}, None, None, "", "wheel")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "0", None])
def test_without_the_variable_nothing_is_compiled_and_no_compiler_wanted(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    data: dict[str, Any] = {"force_include": {}}
    assert hook().dependencies() == []
    hook().initialize("standard", data)
    assert data == {"force_include": {}}


def test_a_compiled_build_brings_its_compiler_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert [each.partition(">")[0] for each in hook().dependencies()] == ["mypy", "setuptools"]


def test_an_editable_install_refuses_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(RuntimeError, match="an editable install runs the source tree: unset ATLS_GATEWAY_COMPILED"):
        hook().initialize("editable", {})


def test_another_value_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(RuntimeError, match="ATLS_GATEWAY_COMPILED is 'yes'; expected 1"):
        hook().dependencies()


def test_without_a_compiler_or_headers_the_error_names_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("CC", str(tmp_path / "gcc"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    expected = (
        r"a C compiler \(.*/gcc\) and the headers of Python \(.*Python\.h\)\. On Debian: .* gcc libc6-dev python3-dev"
    )
    with pytest.raises(RuntimeError, match=expected):
        hook().initialize("standard", {})


def test_a_module_that_can_not_be_compiled_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "hot.py").write_text("def size(text: str) -> int:\n    return text\n")
    with pytest.raises(RuntimeError, match=r"nothing was built(.|\n)*hot\.py:2: error: Incompatible return value type"):
        hatch_build.compile_modules(tmp_path, tmp_path / "out", ["hot.py"])


def test_a_module_without_a_shared_library_is_an_error(tmp_path: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (tmp_path / f"one{suffix}").touch()
    assert hatch_build.shared_libraries(tmp_path, ["one.py"]) == [tmp_path / f"one{suffix}"]
    with pytest.raises(RuntimeError, match=r"these modules were not compiled: two\.py"):
        hatch_build.shared_libraries(tmp_path, ["one.py", "two.py"])


def test_every_module_of_the_list_is_there() -> None:
    assert [each for each in MODULES if not (ROOT / each).is_file()] == []
    assert len(set(MODULES)) == len(MODULES)


def test_no_compiled_constant_is_a_tuple_of_fractions_that_mypyc_takes_for_unset() -> None:
    """``AGAIN: Final = (5.0, 15.0)``: mypy 2.4 compiles each reading of it to a NameError, unless the annotation says
    ``Final[tuple[float, ...]]``."""
    found = []
    for module in MODULES:
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Tuple) and node.value.elts:
                kinds = {type(each.value) if isinstance(each, ast.Constant) else None for each in node.value.elts}
                if ast.unparse(node.annotation) == "Final" and kinds == {float}:
                    found.append(f"{module}:{node.lineno}")
    assert found == []


def _waits_in_a_handler(tree: ast.Module) -> list[int]:
    """The lines on which a coroutine waits within ``except`` or ``finally``."""
    found = []
    for coroutine in (node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)):
        for node in ast.walk(coroutine):
            if isinstance(node, ast.Try | ast.TryStar):
                handlers = [each for part in node.handlers for each in part.body] + node.finalbody
                inner = [each for part in handlers for each in ast.walk(part)]
                found += [each.lineno for each in inner if isinstance(each, ast.Await | ast.AsyncWith | ast.AsyncFor)]
            if isinstance(node, ast.AsyncWith) and not ast.unparse(node.items[0]).startswith("asyncio.timeout"):
                found.append(node.lineno)  # its end may wait while an exception is on its way; see common/within.py
    return found


def test_no_compiled_coroutine_waits_in_a_handler() -> None:
    """mypyc 2.4 leaves the exception behind: it becomes the context of every later one, and these gather."""
    assert _waits_in_a_handler(ast.parse("async def f():\n try:\n  pass\n finally:\n  await g()")) == [5]
    assert {
        module: each for module in MODULES if (each := _waits_in_a_handler(ast.parse((ROOT / module).read_text())))
    } == {}


OWN = {"common", "layer", "carriage", "gateway", "adapters"}


def _foreign_bases(module: str) -> list[str]:
    """The classes of a module that derive from one of a third-party package."""
    tree = ast.parse((ROOT / module).read_text())
    foreign = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages = [(each.asname or each.name.partition(".")[0], each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            packages = [(each.asname or each.name, node.module or "") for each in node.names]
        else:
            continue
        known = OWN | sys.stdlib_module_names
        foreign |= {name for name, package in packages if package.partition(".")[0] not in known}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return [each.name for each in classes if {ast.unparse(base).partition(".")[0] for base in each.bases} & foreign]


def test_no_compiled_class_derives_from_one_of_a_third_party_package() -> None:
    """mypyc compiles it without a word, and to make an instance is a segmentation fault."""
    assert _foreign_bases("adapters/zigbee/ash_lane.py") == ["AshLane"]
    assert {module: found for module in MODULES if (found := _foreign_bases(module))} == {}


def test_an_attribute_that_mypy_believes_to_be_none_is_an_error_that_says_where(tmp_path: Path) -> None:
    """mypyc reads it as None, whatever a method has made of it meanwhile: a TypeError at run time."""
    (tmp_path / "hot.py").write_text(
        "class Timer:\n"
        "    def __init__(self) -> None:\n"
        "        self.due: float | None = None\n"
        "    def plan(self) -> None:\n"
        "        self.due = 1.0\n"
        "    def look(self) -> bool:\n"
        "        self.due = None\n"
        "        self.plan()\n"
        "        return self.due is None\n"
    )
    with pytest.raises(RuntimeError, match=r"def Timer\.look: mypy believes that due is still None here"):
        hatch_build.compile_modules(tmp_path, tmp_path / "out", ["hot.py"])
