"""docs/add-an-adapter.md step by step: its package, its conformance test, and a real gateway that runs it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.harness.docs_page import read
from tests.harness.running_daemon import Home

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+ [\w-]+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE = 20.0


@pytest.fixture(scope="module")
def page() -> Any:
    return read("add-an-adapter.md")


@pytest.fixture(scope="module")
def place(page: Any) -> Iterator[Path]:
    """A folder with all files of the page, and in its folder ``site`` the package as pip installs it."""
    folder = Path(tempfile.mkdtemp(prefix="aa-"))  # short: the path of a socket has 108 octets at most
    for name, text in FILE.findall(page.text):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--target", str(folder / "site"), str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(place: Path) -> Iterator[Home]:
    config, policy = (place / "gateway.yaml").read_text(), (place / "policy.yaml").read_text()
    made = Home(place)
    made.config.write_text(config)
    made.policy.write_text(policy)
    made.environ["PYTHONPATH"] = f"{ROOT}:{place / 'site'}"
    yield made
    made.close()


class Speaker:
    """A peer at its socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rw", newline="\n")

    def say(self, text: str) -> None:
        self.lines.write(text + "\n")
        self.lines.flush()

    def hear(self) -> str:
        return self.lines.readline().rstrip("\n")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def test_every_file_is_there(page: Any, place: Path) -> None:
    files = {"pyproject.toml", "gateway.yaml", "policy.yaml", "test_lines.py"}
    modules = {f"lines_adapter/{name}.py" for name in ("__init__", "codec", "adapter", "plugin")}
    assert {name for name, _ in FILE.findall(page.text)} == files | modules
    assert modules <= {str(path.relative_to(place / "site")) for path in (place / "site").rglob("*.py")}
    commands = {"adapter-install", "adapter-check", "adapter-run", "adapter-look"}
    assert page.names("sh") | page.names("text") == commands | {"adapter-conversation"}


def test_its_extra_is_what_its_test_needs(page: Any, place: Path) -> None:
    """Both are in the environment that runs this: the gateway is tested with them too."""
    project = tomllib.loads((place / "pyproject.toml").read_text())["project"]
    assert [version(name) for name in project["optional-dependencies"]["test"]]
    make, gateway, package = page.block("sh", "adapter-install").splitlines()
    assert shlex.split(make)[1:] == ["-m", "venv", ".venv"]
    assert shlex.split(gateway)[1:] == ["install", "CLONE"]
    assert shlex.split(package)[1:] == ["install", "-e", ".[test]"]


def test_it_passes_the_conformance_suite(page: Any, place: Path) -> None:
    """By the package's own settings of pytest."""
    environ = {"PYTHONPATH": f"{ROOT}:{place}", "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *shlex.split(page.block("sh", "adapter-check"))[1:]],
        env=environ, cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_it_is_typed_and_formatted_as_the_gateway_is(place: Path) -> None:
    for tool in (["ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "I001"],
                 ["ruff", "format", "--check", "--config", str(ROOT / "pyproject.toml")]):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", *tool, str(place / "lines_adapter")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(place / "mypy"),
         "-p", "lines_adapter"],
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_session_and_a_reading_pass_through_a_real_gateway(page: Any, place: Path, home: Home) -> None:
    make, check, run = page.block("sh", "adapter-run").splitlines()
    refused = home.cli(*shlex.split(check)[1:])
    assert refused.returncode == 78  # not before its folder is made
    assert "gateway.yaml:9: adapters.lines.folder: expected a folder" in refused.stderr
    subprocess.run(shlex.split(make), cwd=place, check=True)
    good = home.cli(*shlex.split(check)[1:])
    assert (good.returncode, good.stderr) == (0, ""), "no warning either: its peers are devices"
    assert shlex.split(run)[1:3] == ["run", "-c"]
    daemon = home.start()
    daemon.wait_notify("READY=1")
    speakers = {name: Speaker(place / "sockets" / f"{name}.sock") for name in ("alice", "bob")}
    chosen: dict[str, str] = {}
    try:
        for speaker in speakers.values():  # a connection that isn't taken yet can't be reached by the other
            speaker.say("hello")
            assert speaker.hear().startswith("no ")
        for line in page.block("text", "adapter-conversation").splitlines():
            name, way, *words = line.split()
            if way == ">":
                speakers[name].say(" ".join(chosen.get(word, word) for word in words))
                continue
            heard = speakers[name].hear().split()
            assert len(heard) == len(words), (line, heard)
            for word, found in zip(words, heard, strict=True):
                fixed = word if not (word.isupper() and words[0] != "no") else chosen.setdefault(word, found)
                assert found == fixed, (line, heard)
        look, ask = page.block("sh", "adapter-look").splitlines()
        shown = json.loads(home.cli(*shlex.split(look)[1:], "--json").stdout)
        assert {one["name"]: one["value"] for one in shown["properties"]} == {"temperature": 20.5, "target": 19}
        assert shown["online"] is True
        assert home.cli(*shlex.split(ask)[1:]).stdout.startswith("gateway: healthy, ")
    finally:
        for speaker in speakers.values():
            speaker.close()
    status = json.loads(home.cli("status", "--json", "-c", "gateway.yaml").stdout)
    assert (status["traffic"]["adapter_errors"], status["traffic"]["stray_receipts"]) == (0, 0)
