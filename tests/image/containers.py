"""Podman for these tests, and the demo's stack with each process in a separate container."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.process import Process
from demo.stack import Stack

IMAGE = os.environ.get("IMAGE", "localhost/atls-image-test")
"""What ``scripts/image-test`` built."""
MOSQUITTO = f"{IMAGE}-mosquitto"
USER = 5684
CONFINED = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
# Podman's own defaults are above what a container in a small virtual machine may have.
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")


def run(*argv: str | Path, check: bool = True, env: Mapping[str, str] | None = None, seconds: float = 120) -> str:
    """Standard output of a command; its standard error goes into the failure."""
    found = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds, env=env)
    assert not check or found.returncode == 0, f"{argv} ended with {found.returncode}: {found.stdout}{found.stderr}"
    return found.stdout


def podman(*argv: str | Path, check: bool = True) -> str:
    return run("podman", "--runtime=runc", *argv, check=check)


class ContainerStack(Stack):
    """Everything that the stack starts runs in containers that share the host's network and the stack's folder."""

    async def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Process:
        assert env is None
        program = Path(argv[0]).name
        image = MOSQUITTO if program == "mosquitto" else IMAGE
        for folder, _, files in os.walk(self.directory):  # keys belong to who reads them
            for path in (folder, *(f"{folder}/{each}" for each in files)):
                os.chown(path, USER, USER, follow_symlinks=False)
        wrapped = ["podman", "--runtime=runc", "run", "--rm", "--interactive", f"--name={self.container(name)}"]
        wrapped += ["--network=host", *CONFINED, *LIMITS, f"--user={USER}:{USER}"]
        wrapped += [f"--volume={self.directory}:{self.directory}", f"--entrypoint={program}", image, *argv[1:]]
        return await super().start(name, wrapped)

    def container(self, name: str) -> str:
        return f"atls-image-test-{name}"

    async def start_simulator(self, *options: str, tcp: bool = True) -> Process:
        return await super().start_simulator(*options, tcp=tcp)

    def asking(self) -> Sequence[str]:
        return ["podman", "--runtime=runc", "exec", self.container("gateway"), "atls-gateway"]
