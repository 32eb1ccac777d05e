"""The import contracts hold, and each one fails when its violation is planted: a contract that can't fail is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("common", "layer", "carriage", "endpoint", "gateway", "adapters", "simulator")

# contract id -> (file to plant it in, the planted line)
PLANTED = {
    "common-is-a-leaf": ("common/planted.py", "import layer.errors"),
    "the-kit-holds-no-kernel": ("gateway/kit/planted.py", "import gateway.engine"),
    "rooms-point-down": ("carriage/planted.py", "import gateway.api.model"),
    "layer-is-the-floor": ("layer/planted.py", "import carriage.unit_sequence"),
    "the-gateway-holds-no-endpoint": (
        "adapters/coap/planted.py",
        "def lazy() -> None:\n    import endpoint.session",
    ),
    "the-endpoint-holds-no-gateway": ("endpoint/planted.py", "import gateway.api.model"),
    "the-simulator-stands-alone": ("simulator/planted.py", "import bellows"),
    "the-gateway-reads-headers-only": ("gateway/runtime/planted.py", "import layer.association"),
    "the-engine-has-no-clock": ("gateway/engine/planted.py", "import time"),
    "adapters-see-the-api-only": ("adapters/mqtt/planted.py", "import gateway.engine"),
    "adapters-are-strangers": ("adapters/mqtt/planted.py", "import adapters.coap"),
    "sans-io": ("carriage/unit_sequence.py", "import asyncio"),
}


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env={"PYTHONPATH": str(root)}, check=False)


def _copy(target: Path) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, target / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)


def test_every_contract_has_a_planted_violation() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    ids = {line.split('"')[1] for line in text.splitlines() if line.startswith('id = "')}
    assert ids == set(PLANTED)


def test_contracts_hold() -> None:
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("contract", sorted(PLANTED))
def test_planted_violation_breaks_its_contract(contract: str, tmp_path: Path) -> None:
    _copy(tmp_path)
    name, line = PLANTED[contract]
    planted = tmp_path / name
    planted.write_text((planted.read_text() if planted.exists() else "") + "\n" + line + "\n")
    text = (ROOT / "pyproject.toml").read_text()
    label = text.split(f'id = "{contract}"\nname = "')[1].split('"')[0]
    result = _lint(tmp_path)
    assert result.returncode == 1, result.stdout
    assert f"{label} BROKEN" in " ".join(result.stdout.split()), result.stdout


@pytest.mark.parametrize(
    "line",
    [
        "import importlib\nimportlib.import_module('endpoint')",
        "from importlib import import_module\nimport_module('endpoint')",
        "import asyncio\nasyncio.create_task(f())",
    ],
)
def test_lint_bans_imports_by_string_and_bare_tasks(line: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--select",
        "TID251",
        "--stdin-filename",
        "gateway/planted.py",
        "-",
    ]
    result = subprocess.run(command, cwd=ROOT, input=line, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "TID251" in result.stdout
