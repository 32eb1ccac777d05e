"""Another checkout beside this one: how it is found and run, that nothing of it stays, and what the tables say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import beside, checkout, counts, report
from bench.checkout import BASELINE, HERE, NoSuchCheckoutError, opened
from bench.scenario import ROOT

PYPROJECT = '[project.scripts]\natls-gateway = "gateway.{module}:main"\n'
PROGRAM = "import sys\ndef main():\n    print('{version}', __file__, *sys.argv[1:])\n    return 3\n"


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def _write(folder: Path, version: str, module: str) -> None:
    (folder / "gateway").mkdir(parents=True, exist_ok=True)
    (folder / "gateway" / "__init__.py").touch()
    (folder / "gateway" / f"{module}.py").write_text(PROGRAM.format(version=version))
    (folder / "pyproject.toml").write_text(PYPROJECT.format(module=module))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, whose commands are in different modules; the working tree is the second."""
    folder = tmp_path / "repository"
    _write(folder, "old", "cli")
    _git(folder, "init", "--quiet")
    for version, module in (("old", "cli"), ("new", "command")):
        _write(folder, version, module)
        _git(folder, "add", ".")
        _git(folder, "commit", "--quiet", "-m", version)
    return folder


def _run(found: checkout.Checkout | None, cwd: Path) -> tuple[list[str], int]:
    assert found is not None
    done = subprocess.run([*found.program(), "run", "-c", "x"], cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout.split(), done.returncode


def test_a_commit_runs_from_a_worktree_that_is_removed(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository / 'hooked'}\n")
    hook.chmod(0o755)
    with opened("HEAD~1", repository) as found:
        assert found is not None and found.root.is_relative_to(repository / ".cache")
        said, status = _run(found, repository)  # its working folder has a package gateway, too
        assert said == ["old", str(found.root / "gateway" / "cli.py"), "run", "-c", "x"]
        assert status == 3
    assert not list((repository / ".cache").iterdir())
    assert len(_git(repository, "worktree", "list").splitlines()) == 1
    assert not (repository / "hooked").exists()


def test_the_worktree_is_removed_after_a_failure_too(repository: Path) -> None:
    with pytest.raises(ZeroDivisionError), opened("HEAD", repository):
        raise ZeroDivisionError
    assert not list((repository / ".cache").iterdir())
    assert len(_git(repository, "worktree", "list").splitlines()) == 1


def test_a_benchmark_that_is_terminated_removes_the_worktree(repository: Path) -> None:
    code = "import asyncio, pathlib, sys\nfrom bench.checkout import opened\n"
    code += "async def wait():\n    print('up', flush=True)\n    await asyncio.sleep(60)\n"
    code += "with opened('HEAD', pathlib.Path(sys.argv[1])):\n    asyncio.run(wait())\n"
    with subprocess.Popen([sys.executable, "-c", code, repository], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert len(list((repository / ".cache").iterdir())) == 1
        process.terminate()
        assert process.wait(30) == 143
    assert not list((repository / ".cache").iterdir())
    assert len(_git(repository, "worktree", "list").splitlines()) == 1


def test_a_folder_is_run_as_it_is_and_stays(repository: Path, tmp_path: Path) -> None:
    _write(tmp_path / "other", "changed", "main")
    with opened(str(tmp_path / "other"), repository) as found:
        assert _run(found, repository)[0][:2] == ["changed", str(tmp_path / "other" / "gateway" / "main.py")]
    assert (tmp_path / "other" / "gateway").is_dir()
    with opened("none", repository) as found:
        assert found is None


def _shallow(repository: Path, tmp_path: Path) -> tuple[Path, str]:
    old = _git(repository, "rev-parse", "HEAD~1").strip()
    _git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{repository}", "shallow")
    return tmp_path / "shallow", old


def _unknown(repository: Path, tmp_path: Path) -> tuple[Path, str]:
    return repository, "0123456789"


def _option(repository: Path, tmp_path: Path) -> tuple[Path, str]:
    return repository, "--all"


def _no_repository(repository: Path, tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked", "HEAD"


def _no_project(repository: Path, tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "empty").mkdir()
    return repository, str(tmp_path / "empty")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (_shallow, "this clone is shallow, and `git fetch --unshallow` gets the whole history"),
        (_unknown, "`git fetch` gets what others have committed since"),
        (_option, "`git fetch` gets what others have committed since"),
        (_no_repository, "is no git repository"),
        (_no_project, "is no checkout of this project"),
    ],
)
def test_a_missing_part_of_a_checkout_is_named(
    prepare: Callable[[Path, Path], tuple[Path, str]], words: str, repository: Path, tmp_path: Path
) -> None:
    where, name = prepare(repository, tmp_path)
    with pytest.raises(NoSuchCheckoutError) as error, opened(name, where):
        raise AssertionError("it was opened")
    assert name in str(error.value) and words in str(error.value)


def test_a_commit_without_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSuchCheckoutError, match="git must be installed"), opened("HEAD", repository):
        raise AssertionError("it was opened")


def test_without_the_baseline_in_the_history_this_checkout_is_measured_alone(
    repository: Path, tmp_path: Path, capsys: Any
) -> None:
    shallow, _ = _shallow(repository, tmp_path)
    assert checkout.default(shallow) == "none"
    said = capsys.readouterr().err
    assert said.startswith(f"not compared with {BASELINE}: ") and "--unshallow" in said


def test_both_commands_name_a_commit_that_is_missing(capsys: Any) -> None:
    assert command.main(["--part", "ip", "--beside", "no-such-commit"]) == 2
    assert counts.main(["--beside", "no-such-commit"]) == 2
    assert capsys.readouterr().err.count("--beside: no-such-commit is no folder, and no commit of the history") == 2


def test_the_program_of_this_checkout_is_its_command() -> None:
    done = subprocess.run([*HERE.program(), "run", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "run [OPTIONS]" in done.stdout
    assert shutil.which("env") == HERE.program()[0]


def test_ratios_beside_are_taken_turn_by_turn_and_are_in_both_tables() -> None:
    pairs: beside.Pairs = {}
    for here, there in ((1e-6, 2e-6), (9e-6, 3e-6), (2e-6, 2e-6)):
        beside.add(pairs, "gateway", "50/s", [{"cpu": here, "rate": 50.0}, {"cpu": there, "rate": 49.0}])
    beside.add(pairs, "bellows", "50/s", [{"cpu": 1e-6}])
    beside.add(pairs, "gateway", "before", [{"pss": 2**21}, {"pss": 2**22}])
    found = beside.table(pairs)
    assert found[0] == {
        "row": "gateway",
        "level": "50/s",
        "of": "cpu",
        "here": 2e-6,
        "beside": 2e-6,
        "ratio": {"median": 1.0, "least": 0.5, "most": 3.0},
    }
    assert [each["of"] for each in found] == ["cpu", "pss"]
    whole = {
        "machine": {"commit": "new"},
        "beside": {"checkout": "HEAD~3", "commit": "old", "rows": found},
        "rows": {},
        "ratios": [],
    }
    page = list(report.page(whole))
    assert "| gateway | 50/s | CPU us/message | 2 | 2 | 1.00 (0.50-3.00) |" in page
    assert "| gateway | before | PSS MiB | 2 | 4 | 0.50 (0.50-0.50) |" in page
    assert "commit new beside HEAD~3 (old), the same load in the same turns:" in page
    assert [line.split() for line in beside.lines(whole)][1][:5] == ["gateway", "50/s", "CPU", "us/message", "2"]
