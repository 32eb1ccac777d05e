"""The checkouts whose gateways are measured: this one, and one beside it, a commit of the history or a folder.

Both gateways run in the virtual environment of this process, so that what differs is the code of this project alone.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.scenario import ROOT
from demo.process import Process
from demo.stack import Stack

BASELINE = "e976080"
"""What releases are compared with: the last commit before the engine, the seams between it and the adapters, and the
turns of the loop were reworked. A release must not cost more per message, nor hold more memory, than it did."""
NONE = "none"
ENTRY = "import sys; from {module} import {function}; sys.exit({function}())"


class NoSuchCheckoutError(Exception):
    """The text says what is missing, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """``name`` is how tables call it; ``root`` is the folder that has ``pyproject.toml`` in it."""

    name: str
    root: Path

    def program(self) -> list[str]:
        """How its ``atls-gateway`` is run: what ``[project.scripts]`` of that checkout names, from its folder.

        With byte code from files, as users have it; what the environment says of that is for tests.
        """
        scripts = tomllib.loads((self.root / "pyproject.toml").read_text())["project"]["scripts"]
        module, _, function = scripts["atls-gateway"].partition(":")
        entry = ENTRY.format(module=module, function=function)
        return [
            shutil.which("env") or "/usr/bin/env",
            "-u",
            "PYTHONDONTWRITEBYTECODE",
            f"PYTHONPATH={self.root}",
            sys.executable,
            "-P",
            "-c",
            entry,
        ]


HERE = Checkout("this checkout", ROOT)


@dataclass(slots=True)
class CheckoutStack(Stack):
    """An installation whose gateway, and the command that asks it, are those of a checkout. Simulator and broker are
    of this one, and so is the config, which has no key that the gateway of ``BASELINE`` does not know; what is in the
    state folder each gateway writes itself."""

    checkout: Checkout = HERE

    def asking(self) -> Sequence[str]:
        return self.checkout.program()

    async def start_gateway(
        self, env: Mapping[str, str] | None = None, *, program: Sequence[str] | None = None
    ) -> Process:
        # Not super(): dataclass(slots=True) makes a second class, and super() looks for the first.
        return await Stack.start_gateway(self, env, program=program or self.asking())


@contextmanager
def opened(text: str, repository: Path = ROOT) -> Iterator[Checkout | None]:
    """The checkout that ``text`` names: a folder, or a commit of ``repository``, which gets a temporary worktree below
    ``.cache`` there; nothing for ``none``. Raises NoSuchCheckoutError."""
    if text == NONE:
        yield None
    elif Path(text).is_dir():
        root = Path(text).resolve()
        _check(text, root)
        yield Checkout(text, root)
    else:
        with _worktree(text, commit(text, repository), repository) as root:
            _check(text, root)
            yield Checkout(text, root)


def _check(text: str, root: Path) -> None:
    if not ((root / "gateway").is_dir() and (root / "pyproject.toml").is_file()):
        raise NoSuchCheckoutError(f"{text} is no checkout of this project: it has no gateway/ and pyproject.toml")


def commit(text: str, repository: Path = ROOT) -> str:
    """The full name of a commit. Raises NoSuchCheckoutError if the history that is here does not have it."""
    advice = f"--beside FOLDER takes a checkout that you have, --beside {NONE} measures this one alone"
    if shutil.which("git") is None:
        raise NoSuchCheckoutError(f"{text} is no folder, and for a commit git must be installed. {advice}.")
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    if found.returncode == 0:
        return found.stdout.strip()
    if _git(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
        why = "this clone is shallow, and `git fetch --unshallow` gets the whole history"
    elif _git(repository, "rev-parse", "--git-dir").returncode:
        why = f"{repository} is no git repository"
    else:
        why = "`git fetch` gets what others have committed since"
    raise NoSuchCheckoutError(f"{text} is no folder, and no commit of the history here: {why}. {advice}.")


def default(repository: Path = ROOT) -> str:
    """``BASELINE`` if the history has it, else ``none``, and a line on standard error says why."""
    try:
        commit(BASELINE, repository)
    except NoSuchCheckoutError as error:
        sys.stderr.write(f"not compared with {BASELINE}: {error}\n")
        return NONE
    return BASELINE


@contextmanager
def _worktree(text: str, full: str, repository: Path) -> Iterator[Path]:
    cache = repository / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="beside-", dir=cache) as directory:
        root = Path(directory) / full[:12]
        made = _git(repository, "worktree", "add", "--detach", "--quiet", str(root), full)
        if made.returncode:
            raise NoSuchCheckoutError(f"git makes no worktree of {text}: {made.stderr.strip()}")
        # SIGTERM too is to unwind to here, and to where the processes of the benchmark are stopped.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            yield root
        finally:
            signal.signal(signal.SIGTERM, before)
            _git(repository, "worktree", "remove", "--force", str(root))


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # No hooks: one that runs at a checkout would run in this temporary one.
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def add_option(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--beside",
        metavar="COMMIT|FOLDER",
        help="another checkout, whose gateway gets the same load: a commit of the history or a "
        f"folder; {NONE}: only this one (default: {default})",
    )
