"""The demo's traffic with each process in a container of the image: end to end, and to ordinary devices."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from demo.__main__ import Clock, show
from tests.image.containers import IMAGE, ContainerStack, podman


@pytest.fixture
async def stack() -> AsyncIterator[ContainerStack]:
    with tempfile.TemporaryDirectory(prefix="atls-image-") as folder:
        stack = ContainerStack(Path(folder) / "s")
        try:
            async with stack:
                yield stack
        finally:
            names = podman("ps", "--all", "--quiet", "--filter=name=^atls-image-test-").split()
            if names:
                podman("rm", "--force", *names)


async def test_the_demo_in_containers(stack: ContainerStack) -> None:
    """It compares the digests of both ends and waits for each step; 0 is all of that."""
    assert await show(stack, Clock(), embedded=False) == 0
    own = podman("ps", f"--filter=ancestor={IMAGE}", "--filter=name=^atls-image-test-", "--format={{.Names}}").split()
    assert sorted(name.removeprefix("atls-image-test-") for name in own) == [
        "app", "gateway", "lamp7", "phone", "simulator",
    ]  # fmt: skip
