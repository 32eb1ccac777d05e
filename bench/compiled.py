"""The compiled build of this checkout, as a folder that its gateway is run from (``--compiled``)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.checkout import HERE, Checkout
from bench.scenario import ROOT

COMPILED = "this checkout, compiled"


class CompileFailedError(Exception):
    """The text has what pip and the compiler said."""


@contextmanager
def measured(compiled: bool) -> Iterator[Checkout]:
    """The checkout whose gateway is measured: this one, or what ``ATLS_GATEWAY_COMPILED=1`` makes of it, in a temporary
    folder below ``.cache``. Raises CompileFailedError."""
    if not compiled:
        yield HERE
        return
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compiled-", dir=ROOT / ".cache") as directory:
        yield Checkout(COMPILED, _build(Path(directory)))


def _build(directory: Path) -> Path:
    sys.stderr.write("compiling this checkout (some minutes)\n")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(directory), str(ROOT)],
        env={**os.environ, "ATLS_GATEWAY_COMPILED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CompileFailedError(f"the build failed:\n{done.stdout[-4000:]}")
    (wheel,) = directory.glob("*.whl")
    root = directory / "root"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root)
    shutil.copy(ROOT / "pyproject.toml", root)
    return root
