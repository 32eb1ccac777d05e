"""A Python that has zha, which this project's own may be too old for: ``zha_python`` makes it once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from demo.stack import ROOT
from scripts.boot.machine import CanNotRunError, fresh, prepare

PACKAGES: Final = "zha==2.3.1 zha-quirks==2.3.0"
LEAST: Final = (3, 12)
_CACHE: Final = ROOT / ".tools" / "zha"
_INSIDE: Final = "/opt/zha"


def command(program: Path, *arguments: str) -> list[str]:
    """How to run ``program`` with zha: by a Python of this machine (``ZHA_PYTHON`` names one), or where none is new
    enough by that of a Debian 13 root. Raises CanNotRunError, FailedError."""
    python = next(_candidates(), None)
    if python is not None:
        return [str(_environment(python)), str(program), *arguments]
    try:
        root = fresh("13", prepare(), "zha")
    except CanNotRunError as error:
        raise CanNotRunError(
            f"no Python here is new enough for {PACKAGES} (ZHA_PYTHON names one); and {error}"
        ) from None
    root.keep("zha", _INSIDE)
    root.inside(
        "apt-get update -qq; apt-get install -y -qq --no-install-recommends python3-venv >/dev/null 2>&1;"
        f" [ -e '{_INSIDE}/{PACKAGES}' ] || {{ python3 -m venv --clear {_INSIDE}/venv;"
        f" {_INSIDE}/venv/bin/pip install -q --prefer-binary {PACKAGES}; touch '{_INSIDE}/{PACKAGES}'; }}"
    )
    shutil.copy(program, root.path("/root/program.py"))
    return root.command(" ".join((f"exec {_INSIDE}/venv/bin/python /root/program.py", *arguments)))


def _candidates() -> Iterator[str]:
    named = os.environ.get("ZHA_PYTHON")
    for each in [named] if named else [sys.executable, "python3.13", "python3.12", "python3"]:
        test = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {LEAST})"
        found = shutil.which(each)
        if found and not subprocess.run([found, "-c", test], stderr=subprocess.DEVNULL, check=False).returncode:
            yield found


def _environment(python: str) -> Path:
    """The Python of a virtual environment with zha, made of that one."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made, stamp = _CACHE / "venv" / "bin" / "python", _CACHE / "installed"
        wanted = f"{PACKAGES} {os.path.realpath(python)}"
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([python, "-m", "venv", "--clear", _CACHE / "venv"], check=True)
            subprocess.run([made, "-m", "pip", "install", "-q", "--prefer-binary", *PACKAGES.split()], check=True)
            stamp.write_text(wanted)
    return made


if __name__ == "__main__":  # for scripts/test-peers: makes it; exit status 77: this machine can't, and why
    try:
        command(Path(__file__))
    except CanNotRunError as error:
        print(f"zha can't run here: {error}")
        sys.exit(77)
