"""The engine and the api are pure: importing them brings in neither I/O nor clocks nor cryptography."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gateway

FORBIDDEN = {
    "asyncio",
    "socket",
    "_socket",
    "ssl",
    "_ssl",
    "selectors",
    "cryptography",
    "OpenSSL",
    "pydantic",
    "endpoint",
}
PACKAGES = ("gateway.engine", "gateway.api")
ROOT = Path(str(gateway.__file__)).parents[1]

PROGRAM = """
import sys
before = set(sys.modules)
import gateway.engine.engine, gateway.engine.policy, gateway.engine.decision, gateway.engine.visible
import gateway.engine.delivery, gateway.engine.authorizer, gateway.engine.sessions, gateway.engine.outputs
import gateway.api.errors, gateway.api.link, gateway.api.model
print("\\n".join(set(sys.modules) - before))
"""


def test_nothing_forbidden_is_loaded() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert "gateway.engine.engine" in found
    assert not FORBIDDEN & {name.partition(".")[0] for name in found}


def test_no_source_of_the_engine_imports_a_clock_or_chance() -> None:
    """The interpreter itself loads ``time``, so what the sources say is what counts for it."""
    allowed = {"gateway.api", "gateway.engine", "layer.records", "layer.tls_stream", "layer.errors", "common"}
    files = [path for package in PACKAGES for path in (ROOT / package.replace(".", "/")).glob("*.py")]
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top not in FORBIDDEN | {"time", "random", "secrets", "os", "datetime", "threading"}, (path, name)
                if top in {"common", "gateway", "layer", "carriage", "adapters", "simulator", "endpoint"}:
                    assert any(name == room or name.startswith(room + ".") for room in allowed), (path, name)
