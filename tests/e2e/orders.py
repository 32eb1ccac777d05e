"""Orders to the running simulator, for the end-to-end tests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from demo.stack import Stack, command


async def control(stack: Stack, *arguments: str) -> Any:
    """One ``atls-simulator ctl`` order; its answer."""
    process = await asyncio.create_subprocess_exec(
        command("atls-simulator"), "ctl", str(stack.attach_socket), *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)
