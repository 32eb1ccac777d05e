"""libcoap's own client against the CoAP side of a ``Stack``, whose keys must be text."""

from __future__ import annotations

import asyncio
from typing import Final

from demo.stack import Stack

BOUND: Final = 20
"""Seconds after which the client gives up."""


async def coap(stack: Stack, who: str, path: str, *options: str) -> str:
    """The client as ``who``; what it printed: the payload, or the code and the diagnostic of a refusal."""
    process = await asyncio.create_subprocess_exec(
        *coap_command(stack, who, path, *options), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    return printed.decode("utf-8", "replace").strip()


def coap_command(stack: Stack, who: str, path: str, *options: str) -> list[str]:
    assert stack.link_psks is not None
    key = stack.link_psks.keys[who].decode()
    url = f"coaps://127.0.0.1:{stack.coaps_port}/{path}"
    return ["coap-client-openssl", "-B", str(BOUND), "-u", who, "-k", key, *options, url]
