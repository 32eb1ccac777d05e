"""Waits until a gateway has nothing more to write, so that what is there survives a kill."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from demo.stack import command


async def until_stored(config: Path) -> None:
    """``config``: of a running gateway. A change that is younger than 0.1 s a kill may take (docs/faults.md).

    TimeoutError: it goes on writing for 20 s.
    """
    async with asyncio.timeout(20):
        before, last = None, await _last_commit(config)
        while last is None or last != before:
            await asyncio.sleep(0.5)
            before, last = last, await _last_commit(config)


async def _last_commit(config: Path) -> float | None:
    process = await asyncio.create_subprocess_exec(
        command("atls-gateway"), "status", "--json", "-c", str(config), stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await process.communicate()
    committed: float | None = json.loads(shown)["store"]["last_commit"]
    return committed
