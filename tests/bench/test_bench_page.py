"""docs/bench.md against the saved result that its figures are from, and against the rows that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import report
from bench.micro import calls

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bench.md").read_text()
NAME, HTTPS = "2-core-epyc", "https-2-core"


@pytest.fixture(scope="module")
def saved() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results" / f"{NAME}.json").read_text())
    return found


@pytest.mark.parametrize("name", [NAME, HTTPS])
def test_the_figures_are_those_of_the_saved_run(name: str, capsys: Any) -> None:
    found = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
    assert "\n".join(report.page(found)) in PAGE
    assert command.main(["--show", name]) == 0
    assert capsys.readouterr().out.strip() in PAGE
    assert found["machine"]["commit"] in PAGE


def test_date_machine_and_versions_are_those_of_the_saved_run(saved: dict[str, Any]) -> None:
    words = " ".join(PAGE.split())
    machine = saved["machine"]
    assert saved["date"][:10] in words
    for key in (
        "cpu",
        "kernel",
        "python",
        "openssl",
        "mosquitto",
        "zigpy",
        "bellows",
        "paho-mqtt",
        "aiocoap",
        "commit",
    ):
        assert machine[key] in words, key
    assert f"{machine['cores']} cores" in words


def test_every_row_is_explained(saved: dict[str, Any]) -> None:
    explained = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ") and "`" not in line}
    assert set(saved["rows"]) <= explained
    assert set(calls(64)) <= set(saved["rows"])


def test_form() -> None:
    lines = PAGE.split("\n")
    assert lines[0].startswith("# ")
    assert lines[2].startswith("This page ")
    assert all(line.startswith("|") or len(line) <= 112 for line in lines)
