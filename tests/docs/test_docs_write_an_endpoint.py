"""docs/write-an-endpoint.md: its lines are those of the programs, its policy loads, its tables have every program.

The programs, its commands and the habits of stacks are tried by ``make test-peers`` (tests/peers/test_peers_*.py).
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from gateway.runtime.policy_file import load
from tests.harness.docs_page import read

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "write-an-endpoint"
PROGRAMS = sorted(path for path in EXAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
PAGE = read("write-an-endpoint.md")
EXCERPTS = [label for label, (language, _) in PAGE.blocks.items() if language in ("python", "java", "c")]


@pytest.mark.parametrize("label", EXCERPTS)
def test_each_excerpt_stands_in_its_program(label: str) -> None:
    (program,) = (path for path in PROGRAMS if path.stem == label.rpartition("-")[0])
    excerpt, lines = PAGE.blocks[label][1], program.read_text().splitlines(keepends=True)
    length = excerpt.count("\n")
    assert any(textwrap.dedent("".join(lines[at : at + length])) == excerpt for at in range(len(lines)))


def test_the_table_has_every_program() -> None:
    listed = {name for row in PAGE.rows("program") for name in re.findall(r"`([^`]+)`", row[0])}
    assert listed == {str(path.relative_to(EXAMPLES)) for path in PROGRAMS}


@pytest.mark.parametrize("program", [path for path in PROGRAMS if path.suffix == ".py"], ids=lambda path: path.stem)
def test_no_program_imports_our_code(program: Path) -> None:
    ours = {"common", "layer", "carriage", "endpoint", "gateway", "adapters", "simulator", "demo", "bench", "tests"}
    imported = set[str]()
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & ours


def test_its_policy_loads(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(PAGE.block("yaml", "any-policy"))
    assert {subject.name for subject in load(path, ("coap", "http")).subjects} == {"client", "server"}
