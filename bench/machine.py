"""The machine of a run: processor, kernel, versions, and how busy it was with other things."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl.backend import backend

PACKAGES = ("zigpy", "bellows", "paho-mqtt", "aiocoap", "cryptography", "pyOpenSSL")


def facts() -> dict[str, Any]:
    """For the head of a report."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": backend.openssl_version_text(),
        "mosquitto": _mosquitto(),
        **{name: version(name) for name in PACKAGES},
        "commit": commit(Path(__file__).parent),
    }


def load_average() -> float:
    """Of the last minute; what runs here is part of it."""
    return os.getloadavg()[0]


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return platform.machine()


def _mosquitto() -> str:
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        return "none"
    said = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).split("\n", 1)[0].removeprefix("mosquitto version ")


def commit(root: Path) -> str:
    """Of a checkout, with its tag if it has one; ``unknown`` without git."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    said = subprocess.run(
        [git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=root
    )
    return said.stdout.strip() or "unknown"
